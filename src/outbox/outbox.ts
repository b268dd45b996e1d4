import { assert } from '../core/assert.ts'
import { systemChance } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import type { Observe } from '../core/event.ts'
import type { Chance, Clock, Ledger } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { createCursor } from './cursor.ts'
import type { Buried, Cursor, Turn } from './cursor.ts'
import { createFeed } from './feed.ts'
import type { Stretch, Tellings, Told } from './feed.ts'
import { NAME_CHARS_MAX } from './sink.ts'
import type { Delivery, Sink, Trouble } from './sink.ts'

/** How often the journal is looked at when nobody says that there is something. */
export const POLL_MS = 1_000
/** The pause after each turn: what happens meanwhile goes together, and the books get two rows for all of it. */
export const PACE_MS = 250
/** Most rows that are read at once. */
export const ROWS_MAX = 500
/** Most events of one turn. */
export const EVENTS_MAX = 250
/** So many rows without an event are passed over in memory; then the cursor is moved, so that no restart reads them again. */
export const SKIP_MAX = 10_000
/** How long before the end of a turn nothing new is begun. A sink that takes longer for one event is not given that event. */
export const MARGIN_MS = 30_000
/** How often an event is refused until it is put down. What cannot be reached is tried for ever. */
export const REFUSALS_MAX = 8
/** The first pause after a failure; each is twice the one before, at random between half of it and all. */
export const BACKOFF_MS = 1_000
/** The longest pause that we choose. */
export const BACKOFF_MAX_MS = 300_000
/** The longest pause that a receiver may ask for. */
export const RETRY_AFTER_MAX_MS = 3_600_000

/** What an outbox is made of. */
export interface OutboxSettings {
  readonly ledger: Ledger
  /** Whose books they are: a URI or a reference, for instance the seller's origin. */
  readonly source: string
  readonly sinks: readonly Sink[]
  /** What is told beside what the gate writes. */
  readonly tellings?: Tellings
  readonly clock?: Clock
  readonly chance?: Chance
  /** Hears of what cannot be delivered, and why. */
  readonly observe?: Observe
  readonly pollMs?: number
}

/** What became of an event that is sent again by hand: `refused` too when its receiver is not there. */
export type Redelivery = 'taken' | 'refused' | 'absent'

/** How a sink stands. */
export interface SinkStatus {
  readonly name: string
  readonly state: 'following' | 'failing' | 'gone'
  /** The last row that was dealt with, as far as this process knows. */
  readonly cursor: number
  /** Age of the oldest event that waits, in milliseconds; 0 when none does. */
  readonly behindMs: number
  /** Events that were taken, and that were put down, by this process. */
  readonly taken: number
  readonly dead: number
  /** Why the last attempt failed, if it did. */
  readonly why?: string
}

/** Tells sinks what happens in the books: at least once, each in the order of the journal, whatever dies meanwhile. */
export interface Outbox {
  /** Looks at once. To be called with the events of engines: they come before the next look would. */
  readonly observe: Observe
  status(): readonly SinkStatus[]
  /** What a receiver refused for good, from behind that row on. */
  buried(name: string, after: number, limit: number): Promise<readonly Buried[]>
  /** Sends one of these once more, out of its order. */
  redeliver(name: string, sequence: number): Promise<Redelivery>
  /** Begins nothing more, and resolves when what was begun has its answer. The ledger stays open. */
  close(): Promise<void>
}

/** What one follower shares with all. */
interface House {
  readonly read: (after: number, rowsMax: number) => Promise<Stretch>
  readonly clock: Clock
  readonly chance: Chance
  readonly pollMs: number
  readonly fault: (name: string, error: unknown) => void
}

interface Follower {
  readonly sink: Sink
  readonly cursor: Cursor
  readonly wake: () => void
  readonly status: () => SinkStatus
  readonly ended: Promise<void>
}

/**
 * Opens an outbox and begins to deliver. Several processes may do so on the same books: each event is delivered by one of
 * them. A sink that fails holds up itself alone.
 * @throws {RangeError} when two sinks have one name, or one has none.
 */
