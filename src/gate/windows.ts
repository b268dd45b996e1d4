import type { Limit, Rate } from '../core/rights.ts'
import { WINDOWS_MAX } from './limits.ts'

/** Counts requests in sliding windows, for this process. */
export interface Windows {
  /** Counts one request under every limit, or under none; then when to come back, in milliseconds from now. */
  take(limits: readonly Limit<Rate>[], now: number): number | undefined
}

/** Parts of a window. A request is counted for a part longer than its window at most: never too many, rarely one too few. */
const PARTS = 32

interface Counted {
  readonly key: string
  readonly most: Rate
  readonly window: Window
}

interface Window {
  /** Number of the newest part. */
  part: number
  /** What each part counted; the newest at `part % PARTS`. */
  readonly counts: number[]
  total: number
}

/** Makes the counter. Where there are too many scopes, those in which nothing was counted for longest are forgotten. */
export function createWindows(): Windows {
  const known = new Map<string, Window>()

  function at({ scope, most }: Limit<Rate>, now: number): Counted {
    const key = `${scope} ${most.count} ${most.windowMs}`
    const part = Math.floor((now * (PARTS - 1)) / most.windowMs)
    const window = known.get(key) ?? { part, counts: [], total: 0 }
    turn(window, part)
    return { key, most, window }
  }

  function count({ key, window }: Counted): void {
    const i = window.part % PARTS
    window.counts[i] = (window.counts[i] ?? 0) + 1
    window.total++
    // Out and in again: the first is the one in which nothing was counted for longest.
    known.delete(key)
    known.set(key, window)
  }

  /** Many at once, since a map walks over all holes in its beginning to find its first key. */
  function forget(): void {
    const keep = WINDOWS_MAX - WINDOWS_MAX / PARTS
    for (const key of known.keys()) {
      if (known.size <= keep) return
      known.delete(key)
    }
  }

  return {
    take(limits, now) {
      const all = limits.map((limit) => at(limit, now))
      const full = all.filter(({ most, window }) => window.total >= most.count)
      // Who is not let in makes nobody be forgotten: holders of tokens make as many scopes as they like.
      if (full.length > 0) return Math.max(...full.map((one) => fullForMs(one, now)))
      for (const one of all) count(one)
      if (known.size > WINDOWS_MAX) forget()
      return undefined
    },
  }
}

/** Until so many have dropped out that there is room for one. */
function fullForMs({ most, window }: Counted, now: number): number {
  let part = window.part - PARTS
  for (let left = window.total; left >= most.count && part < window.part;) {
    part++
    left -= window.counts[part % PARTS] ?? 0
  }
  return Math.ceil(((part + PARTS) * most.windowMs) / (PARTS - 1)) - now
}

/** Drops what is older than a window. A clock that jumps back counts in the newest part. */
function turn(window: Window, part: number): void {
  if (part <= window.part) return
  for (let p = part - Math.min(part - window.part, PARTS) + 1; p <= part; p++) {
    window.total -= window.counts[p % PARTS] ?? 0
    window.counts[p % PARTS] = 0
  }
  window.part = part
}
