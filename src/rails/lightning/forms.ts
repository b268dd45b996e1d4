import { hash } from 'node:crypto'
import { isObject } from '../../core/json.ts'
import type { Terms } from '../../core/offer.ts'
import type { Form } from '../../core/ports.ts'
import { createSessions, mppForm } from './mpp.ts'
import type { MppSessions, MppWords, SessionsSettings } from './mpp.ts'
import { bitcoinOn, chains } from './networks.ts'
import { CHARGE, RAIL, readAsked } from './terms.ts'
import type { Details, Proof } from './terms.ts'

export { CHARGE, RAIL } from './terms.ts'
export type { Details, Proof } from './terms.ts'

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

/** This rail said in L402 and in MPP. */
export type Forms = {
  readonly l402: Form<Details, Proof, Words>
  readonly mpp: Form<Details, Proof, MppWords> & { readonly sessions?: MppSessions }
}

/** Makes the forms. Sessions are for payers, and for sellers whose node can give back what is left. */
export function createForms(
  networks: readonly string[] = Object.values(chains),
  sessions: SessionsSettings | null = { amountless: true },
): Forms {
  const mpp = { ...mppForm, networks, reasons: form.reasons }
  return {
    l402: { ...form, networks },
    mpp: sessions ? { ...mpp, sessions: createSessions(sessions) } : mpp,
  }
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
