import * as v from 'valibot'
import type { GenericSchema } from 'valibot'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'

/** Longest header value that is read, in characters. The longest known honest one has about 2,000. */
export const HEADER_CHARS_MAX = 32_768
/** Most entries of `accepts`. */
export const ACCEPTS_MAX = 64
/** Most members of a free object (`extra`, `extensions`, `payload`), counted at its top. */
export const MEMBERS_MAX = 64
/** Longest address, network name, scheme or transaction id. */
const NAME_CHARS_MAX = 256
/** Longest URL or text for people. Upstream's error messages reach 2,440 characters. */
const TEXT_CHARS_MAX = 4096
/** Most digits of an amount: those of the largest uint256. */
const AMOUNT_DIGITS_MAX = 78
/** Largest `maxTimeoutSeconds`: still whole milliseconds in a double. */
const TIMEOUT_SECONDS_MAX = 4_294_967_295
/** Longest offer id of ours that is read back. */
export const OFFER_ID_CHARS_MAX = 128
/** Most kinds in a facilitator's `/supported`, and most items on a page of its catalogue. */
const LIST_MAX = 1024
/** How the header values look: standard alphabet, padded (RFC 4648, 4). */
export const BASE64_PATTERN = '^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'

/** Versions of the protocol that are spoken. */
export type Version = 1 | 2

/** The shape between this protocol and a rail's words: one entry of `accepts`, without our own members in `extra`. */
export interface Words {
  readonly scheme: string
  /** CAIP-2, in version 1 too. */
  readonly network: string
  /** What version 1 calls the network, if it has a name for it; without one the offer is not made in version 1. */
  readonly legacyNetwork?: string
  /** Decimal digits, in the asset's smallest unit. */
  readonly amount: string
  readonly asset: string
  readonly payTo: string
  readonly maxTimeoutSeconds: number
  readonly extra: JsonObject
}

/** Optional on the wire, where `null` counts as absent. */
export type Maybe<T> = T | null | undefined

type Free = Readonly<Record<string, unknown>>

/** What is sold, in version 2. */
interface ResourceInfo {
  readonly url: string
  readonly description?: Maybe<string>
  readonly mimeType?: Maybe<string>
  readonly serviceName?: Maybe<string>
  readonly tags?: Maybe<readonly string[]>
  readonly iconUrl?: Maybe<string>
}

/** One way to pay, in version 2. */
export interface PaymentRequirements {
  readonly scheme: string
  readonly network: string
  readonly amount: string
  readonly asset: string
  readonly payTo: string
  readonly maxTimeoutSeconds: number
  readonly extra?: Maybe<Free>
}

/** Content of `PAYMENT-REQUIRED`. */
export interface PaymentRequired<Entry = PaymentRequirements> {
  readonly x402Version: 2
  readonly error?: Maybe<string>
  readonly resource?: Maybe<ResourceInfo>
  readonly accepts: readonly Entry[]
  readonly extensions?: Maybe<Free>
}

/** Content of `PAYMENT-SIGNATURE`. */
export interface PaymentPayload {
  readonly x402Version: 2
  readonly resource?: Maybe<ResourceInfo>
  readonly accepted: PaymentRequirements
  readonly payload: Free
  readonly extensions?: Maybe<Free>
}

/** Content of `PAYMENT-RESPONSE`, and a facilitator's answer to `/settle`. */
export interface SettleResponse {
  readonly success: boolean
  readonly transaction: string
  readonly network: string
  readonly payer?: Maybe<string>
  readonly amount?: Maybe<string>
  readonly errorReason?: Maybe<string>
  readonly errorMessage?: Maybe<string>
  readonly extensions?: Maybe<Free>
  readonly extra?: Maybe<Free>
}

/** A facilitator's answer to `/verify`. */
export interface VerifyResponse {
  readonly isValid: boolean
  readonly invalidReason?: Maybe<string>
  readonly invalidMessage?: Maybe<string>
  readonly payer?: Maybe<string>
  readonly extensions?: Maybe<Free>
  readonly extra?: Maybe<Free>
}

/** What is posted to `/verify` and `/settle`. */
export interface FacilitatorRequest {
  readonly x402Version: 2
  readonly paymentPayload: PaymentPayload
  readonly paymentRequirements: PaymentRequirements
}

