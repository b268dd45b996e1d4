import type { Clock } from '../core/ports.ts'

/** Shortest time between two saves. */
const SAVE_MS_MIN = 1_000

/** Saving takes at most one part in so many of the time: a long chain takes long to write. */
const SHARE = 10

/** Saves what was changed, now and then. */
export interface Saver {
  /** Something is new. */
  changed(): void
  stop(): void
}

/** Calls `save` after changes, once at a time. What fails is tried again at the next change. */
export function createSaver(save: () => Promise<void>, clock: Clock): Saver {
  const ending = new AbortController()
  let running = false
  let dirty = false

  const run = async (): Promise<void> => {
    running = true
    let tookMs = 0
    while (dirty) {
      await clock.sleep(Math.max(SAVE_MS_MIN, tookMs * SHARE), ending.signal)
      if (ending.signal.aborted) return
      dirty = false
      const startAt = clock.now()
      await save().catch(() => undefined)
      tookMs = clock.now() - startAt
    }
    running = false
  }
  return {
    changed() {
      dirty = true
      if (!running) void run()
    },
    stop: () => ending.abort(),
  }
}
