import { assert } from '../core/assert.ts'
import type { JsonObject } from '../core/json.ts'
import type { Leg } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'

/** A payment into a channel: in the smallest unit of its asset, and what that has bought, in that of the account. */
export interface Deposited {
  readonly paid: bigint
  readonly bought: bigint
}

/** An account that is a channel: the rail whose vouchers it is drawn on by, and what was paid in, the first payment first. */
export interface Channel {
  readonly rail: string
  readonly network: string
  readonly deposits: readonly Deposited[]
}

/** The account in which is counted what was drawn of a channel. */
export function promisedOf(id: string): string {
  return `promised/${id}`
}

/** One that draws no further than vouchers go. */
export function promiseLeg(id: string, most: bigint): Leg {
  return { debit: `${WORLD}limits`, credit: promisedOf(id), ceiling: most }
}

/** What so much of the asset has bought, rounded down: what is drawn is never more than was signed for. */
export function boughtBy({ deposits }: Pick<Channel, 'deposits'>, units: bigint): bigint {
  let left = units
  let bought = 0n
  for (const one of deposits) {
    const part = left < one.paid ? left : one.paid
    bought += (part * one.bought) / one.paid
    left -= part
  }
  return bought
}

/** What must be paid for so much, rounded up. What goes beyond all deposits is as dear as the last of them. */
export function unitsFor({ deposits }: Pick<Channel, 'deposits'>, amount: bigint): bigint {
  let left = amount
  let units = 0n
  for (const [i, one] of deposits.entries()) {
    const isLast = i === deposits.length - 1
    const part = left < one.bought || isLast ? left : one.bought
    units += (part * one.paid + one.bought - 1n) / one.bought
    left -= part
  }
  return units
}

/** What the books keep of a payment into a channel. */
export function writeDeposited({ paid, bought }: Deposited): JsonObject {
  return { paid: paid.toString(), bought: bought.toString() }
}

/** Reads it back; undefined where it was none. */
export function readDeposited({ paid, bought }: JsonObject): Deposited | undefined {
  if (paid === undefined || bought === undefined) return undefined
  assert(typeof paid === 'string' && typeof bought === 'string', 'a deposit is told in whole units')
  return { paid: BigInt(paid), bought: BigInt(bought) }
}
