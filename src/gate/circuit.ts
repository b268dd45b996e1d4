import { assert } from '../core/assert.ts'
import type { Observe } from '../core/event.ts'
import type { Terms } from '../core/offer.ts'
import type { Clock, Rail, Settlement } from '../core/ports.ts'
import { PaymentError, problem } from '../core/problem.ts'
import { ISSUE_MS } from './limits.ts'

/** How often in a row a rail may fail until it is left out of what is offered. */
export const FAILURES_MAX = 5
/** How long it is left out at first. */
export const PAUSE_MS = 1_000
/** How much longer each time that it is still down, up to the longest. */
export const PAUSE_GROWTH = 2
/** The longest that it is left out between two looks. */
export const PAUSE_MAX_MS = 60_000
/** How long a look at a rail may take. */
export const LOOK_MS = 10_000

/** A rail, and whether it is offered. */
export interface Circuit {
  /** The rail, its failures counted. It is asked as before, also while it is not offered: a payment may be under way. */
  readonly rail: Rail
  /** Whether new offers are made. Asking may begin a look, if one is due. */
  isUp(): boolean
  /** Looks whether it is back, if it is time for that; one look at a time. Never rejects. */
  look(): Promise<void>
  /** @throws {PaymentError} when it does not open. One that its world could not be asked for is tried again later. */
  open(): Promise<void>
}

/** What of a rail can fail. */
type Kind = 'verify' | 'issue' | 'settle'

/** What a circuit tells and is timed by. */
export interface CircuitParts {
  readonly clock: Clock
  readonly observe: Observe
}

/**
 * Watches how asking a rail goes. After {@link FAILURES_MAX} failures in a row it is not offered any more, until a look at it, its
 * own `open`, succeeds: the first after {@link PAUSE_MS}, each later one after a longer pause. What is asked meanwhile, for a
 * payment that was made, brings it back at once if it succeeds. A payer's proof may be made so that looking at it fails: by
 * such failures alone a rail goes down only when a look at the rail itself fails too.
 */
export function createCircuit(inner: Rail, { clock, observe }: CircuitParts): Circuit {
  const { name, network } = inner
  /** Whether it is still to be opened: its world could not be asked at the start. */
  let isClosed = false
  let isUp = true
  /** Of each kind by itself: a rail that can still look and not send any more is down. */
  const failures = { verify: 0, issue: 0, settle: 0 }
  /** What it failed at last. */
  let cause: Kind = 'settle'
  let pauseMs = PAUSE_MS
  let nextAt = -Infinity
  let looking: Promise<void> | undefined

  function tell(state: 'up' | 'down'): void {
    isUp = state === 'up'
    observe({ type: 'rail', at: clock.now(), rail: name, network, state })
  }

  function down(): void {
    if (isUp) tell('down')
    nextAt = clock.now() + pauseMs
    pauseMs = Math.min(pauseMs * PAUSE_GROWTH, PAUSE_MAX_MS)
  }

  function good(kind: Kind): void {
    failures[kind] = 0
    if (kind !== cause) return
    pauseMs = PAUSE_MS
    if (!isUp) tell('up')
  }

  function failed(kind: Kind): void {
    failures[kind]++
    if (!isUp || failures[kind] < FAILURES_MAX) return
    cause = kind
    // A proof may be made so that looking at it fails: that says nothing of the rail.
    if (kind === 'verify') void lookNow()
    else down()
  }

  function lookNow(): Promise<void> {
    looking ??= inTime((async () => await inner.open())(), LOOK_MS)
      .then(
        () => {
          isClosed = false
          // On trial: one more failure, and it is out for longer.
          failures[cause] = isUp ? 0 : FAILURES_MAX - 1
          if (!isUp) tell('up')
        },
        () => down(),
      )
      .finally(() => {
        looking = undefined
      })
    return looking
  }

  const isDue = (): boolean => !isUp && clock.now() >= nextAt

  async function inTime<T>(asked: Promise<T>, ms: number): Promise<T> {
    const done = new AbortController()
    const late = clock.sleep(ms, done.signal).then(() => {
      throw away(name, network)
    })
    try {
      return await Promise.race([asked, late])
    } finally {
      late.catch(() => undefined)
      done.abort('done')
    }
  }

  /** Nothing can be asked of a rail that never opened. */
  async function ready(): Promise<void> {
    if (looking || isDue()) await lookNow()
    if (isClosed) throw away(name, network)
  }

  async function counted<T>(kind: Kind, ask: () => Promise<T>): Promise<T> {
    if (isClosed) await ready()
    try {
      const said = await ask()
      good(kind)
      return said
    } catch (error) {
      if (error instanceof PaymentError && error.code === 'rail-unavailable') failed(kind)
      throw error
    }
  }

  /** What is done otherwise than the rail itself does it, where it does it at all. */
  const over = {
    quote: (price) => inner.quote(price),
    identify: (offer, proof) => inner.identify(offer, proof),
    verify: (...asked) => counted('verify', async () => await inner.verify(...asked)),
    issue: (...asked) => counted('issue', async () => await inTime(issued(...asked), ISSUE_MS)),
    async settle(offer, proof, key, log) {
      if (isClosed) return { state: 'failed', problem: unopened }
      const settlement = await inner.settle(offer, proof, key, log)
      if (isFailure(settlement)) failed('settle')
      else good('settle')
      return settlement
    },
    async find(offer, key, log) {
      if (isClosed) await ready()
      return await inner.find(offer, key, log)
    },
    async stands(...asked) {
      if (isClosed) await ready()
      return there(await inner.stands?.(...asked))
    },
    async refund(...asked) {
      if (isClosed) await ready()
      return there(await inner.refund?.(...asked))
    },
  } satisfies Partial<Rail>

  async function issued(...asked: Parameters<NonNullable<Rail['issue']>>): Promise<Terms> {
    return there(await inner.issue?.(...asked))
  }

  // All other members are the rail's own, called on itself: it may be an object with a state of its own.
  const rail = new Proxy(inner, {
    get(target, member) {
      const own: unknown = Reflect.get(target, member, target)
      if (typeof own !== 'function') return own
      const ours: unknown = Object.hasOwn(over, member) ? Reflect.get(over, member) : undefined
      return ours ?? own.bind(target)
    },
  })

  return {
    rail,
    isUp() {
      if (isDue()) void lookNow()
      return isUp
    },
    async look() {
      if (isDue()) await lookNow()
    },
    async open() {
      try {
        await inner.open()
      } catch (error) {
        if (error instanceof PaymentError && error.code === 'rail-unavailable') {
          isClosed = true
          down()
        }
        throw error
      }
    },
  }
}

/** A member is asked only where the rail has it. */
function there<T>(said: T | undefined): T {
  assert(said !== undefined, 'it is asked because it is there')
  return said
}

function away(name: string, network: string): PaymentError {
  const sentence = `The rail "${name}" on ${network} does not answer.`
  return new PaymentError('rail-unavailable', sentence, { retryable: true })
}

/** That the world could not be asked, and not what it said. */
function isFailure(settlement: Settlement): boolean {
  return (
    settlement.state === 'unknown' ||
    (settlement.state === 'failed' && settlement.problem.code === 'rail-unavailable')
  )
}

const unopened = problem(
  'rail-unavailable',
  'The network that this payment uses cannot be asked just now. Nothing was taken; send it again later.',
)
