// What goes wrong by chance: one in so many of everything, until it is called off.
import { PaymentError } from '../../src/core/problem.ts'
import type { Dice } from '../../src/testing/faults.ts'

/** Bad luck from a seed, counted by its name. */
export interface Weather {
  readonly dice: Dice
  /** Whether this one goes wrong. */
  strikes(): boolean
  /** Picks one of the names, and counts it. */
  pick<T extends string>(kinds: readonly T[]): T
  /** From now on nothing goes wrong. */
  calm(): void
  readonly counts: Readonly<Record<string, number>>
}

/** Makes weather in which that share of everything fails. */
export function createWeather(dice: Dice, share: number): Weather {
  const counts: Record<string, number> = {}
  let bad = true
  return {
    dice,
    counts,
    strikes: () => bad && dice.happens(share),
    pick(kinds) {
      const kind = dice.pick(kinds)
      counts[kind] = (counts[kind] ?? 0) + 1
      return kind
    },
    calm: () => void (bad = false),
  }
}

/** The same store, of which some calls fail: not made at all, or made and the answer lost. */
export function unreliable<T extends object>(
  store: T,
  weather: Weather,
  sure: readonly string[],
  told: (verb: string, args: readonly unknown[]) => void = () => undefined,
): T {
  const fail = (verb: string): never => {
    throw new PaymentError('store-unavailable', `The store failed at ${verb}.`, { retryable: true })
  }
  return new Proxy(store, {
    get(target, verb) {
      const value: unknown = Reflect.get(target, verb)
      if (typeof value !== 'function' || typeof verb !== 'string' || sure.includes(verb))
        return value
      return async (...args: readonly unknown[]) => {
        const work = async (): Promise<unknown> => await Reflect.apply(value, target, args)
        if (!weather.strikes()) return await work()
        told(verb, args)
        if (weather.pick(['store not reached', 'store answer lost']) === 'store not reached')
          fail(verb)
        await work()
        return fail(verb)
      }
    },
  })
}
