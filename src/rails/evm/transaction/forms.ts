import * as v from 'valibot'
import type { JsonObject } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import type { Terms } from '../../../core/offer.ts'
import type { Form } from '../../../core/ports.ts'
import type { Hex } from '../hex.ts'
import { UINT256_MAX, lower } from '../hex.ts'
import { AddressSchema, Uint256Schema } from '../proof.ts'
import type { Reason } from './problems.ts'
import type { Proof } from './proof.ts'
import { NAME_CHARS_MAX, readProof } from './proof.ts'
import { hashOf, isRaw } from './raw.ts'
import type { Details, Payable, Shop } from './terms.ts'
import { CHARGE, RAIL, payableBy, termsFor } from './terms.ts'

/** Terms as the gateway profile says them. */
export interface BearerWords {
  readonly gateway: 'stripe' | 'blockchain' | 'stripe-crypto' | 'paypal'
  readonly wallet_required: boolean
  readonly payment_url?: string
  readonly details: JsonObject
}

/** Terms as MPP says them. */
export interface MppWords {
  readonly id?: string
  readonly realm?: string
  readonly method: string
  readonly intent: string
  readonly request?: JsonObject
}

/** This rail said in each protocol that can carry it. */
export interface Forms {
  readonly [name: string]: Form<Details, Proof>
  readonly bearer: Form<Details, Proof, BearerWords>
  readonly mpp: Form<Details, Proof, MppWords>
}

/** A chain and what can be paid with on it. */
export type Place = Pick<Shop, 'network' | 'payables'>

/** What MPP calls a hash that is shown, and a signed transaction that the seller sends. */
export const HASH = 'hash'
export const TRANSACTION = 'transaction'
const METHOD = 'evm'
/** By which details of this rail are told from those of others. */
const KIND = 'transaction'
/** Longest time that terms may name, in seconds. */
const TIMEOUT_SECONDS_MAX = 2 ** 31 - 1
/** How long a payment for a seller who does not say may take, in seconds. */
const TIMEOUT_SECONDS = 300

const SecondsSchema = v.pipe(
  v.number(),
  v.integer(),
  v.minValue(1),
  v.maxValue(TIMEOUT_SECONDS_MAX),
)

const DetailsSchema = v.looseObject({
  method: v.literal(KIND),
  network: v.pipe(v.string(), v.maxLength(64)),
  recipient: AddressSchema,
  units: Uint256Schema,
  token: v.optional(AddressSchema),
  receiver: v.optional(AddressSchema),
  timeout_seconds: SecondsSchema,
})

const RequestSchema = v.looseObject({
  amount: Uint256Schema,
  currency: AddressSchema,
  recipient: AddressSchema,
  methodDetails: v.looseObject({
    chainId: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    credentialTypes: v.array(v.string()),
    splits: v.optional(v.array(v.unknown())),
    maxTimeoutSeconds: v.optional(SecondsSchema),
  }),
})

/** The rail's reasons in the words of protocols that have none of their own for them. */
const reasons: Readonly<Record<Reason, string>> = {
  'network-mismatch': 'network_mismatch',
  'asset-unknown': 'asset_unknown',
  'not-mined': 'not_mined',
  'not-final': 'not_final',
  'transaction-unknown': 'transaction_unknown',
  'transaction-failed': 'transaction_failed',
  'transfer-missing': 'transfer_missing',
  'payer-is-payee': 'payer_is_payee',
  'payer-unproven': 'payer_unproven',
  'sent-by-another': 'sent_by_another',
  authorized: 'authorized',
  'too-early': 'too_early',
  'too-late': 'too_late',
  'amount-short': 'amount_short',
  'offer-paid': 'offer_paid',
  'transaction-gone': 'transaction_gone',
  'raw-unreadable': 'raw_unreadable',
  'transfer-inexact': 'transfer_inexact',
  'not-sendable': 'not_sendable',
  'funds-insufficient': 'funds_insufficient',
  'offer-over': 'offer_over',
}