/** Something a facilitator can do. */
export interface Kind {
  readonly x402Version: number
  readonly scheme: string
  readonly network: string
  readonly extra?: Maybe<Free>
}

/** A facilitator's answer to `/supported`. */
export interface SupportedResponse {
  readonly kinds: readonly Kind[]
  readonly extensions?: Maybe<readonly string[]>
  readonly signers?: Maybe<Readonly<Record<string, readonly string[]>>>
}

/** A paid resource in a facilitator's catalogue. */
export interface DiscoveryItem {
  readonly resource: string
  readonly type: 'http' | 'mcp'
  readonly x402Version: number
  readonly accepts: readonly Free[]
  readonly lastUpdated: string
  readonly description?: Maybe<string>
  readonly mimeType?: Maybe<string>
  readonly serviceName?: Maybe<string>
  readonly tags?: Maybe<readonly string[]>
  readonly iconUrl?: Maybe<string>
  readonly extensions?: Maybe<Free>
}

/** Answer to `/discovery/resources`. */
export interface DiscoveryResources {
  readonly x402Version: number
  readonly items: readonly DiscoveryItem[]
  readonly pagination: { readonly limit: number; readonly offset: number; readonly total: number }
}

/** Answer to `/discovery/search`. */
export interface DiscoverySearch {
  readonly x402Version: number
  readonly resources: readonly DiscoveryItem[]
  readonly partialResults?: Maybe<boolean>
  readonly pagination?: Maybe<{ readonly limit: number; readonly cursor?: Maybe<string> }>
}

/** One way to pay, in version 1. */
export interface PaymentRequirementsV1 {
  readonly scheme: string
  readonly network: string
  readonly maxAmountRequired: string
  readonly resource: string
  readonly description?: Maybe<string>
  readonly mimeType?: Maybe<string>
  readonly outputSchema?: Maybe<Free>
  readonly payTo: string
  readonly maxTimeoutSeconds: number
  readonly asset: string
  readonly extra?: Maybe<Free>
}

/** The body of a 402 in version 1; ours also has the members of a problem. */
export interface PaymentRequiredV1<Entry = PaymentRequirementsV1> {
  readonly x402Version: 1
  readonly error?: Maybe<string>
  readonly accepts: readonly Entry[]
}

/** Content of `X-PAYMENT`. */
export interface PaymentPayloadV1 {
  readonly x402Version: 1
  readonly scheme: string
  readonly network: string
  readonly payload: Free
}

/** Content of `X-PAYMENT-RESPONSE`. */
export interface SettleResponseV1 {
  readonly success: boolean
  readonly transaction?: Maybe<string>
  readonly network?: Maybe<string>
  readonly payer?: Maybe<string>
  readonly errorReason?: Maybe<string>
}

/** Names may be shown to people and written into sentences, so they are printable ASCII without spaces. */
const name = v.pipe(v.string(), v.regex(/^[!-~]+$/), v.maxLength(NAME_CHARS_MAX))
const caip2 = v.pipe(v.string(), v.regex(/^[!-9;-~]+:[!-~]+$/), v.maxLength(NAME_CHARS_MAX))
const digits = v.pipe(v.string(), v.regex(/^[0-9]+$/), v.maxLength(AMOUNT_DIGITS_MAX))
const text = v.pipe(v.string(), v.maxLength(TEXT_CHARS_MAX))
const url = v.pipe(v.string(), v.minLength(1), v.maxLength(TEXT_CHARS_MAX))
const free = v.pipe(
  v.unknown(),
  // A record alone would take a list for one.
  v.check(isObject),
  v.record(v.string(), v.unknown()),
  v.maxEntries(MEMBERS_MAX),
)
const seconds = v.pipe(v.number(), v.gtValue(0), v.maxValue(TIMEOUT_SECONDS_MAX))
const count = v.pipe(v.number(), v.integer(), v.minValue(0))
/** Empty while nothing is on chain. */
const transaction = v.pipe(v.string(), v.regex(/^[!-~]*$/), v.maxLength(NAME_CHARS_MAX))