export function openOutbox(settings: OutboxSettings): Outbox {
  const { ledger, sinks, clock = systemClock, chance = systemChance, observe } = settings
  checkNames(sinks)
  const feed = createFeed(settings)
  const closing = new AbortController()
  const fault = (name: string, error: unknown): void => {
    try {
      observe?.({ type: 'fault', at: clock.now(), where: `outbox ${name}`, error })
    } catch {
      // A subscriber's fault must not end the following.
    }
  }
  const { pollMs = POLL_MS } = settings
  const house: House = { read: (after, max) => feed.read(after, max), clock, chance, pollMs, fault }
  const followers = new Map(
    sinks.map((sink) => {
      const cursor = createCursor(ledger, clock, sink.name)
      return [sink.name, follow(house, sink, cursor, closing.signal)]
    }),
  )

  function named(name: string): Follower {
    const found = followers.get(name)
    if (!found) throw new RangeError(`There is no sink "${name}".`)
    return found
  }

  return {
    observe({ type }) {
      if (WAKING.has(type)) for (const { wake } of followers.values()) wake()
    },
    status: () => [...followers.values()].map(({ status }) => status()),
    buried: async (name, after, limit) => await named(name).cursor.buried(after, limit),
    async redeliver(name, sequence) {
      const { sink, cursor } = named(name)
      const { told } = await feed.read(sequence - 1, 1)
      const [grave] = await cursor.buried(sequence - 1, 1)
      if (told.length === 0 || grave?.sequence !== sequence) return 'absent'
      const { signal } = closing
      const { taken } = await sink.deliver(told, { deadlineAt: clock.now() + MARGIN_MS, signal })
      if (taken === 0) return 'refused'
      await cursor.unbury(sequence)
      return 'taken'
    },
    async close() {
      closing.abort('closing')
      await Promise.all([...followers.values()].map(({ ended }) => ended))
      await Promise.all(sinks.map((sink) => sink.close()))
    },
  }
}

/** What engines tell when there is something new in the books. */
const WAKING: ReadonlySet<string> = new Set([
  'settled',
  'voided',
  'unknown',
  'undone',
  'refunded',
  'delivered',
])

function checkNames(sinks: readonly Sink[]): void {
  const names = new Set(sinks.map(({ name }) => name))
  const good = [...names].every(
    (name) => name.length <= NAME_CHARS_MAX && /^[a-z0-9-]+$/.test(name),
  )
  if (!good) throw new RangeError('A sink is named by small letters, digits and hyphens.')
  if (names.size !== sinks.length) throw new RangeError('Two sinks have one name.')
}

