import type { Asset, Money } from '../../../core/money.ts'
import { readPrice } from '../../../core/money.ts'
import type { Tag } from './look.ts'
import { amountOf } from './terms.ts'

/** How sure a payment must be before it is taken. */
export interface Assurance {
  /** From which amount on, `100 USD`; in several currencies where several are taken. From nothing on if absent. */
  readonly from?: string | readonly string[]
  /** How deep its block must be, its own counted; 1 if absent. */
  readonly confirmations?: number
  /** Which block of the chain's own naming it must not be above, beside that. */
  readonly tag?: Tag
  /** How many endpoints must say the same, each by itself; 1 if absent. */
  readonly quorum?: number
}

/** What is asked of one payment. */
export interface Asked {
  readonly confirmations: bigint
  readonly tag?: Tag
  readonly quorum: number
}

/** Deepest that may be asked for. */
const CONFIRMATIONS_MAX = 1_000

/** One block, and a later look: see `stands`. */
export const ASSURANCE: readonly Assurance[] = [{ confirmations: 1 }]

/**
 * Makes the choice by amount: of all rows that an amount reaches, the strictest of each kind counts. A row that names no amount
 * in the asset's own currency is reached by any: in doubt, more is asked.
 * @throws {RangeError} with what to do, when a row cannot be.
 */
export function createAssurance(
  rows: readonly Assurance[],
  endpoints: number,
): (amount: Money) => Asked {
  const read = rows.map((row) => readRow(row, endpoints))
  return ({ asset, amount }) => {
    const reached = read.filter(({ least }) => (least(asset) ?? 0n) <= amount)
    const tags = reached.map(({ row }) => row.tag)
    const tag = tags.includes('finalized') ? 'finalized' : tags.find((one) => one !== undefined)
    return {
      confirmations: BigInt(Math.max(1, ...reached.map(({ row }) => row.confirmations ?? 1))),
      quorum: Math.max(1, ...reached.map(({ row }) => row.quorum ?? 1)),
      ...(tag !== undefined && { tag }),
    }
  }
}

function readRow(
  row: Assurance,
  endpoints: number,
): { readonly row: Assurance; readonly least: (asset: Asset) => bigint | undefined } {
  const { from = [], confirmations = 1, quorum = 1 } = row
  if (!Number.isInteger(confirmations) || confirmations < 1 || confirmations > CONFIRMATIONS_MAX)
    throw new RangeError(`"confirmations" is ${confirmations}: give 1 to ${CONFIRMATIONS_MAX}.`)
  if (!Number.isInteger(quorum) || quorum < 1 || quorum > endpoints)
    throw new RangeError(`"quorum" is ${quorum}: give no more than there are addresses in "rpc".`)
  const prices = (typeof from === 'string' ? [from] : from).map(readPrice)
  return {
    row,
    least: (asset) =>
      prices.map((price) => amountOf(price, asset)).find((one) => one !== undefined),
  }
}
