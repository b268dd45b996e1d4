import type { Terms } from '../../core/offer.ts'
import { readInvoice } from './bolt11.ts'
import { bitcoinOn } from './networks.ts'

/** What the terms of this rail say beside the money: which payment is asked for. */
export interface Details {
  /** The payment hash in hex; empty until there is an invoice. */
  readonly hash: string
  /** Of a payment that is locked, and taken when the work is done: what its preimage is derived from, with our secret. */
  readonly salt?: string
}

/** Who knows the preimage has paid (BOLT 2). A payment that is held has none yet. */
export interface Proof {
  /** 64 hex digits in lower case; absent while the payment is held. */
  readonly preimage?: string
  /** Payer's side: what the route has cost; of a payment that is held, what it may. */
  readonly feeMsat?: bigint
  /** Shown by whom the invoice was made for, on a page of the seller's: his own node says whether it was paid. Never read. */
  readonly seen?: true
}

/** The rail's name. */
export const RAIL = 'lightning'
/** One payment of exactly the amount. */
export const CHARGE = 'charge'

/**
 * The terms that an invoice makes, or a sentence why it cannot be paid. The whole invoice is read and its signature checked: an
 * amount that is only looked at is how payers lose money.
 */
export function readAsked(
  text: string,
  { hash, hold }: { readonly hash?: string; readonly hold?: boolean },
): Terms<Details> | string {
  const invoice = readInvoice(text)
  if (typeof invoice === 'string') return invoice
  if (invoice.msat === undefined) return 'The invoice names no amount.'
  if (hash !== undefined && hash !== invoice.hash)
    return 'What comes with the invoice is for another payment than it asks for.'
  return {
    rail: RAIL,
    network: invoice.network,
    intent: CHARGE,
    amount: { asset: bitcoinOn(invoice.network), amount: invoice.msat },
    payee: invoice.payee,
    timeoutMs: invoice.expiresAt - invoice.madeAt,
    // A payer needs to know that it is held, not how.
    details: { hash: invoice.hash, ...(hold === true && { salt: '' }) },
    invoice: text,
  }
}