/** Follows the journal for one sink until the signal fires. */
function follow(house: House, sink: Sink, cursor: Cursor, signal: AbortSignal): Follower {
  const { clock, chance, pollMs } = house
  const wanted = sink.types && new Set(sink.types)
  let state: SinkStatus['state'] = 'following'
  let why: string | undefined
  let [known, taken, dead, failures] = [0, 0, 0, 0]
  let waitingSince: number | undefined
  /** Up to there nothing is to be told, whatever the cursor says. */
  let passed = 0
  let last: { readonly after: number; readonly stretch: Stretch } | undefined
  /** The event that is refused, and how often it was. */
  let refused = { sequence: 0, times: 0 }
  let woken = new AbortController()
  let isCalled = false

  function wake(): void {
    isCalled = true
    woken.abort('called')
  }
  signal.addEventListener('abort', wake, { once: true })

  /** Until somebody calls: at once after a long silence, and otherwise not before the pace of all. */
  async function rest(ms: number): Promise<void> {
    const sinceAt = clock.now()
    if (!isCalled) await clock.sleep(ms, woken.signal)
    if (signal.aborted) return
    await clock.sleep(Math.max(sinceAt + PACE_MS - clock.now(), 0), signal)
    woken = new AbortController()
    isCalled = false
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      try {
        await round()
      } catch (error) {
        await failed(isOfBooks(error) ? 'the books cannot be reached' : FAULT, error)
      }
      if (state === 'gone') return
    }
  }

  /** One look, one turn if there is something, and the pause after it. */
  async function round(): Promise<void> {
    known = await cursor.read()
    if (known === 0 && sink.after) return await begin(sink.after)
    const from = known
    const stretch = await read(Math.max(from, passed))
    const all = stretch.told.filter(({ event }) => !wanted || wanted.has(event.type))
    const told = all.slice(0, EVENTS_MAX)
    const isMore = stretch.more || all.length > told.length
    waitingSince = told[0]?.at
    if (told.length === 0) return await skip(from, stretch)
    const turn = await cursor.take(from, told.at(-1)?.sequence ?? from)
    if (turn.kind === 'busy') return await rest(clampWait(turn.untilAt - clock.now()))
    const isDone = await deliver(told, from, turn)
    if (!isDone || !isMore) await clock.sleep(PACE_MS, signal)
  }

  /** What waits was read already: the journal does not change, whoever is waited for. */
  async function read(after: number): Promise<Stretch> {
    if (last?.after !== after || last.stretch.told.length === 0)
      last = { after, stretch: await house.read(after, ROWS_MAX) }
    return last.stretch
  }

  /** A new sink begins where it is told to: nothing before that is ever told. */
  async function begin(after: number): Promise<void> {
    const turn = await cursor.take(0, after)
    if (turn.kind === 'turn') await turn.end(after)
    else await rest(clampWait(turn.untilAt - clock.now()))
  }

  async function skip(from: number, { next, more }: Stretch): Promise<void> {
    passed = next
    if (next - from >= SKIP_MAX) {
      const turn = await cursor.take(from, next)
      if (turn.kind === 'turn') await turn.end(next)
    }
    if (!more) await rest(pollMs)
  }

  /** Whether all of it is dealt with; what failed has had its pause. */
  async function deliver(told: readonly Told[], from: number, turn: Turn): Promise<boolean> {
    const deadlineAt = turn.untilAt - MARGIN_MS
    const delivery = await sink.deliver(told, { deadlineAt, signal }).catch(broken)
    assert(delivery.taken <= told.length, 'no more is taken than was given')
    const buried = await bury(told, delivery)
    const dealtWith = delivery.taken + buried
    const upTo = told[dealtWith - 1]?.sequence ?? from
    const isOurs = await turn.end(upTo)
    taken += delivery.taken
    dead += buried
    if (isOurs) known = upTo
    if (dealtWith > 0) failures = 0
    if (delivery.trouble && buried === 0) {
      await troubled(delivery.trouble)
      return false
    }
    ;[state, why, waitingSince] = ['following', undefined, told[dealtWith]?.at]
    return dealtWith === told.length
  }

  /** A sink that throws has a bug; what it took comes again. */
  function broken(error: unknown): Delivery {
    house.fault(sink.name, error)
    return { taken: 0, trouble: { kind: 'down', why: FAULT } }
  }

  /** How many are put down: one, when it was refused for the last time. */
  async function bury(told: readonly Told[], { taken, trouble }: Delivery): Promise<0 | 1> {
    const one = told[taken]
    if (trouble?.kind !== 'refused' || !one) return 0
    const times = refused.sequence === one.sequence ? refused.times + 1 : 1
    refused = { sequence: one.sequence, times }
    if (times < REFUSALS_MAX) return 0
    await cursor.bury(one, trouble.why)
    house.fault(sink.name, faultOf(`${one.event.id} is put down: ${trouble.why}`))
    return 1
  }

  async function troubled(trouble: Trouble): Promise<void> {
    if (trouble.kind !== 'gone')
      return await failed(trouble.why, faultOf(trouble.why), trouble.retryAfterMs)
    ;[state, why] = ['gone', trouble.why]
    house.fault(sink.name, faultOf(`${why}, and nothing is sent until the next start`))
  }

  async function failed(reason: string, error: unknown, retryAfterMs = 0): Promise<void> {
    ;[state, why] = ['failing', reason]
    house.fault(sink.name, error)
    const ownMs = jitter(Math.min(BACKOFF_MS * 2 ** failures++, BACKOFF_MAX_MS), chance)
    const asked = Math.min(retryAfterMs, RETRY_AFTER_MAX_MS)
    await clock.sleep(Math.max(ownMs, asked), signal)
  }

  function clampWait(ms: number): number {
    return Math.min(Math.max(ms, PACE_MS), pollMs)
  }

  return {
    sink,
    cursor,
    wake,
    status() {
      const behindMs = waitingSince === undefined ? 0 : Math.max(clock.now() - waitingSince, 0)
      const said = why === undefined ? {} : { why }
      return { name: sink.name, state, cursor: known, behindMs, taken, dead, ...said }
    },
    ended: run(),
  }
}

const FAULT = 'a fault inside'

function isOfBooks(error: unknown): boolean {
  return error instanceof PaymentError && error.code === 'store-unavailable'
}

function faultOf(why: string): PaymentError {
  return new PaymentError('internal', `Events are not delivered: ${why}.`, { retryable: true })
}

/** At random between half of it and all: receivers that come back are not met by everybody at once. */
function jitter(ms: number, chance: Chance): number {
  const share = Buffer.from(chance(4)).readUInt32BE() / 2 ** 32
  return Math.round(ms * (0.5 + share / 2))
}
