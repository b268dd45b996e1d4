import type { Unbound } from '../core/credential.ts'
import type { Offer } from '../core/offer.ts'
import type { Rail } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'

/** The rails of a gate, by name and network. */
export interface Rails {
  readonly all: readonly Rail[]
  find(offer: Offer | Unbound): Rail | undefined
  /** @throws {PaymentError} `misconfigured` when there is none: the books know it, and this gate does not. */
  of(offer: Offer): Rail
}

/**
 * Holds the rails.
 * @throws {RangeError} when two cannot be told apart.
 */
export function createRails(all: readonly Rail[]): Rails {
  const twice = all.find((rail, i) => all.findIndex((other) => same(other, rail)) < i)
  if (twice)
    throw new RangeError(`There are two rails "${twice.name}" on ${twice.network}. Leave one out.`)
  const find: Rails['find'] = (offer) =>
    all.find((rail) => rail.name === offer.rail && rail.network === offer.network)
  return {
    all,
    find,
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

function same(one: Rail, other: Rail): boolean {
  return one.name === other.name && one.network === other.network
}
