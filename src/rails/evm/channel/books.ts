import { assert } from '../../../core/assert.ts'
import type { JsonObject } from '../../../core/json.ts'
import type { Claim, Clock, Held, Ledger, Log, Step } from '../../../core/ports.ts'
import { WORLD } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'
import type { Voucher } from '../../../core/voucher.ts'
import type { Hex } from '../hex.ts'
import { UINT128_MAX } from './voucher.ts'

/** How long a mark may take to be made. */
const MARK_MS = 300_000
/** How long one process may send for a channel until another may. */
export const TURN_MS = 120_000
/** How late a channel may come into the list. */
const LATE_MS = 600_000
/** Most deposits of one channel. */
export const DEPOSITS_MAX = 1_000
/** Most last words of one payer. */
export const LAST_MAX = 256
/** Channels that are read at once. */
export const LIST_AT_ONCE = 500
/** Digits of the largest uint128: keys stand in the order of their numbers. */
const DIGITS = 39

/** A channel as the books know it: what of it never changes. */
export interface Known {
  readonly channel: Hex
  readonly payer: Hex
  readonly signer: Hex
  readonly token: Hex
  readonly minVoucherDelta: bigint
  /** Whether nothing is to be done for it any more. */
  readonly isOver: boolean
}

/** A voucher with the time of its taking. */
export interface Kept extends Voucher {
  readonly at: number
}

interface Last extends Kept {
  /** How many there were. */
  readonly words: number
}

/** A transaction of ours for a channel, and where it is written ahead. */
export interface Sending {
  readonly key: string
  readonly log: Log
  readonly isOpen: boolean
}

/** Money that has come out of channels. */
export interface Arrival {
  /** The id of its asset. */
  readonly asset: string
  readonly amount: bigint
  /** Where it has come to, as offers name it. */
  readonly payee: string
  readonly reference: Hex
}

/** What this rail itself keeps in the seller's books: channels, deposits, vouchers, and what it sends. */
export interface Books {
  known(channel: Hex): Promise<Known | undefined>
  /** Durable before a deposit counts. */
  remember(channel: Omit<Known, 'isOver'>): Promise<void>
  over(channel: Hex): Promise<void>
  /** Channels that stand behind that place, the oldest first, and the place of the last. */
  list(after: string): Promise<{ readonly channels: readonly Hex[]; readonly next: string }>
  /** A place before that one, by which clocks may differ and marks may be late. */
  earlier(place: string): string
  /** The deposit counts for that sale from now on; false if it counts for another. */
  takeDeposit(channel: Hex, before: bigint, amount: bigint, sale: string): Promise<boolean>
  /** What was taken for that sale has vanished from the chain. */
  dropDeposit(channel: Hex, sale: string): Promise<void>
  /** All that was taken. */
  credited(channel: Hex): Promise<bigint>
  keep(channel: Hex, voucher: Voucher): Promise<void>
  /** The highest that was kept, by whichever process. */
  best(channel: Hex): Promise<Kept | undefined>
  /** The lowest that promises as much. */
  atLeast(channel: Hex, sum: bigint): Promise<Kept | undefined>
  /** Keeps the last word of its payer; the latest counts. False if he has said too many. */
  keepLast(channel: Hex, voucher: Voucher): Promise<boolean>
  last(channel: Hex): Promise<Kept | undefined>
  /** Fixes what a channel is closed with, in one step. What was fixed before counts. */
  fixEnd(channel: Hex, voucher: Voucher): Promise<Voucher>
  end(channel: Hex): Promise<Voucher | undefined>
  /** Lets so much go back by that refund; false where more would go back than is left over. */
  giveBack(channel: Hex, refund: string, amount: bigint, most: bigint): Promise<boolean>
  /** The highest sum whose voucher has left this house, to be seen by anybody; below zero if none has. */
  published(channel: Hex): Promise<bigint>
  /** Begins to send, or goes on. Its voucher counts as published from now on. */
  sending(channel: Hex, what: 'collect' | 'close', sum: bigint): Promise<Sending>
  sent(sending: Sending): Promise<void>
  /** What was begun to be collected, by whichever process, and is not known to be done: the lowest, with its sum. */
  unsent(channel: Hex): Promise<(Sending & { readonly sum: bigint }) | undefined>
  /** Books that so much has come to our own account, by that transaction; once. */
  collected(channel: Hex, what: Arrival): Promise<void>
  /** Works for a channel while nobody else does, in any process; undefined if somebody does. */
  inTurn<T>(channel: Hex, work: () => Promise<T>): Promise<T | undefined>
}

