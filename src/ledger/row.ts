import { hash } from 'node:crypto'
import { assert } from '../core/assert.ts'
import { isObject } from '../core/json.ts'
import type { Json, JsonObject } from '../core/json.ts'
import type { Leg, Row, Step, Transfer } from '../core/ports.ts'

/** The hash that the first row is chained to: 64 zeros. */
export const GENESIS: string = '0'.repeat(64)

/** Most characters of a key, an account, an asset's id or a row's type. */
const NAME_CHARS_MAX = 1024

/** Most characters of a purpose: it may hold a whole URL. */
const PURPOSE_CHARS_MAX = 65_536

/** Most characters of a note or of a step's data, as JSON. */
const DATA_CHARS_MAX = 262_144

/** Most legs of one transfer. */
const LEGS_MAX = 16

/** Most steps of one transfer. */
export const STEPS_MAX = 1024

/** Largest amount: what a uint256 holds. */
const AMOUNT_MAX: bigint = 2n ** 256n - 1n

/** A row as it is stored: its data is canonical JSON text. */
export interface Line extends Omit<Row, 'data'> {
  readonly data: string
}

/** Where the journal ends. */
export type Tail = Pick<Row, 'sequence' | 'hash'>

/** A transfer to be made. All but its key is JSON text, which crosses threads at a third of the cost of objects. */
export interface Draft {
  readonly key: string
  /** What {@link readMade} reads. */
  readonly data: string
}

/** The types of rows that change a transfer's state; a step must not pass for one of them. */
const STATES: ReadonlySet<string> = new Set(['made', 'posted', 'voided'])

/**
 * The line after `tail`. Its hash is SHA-256, in hex, over the hash before and the canonical JSON of
 * `{ at, data, key, sequence, type }`.
 */
export function chain(tail: Tail, at: number, key: string, type: string, data: string): Line {
  const sequence = tail.sequence + 1
  // Members in the order that canonical JSON wants; the data is canonical already.
  const text = `{"at":${at},"data":${data},"key":${JSON.stringify(key)},"sequence":${sequence},"type":${JSON.stringify(type)}}`
  return { sequence, at, key, type, data, hash: hash('sha256', tail.hash + text, 'hex') }
}

/** The line as the port shows it. */
export function toRow(line: Line): Row {
  return { ...line, data: readData(line.data) }
}

/** The data of a `made` row: all that is needed to make the transfer again. Canonical if the text of its note is. */
export function writeMade(transfer: Omit<Transfer, 'note'>, note: string): string {
  const { purpose, asset, amount, legs, leaseUntilAt } = transfer
  // Members in the order that canonical JSON wants, as in `chain`: this is the hot path.
  return `{"amount":"${amount}","asset":${JSON.stringify(asset)},"leaseUntilAt":${leaseUntilAt},"legs":[${legs.map(writeLeg).join(',')}],"note":${note},"purpose":${JSON.stringify(purpose)}}`
}

/** Reads the data of a `made` row. Throws a `Bug` when it is not what {@link writeMade} writes. */
export function readMade(key: string, data: JsonObject): Transfer {
  const { purpose, asset, amount, legs, leaseUntilAt, note } = data
  assert(typeof purpose === 'string' && typeof asset === 'string', 'a made row has its names')
  assert(typeof leaseUntilAt === 'number' && isObject(note), 'a made row has a lease and a note')
  assert(Array.isArray(legs), 'a made row has legs')
  return {
    key,
    purpose,
    asset,
    amount: readAmount(amount),
    legs: legs.map(readLeg),
    leaseUntilAt,
    note,
  }
}

/** Reads an amount written as decimal text. */
export function readAmount(said: unknown): bigint {
  assert(typeof said === 'string' && /^\d{1,78}$/.test(said), 'an amount is decimal text')
  return BigInt(said)
}

/** Parses an object that we wrote ourselves. */
export function readData(text: string): JsonObject {
  const value: unknown = JSON.parse(text)
  assert(isObject(value), 'data is a JSON object')
  return value
}

/** JSON text of a caller's object, within the limit. What JSON cannot say is left out, as JSON does. */
function writeData(data: JsonObject): string {
  const text = JSON.stringify(data)
  assert(isObject(data) && text.length <= DATA_CHARS_MAX, 'data is a JSON object within its limit')
  return text
}

/** Takes a transfer in at the border: the text of what the books need, or a `Bug`. */
export function toDraft(transfer: Transfer): Draft {
  const { key, purpose, asset, amount, legs, leaseUntilAt, note } = transfer
  checkName(key)
  checkName(asset)
  assert(isText(purpose, PURPOSE_CHARS_MAX), 'a purpose is text within its limit')
  assert(isAmount(amount), 'an amount is a whole number that fits a uint256')
  assert(legs.length > 0 && legs.length <= LEGS_MAX, 'a transfer has legs, within the limit')
  assert(Number.isSafeInteger(leaseUntilAt), 'a lease ends at a whole millisecond')
  legs.forEach(checkLeg)
  return { key, data: writeMade(transfer, writeData(note)) }
}

/** Takes a step in at the border, its data as JSON text. */
export function toEntry(step: Step): { readonly type: string; readonly data: string } {
  checkName(step.type)
  assert(!STATES.has(step.type), 'a step is not called like a state')
  return { type: step.type, data: writeData(step.data) }
}

/** Holds what a key, an account, an asset's id or a type must be. */
export function checkName(name: string): void {
  const fits = isText(name, NAME_CHARS_MAX) && name !== '' && !/\p{Cc}/u.test(name)
  assert(fits, 'a name is text without control characters, within its limit')
}

/** Whether it is an amount that can be moved. */
export function isAmount(amount: unknown): amount is bigint {
  return typeof amount === 'bigint' && amount >= 0n && amount <= AMOUNT_MAX
}

function isText(value: unknown, charsMax: number): boolean {
  // A lone surrogate has no UTF-8, so a store would give back another text than it was given.
  return typeof value === 'string' && value.length <= charsMax && value.isWellFormed()
}

function checkLeg({ debit, credit, ceiling }: Leg): void {
  checkName(debit)
  checkName(credit)
  assert(debit !== credit, 'a leg joins two accounts')
  assert(ceiling === undefined || isAmount(ceiling), 'a ceiling is an amount')
}

function writeLeg({ debit, credit, ceiling }: Leg): string {
  const limit = ceiling === undefined ? '' : `"ceiling":"${ceiling}",`
  return `{${limit}"credit":${JSON.stringify(credit)},"debit":${JSON.stringify(debit)}}`
}

function readLeg(said: Json): Leg {
  assert(isObject(said), 'a leg is an object')
  const { debit, credit, ceiling } = said
  assert(typeof debit === 'string' && typeof credit === 'string', 'a leg joins two accounts')
  if (ceiling === undefined) return { debit, credit }
  return { debit, credit, ceiling: readAmount(ceiling) }
}
