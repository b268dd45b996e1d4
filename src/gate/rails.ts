import { systemClock } from '../core/clock.ts'
import type { Unbound } from '../core/credential.ts'
import type { Offer } from '../core/offer.ts'
import type { Rail } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { CircuitParts } from './circuit.ts'
import { createCircuit } from './circuit.ts'

/** The rails of a gate, by name and network. */
export interface Rails {
  readonly all: readonly Rail[]
  find(offer: Offer | Unbound): Rail | undefined
  /** @throws {PaymentError} `misconfigured` when there is none: the books know it, and this gate does not. */
  of(offer: Offer): Rail
  /** Whether it is offered: it has not failed too often. Whoever has paid over it is served all the same. */
  isUp(rail: Rail): boolean
  /** Looks at those that are not offered. Never rejects. */
  look(): Promise<void>
  /**
   * Opens all of them. One whose world cannot be asked is left out until it can be, where there is another.
   * @throws {PaymentError} when one does not agree with its network, or none can be asked.
   */
  open(): Promise<void>
}

/** What the rails tell and are timed by. */
export interface RailsParts extends CircuitParts {
  fault(where: string, error: unknown): void
}

/**
 * Holds the rails.
 * @throws {RangeError} when two cannot be told apart.
 */
export function createRails(
  given: readonly Rail[],
  { clock = systemClock, observe = ignore, fault = ignore }: Partial<RailsParts> = {},
): Rails {
  const twice = given.find((rail, i) => given.findIndex((other) => same(other, rail)) < i)
  if (twice)
    throw new RangeError(`There are two rails "${twice.name}" on ${twice.network}. Leave one out.`)
  const circuits = new Map(
    given.map((one) => {
      const circuit = createCircuit(one, { clock, observe })
      return [circuit.rail, circuit] as const
    }),
  )
  const all = [...circuits.keys()]
  const find: Rails['find'] = (offer) =>
    all.find((rail) => rail.name === offer.rail && rail.network === offer.network)
  return {
    all,
    find,
    isUp: (rail) => circuits.get(rail)?.isUp() ?? true,
    async look() {
      await Promise.all([...circuits.values()].map((circuit) => circuit.look()))
    },
    async open() {
      const opened = await Promise.allSettled([...circuits.values()].map((one) => one.open()))
      const faults = opened.flatMap((one) =>
        one.status === 'rejected' ? [one.reason as unknown] : [],
      )
      const wrong = faults.find((why) => !isAway(why))
      if (wrong !== undefined) throw wrong
      if (faults.length > 0 && faults.length === all.length) throw faults[0]
      for (const why of faults) fault('open', why)
    },
    of(offer) {
      const rail = find(offer)
      if (rail) return rail
      throw new PaymentError(
        'misconfigured',
        `There is no rail "${offer.rail}" on ${offer.network}.`,
      )
    },
  }
}

const ignore = (): void => undefined

function isAway(fault: unknown): boolean {
  return fault instanceof PaymentError && fault.code === 'rail-unavailable'
}

function same(one: Rail, other: Rail): boolean {
  return one.name === other.name && one.network === other.network
}
