import { assert } from '../core/assert.ts'
import type { Position, Standing } from './page.ts'
import type { Line, Tail } from './row.ts'

/** A row as a database gives it. */
export type Columns = Readonly<Record<string, unknown>>

/** The end of the journal. */
export function toTail({ sequence, hash }: Columns): Tail {
  return { sequence: whole(sequence), hash: text(hash) }
}

/** A row of the journal. */
export function toLine(row: Columns): Line {
  const { at, key, type, data } = row
  return { ...toTail(row), at: whole(at), key: text(key), type: text(type), data: text(data) }
}

/** How a transfer stands. Its key is in `name` where `key` is the journal's. */
export function toPosition({ made, key, name = key, state, posted, steps }: Columns): Position {
  assert(state === 'pending' || state === 'posted' || state === 'voided', 'a position has a state')
  const rows: unknown = JSON.parse(text(steps))
  assert(Array.isArray(rows), 'the steps of a position are a list')
  return {
    made: whole(made),
    key: text(name),
    state,
    posted: BigInt(text(posted)),
    steps: rows.map(whole),
  }
}

/** How an account stands in an asset. */
export function toStanding({ account, asset, posted, debits, credits }: Columns): Standing {
  return {
    account: text(account),
    asset: text(asset),
    posted: BigInt(text(posted)),
    debits: BigInt(text(debits)),
    credits: BigInt(text(credits)),
  }
}

/** A column of text. */
export function text(value: unknown): string {
  assert(typeof value === 'string', 'a column of text holds text')
  return value
}

/** A column of whole numbers, which some databases give as text. */
export function whole(value: unknown): number {
  const number = typeof value === 'string' ? Number(value) : value
  assert(Number.isSafeInteger(number), 'a column of whole numbers holds one')
  return Number(number)
}
