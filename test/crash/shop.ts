// A seller that is started again whenever it dies.
import type { Start } from './messages.ts'
import type { Child, End, Pool } from './pool.ts'
import type { Point } from './ports.ts'

/** How far the clock of the process after is ahead of the one before: all leases of the dead are over. */
const AHEAD_MS = 60_000
export interface Shop {
  /** Its port now; waits while it is being started. */
  readonly door: () => Promise<number>
  readonly deaths: number
  /** Resolves at its first death; never, if it has none. */
  readonly died: Promise<void>
  /** Ends it in order; if that kills it, it is started and ended once more. */
  stop(): Promise<void>
}

interface Life<T> {
  readonly child: Child<T>
  readonly port: Promise<number | undefined>
}

/**
 * Opens the shop. Its first process dies at the first point, the one after it at the second, and so on; after the last
 * nobody dies any more. Each begins when the leases of the dead are over, by its clock, or `soon`.
 */
export function openShop<T extends Start>(
  pool: Pool<T>,
  start: T,
  points: readonly Point[] = [],
  soon = false,
): Shop {
  const died = Promise.withResolvers<void>()
  let deaths = 0
  let stopping = false
  let failure: Error | undefined
  let life = live()
  const over = follow()

  async function live(): Promise<Life<T>> {
    const child = await pool.take()
    const aheadMs = start.aheadMs + (soon ? 0 : deaths * AHEAD_MS)
    child.begin({ ...start, point: points[deaths], life: start.life + deaths, aheadMs })
    const port = child.said.then((said) =>
      typeof said === 'object' && 'port' in said ? said.port : undefined,
    )
    return { child, port }
  }

  async function follow(): Promise<void> {
    for (;;) {
      const end = await (await life).child.end
      if (!end.killed || deaths >= points.length) {
        if (end.code !== 0) failure = new Error(`The shop failed: ${sentenceOf(end)}`)
        return
      }
      deaths++
      life = live()
      died.resolve()
      if (stopping) void stopLife()
    }
  }

  async function stopLife(): Promise<void> {
    const { child, port } = await life
    await port
    child.stop()
  }

  over.catch((error: unknown) => {
    failure = error as Error
  })
  return {
    async door() {
      for (;;) {
        const now = life
        const port = await (await now).port
        if (port !== undefined && now === life) return port
        // It died: wait for the next, or for the end.
        await Promise.race([(await now).child.end.then(() => new Promise(setImmediate)), over])
        if (failure) throw failure
      }
    },
    died: died.promise,
    get deaths() {
      return deaths
    },
    async stop() {
      stopping = true
      void stopLife()
      await over
      if (failure) throw failure
    },
  }
}

function sentenceOf({ killed, code, stderr }: End): string {
  return killed ? 'killed once more' : `code ${code} ${stderr}`
}