/**
 * Makes the forms. `payTo` is the seller's own account; a payer has none to be paid at. `submits`: the seller sends signed
 * transactions himself.
 */
export function createForms(places: readonly Place[], payTo?: Hex, submits = false): Forms {
  const networks = places.map(({ network }) => network.id)
  const shared = { rail: RAIL, networks, reasons, distinct: true } as const
  return {
    bearer: {
      ...shared,
      writeDetails: (terms) => ({
        gateway: 'blockchain',
        wallet_required: true,
        details: writeBearer(terms),
      }),
      readDetails: (said) => readBearer(said, places, payTo),
      writeProof: (proof) => ({ proof: writeText(proof) }),
      readProof: readShown,
    },
    mpp: {
      ...shared,
      writeDetails: (terms) => writeMpp(terms, places, submits),
      readDetails: (said) => readMpp(said, places, payTo),
      writeProof: (proof) => writePayload(proof, places),
      readProof: (said) => readPayload(said, submits),
    },
  }
}

function writeBearer({ network, payee, amount, timeoutMs, details }: Terms<Details>): JsonObject {
  return {
    method: KIND,
    network,
    recipient: payee,
    units: amount.amount.toString(),
    decimals: amount.asset.scale,
    asset: amount.asset.id,
    ...details,
    timeout_seconds: timeoutMs / 1000,
  }
}

function readBearer(
  { gateway, details }: BearerWords,
  places: readonly Place[],
  payTo: Hex | undefined,
): Terms<Details> | string {
  const read = v.safeParse(DetailsSchema, details, { abortEarly: true })
  if (gateway !== 'blockchain' || !read.success)
    return 'Only payments by a transaction of one’s own are known here.'
  const { network, recipient, units, token, receiver, timeout_seconds: seconds } = read.output
  if ((token === undefined) === (receiver === undefined))
    return 'Either a token or a receiver is named.'
  const contract = (token ?? receiver) as Hex
  const wanted = token === undefined ? { receiver: contract } : { token: contract }
  const place = places.find((one) => one.network.id === network)
  return readTerms(place, wanted, { recipient, units, seconds, payTo })
}

interface Read {
  readonly recipient: string
  readonly units: string
  readonly seconds: number
  readonly payTo: Hex | undefined
}

function readTerms(
  place: Place | undefined,
  wanted: Details,
  { recipient, units, seconds, payTo }: Read,
): Terms<Details> | string {
  const payable: Payable | undefined = place && payableBy(place, wanted)
  if (!place || !payable) return 'This token or coin, or its chain, is not known.'
  const amount = BigInt(units)
  if (amount > UINT256_MAX) return 'The amount is larger than a uint256.'
  // An echo in another case names the same account.
  const payee = payTo && lower(payTo) === lower(recipient as Hex) ? payTo : (recipient as Hex)
  return termsFor({ network: place.network, payee, timeoutMs: seconds * 1000 }, payable, amount)
}

/** `0x…`, and behind it `;log=0` and `;signature=0x…` as far as they are there. */
function writeText({ transaction, signature, log }: Proof): string {
  const parts = [
    transaction,
    ...(log === undefined ? [] : [`log=${log}`]),
    ...(signature === undefined ? [] : [`signature=${signature}`]),
  ]
  return parts.join(';')
}

function readShown(said: unknown): Proof | string {
  if (!isObject(said)) return 'There is no proof.'
  const { intent = '', proof } = said
  if (typeof proof !== 'string' || typeof intent !== 'string')
    return 'There is no hash of a transaction.'
  const [transaction, ...parts] = proof.split(';')
  const named = new Map(parts.map((part) => part.split('=', 2) as [string, string]))
  const known = [...named.keys()].every((name) => name === 'log' || name === 'signature')
  if (!known || named.size !== parts.length) return 'The proof has parts that are not known.'
  const log = named.get('log')
  if (log !== undefined && !/^\d{1,5}$/.test(log)) return 'The number of the log is no number.'
  const signature = named.get('signature')
  const read = readProof({
    transaction,
    ...(signature !== undefined && { signature }),
    ...(log !== undefined && { log: Number(log) }),
  })
  return typeof read === 'string' ? read : { ...read, offer: intent }
}