const service = {
  serviceName: v.nullish(v.pipe(v.string(), v.regex(/^[ -~]*$/), v.maxLength(32))),
  tags: v.nullish(v.pipe(v.array(v.pipe(v.string(), v.maxLength(32))), v.maxLength(5))),
  iconUrl: v.nullish(v.pipe(v.string(), v.maxLength(2048))),
}

/** {@link ResourceInfo} as it is read. */
const ResourceInfo: GenericSchema<unknown, ResourceInfo> = v.looseObject({
  url,
  description: v.nullish(text),
  mimeType: v.nullish(text),
  ...service,
})

/** {@link PaymentRequirements} as they are read. */
export const PaymentRequirements: GenericSchema<unknown, PaymentRequirements> = v.looseObject({
  scheme: name,
  network: caip2,
  amount: digits,
  asset: name,
  payTo: name,
  maxTimeoutSeconds: seconds,
  extra: v.nullish(free),
})

/** {@link PaymentRequired} as it is read; the entries may be left for a second look, one by one. */
export function paymentRequired<E>(
  entry: GenericSchema<unknown, E>,
): GenericSchema<unknown, PaymentRequired<E>> {
  return v.looseObject({
    x402Version: v.literal(2),
    error: v.nullish(text),
    resource: v.nullish(ResourceInfo),
    accepts: v.pipe(v.array(entry), v.minLength(1), v.maxLength(ACCEPTS_MAX)),
    extensions: v.nullish(free),
  })
}

/** {@link PaymentPayload} as it is read. */
export const PaymentPayload: GenericSchema<unknown, PaymentPayload> = v.looseObject({
  x402Version: v.literal(2),
  resource: v.nullish(ResourceInfo),
  accepted: PaymentRequirements,
  payload: free,
  extensions: v.nullish(free),
})

/** {@link SettleResponse} as it is read. */
export const SettleResponse: GenericSchema<unknown, SettleResponse> = v.looseObject({
  success: v.boolean(),
  transaction,
  network: name,
  payer: v.nullish(transaction),
  amount: v.nullish(digits),
  errorReason: v.nullish(text),
  errorMessage: v.nullish(text),
  extensions: v.nullish(free),
  extra: v.nullish(free),
})

/** {@link VerifyResponse} as it is read. */
export const VerifyResponse: GenericSchema<unknown, VerifyResponse> = v.looseObject({
  isValid: v.boolean(),
  invalidReason: v.nullish(text),
  invalidMessage: v.nullish(text),
  payer: v.nullish(transaction),
  extensions: v.nullish(free),
  extra: v.nullish(free),
})

/** {@link FacilitatorRequest} as it is read. */
export const FacilitatorRequest: GenericSchema<unknown, FacilitatorRequest> = v.looseObject({
  x402Version: v.literal(2),
  paymentPayload: PaymentPayload,
  paymentRequirements: PaymentRequirements,
})

/** {@link SupportedResponse} as it is read. */
export const SupportedResponse: GenericSchema<unknown, SupportedResponse> = v.looseObject({
  kinds: v.pipe(
    v.array(
      v.looseObject({
        x402Version: v.pipe(v.number(), v.integer()),
        scheme: name,
        network: name,
        extra: v.nullish(free),
      }),
    ),
    v.maxLength(LIST_MAX),
  ),
  extensions: v.nullish(v.pipe(v.array(name), v.maxLength(LIST_MAX))),
  signers: v.nullish(
    v.pipe(
      v.unknown(),
      v.check(isObject),
      v.record(v.string(), v.pipe(v.array(name), v.maxLength(LIST_MAX))),
      v.maxEntries(MEMBERS_MAX),
    ),
  ),
})

/** {@link DiscoveryItem} as it is read. */
export const DiscoveryItem: GenericSchema<unknown, DiscoveryItem> = v.looseObject({
  resource: url,
  type: v.picklist(['http', 'mcp']),
  x402Version: v.pipe(v.number(), v.integer()),
  accepts: v.pipe(v.array(free), v.maxLength(ACCEPTS_MAX)),
  lastUpdated: text,
  description: v.nullish(text),
  mimeType: v.nullish(text),
  ...service,
  extensions: v.nullish(free),
})

