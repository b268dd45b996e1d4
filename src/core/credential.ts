import type { Offer } from './offer.ts'
import type { Rights } from './rights.ts'

/** The payer's answer to a challenge. */
export interface Credential<P = unknown> {
  /** The offer that was accepted, or what a protocol that cannot echo one still tells of it; absent with a bare grant. */
  readonly offer?: Offer | Unbound
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

/** What a token says that was shown: which account of ours it draws on, and what it may still do. */
export interface Grant {
  /** 64 hex digits: the payment hash of the invoice that paid for it, or the SHA-256 of the key of its spend. */
  readonly id: string
  readonly rights: Rights
  /** The payment for it is still locked, so that only the payment itself proves who shows it: it draws nothing. */
  readonly unproven?: true
  /** The key that the request proves to hold, where its protocol asks for a proof. */
  readonly payerKey?: string
}

/** Whether the credential names the offer that it pays. */
export function isBound(offer: Offer | Unbound): offer is Offer {
  return 'id' in offer
}
