import { systemClock } from '../core/clock.ts'
import type { Clock, Rates } from '../core/ports.ts'
import { readFraction } from './decimal.ts'
import type { Known } from './pair.ts'
import { checkPair, checkSource, rateBy } from './pair.ts'

/** How rates that are given are called. */
export interface FixedOptions {
  /** As the books name it; `fixed` if absent. */
  readonly source?: string
  /** From when on they are not used any more, in milliseconds since 1970. Without an end they hold as long as the process runs. */
  readonly untilAt?: number
  readonly clock?: Pick<Clock, 'now'>
}

/**
 * Rates as they were given: by agreement, or for currencies that are pegged.
 *
 * @example
 * fixedRates({ 'EUR/USD': '1.08' }) // one euro is 1.08 dollars
 *
 * @throws {RangeError} with a sentence, for what is no pair or no rate.
 */
export function fixedRates(
  pairs: Readonly<Record<string, string>>,
  options: FixedOptions = {},
): Rates {
  const { source = 'fixed', untilAt = Infinity, clock = systemClock } = options
  checkSource(source)
  const at = clock.now()
  const names = Object.keys(pairs)
  const known = new Map<string, Known>()
  for (const [pair, said] of Object.entries(pairs)) {
    checkPair(pair, names)
    const fraction = typeof said === 'string' ? readFraction(said) : undefined
    if (!fraction)
      throw new RangeError(`The rate of "${pair}" is no number above zero. Write it like "1.08".`)
    known.set(pair, { ...fraction, source, at, untilAt })
  }
  return {
    rate(from, to) {
      return clock.now() < untilAt ? rateBy(from, to, (pair) => known.get(pair)) : undefined
    },
  }
}

/** Asks several in turn: what the first does not know, the next may. */
export function eachOf(...all: readonly Rates[]): Rates {
  return {
    rate(from, to) {
      for (const one of all) {
        const rate = one.rate(from, to)
        if (rate) return rate
      }
      return undefined
    },
    async open() {
      await Promise.all(all.map(async (one) => await one.open?.()))
    },
    async close() {
      await Promise.all(all.map(async (one) => await one.close?.()))
    },
  }
}
