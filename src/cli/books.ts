import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Quantity } from '../books/quantity.ts'
import { sayQuantity } from '../books/quantity.ts'
import type { NameAsset } from '../books/quantity.ts'
import type { BookEntry } from '../books/entry.ts'
import { readEntryJson, readPaymentJson } from '../books/read.ts'
import { readEntries, readPayments, rowBefore } from '../books/reader.ts'
import type { Payment, ReadOptions } from '../books/reader.ts'
import { assetOf, isShared, openBooks } from '../config/parts.ts'
import { systemClock } from '../core/clock.ts'
import { isObject } from '../core/json.ts'
import type { Json, JsonObject } from '../core/json.ts'
import type { Ledger } from '../core/ports.ts'
import { createFeed } from '../outbox/feed.ts'
import { BUDGET_SCALE } from '../payer/policy.ts'
import { networks } from '../rails/evm/networks.ts'
import { MSAT_SCALE } from '../rails/lightning/networks.ts'
import { Failure, misuse } from './command.ts'
import type { Call, Option } from './command.ts'
import { asksOffice, openOffice } from './office.ts'
import type { Office } from './office.ts'
import { booksFile } from './purse.ts'
import { sandboxDirectories } from './record.ts'

/** Options of every command that reads books, or asks a gateway for what stands there. */
export const sourceOptions: Readonly<Record<string, Option>> = {
  books: { type: 'string' },
  schema: { type: 'string' },
  admin: { type: 'string' },
}

/** Options of every command that reads books. */
export const bookOptions: Readonly<Record<string, Option>> = {
  books: { type: 'string' },
  schema: { type: 'string' },
}

/** What they mean. */
export const bookHelp: readonly string[] = [
  '      --books FILE       The books: a file, or postgres://user@host/database. Without it those of the sandbox here, or',
  '                         your own as a payer. A password for PostgreSQL is best given in PGPASSWORD.',
  '      --schema NAME      Where the books are in that database (tolsey).',
]

/** Opens the books that a command names, and closes them behind it. */
export async function withBooks<T>(call: Call, read: (ledger: Ledger) => Promise<T>): Promise<T> {
  const ledger = await openNamed(call)
  try {
    return await read(ledger)
  } finally {
    await ledger.close()
  }
}

/** Where payments, entries and events come from: books, or the admin API of a gateway that has them. */
export interface Source {
  entries(options: ReadOptions): AsyncIterable<BookEntry>
  /** All, or the last so many of those that fit. */
  payments(options: ReadOptions, fit: Fit, last?: number): AsyncIterable<Payment>
  /** Events of at most so many rows behind that one; from the end on if absent. */
  events(after: number | undefined): Promise<Events>
}

/** Whose payments: what is not named fits. */
export interface Fit {
  readonly payer?: string
  readonly route?: string
}

/** A stretch of what happened. */
export interface Events {
  readonly events: readonly JsonObject[]
  readonly next: number
  readonly more: boolean
}

/** Opens what a command names, and closes it behind it. */
export async function withSource<T>(call: Call, read: (source: Source) => Promise<T>): Promise<T> {
  if (!asksOffice(call)) return await withBooks(call, (ledger) => read(booksSource(ledger)))
  const office = openOffice(call)
  try {
    return await read(officeSource(office))
  } finally {
    office.close()
  }
}

/** Rows that are looked at at once for events. */
const EVENT_ROWS = 500

function booksSource(ledger: Ledger): Source {
  const feed = createFeed({ ledger, source: 'tolsey' })
  return {
    entries: (options) => readEntries(ledger, options),
    payments: (options) => readPayments(ledger, options),
    async events(after) {
      if (after === undefined)
        return { events: [], next: await rowBefore(ledger, Infinity), more: false }
      const { told, next, more } = await feed.read(after, EVENT_ROWS)
      return { events: told.map(({ event }) => ({ ...event })), next, more }
    },
  }
}

/** Payments that are asked for at once. */
const PAYMENTS_AT_ONCE = 200

function officeSource(office: Office): Source {
  return {
    async *entries({ from, to, after }) {
      const query = { since: timeOf(from), until: timeOf(to), after }
      for await (const said of office.entries(query)) {
        const entry = readEntryJson(said)
        if (entry) yield entry
      }
    },
    async *payments({ from, to = Infinity }, fit, last) {
      if (last !== undefined) {
        yield* lastOf(office, { from, to }, fit, last)
        return
      }
      const query = { ...fit, since: timeOf(from), limit: PAYMENTS_AT_ONCE }
      for (let after: number | undefined = 0; after !== undefined;) {
        const page = await office.get('payments', { ...query, after })
        yield* paymentsIn(page).filter(({ at }) => at < to)
        after = numberIn(page, 'next')
      }
    },
    async events(after) {
      const page = await office.get('feed', { after, limit: EVENT_ROWS })
      const { events, more } = page
      return {
        events: Array.isArray(events) ? (events as readonly Json[]).filter(isObject) : [],
        next: numberIn(page, 'next') ?? 0,
        more: more === true,
      }
    },
  }
}