function writeMpp(terms: Terms<Details>, places: readonly Place[], submits: boolean): MppWords {
  const { details, amount, payee, timeoutMs, network } = terms
  const place = places.find((one) => one.network.id === network)
  const words = { method: METHOD, intent: CHARGE }
  // The method knows tokens alone.
  if (!place || !('token' in details)) return words
  const request = {
    amount: amount.amount.toString(),
    currency: details.token,
    recipient: payee,
    methodDetails: {
      chainId: place.network.chainId,
      credentialTypes: submits ? [TRANSACTION, HASH] : [HASH],
      decimals: amount.asset.scale,
      maxTimeoutSeconds: timeoutMs / 1000,
    },
  }
  return { ...words, request }
}

function readMpp(
  { method, intent, request }: MppWords,
  places: readonly Place[],
  payTo: Hex | undefined,
): Terms<Details> | string {
  if (method !== METHOD || intent !== CHARGE)
    return `Only ${METHOD}/${CHARGE} is known on this rail.`
  const read = v.safeParse(RequestSchema, request, { abortEarly: true })
  if (!read.success) return `${v.getDotPath(read.issues[0]) ?? 'The request'} is unusable.`
  const { amount: units, currency, recipient, methodDetails } = read.output
  const { chainId, credentialTypes, splits = [] } = methodDetails
  if (!credentialTypes.includes(HASH)) return 'The hash of a transaction is not wanted.'
  if (splits.length > 0) return 'One transfer cannot be split among several payees.'
  const place = places.find(({ network }) => network.chainId === chainId)
  const seconds = methodDetails.maxTimeoutSeconds ?? TIMEOUT_SECONDS
  return readTerms(place, { token: currency as Hex }, { recipient, units, seconds, payTo })
}

function writePayload(
  { transaction, signature, log, payer }: Proof,
  places: readonly Place[],
): JsonObject {
  const [place, ...others] = places
  const payload = {
    type: HASH,
    hash: transaction,
    ...(signature !== undefined && { signature }),
    ...(log !== undefined && { log }),
  }
  if (!place || others.length > 0 || payer === undefined) return { payload }
  return { payload, source: `did:pkh:${place.network.id}:${payer}` }
}

function readPayload(said: unknown, submits: boolean): Proof | string {
  if (!isObject(said) || !isObject(said['payload'])) return 'There is no payload.'
  const { id, source, payload } = said
  const { type, hash, signature, log } = payload
  const isSigned = type === TRANSACTION && submits
  if (type !== HASH && !isSigned) return 'Payloads of this type are not taken here.'
  const read = isSigned ? readSigned(signature) : readProof({ transaction: hash, signature, log })
  if (typeof read === 'string') return read
  const payer = typeof source === 'string' ? SOURCE.exec(source)?.[1] : undefined
  if (source !== undefined && payer === undefined)
    return 'The source is not an account of this kind of chain (did:pkh, CAIP-10).'
  return {
    ...read,
    ...(typeof id === 'string' && id.length <= NAME_CHARS_MAX && { offer: id }),
    ...(payer !== undefined && { payer: lower(payer as Hex) }),
  }
}

function readSigned(raw: unknown): Proof | string {
  if (!isRaw(raw)) return 'The signed transaction is not bytes of EIP-1559 in hex, or too long.'
  return { transaction: hashOf(lower(raw)), raw: lower(raw) }
}

/** A DID of the method `pkh` (CAIP-10). */
const SOURCE = /^did:pkh:eip155:\d{1,16}:(0x[0-9a-fA-F]{40})$/
