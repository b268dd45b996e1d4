import type { Clock } from './ports.ts'

/** Most callers that are counted apart. Those beyond share one count. */
export const CALLERS_MAX = 10_000
const MINUTE_MS = 60_000

/** Whether one more is within what each caller, and all together, may have in a minute; it is counted then. */
export type Cap = (caller: string | undefined) => boolean

/** Counts by the minute, in this process. */
export function createCap(clock: Pick<Clock, 'now'>, eachMax: number, allMax: number): Cap {
  let since = -Infinity
  let all = 0
  const counts = new Map<string, number>()
  return (caller = '') => {
    const now = clock.now()
    if (now >= since + MINUTE_MS || now < since) {
      since = now
      all = 0
      counts.clear()
    }
    const name = counts.has(caller) || counts.size < CALLERS_MAX ? caller : ''
    const count = (counts.get(name) ?? 0) + 1
    if (count > eachMax || all >= allMax) return false
    counts.set(name, count)
    all++
    return true
  }
}
