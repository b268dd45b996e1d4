import * as v from 'valibot'
import type { GenericSchema } from 'valibot'
import { assert } from '../../core/assert.ts'
import type { Challenge, Unreadable } from '../../core/challenge.ts'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import { problem, problems } from '../../core/problem.ts'
import type { Problem } from '../../core/problem.ts'
import type { Receipt } from '../../core/receipt.ts'
import type { Resource } from '../../core/resource.ts'
import { legacyOf, networkOf } from './networks.ts'
import { extraOf, formFor, requirementsOf, take, takeApart } from './part.ts'
import type { Bound, Forms } from './part.ts'
import { codeOf, fit } from './reasons.ts'
import {
  paymentRequired,
  paymentRequiredV1,
  PaymentRequirements,
  PaymentRequirementsV1,
  read,
  SettleResponse,
  SettleResponseV1,
} from './wire.ts'
import type { Maybe, PaymentPayload, PaymentPayloadV1, Version, Words } from './wire.ts'

/** What an offer carries so that it can be accepted in the words it was made in. Plain JSON: it may be stored. */
export type Echo =
  | {
      readonly version: 2
      readonly accepted: JsonObject
      readonly resource?: JsonObject
      readonly extensions?: JsonObject
    }
  | { readonly version: 1; readonly scheme: string; readonly network: string }

/** The echo of an offer, if it was read from x402. */
export function echoOf(offer: Offer): Echo | undefined {
  const { echo } = offer
  if (!isObject(echo)) return undefined
  const { version, accepted, scheme, network } = echo
  if (version === 2 && isObject(accepted)) return echo as Echo
  if (version === 1 && typeof scheme === 'string' && typeof network === 'string')
    return { version, scheme, network }
  return undefined
}

// The entries are looked at one by one, so that an odd one does not hide the others.
const anyRequired = paymentRequired(v.unknown())
const anyRequiredV1 = paymentRequiredV1(v.unknown())

/** Reads version 2's challenge out of its header's content. */
export function readRequired(
  forms: Forms,
  said: JsonObject,
  resource: Resource,
): Challenge | string {
  const found = read(anyRequired, said)
  if (!found.ok) return found.why
  const { accepts, error, resource: info } = found.value
  const rest = {
    ...(isObject(said['resource']) && { resource: said['resource'] }),
    ...(isObject(said['extensions']) && { extensions: said['extensions'] }),
  }
  return {
    ...sort(accepts, (entry) => {
      const whole = read(PaymentRequirements, entry)
      if (!whole.ok) return whole.why
      const echo: Echo = { version: 2, accepted: entry as JsonObject, ...rest }
      return offerOf(forms, takeApart(whole.value), resource, echo)
    }),
    resource,
    problem: whyOf(error),
    ...about(info?.description, info?.mimeType),
  }
}

/** Reads version 1's challenge out of the body. */
export function readRequiredV1(
  forms: Forms,
  said: unknown,
  resource: Resource,
): Challenge | string {
  const found = read(anyRequiredV1, said)
  if (!found.ok) return found.why
  const first = read(PaymentRequirementsV1, found.value.accepts[0])
  return {
    ...sort(found.value.accepts, (entry) => {
      const whole = read(PaymentRequirementsV1, entry)
      if (!whole.ok) return whole.why
      const { scheme, network } = whole.value
      const bound = { words: wordsOfV1(whole.value), id: '', expiresAt: Number.MAX_SAFE_INTEGER }
      return offerOf(forms, bound, resource, { version: 1, scheme, network })
    }),
    resource,
    problem: whyOf(found.value.error),
    ...(first.ok && about(first.value.description, first.value.mimeType)),
  }
}

function wordsOfV1(said: PaymentRequirementsV1): Words {
  const { scheme, network, maxAmountRequired: amount, asset, payTo, maxTimeoutSeconds } = said
  return {
    scheme,
    network: networkOf(network),
    legacyNetwork: network,
    amount,
    asset,
    payTo,
    maxTimeoutSeconds,
    extra: (said.extra ?? {}) as JsonObject,
  }
}

function offerOf(forms: Forms, bound: Bound, resource: Resource, echo: Echo): Offer | string {
  const taken = take(forms, bound.words)
  if (typeof taken === 'string') return taken
  return { ...taken.terms, id: bound.id, resource, expiresAt: bound.expiresAt, echo }
}

