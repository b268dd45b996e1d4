import { isDeepStrictEqual } from 'node:util'
import type { Challenge } from '../../core/challenge.ts'
import type { Credential } from '../../core/credential.ts'
import { isObject } from '../../core/json.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import { problem } from '../../core/problem.ts'
import type { Problem } from '../../core/problem.ts'
import type { Receipt } from '../../core/receipt.ts'
import type { Resource } from '../../core/resource.ts'
import { isCommon, legacyOf, networkOf } from './networks.ts'
import { extraOf, formFor, requirementsOf, take, takeApart } from './part.ts'
import type { Forms } from './part.ts'
import { ECHO_MISMATCH } from './reasons.ts'
import { PaymentPayload, PaymentPayloadV1, read } from './wire.ts'
import type {
  PaymentRequired,
  PaymentRequiredV1,
  PaymentRequirementsV1,
  SettleResponse,
  SettleResponseV1,
  Words,
} from './wire.ts'

/** An offer with what its rail says of it. */
export interface Said {
  readonly offer: Offer
  readonly words: Words
}

/** The offers that can be said in x402. */
export function say(forms: Forms, offers: readonly Offer[]): readonly Said[] {
  return offers.flatMap((offer) => {
    const form = formFor(forms, offer)
    return form ? [{ offer, words: form.writeDetails(offer) }] : []
  })
}

/** Content of `PAYMENT-REQUIRED`. */
export function writeRequired(
  said: readonly Said[],
  challenge: Challenge,
  error: string,
  extensions: JsonObject | undefined,
): PaymentRequired {
  const { resource, description, mimeType } = challenge
  return {
    x402Version: 2,
    error,
    resource: { url: resource.url, description, mimeType },
    accepts: said.map(({ offer, words }) => requirementsOf(words, extraOf(words, offer))),
    ...(extensions && { extensions }),
  }
}

/** What version 1 wants in the body; undefined if no offer is on a network that all its clients know. */
export function writeRequiredV1(
  said: readonly Said[],
  challenge: Challenge,
  error: string,
): PaymentRequiredV1 | undefined {
  const accepts = said.flatMap(({ words }) => {
    const { legacyNetwork: legacy, network } = words
    if (legacy === undefined || !isCommon(legacy, network)) return []
    return [requirementsV1(words, legacy, challenge)]
  })
  return accepts.length > 0 ? { x402Version: 1, error, accepts } : undefined
}

function requirementsV1(
  words: Words,
  network: string,
  { resource, description = '', mimeType = '' }: Challenge,
): PaymentRequirementsV1 {
  return {
    scheme: words.scheme,
    network,
    maxAmountRequired: words.amount,
    // Version 1 clients want all three, and a URL that parses.
    resource: resource.url,
    description,
    mimeType,
    payTo: words.payTo,
    maxTimeoutSeconds: words.maxTimeoutSeconds,
    asset: words.asset,
    extra: words.extra,
  }
}

/** Reads the content of `PAYMENT-SIGNATURE`. Whether the offer is ours, its id will tell the gate. */
export function readPayload(
  forms: Forms,
  said: JsonObject,
  resource: Resource,
  extensions: JsonObject | undefined,
): Credential | Problem {
  const payload = read(PaymentPayload, said)
  if (!payload.ok) return malformed(payload.why)
  const { words, id, expiresAt } = takeApart(payload.value.accepted)
  const taken = take(forms, words)
  if (typeof taken === 'string') return problem('credential-unsupported', taken)
  if (id === '') return foreign()
  if (!echoes(extensions, payload.value.extensions)) return mismatched()
  const proof = taken.form.readProof(payload.value.payload)
  if (typeof proof === 'string') return malformed(proof)
  return { offer: { ...taken.terms, id, resource, expiresAt }, proof }
}

/** Reads the content of `X-PAYMENT`, which cannot name its offer: only rail and network are known. */
export function readPayloadV1(forms: Forms, said: JsonObject): Credential | Problem {
  const payload = read(PaymentPayloadV1, said)
  if (!payload.ok) return malformed(payload.why)
  const { scheme, network } = payload.value
  if (scheme !== 'exact')
    return problem('credential-unsupported', 'Only "exact" is taken here in x402 version 1.')
  const named = networkOf(network)
  let why: Problem | undefined
  for (const form of forms) {
    if (!form.networks.includes(named)) continue
    const proof = form.readProof(payload.value.payload)
    if (typeof proof !== 'string') return { offer: { rail: form.rail, network: named }, proof }
    why ??= malformed(proof)
  }
  return why ?? problem('credential-unsupported', `Nothing is taken here on ${network}.`)
}

/**
 * Whether what the client echoes of our extensions still holds what we said. Left out is fine, added to is fine, and
 * extensions that we did not name are none of our business.
 */
function echoes(ours: JsonObject | undefined, theirs: unknown): boolean {
  if (!ours || !isObject(theirs)) return true
  return Object.entries(ours).every(
    ([key, value]) => !Object.hasOwn(theirs, key) || holds(infoOf(theirs[key]), infoOf(value)),
  )
}

function infoOf(extension: Json | undefined): Json | undefined {
  return isObject(extension) ? extension['info'] : undefined
}

/** Whether every member of `part` is in `whole`, objects looked into, everything else equal. */
function holds(whole: Json | undefined, part: Json | undefined): boolean {
  if (!isObject(part)) return part === undefined || isDeepStrictEqual(whole, part)
  if (!isObject(whole)) return false
  return Object.keys(part).every((key) => Object.hasOwn(whole, key) && holds(whole[key], part[key]))
}

/** Content of `PAYMENT-RESPONSE` after a payment. `extra` is ours: x402 has no word for the time. */
export function writeSettled(receipt: Receipt): SettleResponse {
  return {
    success: true,
    payer: receipt.payer,
    transaction: receipt.settled ? receipt.reference : '',
    network: receipt.network,
    amount: receipt.amount.amount.toString(),
    extra: { settledAt: Math.floor(receipt.settledAt / 1000) },
  }
}

/** Content of `X-PAYMENT-RESPONSE` after a payment; undefined if version 1 has no name for the network. */
export function writeSettledV1(receipt: Receipt): SettleResponseV1 | undefined {
  const network = legacyOf(receipt.network)
  if (network === undefined) return undefined
  const transaction = receipt.settled ? receipt.reference : ''
  return { success: true, payer: receipt.payer, transaction, network }
}

/** What both versions say of a settlement that failed. */
export function writeFailed(network: string, errorReason: string): SettleResponse {
  return { success: false, errorReason, transaction: '', network }
}

function malformed(why: string): Problem {
  return problem('credential-malformed', why)
}

function foreign(): Problem {
  return problem(
    'offer-foreign',
    'The payment does not echo the offer that it accepts: "accepted.extra.offerId" is missing. Nothing was taken; pay one of the offers given here and echo it unchanged.',
  )
}

function mismatched(): Problem {
  return problem(
    'offer-foreign',
    'The payment echoes an extension otherwise than it was given. Nothing was taken; echo extensions unchanged, or leave them out.',
    { reason: ECHO_MISMATCH },
  )
}
