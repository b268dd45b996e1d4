import type { Clock } from '../../core/ports.ts'
import type { Shared } from './batch.ts'
import { ITEMS_MAX, batchCall } from './batch.ts'
import type { Hex } from './hex.ts'
import type { Lane, Sent } from './lane.ts'
import type { Outgoing, Prepared, WriteAhead } from './steps.ts'
import type { Reader } from './token.ts'

/** Most payments that wait to be sent. */
export const WAITING_MAX = 4_096
/** Most transactions of one key that are in no block yet: what nodes keep for an account without doubt. */
export const OPEN_MAX = 12
/** How long the first of several may wait for the others, while payments come many at a time. */
export const GATHER_MS = 3
/** How long payments wait for the lane that is making a transaction, so as to go together, until another lane begins. */
export const TURN_MS = 10
/** Most bytes of a transaction that stand under each of the payments in it. Those of a larger one stand in the books, once. */
const RAW_BYTES_MAX = 8_192

/** A payment to be sent. */
export interface Item {
  /** What settles it alone. */
  readonly call: Outgoing
  /** Present if it may go together with others. */
  readonly shared?: Shared
  readonly write: WriteAhead
}

/** What became of a payment's sending. `many`: it went together with others. */
export type Posted = Sent & { readonly many: boolean }

/** Where payments wait for a lane. What has come together goes together. */
export interface Desk {
  /** @throws {PaymentError} when something is needed from the chain before anything can be sent. */
  post(item: Item): Promise<Posted>
  /** A lane may have room again. */
  wake(): void
}

/** What the desk is made of. */
export interface DeskParts {
  readonly lanes: readonly Lane[]
  readonly reader: Reader
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly batcher: Hex | undefined
  /** How long a payment may wait for a lane. */
  readonly waitMs: number
}

interface Waiting extends Item {
  readonly resolve: (posted: Posted) => void
  readonly reject: (error: unknown) => void
}

type Sharing = Waiting & { readonly shared: Shared }

/** Thrown through the lane when a payment could not be written ahead: then it must not be in the transaction. */
class Unwritten extends Error {
  readonly failed: ReadonlyMap<Waiting, unknown>
  constructor(failed: ReadonlyMap<Waiting, unknown>) {
    super('not written ahead')
    this.failed = failed
  }
}

