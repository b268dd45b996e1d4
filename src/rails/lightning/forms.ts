import { hash } from 'node:crypto'
import { isObject } from '../../core/json.ts'
import type { Terms } from '../../core/offer.ts'
import type { Form } from '../../core/ports.ts'
import { readInvoice } from './bolt11.ts'
import { bitcoinOn, chains } from './networks.ts'

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
}

/** Terms on Lightning as L402 says them. */
export interface Words {
  /** BOLT11; absent where a seller reads its own terms back. */
  readonly invoice?: string
  /** The payment hash, if the token tells. */
  readonly hash?: string
  readonly hold?: boolean
  /** The terms without the invoice, for the seller itself. */
  readonly terms?: string
}

/** Why this rail refuses, in its own words. */
export type Reason = 'preimage-wrong' | 'invoice-unpaid' | 'invoice-unknown' | 'amount-short'

/** The rail's name. */
export const RAIL = 'lightning'
/** One payment of exactly the amount. */
export const CHARGE = 'charge'

/** This rail said in L402. */
export function createForms(
  networks: readonly string[] = Object.values(chains),
): Readonly<Record<string, Form<Details, Proof, Words>>> {
  return { l402: { ...form, networks } }
}

const form: Omit<Form<Details, Proof, Words>, 'networks'> = {
  rail: RAIL,
  writeDetails(terms) {
    const { hash, salt } = terms.details
    return {
      ...(terms.invoice !== undefined && { invoice: terms.invoice }),
      hash,
      ...(salt !== undefined && { hold: true }),
      terms: writeTerms(terms),
    }
  },
  readDetails,
  writeProof({ preimage, feeMsat }) {
    return {
      ...(preimage !== undefined && { preimage }),
      ...(feeMsat !== undefined && { feeMsat: feeMsat.toString() }),
    }
  },
  readProof,
  reasons: {
    'preimage-wrong': 'invalid_preimage',
    'invoice-unpaid': 'invoice_not_paid',
    'invoice-unknown': 'unknown_invoice',
    'amount-short': 'insufficient_amount',
  } satisfies Record<Reason, string>,
}

function writeTerms({ network, amount, payee, timeoutMs, details }: Terms<Details>): string {
  return [network, amount.amount, payee, timeoutMs, details.salt ?? ''].join(';')
}

function readDetails(said: Words): Terms<Details> | string {
  return said.invoice === undefined ? readTerms(said) : readAsked(said.invoice, said)
}

/** What {@link writeTerms} wrote: it comes from a token of ours. */
function readTerms({ hash, terms = '' }: Words): Terms<Details> | string {
  const [network = '', msat = '', payee = '', timeoutMs = '', salt = ''] = terms.split(';')
  const known = Object.values(chains).includes(network)
  if (hash === undefined || !known || !isCount(msat) || !isCount(timeoutMs))
    return 'The terms cannot be read.'
  const amount = { asset: bitcoinOn(network), amount: BigInt(msat) }
  const details = { hash, ...(salt !== '' && { salt }) }
  return {
    rail: RAIL,
    network,
    intent: CHARGE,
    amount,
    payee,
    timeoutMs: Number(timeoutMs),
    details,
  }
}

/** The whole invoice is read and its signature checked: an amount that is only looked at is how payers lose money. */
function readAsked(text: string, { hash, hold }: Words): Terms<Details> | string {
  const invoice = readInvoice(text)
  if (typeof invoice === 'string') return invoice
  if (invoice.msat === undefined) return 'The invoice names no amount.'
  if (hash !== undefined && hash !== invoice.hash)
    return 'The token was made for another payment than the invoice asks for.'
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

function readProof(said: unknown): Proof | string {
  if (!isObject(said)) return 'The proof is no object.'
  const { preimage, feeMsat } = said
  if (preimage !== undefined && (typeof preimage !== 'string' || !HEX32.test(preimage)))
    return 'The preimage is not 64 hex digits.'
  const fee = typeof feeMsat === 'string' && isCount(feeMsat) ? BigInt(feeMsat) : undefined
  return {
    ...(preimage !== undefined && { preimage: preimage.toLowerCase() }),
    ...(fee !== undefined && { feeMsat: fee }),
  }
}

/** Whether the text is a whole number that an amount or a time may be. */
function isCount(text: string): boolean {
  return /^\d{1,19}$/.test(text)
}

const HEX32 = /^[0-9a-fA-F]{64}$/

/** The payment hash that belongs to a preimage. */
export function hashOf(preimage: string): string {
  return hash('sha256', Buffer.from(preimage, 'hex'), 'hex')
}