function sort(
  accepts: readonly unknown[],
  readEntry: (entry: unknown) => Offer | string,
): { readonly offers: readonly Offer[]; readonly unreadable: readonly Unreadable[] } {
  const offers: Offer[] = []
  const unreadable: Unreadable[] = []
  for (const said of accepts) {
    const offer = readEntry(said)
    if (typeof offer === 'string') unreadable.push({ why: offer, said })
    else offers.push(offer)
  }
  return { offers, unreadable }
}

function about(
  description: Maybe<string>,
  mimeType: Maybe<string>,
): { readonly description?: string; readonly mimeType?: string } {
  return { ...(description && { description }), ...(mimeType && { mimeType }) }
}

/** A challenge in which nothing could be read. */
export function unreadableChallenge(resource: Resource, why: string, said: unknown): Challenge {
  return { resource, offers: [], problem: whyOf(undefined), unreadable: [{ why, said }] }
}

/** Why the seller wants a payment, in our words. */
function whyOf(error: Maybe<string>): Problem {
  const reason = fit(error)
  const code = (reason !== undefined && codeOf(reason)) || 'payment-required'
  return problem(code, `${problems[code].title}.`, reason === undefined ? {} : { reason })
}

/** The payment for an offer, in the version that the offer was made in. */
export function writePayload(
  forms: Forms,
  offer: Offer,
  proof: unknown,
): PaymentPayload | PaymentPayloadV1 {
  const form = formFor(forms, offer)
  assert(form, 'a payer pays an offer of a rail that it knows')
  const payload = form.writeProof(proof)
  const echo = echoOf(offer)
  if (echo?.version === 1)
    return { x402Version: 1, scheme: echo.scheme, network: echo.network, payload }
  // An offer that was not read but kept from an earlier answer of the same seller is said anew.
  const words = echo ? undefined : form.writeDetails(offer)
  const accepted = words ? requirementsOf(words, extraOf(words, offer)) : echo?.accepted
  assert(accepted, 'an offer is echoed or said anew')
  return {
    x402Version: 2,
    ...(echo?.resource && { resource: echo.resource as unknown as { url: string } }),
    accepted: accepted as PaymentRequirements,
    payload,
    ...(echo?.extensions && { extensions: echo.extensions }),
  }
}

type Settled = SettleResponseV1 & Pick<SettleResponse, 'amount' | 'extra'>

/** Reads the seller's answer to a payment. What cannot be believed is `payment-unknown`: never a reason to pay again. */
export function readSettled(said: JsonObject, version: Version, offer: Offer): Receipt | Problem {
  const schema: GenericSchema<unknown, Settled> = version === 2 ? SettleResponse : SettleResponseV1
  const settled = read(schema, said)
  if (!settled.ok) return unsure(`The receipt cannot be read. ${settled.why}`)
  const { value } = settled
  if (!value.success) return refused(value.errorReason)
  if (!isNetwork(value.network, version, offer))
    return unsure('The receipt names another network than the offer.')
  // Version 1 has no amount: what stands there was not looked at.
  const amount = version === 2 && value.amount ? BigInt(value.amount) : offer.amount.amount
  if (amount > offer.amount.amount || (offer.intent === 'charge' && amount < offer.amount.amount))
    return unsure('The receipt names another amount than the offer.')
  return {
    rail: offer.rail,
    network: offer.network,
    reference: value.transaction ?? '',
    payer: value.payer ?? '',
    payee: offer.payee,
    amount: { asset: offer.amount.asset, amount },
    settledAt: settledAtOf(value.extra),
    settled: Boolean(value.transaction),
  }
}

function isNetwork(said: Maybe<string>, version: Version, offer: Offer): boolean {
  if (version === 2) return said === offer.network
  return !said || said === legacyOf(offer.network) || networkOf(said) === offer.network
}

/** Zero where the seller does not say: x402 has no word for it. */
function settledAtOf(extra: unknown): number {
  const at = isObject(extra) ? extra['settledAt'] : undefined
  return Number.isSafeInteger(at) && Number(at) > 0 ? Number(at) * 1000 : 0
}

function refused(errorReason: Maybe<string>): Problem {
  const reason = fit(errorReason)
  const code = (reason !== undefined && codeOf(reason)) || 'payment-unknown'
  const sentence = `The seller says that the payment was not settled: ${problems[code].title}.`
  return problem(code, sentence, reason === undefined ? {} : { reason })
}

function unsure(why: string): Problem {
  return problem('payment-unknown', why)
}