/** Opens them. */
export function createBooks(ledger: Ledger, clock: Clock, network: string): Books {
  const base = `channels/${network}`
  const of = (channel: Hex): string => `${base}/of/${channel.slice(2)}`
  const placeOf = (channel: Hex, at: number): string =>
    `${base}/list/${String(at).padStart(15, '0')}/${channel.slice(2)}`
  const vouchersOf = (channel: Hex): string => `${of(channel)}/vouchers/`
  const collectsOf = (channel: Hex): string => `${of(channel)}/collect/`
  /** The highest keys that were seen, so that looking again takes one question. */
  const seen = new Map<string, bigint>()
  /** Up to where all that was begun to be collected is done. */
  const done = new Map<string, string>()

  const make = (
    key: string,
    note: JsonObject,
    { purpose = 'channel', leaseMs = MARK_MS }: { purpose?: string; leaseMs?: number } = {},
  ): Promise<Claim> =>
    ledger.transfer({
      ...{ key, purpose, asset: 'channel', amount: 0n },
      legs: [{ debit: `${WORLD}channels`, credit: `${WORLD}marks` }],
      leaseUntilAt: clock.now() + leaseMs,
      note: { kind: 'channel', ...note },
    })

  /** One step: of two that want the same mark, one has it. */
  async function mark(key: string, note: JsonObject, purpose?: string): Promise<boolean> {
    const made = await make(key, note, purpose === undefined ? {} : { purpose })
    if (made.outcome === 'foreign') return false
    await ledger.post(key)
    return true
  }

  /** The last under the prefix, whose keys end in numbers: found by doubling and halving, since keys are read forwards. */
  async function highest(prefix: string): Promise<Held | undefined> {
    const behind = async (sum: bigint): Promise<Held | undefined> =>
      (await ledger.under(prefix, sum < 0n ? '' : keyOf(prefix, sum), 1))[0]
    const start = seen.get(prefix) ?? -1n
    let found = await behind(start)
    for (let step = 1n; found; step *= 2n) {
      const next: Held | undefined = await behind(sumIn(found) + step)
      if (!next) {
        found = await halve(behind, found, sumIn(found) + step)
        break
      }
      found = next
    }
    found ??= start < 0n ? undefined : await ledger.find(keyOf(prefix, start))
    if (found) remembered(seen, prefix, sumIn(found))
    return found
  }

  async function depositsOf(channel: Hex): Promise<readonly Held[]> {
    const held = await ledger.under(`${of(channel)}/deposits/`, '', DEPOSITS_MAX)
    return held.filter(({ steps }) => !steps.some(({ type }) => type === 'gone'))
  }

  async function lastOf(channel: Hex): Promise<Last | undefined> {
    const held = await ledger.find(`${of(channel)}/last`)
    const said = held?.steps.at(-1)?.data
    return said && { ...readVoucher(said), at: Number(said['at']), words: held.steps.length }
  }

  async function end(channel: Hex): Promise<Voucher | undefined> {
    const held = await ledger.find(`${of(channel)}/end`)
    return held && readVoucher(held.note)
  }

  return {
    async known(channel) {
      const held = await ledger.find(of(channel))
      return held && readKnown(channel, held)
    },
    async remember({ channel, payer, signer, token, minVoucherDelta }) {
      const note = { payer, signer, token, minVoucherDelta: minVoucherDelta.toString() }
      await mark(of(channel), note)
      const held = await ledger.find(of(channel))
      assert(held, 'what was marked stands in the books')
      const place = placeOf(channel, held.madeAt)
      if (await ledger.find(place)) return
      // Whoever died before this has left it behind where the others read on: it is put before them too.
      const now = clock.now()
      if (now - held.madeAt > LATE_MS / 2) await mark(placeOf(channel, now), {})
      await mark(place, {})
    },
    over: (channel) => ledger.step(of(channel), { type: 'over', data: {} }),
    async list(after) {
      const held = await ledger.under(`${base}/list/`, after, LIST_AT_ONCE)
      const channels = held.map(({ key }): Hex => `0x${key.slice(-64)}`)
      return { channels, next: held.at(-1)?.key ?? after }
    },
    earlier(place) {
      const [at = ''] = place.slice(`${base}/list/`.length).split('/')
      const from = Math.max(0, Number(at) - LATE_MS)
      return place === '' ? '' : `${base}/list/${String(from).padStart(15, '0')}`
    },
    takeDeposit: (channel, before, amount, sale) =>
      mark(keyOf(`${of(channel)}/deposits/`, before), { amount: amount.toString() }, sale),
    async dropDeposit(channel, sale) {
      for (const { key, purpose } of await depositsOf(channel))
        if (purpose === sale) await ledger.step(key, { type: 'gone', data: {} })
    },
    async credited(channel) {
      const held = await depositsOf(channel)
      return held.reduce((sum, { note }) => sum + BigInt(textOf(note['amount'])), 0n)
    },
    async keep(channel, { cumulative, signature }) {
      await mark(keyOf(vouchersOf(channel), cumulative), { signature })
    },
    async best(channel) {
      const held = await highest(vouchersOf(channel))
      return held && readKept(held)
    },
    async atLeast(channel, sum) {
      const prefix = vouchersOf(channel)
      const [held] = await ledger.under(prefix, sum === 0n ? '' : keyOf(prefix, sum - 1n), 1)
      return held && readKept(held)
    },
    async keepLast(channel, { cumulative, signature }) {
      const before = await lastOf(channel)
      if (before?.cumulative === cumulative) return true
      if (before && before.words >= LAST_MAX) return false
      const key = `${of(channel)}/last`
      await mark(key, {})
      const said = { cumulative: cumulative.toString(), signature, at: clock.now() }
      await ledger.step(key, { type: 'last', data: said })
      return true
    },
    last: lastOf,
    async fixEnd(channel, { cumulative, signature }) {
      await mark(`${of(channel)}/end`, { cumulative: cumulative.toString(), signature })
      const fixed = await end(channel)
      assert(fixed, 'what was fixed stands in the books')
      return fixed
    },
    end,
    async giveBack(channel, refund, amount, most) {
      const key = `${of(channel)}/back/${refund}`
      const made = await ledger.transfer({
        ...{ key, purpose: 'back', asset: 'channel', amount },
        legs: [{ debit: `${WORLD}channels`, credit: `${of(channel)}/back`, ceiling: most }],
        leaseUntilAt: clock.now() + MARK_MS,
        note: { kind: 'channel' },
      })
      if (made.outcome === 'insufficient' || made.outcome === 'foreign') return false
      await ledger.post(key)
      return true
    },
    async published(channel) {
      const held = await highest(collectsOf(channel))
      const collected = held ? sumIn(held) : -1n
      const ended = (await end(channel))?.cumulative ?? -1n
      return collected > ended ? collected : ended
    },
    async sending(channel, what, sum) {
      const key = what === 'close' ? `${of(channel)}/close` : keyOf(collectsOf(channel), sum)
      const made = await make(key, { sum: sum.toString() })
      assert(made.outcome !== 'insufficient', 'the outside world is never short')
      const isOpen = made.outcome === 'made' || made.held.state === 'pending'
      return { key, isOpen, log: logOf(key) }
    },
    async sent({ key }) {
      await ledger.post(key)
    },
    async unsent(channel) {
      const prefix = collectsOf(channel)
      for (;;) {
        const held = await ledger.under(prefix, done.get(prefix) ?? '', LIST_AT_ONCE)
        const open = held.findIndex(({ state }) => state === 'pending')
        const last = held.at(open < 0 ? -1 : open - 1)
        if (last && open !== 0) remembered(done, prefix, last.key)
        const found = held[open]
        if (found) return { key: found.key, isOpen: true, log: logOf(found.key), sum: sumIn(found) }
        if (held.length < LIST_AT_ONCE) return undefined
      }
    },
    async collected(channel, { asset, amount, payee, reference }) {
      const key = `collected/${reference}`
      // From where deposits are to where single payments come: a rail for those finds its arrival explained.
      const legs = [
        { debit: `${WORLD}evm/${network}/${payee}`, credit: `${WORLD}channel/${network}/${payee}` },
      ]
      const note = { kind: 'collected', channel: channel.slice(2) }
      const purpose = 'collected'
      const leaseUntilAt = clock.now() + MARK_MS
      await ledger.transfer({ key, purpose, asset, amount, legs, leaseUntilAt, note })
      const data = { reference, settledAt: clock.now() }
      await ledger.post(key, undefined, { type: 'settled', data })
    },
    async inTurn(channel, work) {
      const key = `${of(channel)}/turn`
      const turn = await make(key, {}, { leaseMs: TURN_MS })
      if (turn.outcome !== 'made') return undefined
      try {
        return await work()
      } finally {
        // What is not given up now runs out.
        await ledger.void(key, 'turn-ended', turn.claim).catch(() => undefined)
      }
    },
  }

  function logOf(key: string): Log {
    return {
      read: async () => (await ledger.find(key))?.steps ?? [],
      write: (step: Step) => ledger.step(key, step),
    }
  }
}

