import { assert } from '../core/assert.ts'
import { movePassedOn, unbookPassedOn } from '../core/cost.ts'
import type { Offer } from '../core/offer.ts'
import type { Held, Leg, Ledger, Row, Transfer } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { AccountBooks } from './accounts.ts'
import { deliverByOf, lifeOf } from './life.ts'
import {
  LOOK_AT_ONCE,
  LOOK_BACK_MS,
  LOOK_FIRST_MS,
  LOOK_GROWTH,
  LOOK_MAX,
  LOOK_PAUSE_MAX_MS,
  LOOK_READS_MAX,
  LOOK_ROUND_MAX,
  LOOK_ROWS,
  LOOK_UNTIL_MS,
  SETTLE_MS,
} from './limits.ts'
import { isSale, readNote } from './note.ts'
import type { House } from './sale.ts'
import { logOf, receiptOf } from './sale.ts'

/** Looks again at sales whose settlement may still come undone, until it is final. */
export interface Standing {
  /** A sale of this process. */
  watch(key: string, offer: Offer): void
  /** One round: looks at what is due, and books back what is gone for good. At first also at what the journal tells. */
  look(): Promise<void>
  /** Ends a reversal that was begun. */
  reverse(reversal: Held): Promise<void>
}

interface Watched {
  readonly key: string
  readonly untilAt: number
  nextAt: number
  pauseMs: number
}

/** Makes the looking. The list is in memory, and made again from the journal by whoever starts. */
export function createStanding(
  { ledger, rails, clock, observe, fault }: House,
  accounts: Pick<AccountBooks, 'goesBack'>,
): Standing {
  const list = new Map<string, Watched>()
  const looks = rails.all.some((rail) => 'stands' in rail)
  /** The row behind which the journal is still to be read; `start` before anything was, undefined when all is. */
  let unread: number | 'start' | undefined = looks ? 'start' : undefined
  /** Since when there was no room. */
  let missedAt: number | undefined

  function add(key: string): void {
    if (list.has(key)) return
    const now = clock.now()
    const pauseMs = LOOK_FIRST_MS
    list.set(key, { key, pauseMs, nextAt: now + pauseMs, untilAt: now + LOOK_UNTIL_MS })
  }

  function watch(key: string, offer: Offer): void {
    if (!rails.find(offer)?.stands) return
    if (list.size < LOOK_MAX) add(key)
    else missedAt ??= clock.now()
  }

  async function look(): Promise<void> {
    if (!looks) return
    // What is on the list needs no journal, and the next round reads on where this one stopped.
    await read().catch((error: unknown) => fault('stands', error))
    const now = clock.now()
    const due = [...list.values()].filter(({ nextAt }) => nextAt <= now).slice(0, LOOK_ROUND_MAX)
    for (let i = 0; i < due.length; i += LOOK_AT_ONCE)
      await Promise.all(due.slice(i, i + LOOK_AT_ONCE).map(lookAt))
  }

  /** Reads on in the journal, as far as there is room and one round may. */
  async function read(): Promise<void> {
    if (unread === undefined && missedAt !== undefined && list.size < LOOK_MAX / 2) {
      unread = await rowBefore(ledger, missedAt)
      missedAt = undefined
    }
    if (unread === 'start') unread = await firstRow()
    for (let i = 0; i < LOOK_READS_MAX && unread !== undefined; i++) {
      if (list.size > LOOK_MAX - LOOK_ROWS) return
      const rows: readonly Row[] = await ledger.journal(unread, LOOK_ROWS)
      for (const { type, key } of rows) if (type === 'settled') add(key)
      unread = rows.at(-1)?.sequence
    }
  }

  async function firstRow(): Promise<number> {
    const end = await lastRow(ledger)
    const [last] = end > 0 ? await ledger.journal(end - 1, 1) : []
    // From when the books were last written: they may have lain still for days.
    return last ? await rowBefore(ledger, last.at - LOOK_BACK_MS) : 0
  }

  async function lookAt(watched: Watched): Promise<void> {
    const { key, untilAt } = watched
    watched.pauseMs = Math.min(watched.pauseMs * LOOK_GROWTH, LOOK_PAUSE_MAX_MS)
    watched.nextAt = clock.now() + watched.pauseMs
    try {
      const held = await ledger.find(key)
      if (!held || (await judge(held))) list.delete(key)
      else if (clock.now() > untilAt) {
        list.delete(key)
        throw new PaymentError('rail-unavailable', `${key} does not become final.`)
      }
    } catch (error) {
      fault('stands', error)
    }
  }

  /** Whether there is nothing more to look for. */
  async function judge(held: Held): Promise<boolean> {
    const { key, claim } = held
    if (held.state !== 'posted' || !isSale(held)) return true
    if (lifeOf(held, clock.now()) === 'undone') return true
    const { offer } = readNote(held.note)
    const { reference, payer, settledAt } = receiptOf(held)
    const rail = rails.find(offer)
    const found = await rail?.stands?.(offer, key, reference, logOf(ledger, held))
    if (!found) return true
    if (found.state === 'gone') {
      await undo(held)
      return true
    }
    if (found.reference !== undefined && found.reference !== reference) {
      await movePassedOn({ ledger }, held, found.reference)
      const data = { reference: found.reference, payer, settledAt, deliverBy: deliverByOf(held) }
      await ledger.step(key, { type: 'settled', data }, claim)
    }
    return found.state === 'final'
  }

  /** Books back. The sale keeps its key for good: whatever happens to the payment, it is never charged again. */
  async function undo(sale: Held): Promise<void> {
    const leaseUntilAt = clock.now() + SETTLE_MS
    const made = await ledger.transfer(reversalOf(sale, sale.legs.map(back), leaseUntilAt))
    if (made.outcome !== 'insufficient') return await ended(sale)
    // What was earned has been taken out: it stands as a loss, which nothing in here can cover.
    await ledger.transfer(reversalOf(sale, sale.legs.map(loss), leaseUntilAt))
    await ended(sale)
  }

  /**
   * What it has bought first, which pays nothing more. The money then, and last the mark: whoever dies between them is followed by
   * one who finds the sale unmarked.
   */
  async function ended(undone: Held): Promise<void> {
    const { key, claim } = undone
    await accounts.goesBack(undone, false)
    await unbookPassedOn({ ledger, clock }, undone)
    const done = await ledger.post(undoneOf(key))
    const sale = await ledger.find(key)
    assert(sale?.state === 'posted', 'what is posted stays so')
    const { reference, amount } = receiptOf(sale)
    if (lifeOf(sale, clock.now()) !== 'undone')
      await ledger.step(key, { type: 'undone', data: { reference } }, claim)
    if (done === 'posted') observe({ type: 'undone', at: clock.now(), key, reference, amount })
  }

  return {
    watch,
    look,
    async reverse({ note }) {
      const key = note['of']
      const sale = typeof key === 'string' ? await ledger.find(key) : undefined
      assert(sale, 'a reversal names its sale')
      await ended(sale)
    },
  }
}

