import { hash } from 'node:crypto'
import { assert } from '../core/assert.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { canonical } from '../core/json.ts'
import type { Offer } from '../core/offer.ts'
import { readOffer, writeOffer } from '../core/offer.ts'
import type { Held } from '../core/ports.ts'

/** What the books keep of a settlement: enough to find it after a crash, and to know the same payment again. */
export interface Note {
  readonly offer: Offer
  readonly payer: string
  /** {@link printOf} of the proof. */
  readonly print: string
}

const FACILITATED = 'facilitated'
const TURN = 'turn'

/** The note of what a settlement takes of a caller's day. */
export function turnNote(of: string): JsonObject {
  return { kind: TURN, of }
}

/** Whether the books hold a settlement on behalf of a caller here. */
export function isFacilitated({ note }: Held): boolean {
  return note['kind'] === FACILITATED
}

/** The key of the settlement that takes this of a caller's day; undefined if it is something else. */
export function turnOf({ note }: Held): string | undefined {
  const { kind, of } = note
  return kind === TURN && typeof of === 'string' ? of : undefined
}

/** The note as plain JSON. */
export function writeNote({ offer, payer, print }: Note): JsonObject {
  const { echo: _, ...asked } = offer
  return { kind: FACILITATED, offer: writeOffer(asked), payer, print }
}

/** Reads back what {@link writeNote} wrote. */
export function readNote({ offer, payer, print }: JsonObject): Note {
  assert(typeof payer === 'string' && typeof print === 'string', 'a settlement has its payer')
  return { offer: readOffer(offer), payer, print }
}

/** What a spend is for: the terms, whatever resource they were asked for. The same key with others is foreign. */
export function purposeOf({ rail, network, intent, amount, payee, details }: Offer): string {
  // An address is the same in any case where cases may differ at all; a proof binds the payee anyway.
  const terms = [rail, network, intent, amount.asset.id, `${amount.amount}`, payee.toLowerCase()]
  return hash('sha256', canonical([...terms, details as Json]))
}

/** A digest of the proof, by which the very same one is known again. */
export function printOf(proof: unknown): string {
  return hash('sha256', JSON.stringify(proof, (_, value: unknown) => text(value)) ?? '')
}

function text(value: unknown): unknown {
  return typeof value === 'bigint' ? `${value}` : value
}