/** {@link DiscoveryResources} as they are read. */
export const DiscoveryResources: GenericSchema<unknown, DiscoveryResources> = v.looseObject({
  x402Version: v.pipe(v.number(), v.integer()),
  items: v.pipe(v.array(DiscoveryItem), v.maxLength(LIST_MAX)),
  pagination: v.looseObject({ limit: count, offset: count, total: count }),
})

/** {@link DiscoverySearch} as it is read. */
export const DiscoverySearch: GenericSchema<unknown, DiscoverySearch> = v.looseObject({
  x402Version: v.pipe(v.number(), v.integer()),
  resources: v.pipe(v.array(DiscoveryItem), v.maxLength(LIST_MAX)),
  partialResults: v.nullish(v.boolean()),
  pagination: v.nullish(v.looseObject({ limit: count, cursor: v.nullish(text) })),
})

/** {@link PaymentRequirementsV1} as they are read. */
export const PaymentRequirementsV1: GenericSchema<unknown, PaymentRequirementsV1> = v.looseObject({
  scheme: name,
  network: name,
  maxAmountRequired: digits,
  resource: url,
  description: v.nullish(text),
  mimeType: v.nullish(text),
  outputSchema: v.nullish(free),
  payTo: name,
  maxTimeoutSeconds: seconds,
  asset: name,
  extra: v.nullish(free),
})

/** {@link PaymentRequiredV1} as it is read; the entries may be left for a second look, one by one. */
export function paymentRequiredV1<E>(
  entry: GenericSchema<unknown, E>,
): GenericSchema<unknown, PaymentRequiredV1<E>> {
  return v.looseObject({
    x402Version: v.literal(1),
    error: v.nullish(text),
    accepts: v.pipe(v.array(entry), v.minLength(1), v.maxLength(ACCEPTS_MAX)),
  })
}

/** {@link PaymentPayloadV1} as it is read. */
export const PaymentPayloadV1: GenericSchema<unknown, PaymentPayloadV1> = v.looseObject({
  x402Version: v.literal(1),
  scheme: name,
  network: name,
  payload: free,
})

/** {@link SettleResponseV1} as it is read. */
export const SettleResponseV1: GenericSchema<unknown, SettleResponseV1> = v.looseObject({
  success: v.boolean(),
  transaction: v.nullish(transaction),
  network: v.nullish(name),
  payer: v.nullish(transaction),
  errorReason: v.nullish(text),
})

/** Every message with the name of its published JSON Schema. */
export const messages: Readonly<Record<string, GenericSchema>> = {
  'v2/payment-required': paymentRequired(PaymentRequirements),
  'v2/payment-requirements': PaymentRequirements,
  'v2/payment-payload': PaymentPayload,
  'v2/settle-response': SettleResponse,
  'v2/verify-response': VerifyResponse,
  'v2/facilitator-request': FacilitatorRequest,
  'v2/supported-response': SupportedResponse,
  'v2/discovery-item': DiscoveryItem,
  'v2/discovery-resources': DiscoveryResources,
  'v2/discovery-search': DiscoverySearch,
  'v1/payment-required': paymentRequiredV1(PaymentRequirementsV1),
  'v1/payment-requirements': PaymentRequirementsV1,
  'v1/payment-payload': PaymentPayloadV1,
  'v1/settle-response': SettleResponseV1,
}

/** Every header, and which message it carries. */
export const headers: Readonly<Record<string, string>> = {
  'PAYMENT-REQUIRED': 'v2/payment-required',
  'PAYMENT-SIGNATURE': 'v2/payment-payload',
  'PAYMENT-RESPONSE': 'v2/settle-response',
  'X-PAYMENT': 'v1/payment-payload',
  'X-PAYMENT-RESPONSE': 'v1/settle-response',
}

/** What was read, or a sentence why it could not be. */
export type Read<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly why: string }

/** Reads a stranger's value by its schema. The sentence names the place, never the content. */
export function read<T>(schema: GenericSchema<unknown, T>, value: unknown): Read<T> {
  const result = v.safeParse(schema, value, { abortEarly: true })
  if (result.success) return { ok: true, value: result.output }
  const place = v.getDotPath(result.issues[0])
  const subject = place === null ? 'The message' : `"${place.slice(0, NAME_CHARS_MAX)}"`
  return { ok: false, why: `${subject} is missing or not as x402 wants it.` }
}