const REVERSAL = 'reversal'

/** Whether the books hold a reversal here. */
export function isReversal({ note }: Held): boolean {
  return note['kind'] === REVERSAL
}

/** The key of the reversal of what was paid under another key. */
function undoneOf(key: string): string {
  return `${key}/undone`
}

function reversalOf(sale: Held, legs: readonly Leg[], leaseUntilAt: number): Transfer {
  const { key, asset, posted: amount } = sale
  const note = { kind: REVERSAL, of: key }
  return { key: undoneOf(key), purpose: 'undone', asset, amount, legs, leaseUntilAt, note }
}

function back({ debit, credit }: Leg): Leg {
  return { debit: credit, credit: debit }
}

function loss({ debit, credit }: Leg): Leg {
  return { debit: `${WORLD}losses/${credit}`, credit: debit }
}

/** The sequence number of the last row, by halving; 0 when there is none. */
async function lastRow(ledger: Ledger): Promise<number> {
  let over = 1
  while (await rowAt(ledger, over)) over *= 2
  return await firstWhere(1, over, async (n) => (await rowAt(ledger, n)) === undefined)
}

/** The sequence number of the last row before that time, by halving; 0 when there is none. */
async function rowBefore(ledger: Ledger, at: number): Promise<number> {
  const end = await lastRow(ledger)
  return await firstWhere(1, end + 1, async (n) => ((await rowAt(ledger, n))?.at ?? at) >= at)
}

/** One less than the first number from `low` to `high` of which it is so; it is so of `high`. */
async function firstWhere(
  low: number,
  high: number,
  is: (n: number) => Promise<boolean>,
): Promise<number> {
  let [first, last] = [low, high]
  while (first < last) {
    const middle = Math.floor((first + last) / 2)
    if (await is(middle)) last = middle
    else first = middle + 1
  }
  return first - 1
}

async function rowAt(ledger: Ledger, sequence: number): Promise<Row | undefined> {
  return (await ledger.journal(sequence - 1, 1))[0]
}