/** The last so many that fit, in the order of their making. */
async function* lastOf(
  office: Office,
  { from, to }: { readonly from: number | undefined; readonly to: number },
  fit: Fit,
  most: number,
): AsyncGenerator<Payment> {
  const found: Payment[] = []
  const query = { ...fit, since: timeOf(from), limit: PAYMENTS_AT_ONCE }
  for (let cursor: number | undefined, isFirst = true; isFirst || cursor !== undefined;) {
    isFirst = false
    const page = await office.get('payments', { ...query, cursor })
    found.push(...paymentsIn(page).filter(({ at }) => at < to))
    cursor = found.length < most ? numberIn(page, 'next') : undefined
  }
  yield* found.slice(0, most).toReversed()
}

function paymentsIn({ payments }: JsonObject): readonly Payment[] {
  const said = Array.isArray(payments) ? (payments as readonly Json[]) : []
  return said.flatMap((one) => {
    const payment = readPaymentJson(one)
    return payment ? [payment] : []
  })
}

function numberIn(said: JsonObject, name: string): number | undefined {
  const value = said[name]
  return typeof value === 'number' ? value : undefined
}

function timeOf(at: number | undefined): string | undefined {
  return at === undefined ? undefined : new Date(at).toISOString()
}

async function openNamed({ arguments: args, settings, cwd }: Call): Promise<Ledger> {
  const named = args.text('books')
  const schema = args.text('schema')
  if (named !== undefined && isShared(named)) return await openBooks(named, schema)
  if (schema !== undefined) throw misuse('--schema belongs to books in PostgreSQL.')
  if (named !== undefined) {
    const file = resolve(cwd, named)
    // A file that is not there would be made.
    if (!existsSync(file)) throw misuse(`There are no books at ${file}.`)
    return await openBooks(file)
  }
  const sandboxes = sandboxDirectories(settings, cwd).map((directory) => join(directory, BOOKS))
  const found = [...sandboxes, booksFile(settings.home)].find((file) => existsSync(file))
  if (found === undefined) throw new Failure('There are no books here. Name them with --books.')
  return await openBooks(found)
}

const BOOKS = 'books.sqlite'

/** Names assets that the books have by their ids only: tokens, the coins of networks, the units of budgets. */
export const nameAsset: NameAsset = (id) => {
  if (/^(?:gas:bip122:[^/]+|bip122:[^/]+\/slip44:0)$/.test(id))
    return { code: 'BTC', scale: MSAT_SCALE }
  if (networks.some((network) => id === `gas:${network.id}`)) return { code: 'ETH', scale: 18 }
  if (/^[A-Z][A-Z0-9]{1,15}$/.test(id)) return { code: id, scale: BUDGET_SCALE }
  return assetOf(id)
}

const units: Readonly<Record<string, number>> = {
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** A day, a time, and how far that is from UTC. */
const WHEN = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(?::\d\d)?)?(Z|[+-]\d\d:\d\d)?$/

/**
 * A moment as it is typed: `2026-03-01` (UTC), with a time if wanted, or `7d` ago.
 * @throws {Failure} when it is none.
 */
export function momentOf(option: string, typed: string, now: number = systemClock.now()): number {
  const [, count = '', unit = ''] = /^(\d{1,6})([mhd])$/.exec(typed) ?? []
  if (unit !== '') return now - Number(count) * (units[unit] ?? 0)
  const [, day = '', time = 'T00:00', zone = 'Z'] = WHEN.exec(typed) ?? []
  // There is no 31st of February, though the machine would find one.
  const at = isDay(day) ? Date.parse(`${day}${time}${zone}`) : NaN
  if (Number.isNaN(at))
    throw misuse(`--${option} is a day like 2026-03-01, a time like 2026-03-01T12:00Z, or 7d ago.`)
  return at
}

function isDay(day: string): boolean {
  const at = Date.parse(day)
  return !Number.isNaN(at) && new Date(at).toISOString().startsWith(day)
}

/** How a command reads: within its times, until the user wants to stop, with a word on how far it is. */
export function readingOf(call: Call, from: string, to?: string): ReadOptions {
  const { arguments: args, signal, terminal } = call
  const [since, until] = [args.text(from), to === undefined ? undefined : args.text(to)]
  return {
    nameAsset,
    signal,
    onRow: (row) => terminal.progress(`Reading row ${row} …`),
    ...(since !== undefined && { from: momentOf(from, since) }),
    ...(until !== undefined && to !== undefined && { to: momentOf(to, until) }),
  }
}

/** A line of the result. Waits for whoever reads it, so that an export of any size takes no memory. */
export async function emit({ terminal }: Call, line: string): Promise<void> {
  terminal.out(line)
  if (terminal.stdout.writableNeedDrain) await once(terminal.stdout, 'drain')
}

/** `2026-03-01 12:00:00`, in UTC. */
export function sayTime(at: number): string {
  return new Date(at).toISOString().slice(0, 19).replace('T', ' ')
}

/** For people, with the sign that it has. */
export function sayAmounts(list: readonly Quantity[]): string {
  return list.length === 0 ? '0' : list.map(sayQuantity).join(', ')
}
