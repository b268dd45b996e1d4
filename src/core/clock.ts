import { setTimeout as after } from 'node:timers/promises'
import type { Clock } from './ports.ts'

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  async sleep(ms, signal) {
    // An early wake is not an error.
    await after(ms, undefined, signal && { signal }).catch(() => undefined)
  },
}