async function halve(
  behind: (sum: bigint) => Promise<Held | undefined>,
  found: Held,
  end: bigint,
): Promise<Held> {
  let last = found
  for (let [low, high] = [sumIn(found), end]; low + 1n < high;) {
    const middle = (low + high) / 2n
    const next = await behind(middle)
    if (next) {
      last = next
      low = sumIn(next)
    } else high = middle
  }
  return last
}

/** Most prefixes that are remembered. */
const SEEN_MAX = 10_000

/** Forgets the one that was asked for longest ago. */
export function remembered<K, V>(map: Map<K, V>, key: K, value: V): void {
  map.delete(key)
  map.set(key, value)
  const [oldest] = map.keys()
  if (map.size > SEEN_MAX && oldest !== undefined) map.delete(oldest)
}

function keyOf(prefix: string, sum: bigint): string {
  return `${prefix}${(sum > UINT128_MAX ? UINT128_MAX : sum).toString().padStart(DIGITS, '0')}`
}

function sumIn({ key }: Held): bigint {
  return BigInt(key.slice(-DIGITS))
}

function readKept(held: Held): Kept {
  const { madeAt: at, note } = held
  return { cumulative: sumIn(held), signature: textOf(note['signature']), at }
}

function readVoucher({ cumulative, signature }: JsonObject): Voucher {
  return { cumulative: BigInt(textOf(cumulative)), signature: textOf(signature) }
}

function readKnown(channel: Hex, { note, steps }: Held): Known {
  const { payer, signer, token, minVoucherDelta } = note
  return {
    channel,
    payer: textOf(payer) as Hex,
    signer: textOf(signer) as Hex,
    token: textOf(token) as Hex,
    minVoucherDelta: BigInt(textOf(minVoucherDelta)),
    isOver: steps.some(({ type }) => type === 'over'),
  }
}

/** The books are ours and hashed, so another shape is a bug. */
function textOf(said: unknown): string {
  if (typeof said === 'string') return said
  throw new PaymentError('internal', 'A channel in the books has another shape.')
}
