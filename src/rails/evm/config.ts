import * as v from 'valibot'
import type { Token } from './networks.ts'
import { AddressSchema } from './proof.ts'

const TEXT_MAX = 128
const TextSchema = v.pipe(v.string(), v.nonEmpty(), v.maxLength(TEXT_MAX))
const CountSchema = v.pipe(v.number(), v.integer(), v.minValue(1))
const KeySchema = v.pipe(v.string(), v.regex(/^0x[0-9a-fA-F]{64}$/))
const UrlSchema = v.pipe(v.string(), v.url(), v.regex(/^https?:/))

const TokenSchema = v.strictObject({
  address: AddressSchema,
  code: v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9]{1,15}$/)),
  scale: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(36)),
  currency: v.optional(v.pipe(v.string(), v.regex(/^[A-Z]{3}$/))),
  name: TextSchema,
  version: TextSchema,
})

/** The rail's settings as configuration writes them; keys are references to secrets until they are resolved. */
export interface EvmConfig {
  network: string
  legacyNetwork?: string | undefined
  payTo: string
  rpc: string | string[]
  signer: string | string[]
  refundSigner?: string | undefined
  assets?:
    | (Omit<Token, 'address' | 'currency'> & { address: string; currency?: string | undefined })[]
    | undefined
  factories?: string[] | undefined
  timeoutMs?: number | undefined
  settleTimeoutMs?: number | undefined
  rpcTimeoutMs?: number | undefined
  bumpAfterMs?: number | undefined
  closeTimeoutMs?: number | undefined
  confirmations?: number | undefined
  quorum?: number | undefined
  batcher?: string | undefined
  walletGasMax?: number | undefined
  engine?: 'native' | 'wasm' | undefined
}

/** Checks {@link EvmConfig} once its secrets are resolved. JSON Schema is made from it. */
export const EvmConfigSchema: v.GenericSchema<EvmConfig> = v.strictObject({
  network: v.pipe(TextSchema, v.description('CAIP-2, such as "eip155:8453", or "base".')),
  legacyNetwork: v.optional(TextSchema),
  payTo: v.pipe(AddressSchema, v.description('The account that earns.')),
  rpc: v.union([UrlSchema, v.pipe(v.array(UrlSchema), v.minLength(1), v.maxLength(16))]),
  signer: v.pipe(
    v.union([KeySchema, v.pipe(v.array(KeySchema), v.minLength(1), v.maxLength(64))]),
    v.description('Private keys that submit payments and pay their gas, each a lane of its own.'),
  ),
  refundSigner: v.optional(KeySchema),
  assets: v.optional(v.pipe(v.array(TokenSchema), v.minLength(1), v.maxLength(16))),
  factories: v.optional(v.pipe(v.array(AddressSchema), v.maxLength(64))),
  timeoutMs: v.optional(v.pipe(CountSchema, v.multipleOf(1000))),
  settleTimeoutMs: v.optional(CountSchema),
  rpcTimeoutMs: v.optional(CountSchema),
  bumpAfterMs: v.optional(CountSchema),
  closeTimeoutMs: v.optional(CountSchema),
  confirmations: v.optional(v.pipe(CountSchema, v.maxValue(1_000))),
  quorum: v.optional(v.pipe(CountSchema, v.maxValue(16))),
  batcher: v.optional(AddressSchema),
  walletGasMax: v.optional(v.pipe(CountSchema, v.maxValue(16_000_000))),
  engine: v.optional(v.picklist(['native', 'wasm'])),
})
