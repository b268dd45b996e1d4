import { systemClock } from '../core/clock.ts'
import type { Event, Observe } from '../core/event.ts'
import type { JsonObject } from '../core/json.ts'
import { writeMoney } from '../core/money.ts'
import type { Clock } from '../core/ports.ts'

/** Events that are kept for whoever comes back after a short while. */
export const RING_MAX = 1_000
/** Most listeners at once. */
export const LISTENERS_MAX = 64

/** One event, with a number that grows by one. */
export interface Told {
  readonly number: number
  readonly event: Event
}

/** What happens now, for several listeners: goes into the seller as `observe`. */
export interface Hub {
  readonly observe: Observe
  /** Names this hub among those that were there before a restart. */
  readonly epoch: number
  /** The number of the last event. */
  last(): number
  /** What came after that number, as far as it is still there, and how many are not. */
  since(number: number): { readonly told: readonly Told[]; readonly missed: number }
  /** Told of each event from now on, at once, until the answer is called; undefined when there are too many. */
  listen(hear: (told: Told) => void): (() => void) | undefined
  /** Requests that were asked to pay, and that were refused, since the start: too many to be told one by one. */
  counts(): { readonly challenged: number; readonly refused: number }
}

/** Makes a hub. It never waits: what nobody hears in time is dropped, and whoever missed it is told how much. */
export function createHub(settings: { readonly clock?: Clock } = {}): Hub {
  const { clock = systemClock } = settings
  const epoch = clock.now()
  const ring: Told[] = []
  const listeners = new Set<(told: Told) => void>()
  const counts = { challenged: 0, refused: 0 }
  let last = 0

  function tell(event: Event): void {
    const told: Told = { number: ++last, event }
    // Written in a circle, so that a full ring costs no more than an empty one.
    ring[(told.number - 1) % RING_MAX] = told
    for (const hear of listeners) hear(told)
  }

  return {
    epoch,
    observe(event) {
      // Strangers make these as often as they like: they would push everything else out.
      if (event.type === 'challenged' || event.type === 'refused') counts[event.type]++
      else tell(event)
    },
    last: () => last,
    since(number) {
      const first = Math.max(number, last - RING_MAX)
      const told = Array.from({ length: last - first }, (_, i) => ring[(first + i) % RING_MAX])
      return { told: told.filter((one) => one !== undefined), missed: first - number }
    },
    listen(hear) {
      if (listeners.size >= LISTENERS_MAX) return undefined
      listeners.add(hear)
      return () => void listeners.delete(hear)
    },
    counts: () => ({ ...counts }),
  }
}

/** What an event says, as JSON. Of a fault only where it was: an inner error is nobody's business but the log's. */
export function eventJson({ number, event }: Told): JsonObject {
  const { type, at } = event
  const said = { number, type, at, ...(event.request !== undefined && { request: event.request }) }
  if (event.type === 'fault') return { ...said, where: event.where }
  return {
    ...said,
    ...texts(event, 'key', 'payer', 'account', 'rail', 'network', 'reference', 'of', 'code'),
    ...('amount' in event && { amount: writeMoney(event.amount) }),
  }
}

function texts(event: Event, ...names: readonly string[]): JsonObject {
  const said: Readonly<Record<string, unknown>> = { ...event }
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = said[name]
      return typeof value === 'string' ? [[name, value] as const] : []
    }),
  )
}
