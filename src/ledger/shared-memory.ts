import { systemClock } from '../core/clock.ts'
import type { Clock, Counter, Seen } from '../core/ports.ts'

/** What processes share beside the books: what was shown once, and how much was counted. */
export interface Shared {
  readonly seen: Seen
  readonly counter: Counter
  readonly close: () => Promise<void>
}

/** The same under names of its own, so that several sellers may share one server and count apart. */
export function scoped({ seen, counter, close }: Shared, scope: string): Shared {
  return {
    seen: { claim: (name, untilAt) => seen.claim(`${scope}/${name}`, untilAt) },
    counter: {
      add: (counted) =>
        counter.add(counted.map((one) => ({ ...one, name: `${scope}/${one.name}` }))),
    },
    close,
  }
}

/** The model of what is shared, for tests and for several doors of one process. It forgets nothing before its time. */
export function sharedMemory({ clock = systemClock }: { readonly clock?: Clock } = {}): Shared {
  const until = new Map<string, number>()
  const counts = new Map<string, { readonly at: number; readonly missing: number }>()
  return {
    seen: {
      claim(name, untilAt) {
        const now = clock.now()
        for (const [old, end] of until) if (end <= now) until.delete(old)
        const isNew = !until.has(name)
        if (isNew) until.set(name, untilAt)
        return Promise.resolve(isNew)
      },
    },
    counter: {
      add(counted) {
        const now = clock.now()
        const told = counted.map(({ name, by, perMs, most }) => {
          const { at = now, missing: before = 0 } = counts.get(name) ?? {}
          const rest = Math.max(0, before - Math.max(0, now - at) * perMs)
          const missing = Math.min(Math.max(0, rest + by), Math.max(most, rest))
          counts.set(name, { at: now, missing })
          return missing
        })
        return Promise.resolve(told)
      },
    },
    close: () => Promise.resolve(),
  }
}
