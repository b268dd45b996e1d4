import { systemClock } from '../core/clock.ts'
import type { Observe } from '../core/event.ts'
import { isObject } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import type { Asset } from '../core/money.ts'
import { readOffer } from '../core/offer.ts'
import type { Clock, Held, Leg, Ledger, Log, Rail, Row, Settlement } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'

/** When a refund is looked at again after it was settled; after the last time it counts as final. */
export const REFUND_LOOKS_MS: readonly number[] = [
  15_000, 60_000, 240_000, 900_000, 1_800_000, 3_600_000,
]
/** Refunds that are remembered at once; further ones are not looked at again. */
export const REFUNDS_MAX = 10_000
/** How often it is seen whether one is due. */
export const REFUNDS_EVERY_MS = 5_000
/** How long one look may take: as long as a rail waits for a block. */
const LOOK_LEASE_MS = 300_000
/** Rows that are read at once. */
const ROWS_AT_ONCE = 500

/** What looking at refunds needs. */
export interface RefundLooksSettings {
  readonly ledger: Ledger
  /** Those that send money back; others are passed over. */
  readonly rails: readonly Pick<Rail, 'name' | 'network' | 'refund'>[]
  readonly clock?: Clock
  readonly observe?: Observe
}

/** Looks again at money that went back. */
export interface RefundLooks {
  /** One round. Never throws: what could not be asked is told as a `fault`, and looked at again. */
  look(): Promise<void>
  /** Rounds at intervals, until the signal fires. */
  run(signal: AbortSignal): Promise<void>
}

/**
 * Makes the looking. A block that had a refund may vanish: then the rail finds that it is nowhere, and sends again the very bytes
 * that it had written ahead, so that the payer has it once. A refund that can never be in a block any more is booked back and
 * told as `undone`: it may be ordered anew. One process looks at a time.
 */
