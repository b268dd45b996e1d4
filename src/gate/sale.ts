import { assert } from '../core/assert.ts'
import type { Observe } from '../core/event.ts'
import type { Offer } from '../core/offer.ts'
import type { Ask, Clock, Held, Kept, Ledger, Log, Pass, Rail, Refusal } from '../core/ports.ts'
import type { Settlement } from '../core/ports.ts'
import type { Receipt } from '../core/receipt.ts'
import type { Resource } from '../core/resource.ts'
import { readNote } from './note.ts'
import type { Rails } from './rails.ts'

/** What every file of the gate is handed. */
export interface House {
  readonly ledger: Ledger
  readonly rails: Rails
  readonly clock: Clock
  /** Never throws. */
  readonly observe: Observe
  readonly fault: (where: string, error: unknown) => void
}

/** How a request may enter, or why not. */
export type Entry = Pass | Kept | Refusal
/** How work may end. */
export type Outcome = Awaited<ReturnType<Pass['finish']>>
/** What a rail says of money that has moved. */
export type Settled = Settlement & { readonly state: 'settled' }
/** What a rail says of money that has not moved, and never will. */
export type Failed = Settlement & { readonly state: 'failed' }

/** A request with the payment that it brings. */
export interface Work {
  readonly ask: Ask
  readonly offer: Offer
  readonly proof: unknown
  readonly key: string
  readonly payer: string
  readonly rail: Rail
  /** What its payer calls the request. */
  readonly name?: Name
}

/** The name of a request, taken for one payment. */
export interface Name {
  readonly key: string
  readonly claim: number
  /** Taken by this request, and not by one before with the same payment. */
  readonly isNew: boolean
}

/** Work whose claim this process holds. */
export interface Claimed extends Work {
  readonly claim: number
}

/** Settled and posted, and ours to deliver until then. */
export interface Sold {
  readonly kind: 'serve'
  readonly receipt: Receipt
  readonly until: number
}

/** The log of a claim. It names the claim with each step: a maker who was thought dead writes nothing more. */
export function logOf(ledger: Ledger, { key, claim }: Pick<Held, 'key' | 'claim'>): Log {
  return {
    read: async () => (await ledger.find(key))?.steps ?? [],
    write: (step) => ledger.step(key, step, claim),
  }
}

/** What a spend is for. Another request under the same key is foreign. */
export function purposeOf(r: Resource): string {
  return JSON.stringify([r.realm, r.method, r.authority, r.path, r.query, r.digest ?? ''])
}

/** The receipt of an offer that was paid. */
export function toReceipt(
  offer: Offer,
  { reference, payer, settledAt }: Omit<Settled, 'state'>,
): Receipt {
  const { rail, network, payee, amount } = offer
  return { rail, network, payee, amount, reference, payer, settledAt, settled: true }
}

/** The receipt of a sale that is posted. */
export function receiptOf(held: Held): Receipt {
  const { offer, payer } = readNote(held.note)
  const { reference, settledAt } =
    held.steps.findLast((step) => step.type === 'settled')?.data ?? {}
  assert(
    typeof reference === 'string' && typeof settledAt === 'number',
    'a posted sale tells how it was settled',
  )
  return toReceipt(offer, { reference, payer, settledAt })
}
