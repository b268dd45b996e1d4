import type { Clock } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import type { Hex } from './hex.ts'
import { barred, overBudget } from './problems.ts'

/** How many settlements of one payer may cost us gas for nothing within the time, and for how long it is barred then. */
export const FAILURES_MAX = 3
export const FAILURES_WINDOW_MS = 600_000
/** Most payers whose failures are remembered. The one that failed longest ago is forgotten first. */
const PAYERS_MAX = 10_000
/** The time that a gas budget is for. */
export const GAS_WINDOW_MS = 3_600_000

/** What may be lost to others: failures of one payer, and gas in all. */
export interface Budget {
  /** Why nothing is taken from this payer now. */
  refuses(payer: Hex): Problem | undefined
  /** A settlement of this payer cost gas and moved nothing. */
  failed(payer: Hex): void
  /** So many wei were paid for gas. */
  spent(wei: bigint): void
}

interface Failures {
  readonly count: number
  readonly sinceAt: number
}

/** Makes the budgets. `exceeded` is told once in each window whose gas is spent. */
export function createBudget(
  clock: Clock,
  gasMaxWei: bigint | undefined,
  exceeded: () => void,
): Budget {
  const payers = new Map<Hex, Failures>()
  let gas = 0n
  let windowAt = 0

  const over = (): boolean => gasMaxWei !== undefined && gas >= gasMaxWei

  const roll = (now: number): void => {
    if (now - windowAt < GAS_WINDOW_MS) return
    windowAt = now
    gas = 0n
  }

  const failuresOf = (payer: Hex, now: number): Failures => {
    const found = payers.get(payer)
    return found && now - found.sinceAt < FAILURES_WINDOW_MS ? found : { count: 0, sinceAt: now }
  }

  return {
    refuses(payer) {
      const now = clock.now()
      roll(now)
      if (over()) return overBudget(windowAt + GAS_WINDOW_MS - now)
      const { count, sinceAt } = failuresOf(payer, now)
      return count >= FAILURES_MAX ? barred(sinceAt + FAILURES_WINDOW_MS - now) : undefined
    },
    failed(payer) {
      const { count, sinceAt } = failuresOf(payer, clock.now())
      // Out and in again: the order of the map is the order of failing.
      payers.delete(payer)
      payers.set(payer, { count: count + 1, sinceAt })
      const [oldest] = payers.keys()
      if (payers.size > PAYERS_MAX && oldest) payers.delete(oldest)
    },
    spent(wei) {
      roll(clock.now())
      const before = over()
      gas += wei
      if (over() && !before) exceeded()
    },
  }
}
