import { assert } from '../core/assert.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import type { Asset } from '../core/money.ts'
import type { Held, Leg } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'

/** A difference that stands and is not booked yet. */
export interface Doubt {
  /** Above zero where more lies there than the books say. */
  readonly amount: bigint
  readonly sinceAt: number
}

/** What a round found at one account, in one asset: what the next one goes on from. */
export interface Position {
  readonly account: string
  readonly asset: Asset
  /** What the network says lies there. */
  readonly found: bigint
  /** What should lie there by the books, in the same state of the network. */
  readonly expected: bigint
  /** Up to this row everything that moved is part of that state, */
  readonly tail: number
  /** and is so much in sum. */
  readonly sum: bigint
  readonly doubt?: Doubt
}

/**
 * What is to be booked. `opening`: what lay there before the books began. `closed`: a difference the other way, so that what
 * stood open does not any more, most often because what explains it has come into the books.
 */
export interface Booking {
  readonly finding: 'opening' | 'surplus' | 'missing' | 'closed'
  readonly account: string
  readonly asset: Asset
  readonly amount: bigint
  readonly leg: Leg
}

/** A round as the books have it. */
export interface Looked {
  readonly height: number
  readonly positions: readonly Position[]
  readonly bookings: readonly Booking[]
}

/** The round as plain JSON. */
export function writeLooked({ height, positions, bookings }: Looked): JsonObject {
  return {
    height,
    positions: positions.map((one) => ({
      account: one.account,
      asset: { ...one.asset },
      found: `${one.found}`,
      expected: `${one.expected}`,
      tail: one.tail,
      sum: `${one.sum}`,
      ...(one.doubt && { doubt: { amount: `${one.doubt.amount}`, sinceAt: one.doubt.sinceAt } }),
    })),
    bookings: bookings.map(({ finding, account, asset, amount, leg }) => ({
      ...{ finding, account, asset: { ...asset }, amount: `${amount}` },
      leg: { debit: leg.debit, credit: leg.credit },
    })),
  }
}

/** Reads back what {@link writeLooked} wrote; undefined where the round came to no look. The books are ours and hashed. */
export function readLooked({ steps }: Held): Looked | undefined {
  const data = steps.find(({ type }) => type === LOOKED)?.data
  if (!data) return undefined
  const { height } = data
  assert(typeof height === 'number', 'a round tells its height')
  return {
    height,
    positions: listOf(data['positions']).map((one) => ({
      account: textOf(one['account']),
      asset: one['asset'] as unknown as Asset,
      found: unitsOf(one['found']),
      expected: unitsOf(one['expected']),
      tail: Number(one['tail']),
      sum: unitsOf(one['sum']),
      ...doubtOf(one['doubt']),
    })),
    bookings: listOf(data['bookings']).map((one) => ({
      finding: one['finding'] as Booking['finding'],
      account: textOf(one['account']),
      asset: one['asset'] as unknown as Asset,
      amount: unitsOf(one['amount']),
      leg: one['leg'] as unknown as Leg,
    })),
  }
}

/** The step of a round that tells what was seen. After it, whoever comes books what it says. */
export const LOOKED = 'looked'

/** The account of what lies there and nobody has explained. */
export function suspenseOf(where: string): string {
  return `suspense/${where}`
}

/** The account of what should lie there and does not: outside, for nothing in here can cover it. */
export function missingOf(where: string): string {
  return `${WORLD}missing/${where}`
}

/** The account of what lay there before. */
export function openingOf(where: string): string {
  return `${WORLD}opening/${where}`
}

function doubtOf(said: Json | undefined): { readonly doubt?: Doubt } {
  if (!isObject(said)) return {}
  return { doubt: { amount: unitsOf(said['amount']), sinceAt: Number(said['sinceAt']) } }
}

function listOf(said: Json | undefined): readonly JsonObject[] {
  assert(Array.isArray(said), 'a round has lists')
  return (said as readonly Json[]).filter(isObject)
}

function textOf(said: Json | undefined): string {
  assert(typeof said === 'string', 'a name in the books is text')
  return said
}

function unitsOf(said: Json | undefined): bigint {
  assert(typeof said === 'string', 'an amount in the books is text')
  return BigInt(said)
}