export function createRefundLooks(settings: RefundLooksSettings): RefundLooks {
  const { ledger, clock = systemClock, observe = () => undefined } = settings
  const rails = settings.rails.filter(({ refund }) => refund !== undefined)
  /** When each was settled, and how often it was looked at since. */
  const list = new Map<string, { readonly at: number; looks: number }>()
  let after: number | undefined

  async function read(): Promise<void> {
    after ??= await firstRow()
    for (;;) {
      const rows: readonly Row[] = await ledger.journal(after, ROWS_AT_ONCE)
      const last = rows.at(-1)
      if (!last) return
      for (const { type, key, at } of rows)
        if (
          type === 'settled' &&
          key.includes('/refund/') &&
          !list.has(key) &&
          list.size < REFUNDS_MAX
        )
          list.set(key, { at, looks: 0 })
      after = last.sequence
    }
  }

  /** What was settled before the last of the looks is final. */
  async function firstRow(): Promise<number> {
    const from = clock.now() - (REFUND_LOOKS_MS.at(-1) ?? 0)
    const atOf = async (row: number): Promise<number> =>
      (await ledger.journal(row - 1, 1))[0]?.at ?? Infinity
    let [low, high] = [0, 1]
    while ((await atOf(high)) < from) [low, high] = [high, high * 2]
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if ((await atOf(middle)) < from) low = middle
      else high = middle
    }
    return low
  }

  async function look(): Promise<void> {
    if (rails.length === 0) return
    try {
      await read()
    } catch (error) {
      observe({ type: 'fault', at: clock.now(), where: 'refunds', error })
      return
    }
    for (const [key, one] of list) {
      const due = REFUND_LOOKS_MS[one.looks]
      if (due === undefined) list.delete(key)
      else if (clock.now() - one.at >= due) await lookAt(key, one)
    }
  }

  async function lookAt(key: string, one: { looks: number }): Promise<void> {
    try {
      if ((await inTurn(key)) === 'over') list.delete(key)
      one.looks++
    } catch (error) {
      observe({ type: 'fault', at: clock.now(), where: 'refunds', error })
    }
  }

  /** One process at a time: two that send again could each find that the other has not. */
  async function inTurn(key: string): Promise<'open' | 'over'> {
    const held = await ledger.find(key)
    const { of, to } = held?.note ?? {}
    const sale = typeof of === 'string' ? await ledger.find(of) : undefined
    if (!held || !sale || typeof to !== 'string' || !isStanding(held)) return 'over'
    const rail = rails.find((one) => isSame(one, held))
    if (!rail?.refund) return 'over'
    const turn = await ledger.transfer(turnOf(key, clock.now() + LOOK_LEASE_MS))
    if (turn.outcome !== 'made') return 'open'
    try {
      const amount = { asset: assetOf(held), amount: held.posted }
      const offer = readOffer(sale.note['offer'])
      const found = await rail.refund(offer, to, amount, key, logOf(held))
      return await judge(held, sale, found)
    } finally {
      await ledger.void(`${key}/look`, 'turn-ended', turn.claim)
    }
  }

  async function judge(held: Held, sale: Held, found: Settlement): Promise<'open' | 'over'> {
    const { reference, settledAt } = settledIn(held)
    if (found.state === 'settled' && found.reference !== reference) {
      const data = { reference: found.reference, settledAt: found.settledAt }
      await ledger.step(held.key, { type: 'settled', data }, held.claim)
    }
    if (found.state !== 'failed') return 'open'
    await undo(held)
    // The money first, then the marks: whoever dies in between is followed by the next look.
    if (sale.steps.some(({ type }) => type === 'refunded'))
      await ledger.step(sale.key, { type: 'refund-failed', data: { refund: held.key } }, sale.claim)
    const data: JsonObject = { reference, settledAt }
    await ledger.step(held.key, { type: 'undone', data }, held.claim)
    const amount = { asset: assetOf(held), amount: held.posted }
    observe({ type: 'undone', at: clock.now(), key: held.key, reference, amount })
    return 'over'
  }

  async function undo({ key, asset, posted, legs }: Held): Promise<void> {
    await ledger.transfer({
      ...{ key: `${key}/undone`, purpose: 'undone', asset, amount: posted, legs: legs.map(back) },
      leaseUntilAt: clock.now() + LOOK_LEASE_MS,
      note: { kind: 'reversal', of: key },
    })
    await ledger.post(`${key}/undone`)
  }

  function logOf({ key, claim }: Held): Log {
    return {
      read: async () => (await ledger.find(key))?.steps ?? [],
      write: (step) => ledger.step(key, step, claim),
    }
  }

  return {
    look,
    async run(signal) {
      while (!signal.aborted) {
        await look()
        await clock.sleep(REFUNDS_EVERY_MS, signal)
      }
    },
  }
}

function isStanding({ state, posted, note, steps }: Held): boolean {
  const isUndone = steps.some(({ type }) => type === 'undone')
  return state === 'posted' && posted > 0n && note['kind'] === 'refund' && !isUndone
}

function isSame({ name, network }: Pick<Rail, 'name' | 'network'>, { note }: Held): boolean {
  return note['rail'] === name && note['network'] === network
}

function assetOf({ note, asset: id }: Held): Asset {
  const money = isObject(note['money']) ? note['money'] : {}
  const { code, scale, currency } = money
  return {
    ...{ id, code: typeof code === 'string' ? code : id, scale: Number(scale ?? 0) },
    ...(typeof currency === 'string' && { currency }),
  }
}

function settledIn({ steps }: Held): { readonly reference: string; readonly settledAt: number } {
  const { reference, settledAt } = steps.findLast(({ type }) => type === 'settled')?.data ?? {}
  return {
    reference: typeof reference === 'string' ? reference : '',
    settledAt: Number(settledAt ?? 0),
  }
}

function turnOf(key: string, leaseUntilAt: number): Parameters<Ledger['transfer']>[0] {
  return {
    ...{
      key: `${key}/look`,
      purpose: 'refund-look',
      asset: 'refund-look',
      amount: 0n,
      leaseUntilAt,
    },
    legs: [{ debit: `${WORLD}refunds`, credit: `${WORLD}turns` }],
    note: { kind: 'refund-look' },
  }
}

function back({ debit, credit }: Leg): Leg {
  return { debit: credit, credit: debit }
}
