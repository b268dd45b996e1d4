import { canonical } from './json.ts'
import type { Json } from './json.ts'
import type { Mac } from './mac.ts'
import type { Offer, Terms } from './offer.ts'
import type { Problem } from './problem.ts'
import { problem } from './problem.ts'
import type { Resource } from './resource.ts'

/** Binds terms to a resource and a moment, and tells later whether an offer is ours, for this resource, and in time. */
export interface Offers {
  /** With a `nonce` the offer is one of its kind: whoever names its id is whom it was made for. */
  bind<D>(terms: Terms<D>, resource: Resource, expiresAt: number, nonce?: string): Offer<D>
  /** Undefined if the offer was made by us for this resource and still stands at `now`. */
  check(offer: Offer, resource: Resource, now: number): Problem | undefined
}

/** Makes the binder of offers over a MAC. */
export function createOffers(mac: Mac): Offers {
  return {
    bind(terms, resource, expiresAt, nonce) {
      const sign = mac.sign(text(terms, resource, expiresAt, nonce))
      return { ...terms, resource, expiresAt, id: nonce === undefined ? sign : `${nonce}.${sign}` }
    },
    check(offer, resource, now) {
      const nonce = nonceOf(offer)
      const sign = nonce === undefined ? offer.id : offer.id.slice(nonce.length + 1)
      if (!mac.verify(text(offer, resource, offer.expiresAt, nonce), sign))
        return problem(
          'offer-foreign',
          'This payment accepts an offer that was not made for this request. Nothing was taken; pay one of the offers given here.',
        )
      if (now >= offer.expiresAt)
        return problem(
          'offer-expired',
          'The offer that this payment accepts has expired. Nothing was taken; pay one of the offers given here.',
        )
      return undefined
    },
  }
}

/** What makes the offer one of its kind; undefined where equal requests are made equal offers. */
export function nonceOf({ id }: Pick<Offer, 'id'>): string | undefined {
  const dot = id.indexOf('.')
  return dot < 0 ? undefined : id.slice(0, dot)
}

/** All that an offer says, as a JSON list: no two different offers give the same text. */
function text(terms: Terms, r: Resource, expiresAt: number, nonce?: string): string {
  const { rail, network, intent, amount, payee, timeoutMs, details } = terms
  return JSON.stringify([
    'offer/1',
    r.realm,
    r.method,
    r.authority,
    r.path,
    r.query,
    r.digest ?? null,
    rail,
    network,
    intent,
    amount.asset.id,
    amount.amount.toString(),
    payee,
    timeoutMs,
    detailsText(details),
    expiresAt,
    nonce ?? null,
  ])
}

const texts = new WeakMap<object, string>()

/** Terms that a rail quotes again and again have the same details. */
function detailsText(details: unknown): string {
  if (typeof details !== 'object' || details === null) return canonical(details as Json)
  const text = texts.get(details) ?? canonical(details as Json)
  texts.set(details, text)
  return text
}
