import type { Offer } from './offer.ts'
import type { Rights } from './rights.ts'
import type { Voucher } from './voucher.ts'

/** The payer's answer to a challenge. */
export interface Credential<P = unknown> {
  /** The offer that was accepted, or what a protocol that cannot echo one still tells of it; absent with a bare grant. */
  readonly offer?: Offer | Unbound
  /** How the payer pays it; the rail knows its form. */
  readonly proof?: P
  /** A right to draw on an account, instead of or beside a proof. */
  readonly grant?: Grant
  /** What it does with a prepaid balance, beside what it pays. The door makes its grant. */
  readonly session?: Session
}

/**
 * A balance that is paid in, drawn on and given back by whoever knows the preimage of its first payment. The protocol that read it
 * has seen that proof, except for a top-up, which anybody may pay.
 */
export interface Session {
  readonly act: 'open' | 'use' | 'top-up' | 'close'
  /** The account, as in a grant. */
  readonly id: string
  /** Where what is left goes back to: said once, when it is opened. */
  readonly returnTo?: string
  /** The rail by which it was paid in. */
  readonly rail: string
  /** The challenge beside it, by which its receipts name it. */
  readonly challenge?: string
  /** Its deposits lie in a channel, and it is drawn on as far as vouchers go. */
  readonly isChannel?: true
  /** By which its payer lets more of a channel be drawn. Its signature is not checked yet. */
  readonly voucher?: Voucher
  /** What a unit costs in satoshis, as the payer was told: only for telling him again. */
  readonly unitSat?: bigint
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
