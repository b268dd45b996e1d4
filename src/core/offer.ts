import { assert } from './assert.ts'
import type { Json, JsonObject } from './json.ts'
import { isObject } from './json.ts'
import type { Asset, Money } from './money.ts'
import type { Resource } from './resource.ts'

/** How one rail would take the price. `details` are the rail's own: plain JSON that survives writing and reading. */
export interface Terms<D = unknown> {
  readonly rail: string
  /** CAIP-2 where there is one. */
  readonly network: string
  /** What kind of promise is asked for: `charge` is one payment of exactly the amount. */
  readonly intent: string
  readonly amount: Money
  readonly payee: string
  /** How long a payment made for these terms should stay payable. */
  readonly timeoutMs: number
  readonly details: D
  /**
   * What the payer pays by, where the rail makes one for each offer: a BOLT11 invoice. Said to the payer and not bound, since
   * the details name it.
   */
  readonly invoice?: string
}

/** Terms bound to a resource and a moment. */
export interface Offer<D = unknown> extends Terms<D> {
  /** A MAC over all the rest under the seller's key; empty where a foreign seller names none. */
  readonly id: string
  readonly resource: Resource
  /** Whole seconds in milliseconds; the largest safe integer where a foreign seller names no end. */
  readonly expiresAt: number
  /** Payer's side: what the protocol that read the offer wants to see again when it writes the credential. */
  readonly echo?: unknown
}

/** The offer as plain JSON, for the books. */
export function writeOffer(offer: Offer): JsonObject {
  const { asset, amount } = offer.amount
  // Details and echo are JSON by their contract; this drops members that are undefined.
  const plain = { ...offer, amount: { asset, amount: amount.toString() } }
  return JSON.parse(JSON.stringify(plain)) as JsonObject
}

/** Reads back what {@link writeOffer} wrote. The books are ours and hashed, so another shape is a bug. */
export function readOffer(said: Json | undefined): Offer {
  assert(isObject(said) && isObject(said['amount']), 'an offer in the books has its amount')
  const { asset, amount } = said['amount']
  assert(typeof amount === 'string', 'an amount in the books is text')
  const money: Money = { asset: asset as unknown as Asset, amount: BigInt(amount) }
  return { ...(said as unknown as Offer), amount: money }
}
