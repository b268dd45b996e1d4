import * as v from 'valibot'
import type { Token } from '../networks.ts'
import { AddressSchema } from '../proof.ts'

const TEXT_MAX = 128
const TextSchema = v.pipe(v.string(), v.nonEmpty(), v.maxLength(TEXT_MAX))
const CountSchema = v.pipe(v.number(), v.integer(), v.minValue(1))
const KeySchema = v.pipe(v.string(), v.regex(/^0x[0-9a-fA-F]{64}$/))
const UrlSchema = v.pipe(v.string(), v.url(), v.regex(/^https?:/))
const CodeSchema = v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9]{1,15}$/))

const TokenSchema = v.strictObject({
  address: AddressSchema,
  code: CodeSchema,
  scale: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(36)),
  currency: v.optional(v.pipe(v.string(), v.regex(/^[A-Z]{3}$/))),
  name: TextSchema,
  version: TextSchema,
})

/** The rail's settings as configuration writes them; keys are references to secrets until they are resolved. */
export interface TransactionConfig {
  network: string
  payTo: string
  rpc: string | string[]
  refundSigner?: string | undefined
  assets?:
    | (Omit<Token, 'address' | 'currency'> & { address: string; currency?: string | undefined })[]
    | undefined
  coin?: { code: string; slip44?: number | undefined; receiver?: string | undefined } | undefined
  assurance?:
    | {
        from?: string | string[] | undefined
        confirmations?: number | undefined
        tag?: 'safe' | 'finalized' | undefined
        quorum?: number | undefined
      }[]
    | undefined
  submitters?: string[] | undefined
  compare?: boolean | undefined
  submit?: boolean | undefined
  offerValidMs?: number | undefined
  timeoutMs?: number | undefined
  graceMs?: number | undefined
  settleTimeoutMs?: number | undefined
  rpcTimeoutMs?: number | undefined
  engine?: 'native' | 'wasm' | undefined
}

/** Checks {@link TransactionConfig} once its secrets are resolved. JSON Schema is made from it. */
export const TransactionConfigSchema: v.GenericSchema<TransactionConfig> = v.strictObject({
  network: v.pipe(TextSchema, v.description('CAIP-2, such as "eip155:8453", or "base".')),
  payTo: v.pipe(AddressSchema, v.description('The account that earns.')),
  rpc: v.union([UrlSchema, v.pipe(v.array(UrlSchema), v.minLength(1), v.maxLength(16))]),
  refundSigner: v.optional(v.pipe(KeySchema, v.description('The key of payTo, for refunds.'))),
  assets: v.optional(v.pipe(v.array(TokenSchema), v.minLength(1), v.maxLength(16))),
  coin: v.optional(
    v.strictObject({
      code: CodeSchema,
      slip44: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
      receiver: v.optional(AddressSchema),
    }),
  ),
  assurance: v.optional(
    v.pipe(
      v.array(
        v.strictObject({
          from: v.optional(v.union([TextSchema, v.pipe(v.array(TextSchema), v.maxLength(16))])),
          confirmations: v.optional(v.pipe(CountSchema, v.maxValue(1_000))),
          tag: v.optional(v.picklist(['safe', 'finalized'])),
          quorum: v.optional(v.pipe(CountSchema, v.maxValue(16))),
        }),
      ),
      v.minLength(1),
      v.maxLength(16),
      v.description('How sure payments must be, by their size.'),
    ),
  ),
  submitters: v.optional(v.pipe(v.array(AddressSchema), v.maxLength(64))),
  compare: v.optional(v.boolean()),
  submit: v.optional(v.boolean()),
  offerValidMs: v.optional(CountSchema),
  timeoutMs: v.optional(v.pipe(CountSchema, v.multipleOf(1000))),
  graceMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0))),
  settleTimeoutMs: v.optional(CountSchema),
  rpcTimeoutMs: v.optional(CountSchema),
  engine: v.optional(v.picklist(['native', 'wasm'])),
})
