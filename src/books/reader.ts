import type { Held, Ledger, Row } from '../core/ports.ts'
import { readEntry } from './entry.ts'
import type { BookEntry } from './entry.ts'
import type { NameAsset } from './quantity.ts'

/** Rows of the journal that are held at once: the memory of a reading. */
export const ROWS_AT_ONCE = 500
/** How far the clocks of those who write may be apart: so far before a time the reading begins. */
export const SKEW_MS = 3_600_000
/** Accounts of tokens whose payers are remembered. */
const PAYERS_MAX = 1_000

/** Where and how to read. */
export interface ReadOptions {
  /** Rows behind this one: the `sequence` of what was read last. */
  readonly after?: number
  /** From this time on, in milliseconds since 1970. */
  readonly from?: number
  /** Up to, and without, this time. */
  readonly to?: number
  readonly nameAsset?: NameAsset
  readonly signal?: AbortSignal
  /** Told of each row that was read, also where nothing came of it. */
  readonly onRow?: (sequence: number) => void
}

/**
 * What was booked, in the order of the journal. Memory does not grow with the books; whoever stops goes on behind the
 * `sequence` that was read last. Throws `PaymentError` when the books cannot be read.
 */
export async function* readEntries(
  ledger: Ledger,
  options: ReadOptions = {},
): AsyncGenerator<BookEntry> {
  const { nameAsset = () => undefined, from = -Infinity, to = Infinity } = options
  const payerOf = createPayers(ledger)
  for await (const { row, held } of readRows(ledger, options, 'posted')) {
    if (row.at < from || row.at >= to) continue
    const entry = held && readEntry(row, held, nameAsset, await saleOf(ledger, held))
    if (!entry) continue
    yield entry.kind === 'draw' ? { ...entry, payer: await payerOf(entry.key) } : entry
  }
}

/** How a payment stands now. */
export type PaymentState =
  | 'open'
  | 'settled'
  | 'delivered'
  | 'refunded'
  | 'undone'
  | 'voided'
  | 'failed'

/** All of them. */
export const paymentStates: readonly PaymentState[] = [
  'open',
  'settled',
  'delivered',
  'refunded',
  'undone',
  'voided',
  'failed',
]

/** A sale, a refund, a purchase: whatever may still be open. */
export interface Payment extends BookEntry {
  readonly state: PaymentState
}

/** Payments in the order of their making, each once, as they stand now. Those that were made anew stand where that was. */
export async function* readPayments(
  ledger: Ledger,
  options: ReadOptions = {},
): AsyncGenerator<Payment> {
  const { nameAsset = () => undefined, from = -Infinity, to = Infinity } = options
  for await (const { row, held } of readRows(ledger, options, 'made')) {
    if (!held || held.claim !== row.sequence || row.at < from || row.at >= to) continue
    const payment = paymentOf(row, held, nameAsset, await saleOf(ledger, held))
    if (payment) yield payment
  }
}

const SHOWN: ReadonlySet<string> = new Set([
  'sale',
  'refund',
  'withdrawal',
  'purchase',
  'facilitated',
])

/** How it stands; undefined for what is no payment. */
export function paymentOf(
  row: Row,
  held: Held,
  nameAsset: NameAsset,
  sale?: Held,
): Payment | undefined {
  // What was held and not posted is told by what it would have been.
  const posted = held.posted > 0n ? held.posted : held.amount
  const entry = readEntry(row, { ...held, posted }, nameAsset, sale)
  return entry && SHOWN.has(entry.kind) ? { ...entry, state: stateOf(held) } : undefined
}

function stateOf({ state, posted, steps }: Held): PaymentState {
  if (state === 'voided') return 'voided'
  if (state === 'pending') return 'open'
  if (posted === 0n) return 'failed'
  const told = new Set(steps.map(({ type }) => type))
  if (told.has('undone')) return 'undone'
  const back = steps.findLast(({ type }) => type === 'refunded' || type === 'refund-failed')
  if (back?.type === 'refunded') return 'refunded'
  return told.has('delivered') ? 'delivered' : 'settled'
}

/** What it belongs to, where it does not tell enough itself. */
async function saleOf(ledger: Ledger, { note }: Held): Promise<Held | undefined> {
  const { kind, of } = note
  const needs =
    kind === 'reversal' || kind === 'withdrawal' || kind === 'cost' || kind === 'cost-back'
  return needs && typeof of === 'string' && of !== '' ? await ledger.find(of) : undefined
}

interface Found {
  readonly row: Row
  readonly held: Held | undefined
}

async function* readRows(
  ledger: Ledger,
  options: ReadOptions,
  type: 'made' | 'posted',
): AsyncGenerator<Found> {
  const { from, signal, onRow } = options
  let after = options.after ?? 0
  if (from !== undefined) after = Math.max(after, await rowBefore(ledger, from - SKEW_MS))
  for (;;) {
    signal?.throwIfAborted()
    const rows: readonly Row[] = await ledger.journal(after, ROWS_AT_ONCE)
    const last = rows.at(-1)
    if (!last) return
    const wanted = rows.filter((row) => row.type === type)
    const found = await Promise.all(wanted.map(({ key }) => ledger.find(key)))
    for (const [i, row] of wanted.entries()) yield { row, held: found[i] }
    after = last.sequence
    onRow?.(after)
  }
}

/** The number of the last row before that time, by halving; 0 when there is none. */
export async function rowBefore(ledger: Ledger, at: number): Promise<number> {
  const rowAt = async (n: number): Promise<Row | undefined> => (await ledger.journal(n - 1, 1))[0]
  let high = 1
  while (((await rowAt(high))?.at ?? at) < at) high *= 2
  let low = Math.floor(high / 2)
  // The row `low` is before that time, and `high` is not.
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (((await rowAt(middle))?.at ?? at) < at) low = middle
    else high = middle
  }
  return low
}

/** Whose a token is, by the key of a draw: asked once, as far as memory goes. */
function createPayers(ledger: Ledger): (key: string) => Promise<string> {
  const known = new Map<string, string>()
  return async (key) => {
    const [, id = ''] = key.split('/')
    const before = known.get(id)
    if (before !== undefined) return before
    const payer = (await ledger.find(`account/${id}`))?.note['payer']
    if (known.size >= PAYERS_MAX) known.clear()
    known.set(id, typeof payer === 'string' ? payer : `token ${id}`)
    return known.get(id) ?? ''
  }
}
