import { lifeOf, lives } from '../gate/life.ts'
import { isSale } from '../gate/note.ts'
import { givenBack } from '../core/refund.ts'
import { decimalOf } from '../books/quantity.ts'
import type { NameAsset } from '../books/quantity.ts'
import { readPayments, rowBefore, SKEW_MS } from '../books/reader.ts'
import type { Payment } from '../books/reader.ts'
import { fits } from '../books/statement.ts'
import { readStory } from '../books/story.ts'
import { entryJson } from '../books/write.ts'
import type { JsonObject } from '../core/json.ts'
import type { Held, Ledger, Row } from '../core/ports.ts'
import type { LinksOf } from './explorers.ts'
import { redacted } from './redacted.ts'

/** Most payments on one page. */
export const PAGE_MAX = 200
/** Most rows of the journal that are read for one page: a filter that finds nothing must not read for ever. */
export const PAGE_ROWS_MAX = 20_000
/** Rows that are read at once. */
const ROWS_AT_ONCE = 500

/** Which payments are wanted. What is not named is not looked at. */
export interface PaymentFilter {
  readonly route?: string
  readonly rail?: string
  readonly payer?: string
  readonly state?: string
  readonly kind?: string
  /** From then on, in milliseconds since 1970. */
  readonly since?: number
}

/** A page of payments, the newest first; `next` is the cursor of the one after it. */
export async function readPage(
  ledger: Ledger,
  filter: PaymentFilter,
  limit: number,
  cursor: number | undefined,
  nameAsset: NameAsset,
): Promise<{ readonly payments: readonly Payment[]; readonly next?: number }> {
  const found: Payment[] = []
  let before = cursor ?? (await lastRow(ledger)) + 1
  const floor = Math.max(0, before - 1 - PAGE_ROWS_MAX)
  while (before - 1 > floor && found.length < limit) {
    const after = Math.max(floor, before - 1 - ROWS_AT_ONCE)
    const some = await collect(readPayments(upTo(ledger, before), { after, nameAsset }))
    for (const payment of some.toReversed()) {
      if (!isWanted(payment, filter)) continue
      found.push(payment)
      // The page is full in the middle of a stretch: the next one begins right behind it.
      if (found.length === limit) return { payments: found, next: payment.sequence }
    }
    before = after + 1
    if (await isPast(ledger, after, filter.since)) return { payments: found }
  }
  return { payments: found, ...(before > 1 && { next: before }) }
}

/** A page from behind a row on, the oldest first; `next` is the row to go on behind, and absent at the end. */
export async function readForward(
  ledger: Ledger,
  filter: PaymentFilter,
  limit: number,
  after: number,
  nameAsset: NameAsset,
): Promise<{ readonly payments: readonly Payment[]; readonly next?: number }> {
  const { since } = filter
  const from =
    since === undefined ? after : Math.max(after, await rowBefore(ledger, since - SKEW_MS))
  const end = from + PAGE_ROWS_MAX
  const found: Payment[] = []
  for await (const payment of readPayments(upTo(ledger, end + 1), { after: from, nameAsset })) {
    if (!isWanted(payment, filter)) continue
    found.push(payment)
    if (found.length === limit) return { payments: found, next: payment.sequence }
  }
  const [beyond] = await ledger.journal(end, 1)
  return { payments: found, ...(beyond && { next: end }) }
}

/** The number of the last row. */
export async function lastRow(ledger: Ledger): Promise<number> {
  return await rowBefore(ledger, Infinity)
}

/** The books as they end before a row. */
function upTo(ledger: Ledger, before: number): Ledger {
  return {
    ...ledger,
    async journal(after, limit) {
      const left = before - 1 - after
      return left > 0 ? await ledger.journal(after, Math.min(limit, left)) : []
    },
  }
}

async function isPast(ledger: Ledger, after: number, since: number | undefined): Promise<boolean> {
  if (since === undefined) return false
  const [row] = await ledger.journal(after, 1)
  return row !== undefined && row.at < since - SKEW_MS
}

function isWanted(payment: Payment, filter: PaymentFilter): boolean {
  const { rail, state, kind, since = -Infinity } = filter
  return (
    fits(payment, filter) &&
    (rail === undefined || payment.rail === rail) &&
    (state === undefined || payment.state === state) &&
    (kind === undefined || payment.kind === kind) &&
    payment.at >= since
  )
}

async function collect<T>(all: AsyncIterable<T>): Promise<readonly T[]> {
  const found: T[] = []
  for await (const one of all) found.push(one)
  return found
}

/** A payment as JSON, with where it is in its life while it is open. */
export async function standingJson(
  ledger: Ledger,
  payment: Payment,
  now: number,
): Promise<JsonObject> {
  const held = payment.state === 'open' ? await ledger.find(payment.key) : undefined
  return { ...paymentJson(payment), ...(held && isSale(held) && { life: lifeOf(held, now) }) }
}

/** A payment as JSON. */
function paymentJson(payment: Payment): JsonObject {
  return { ...entryJson(payment), state: payment.state }
}

/** The whole story of a payment as JSON; undefined if there is none. */
export async function storyJson(
  ledger: Ledger,
  key: string,
  now: number,
  nameAsset: NameAsset,
  linksOf: LinksOf,
): Promise<JsonObject | undefined> {
  const story = await readStory(ledger, key, nameAsset)
  if (!story) return undefined
  const { payment, held, rows, refunds, reversal } = story
  const life = isSale(held) ? lifeOf(held, now) : undefined
  return {
    payment: paymentJson(payment),
    ...(life && { life, means: lives[life].means }),
    links: linksOf(payment.network, payment.reference),
    rows: rows.map(rowJson),
    refunds: refunds.map((refund) => ({
      ...paymentJson(refund),
      links: linksOf(refund.network, refund.reference),
    })),
    ...(isSale(held) && { refundable: await refundableOf(ledger, held, payment) }),
    ...(reversal && { reversed: new Date(reversal.madeAt).toISOString() }),
  }
}

function rowJson({ sequence, at, type, data }: Row): JsonObject {
  return { sequence, time: new Date(at).toISOString(), type, data: redacted(data) }
}

/** What may still go back: what was posted, less all that goes or went back, by whichever way. */
async function refundableOf(ledger: Ledger, held: Held, payment: Payment): Promise<JsonObject> {
  const standings = await ledger.balances(givenBack(held.key))
  const back = standings.reduce((sum, { posted, pending }) => sum + posted + pending, 0n)
  const isUndone = held.steps.some(({ type }) => type === 'undone')
  const units = held.state === 'posted' && !isUndone ? held.posted - back : 0n
  const { code, scale } = payment.amount
  return { amount: decimalOf({ units, scale }), code, units: `${units}` }
}
