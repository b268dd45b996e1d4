import { assert } from './assert.ts'
import { canonical } from './json.ts'
import type { Json } from './json.ts'
import type { Mac } from './mac.ts'
import type { Offer, Terms } from './offer.ts'
import type { Problem } from './problem.ts'
import { problem } from './problem.ts'
import type { Resource } from './resource.ts'

/** The rate by which an offer was made of a price in another currency. It is part of the offer's id. */
export interface QuotedRate {
  /** In which the price was said. */
  readonly currency: string
  /** What one whole unit of the offer's asset was worth in it: decimal text, at most {@link RATE_CHARS_MAX} characters. */
  readonly price: string
  readonly source: string
  /** When it was worth that, in milliseconds since 1970; whole seconds are kept. */
  readonly at: number
}

/** Longest decimal text of a rate: with all else an id stays below 128 characters. */
export const RATE_CHARS_MAX = 24

/** Binds terms to a resource and a moment, and tells later whether an offer is ours, for this resource, and in time. */
export interface Offers {
  /** With a `nonce` the offer is one of its kind: whoever names its id is whom it was made for. */
  bind<D>(
    terms: Terms<D>,
    resource: Resource,
    expiresAt: number,
    nonce?: string,
    rate?: QuotedRate,
  ): Offer<D>
  /** Undefined if the offer was made by us for this resource and still stands at `now`. */
  check(offer: Offer, resource: Resource, now: number): Problem | undefined
}

/** Makes the binder of offers over a MAC. */
export function createOffers(mac: Mac): Offers {
  return {
    bind(terms, resource, expiresAt, nonce, rate) {
      const head = rate ? `${nonce ?? ''}${rateText(rate)}` : nonce
      const sign = mac.sign(text(terms, resource, expiresAt, head))
      return { ...terms, resource, expiresAt, id: head === undefined ? sign : `${head}.${sign}` }
    },
    check(offer, resource, now) {
      const head = headOf(offer)
      const sign = head === undefined ? offer.id : offer.id.slice(head.length + 1)
      if (!mac.verify(text(offer, resource, offer.expiresAt, head), sign))
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
export function nonceOf(offer: Pick<Offer, 'id'>): string | undefined {
  const head = headOf(offer)
  return head?.startsWith('~') ? undefined : head?.split('~', 1)[0]
}

/** The rate by which an offer of ours was made; undefined where its price was in the asset's own currency. */
export function rateOf(offer: Pick<Offer, 'id'>): QuotedRate | undefined {
  const [, currency, price, source, seconds] = headOf(offer)?.split('~') ?? []
  if (currency === undefined || price === undefined || source === undefined) return undefined
  return { currency, price, source, at: Number(seconds) * 1000 }
}

/** What stands before the MAC, which has no dot: a nonce, a rate, both. */
function headOf({ id }: Pick<Offer, 'id'>): string | undefined {
  const dot = id.lastIndexOf('.')
  return dot < 0 ? undefined : id.slice(0, dot)
}

/** In characters that stand as they are in every protocol; no nonce has a `~`. */
function rateText({ currency, price, source, at }: QuotedRate): string {
  assert(price.length <= RATE_CHARS_MAX, 'a rate is short')
  return `~${currency}~${price}~${source}~${Math.floor(at / 1000)}`
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
