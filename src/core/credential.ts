import type { Offer } from './offer.ts'

/** The payer's answer to a challenge. */
export interface Credential<P = unknown> {
  /** The offer that was accepted, or what a protocol that cannot echo one still tells of it. */
  readonly offer: Offer | Unbound
  /** How the payer pays it; the rail knows its form. */
  readonly proof?: P
  /** A right to draw on an account, instead of or beside a proof. */
  readonly grant?: Grant
}

/** All that is left of an offer in a protocol without room for its id: it is found again by quoting. */
export interface Unbound {
  readonly rail: string
  readonly network: string
}

/** A right to draw on an account. */
export interface Grant {
  readonly account: string
  readonly expiresAt: number
}

/** Whether the credential names the offer that it pays. */
export function isBound(offer: Offer | Unbound): offer is Offer {
  return 'id' in offer
}
