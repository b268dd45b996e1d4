import type { RequestMeter } from '../adapters/meter.ts'
import { writePrice } from '../core/money.ts'
import type { Clock } from '../core/ports.ts'
import type { Counter } from '../meters/meters.ts'

const SECOND_MS = 1_000

/** One answer on its way through the gateway, counted as it passes. All of it false once it is not covered any more. */
export interface Metered {
  /** Before the head: what the answer costs whatever is in it. */
  begin(): Promise<boolean>
  /** Before a piece of the body. */
  chunk(bytes: Uint8Array): Promise<boolean>
  /** At the end of the body, before it is told: what the answer itself says that it cost. */
  end(): Promise<void>
  /** No more seconds. To be called whenever it is over. */
  stop(): void
}

/**
 * Counts an answer on the meter of its request. `onSpent` is told when a second is not covered, between two pieces.
 */
export function meterAnswer(
  meter: RequestMeter,
  counter: Counter,
  clock: Clock,
  onSpent: () => void,
): Metered {
  const over = new AbortController()
  const { what, second } = counter

  async function tick(price: string): Promise<void> {
    for (;;) {
      await clock.sleep(SECOND_MS, over.signal)
      if (over.signal.aborted) return
      if (!(await meter.take(price, what))) return onSpent()
    }
  }

  return {
    async begin() {
      const price = counter.begin()
      if (price.amount > 0n && !(await meter.take(writePrice(price), what))) return false
      if (second) void tick(writePrice(second)).catch(onSpent)
      return true
    },
    async chunk(bytes) {
      const price = counter.chunk(bytes)
      return price.amount === 0n || (await meter.take(writePrice(price), what))
    },
    async end() {
      const total = counter.total()
      if (total) await meter.correct(writePrice(total))
    },
    stop: () => over.abort(),
  }
}
