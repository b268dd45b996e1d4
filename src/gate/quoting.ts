import type { Credential } from '../core/credential.ts'
import { isBound } from '../core/credential.ts'
import type { Offer } from '../core/offer.ts'
import type { Offers } from '../core/offers.ts'
import type { Ask, Chance, Clock } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import { CLOCK_SKEW_MS, LATE_MS, OFFER_GRID_MS } from './limits.ts'
import type { Rails } from './rails.ts'

/** Chance in an offer that is a secret. */
const NONCE_BYTES = 12

/** What quoting needs. */
export interface QuotingParts {
  readonly rails: Rails
  readonly offers: Offers
  readonly clock: Clock
  readonly validMs: number
  /** Absent where nothing is kept: then no offer needs to be a secret. */
  readonly chance: Chance | undefined
}

/** Makes offers, and knows its own again. */
export interface Quoting {
  quote(ask: Ask): readonly Offer[]
  /** The offers that the credential may be for: its own, checked, or those that quoting finds again. */
  accept(ask: Ask, credential: Credential): Problem | readonly [Offer, ...Offer[]]
  /** Whether money that moved at that time may have been meant for the offer. */
  wasOpen(offer: Offer, at: number): boolean
  /** Whether the offer's end is so near that a payment for it may still be on its way. */
  isRecent(offer: Offer): boolean
}

/** Makes the quoting. */
export function createQuoting({ rails, offers, clock, validMs, chance }: QuotingParts): Quoting {
  function quote(ask: Ask): readonly Offer[] {
    const { rails: named, price } = ask.sale
    const end = Math.ceil((clock.now() + validMs) / OFFER_GRID_MS) * OFFER_GRID_MS
    return rails.all
      .filter((rail) => named?.includes(rail.name) ?? true)
      .flatMap((rail) => rail.quote(price))
      .map((terms) => offers.bind(terms, ask.resource, end, nonceFor(ask)))
  }

  /** An answer that is kept may be fetched by whoever names its offer, so that no two payers may have the same. */
  function nonceFor({ sale }: Ask): string | undefined {
    return chance && sale.keep ? Buffer.from(chance(NONCE_BYTES)).toString('base64url') : undefined
  }

  return {
    quote,
    accept(ask, { offer }) {
      if (!offer) return unsupported
      const taken = rails.find(offer) && (ask.sale.rails?.includes(offer.rail) ?? true)
      if (!taken) return unsupported
      if (isBound(offer)) return offers.check(offer, ask.resource, clock.now()) ?? [offer]
      const [first, ...others] = quote(ask).filter(
        (o) => o.rail === offer.rail && o.network === offer.network,
      )
      return first ? [first, ...others] : unsupported
    },
    // Another chain's clock may run behind ours, or before it.
    wasOpen: ({ expiresAt }, at) =>
      at >= expiresAt - validMs - OFFER_GRID_MS - CLOCK_SKEW_MS && at <= expiresAt + CLOCK_SKEW_MS,
    isRecent: ({ expiresAt }) => clock.now() <= expiresAt + LATE_MS,
  }
}

const unsupported = problem(
  'credential-unsupported',
  'This service does not take payments of this kind here. Pay one of the offers given.',
)
