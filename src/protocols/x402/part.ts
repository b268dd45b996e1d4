import { assert } from '../../core/assert.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Offer, Terms } from '../../core/offer.ts'
import type { Form } from '../../core/ports.ts'
import { OFFER_ID_CHARS_MAX } from './wire.ts'
import type { PaymentRequirements, Words } from './wire.ts'

/** A rail, a wallet, or anything else that knows how one rail is said in x402, in {@link Words}. */
export interface Part<D = unknown, P = unknown> {
  readonly forms: { readonly x402?: Form<D, P> }
}

/** The forms that x402 can speak. */
export type Forms = readonly Form<unknown, unknown, Words>[]

/** Collects the forms; a part without one is not offered here. */
export function formsOf(parts: readonly Part[]): Forms {
  return parts.flatMap((part) => formOf(part) ?? [])
}

/** The form of that rail on that network. */
export function formFor(
  forms: Forms,
  { rail, network }: Pick<Terms, 'rail' | 'network'>,
): Forms[number] | undefined {
  return forms.find((form) => form.rail === rail && form.networks.includes(network))
}

/** The part's form. What stands under our name speaks the shape that we publish: the ports do not carry its type. */
export function formOf<D, P>(part: Part<D, P>): Form<D, P, Words> | undefined {
  return part.forms.x402 as Form<D, P, Words> | undefined
}

/** The latest moment that a date can name to us: an offer without an end. */
const NEVER = Number.MAX_SAFE_INTEGER

/** What a rail says of its terms, as an entry of version 2's `accepts`. */
export function requirementsOf(words: Words, extra: JsonObject): PaymentRequirements {
  const { scheme, network, amount, asset, payTo, maxTimeoutSeconds } = words
  return { scheme, network, amount, asset, payTo, maxTimeoutSeconds, extra }
}

/** The rail's `extra` with our offer's id and end in whole seconds, which version 2 clients echo. */
export function extraOf(words: Words, offer: Offer): JsonObject {
  if (offer.id === '') return words.extra
  const offerExpiresAt = offer.expiresAt / 1000
  assert(Number.isInteger(offerExpiresAt), 'an offer of ours ends at a whole second')
  return { ...words.extra, offerId: offer.id, offerExpiresAt }
}

/** An entry of `accepts` taken apart: the rail's words, and what binds them, if anything does. */
export interface Bound {
  readonly words: Words
  readonly id: string
  readonly expiresAt: number
}

/** Takes an entry of `accepts` apart. */
export function takeApart(said: PaymentRequirements): Bound {
  const { offerId, offerExpiresAt, ...extra } = (said.extra ?? {}) as JsonObject
  return {
    words: {
      scheme: said.scheme,
      network: said.network,
      amount: said.amount,
      asset: said.asset,
      payTo: said.payTo,
      maxTimeoutSeconds: said.maxTimeoutSeconds,
      extra,
    },
    id: isId(offerId) ? offerId : '',
    expiresAt: isSeconds(offerExpiresAt) ? offerExpiresAt * 1000 : NEVER,
  }
}

function isId(value: unknown): value is string {
  return typeof value === 'string' && value.length <= OFFER_ID_CHARS_MAX
}

function isSeconds(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= NEVER / 1000
}

/** Terms with the form that took the words for its own. */
export interface Taken {
  readonly form: Form<unknown, unknown, Words>
  readonly terms: Terms
}

/** The first form that takes the words, or a sentence why none does. */
export function take(forms: Forms, words: Words): Taken | string {
  let why = `Nothing here pays or takes "${words.scheme}" on ${words.network}.`
  for (const form of forms) {
    const terms = form.readDetails(words)
    if (typeof terms !== 'string') return { form, terms }
    if (forms.length === 1) why = terms
  }
  return why
}