/** Makes the desk. */
export function createDesk(parts: DeskParts): Desk {
  const { lanes, reader, clock, signal, batcher, waitMs } = parts
  let waiting: Waiting[] = []
  const taken = new Set<Lane>()
  let awake = false
  let turnAt = 0
  let rest = new AbortController()
  /** Whether the last transaction carried several. */
  let many = false

  /** The least loaded lane that can send now. A stuck one only if all are. */
  const free = (): Lane | undefined => {
    const moving = lanes.filter(({ stuck }) => !stuck)
    const able = (moving.length > 0 ? moving : lanes).filter(
      (lane) => !lane.busy && !taken.has(lane) && lane.load < OPEN_MAX,
    )
    return able.toSorted((a, b) => a.load - b.load)[0]
  }

  async function work(): Promise<void> {
    if (awake || signal.aborted) return
    awake = true
    try {
      for (let lane = free(); lane && waiting.length > 0; lane = free()) {
        const leftMs = taken.size > 0 ? turnAt + TURN_MS - clock.now() : 0
        if (leftMs > 0) {
          rest = new AbortController()
          await clock.sleep(leftMs, rest.signal)
          continue
        }
        if (many && waiting.length < ITEMS_MAX) await clock.sleep(GATHER_MS, signal)
        dispatch(lane, take())
      }
    } finally {
      awake = false
    }
  }

  /** The first, and if it may be shared, all others that may be, up to the limit. */
  function take(): readonly Waiting[] {
    const [first] = waiting
    if (!first) return []
    const chosen = first.shared
      ? waiting.filter(({ shared }) => shared).slice(0, ITEMS_MAX)
      : [first]
    const set = new Set(chosen)
    waiting = waiting.filter((one) => !set.has(one))
    many = chosen.length > 1
    return chosen
  }

  function dispatch(lane: Lane, items: readonly Waiting[]): void {
    taken.add(lane)
    turnAt = clock.now()
    void send(lane, items)
      .catch((error: unknown) => items.forEach(({ reject }) => reject(error)))
      .finally(() => {
        taken.delete(lane)
        rest.abort('free')
        void work()
      })
  }

  async function send(lane: Lane, items: readonly Waiting[]): Promise<void> {
    const sharing = items.filter(isSharing)
    if (items.length < 2) for (const item of items) await alone(lane, item)
    else if (batcher) await together(lane, sharing)
    else await together(lane, await codeless(sharing))
  }

  /** Multicall3 gives all gas to whoever takes it: payers with code, who can take it, wait for a transaction of their own. */
  async function codeless(items: readonly Sharing[]): Promise<readonly Sharing[]> {
    const accounts = items.map(({ shared }) => shared.proof.from)
    const code = await reader.withCode(accounts).catch(() => items.map(() => true))
    const apart = items.filter((_, i) => code[i])
    waiting.unshift(...apart.map(byItself))
    return items.filter((_, i) => !code[i])
  }

  async function alone(lane: Lane, item: Waiting): Promise<void> {
    try {
      item.resolve({ ...(await lane.send(item.call, item.write)), many: false })
    } catch (error) {
      item.reject(error)
    }
  }

  async function together(lane: Lane, items: readonly Sharing[]): Promise<void> {
    const [first] = items
    if (!first) return
    if (items.length === 1) return alone(lane, first)
    try {
      const call = batchCall(
        items.map(({ shared }) => shared),
        batcher,
      )
      const sent = await lane.send(call, writeAll(items))
      // Less is more where the key holds little, or the chain takes less at once.
      if (sent.state === 'refused' && (sent.why === 'funds' || sent.why === 'gas'))
        return halves(lane, items)
      for (const { resolve } of items) resolve({ ...sent, many: true })
    } catch (error) {
      if (!(error instanceof Unwritten)) return items.forEach(({ reject }) => reject(error))
      for (const [item, why] of error.failed) item.reject(why)
      return together(
        lane,
        items.filter((item) => !error.failed.has(item)),
      )
    }
  }

  async function halves(lane: Lane, items: readonly Sharing[]): Promise<void> {
    const middle = Math.ceil(items.length / 2)
    await together(lane, items.slice(0, middle))
    await together(lane, items.slice(middle))
  }

  return {
    async post(item) {
      if (waiting.length >= WAITING_MAX || signal.aborted) return late
      const { promise, resolve, reject } = Promise.withResolvers<Posted>()
      const entry = { ...item, resolve, reject }
      waiting.push(entry)
      void work()
      return expiring(entry, promise)
    },
    wake: () => void work(),
  }

  /** What still waits when its time is up is taken out: nothing was sent. */
  async function expiring(entry: Waiting, posted: Promise<Posted>): Promise<Posted> {
    const done = new AbortController()
    const stop = (): void => done.abort('posted')
    signal.addEventListener('abort', stop, { once: true })
    const timer = clock.sleep(waitMs, done.signal).then(() => {
      if (!waiting.some(({ resolve }) => resolve === entry.resolve)) return
      waiting = waiting.filter(({ resolve }) => resolve !== entry.resolve)
      entry.resolve(late)
    })
    try {
      return await posted
    } finally {
      stop()
      signal.removeEventListener('abort', stop)
      await timer
    }
  }
}

const late: Posted = { state: 'refused', why: 'nonce', many: false }

function byItself({ call, write, resolve, reject }: Waiting): Waiting {
  return { call, write, resolve, reject }
}

function isSharing(item: Waiting): item is Sharing {
  return item.shared !== undefined
}

/**
 * Writes the transaction ahead under each payment in it, with what settles that payment alone. At first each must be
 * written; a replacement, whose bytes differ in the fee only, goes out if any is.
 */
function writeAll(items: readonly Waiting[]): WriteAhead {
  let sent = false
  return async (prepared: Prepared) => {
    const raw = prepared.raw.length / 2 > RAW_BYTES_MAX ? '0x' : prepared.raw
    const writes = items.map(({ write, call }) => write({ ...prepared, ...call, raw, many: true }))
    const done = await Promise.allSettled(writes)
    const failed = new Map<Waiting, unknown>()
    done.forEach((one, i) => {
      const item = items[i]
      if (one.status === 'rejected' && item) failed.set(item, one.reason)
    })
    if (failed.size === items.length || (failed.size > 0 && !sent)) throw new Unwritten(failed)
    sent = true
  }
}
