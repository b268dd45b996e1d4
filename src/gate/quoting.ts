import type { Credential, Unbound } from '../core/credential.ts'
import { isBound } from '../core/credential.ts'
import type { Offer, Terms } from '../core/offer.ts'
import type { Offers } from '../core/offers.ts'
import type { Ask, Chance, Clock, Rail } from '../core/ports.ts'
import type { Code, Problem } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import {
  CLOCK_SKEW_MS,
  ISSUE_MS,
  ISSUES_PER_MINUTE_MAX,
  LATE_MS,
  OFFER_GRID_MS,
  REDEEM_MS,
} from './limits.ts'
import { boundTo } from './plans.ts'
import type { Rails } from './rails.ts'
import type { House } from './sale.ts'

/** What quoting needs. */
export interface QuotingParts {
  readonly rails: Rails
  readonly offers: Offers
  readonly clock: Clock
  readonly validMs: number
  readonly chance: Chance
  /** Whether answers are kept: then the offers of sales that ask for it are secrets. */
  readonly keeps: boolean
  readonly fault: House['fault']
}

/** Makes offers, and knows its own again. */
export interface Quoting {
  /** A promise only where a rail must be asked for each offer. */
  readonly quote: (ask: Ask, why?: Problem) => readonly Offer[] | Promise<readonly Offer[]>
  /** The offers that the credential may be for: its own, checked, or those that quoting finds again. */
  accept(ask: Ask, credential: Credential): Problem | readonly [Offer, ...Offer[]]
  /** Whether money that moved at that time may have been meant for the offer. */
  wasOpen(offer: Offer, at: number): boolean
  /** Whether the offer's end is so near that a payment for it may still be on its way. */
  isRecent(offer: Offer): boolean
}

interface Quoted {
  readonly rail: Rail
  readonly terms: Terms
}

/** Makes the quoting. */
export function createQuoting(parts: QuotingParts): Quoting {
  const { rails, offers, clock, validMs, chance, keeps, fault } = parts
  const mayIssue = createCap(clock)

  function quoted(ask: Ask): readonly Quoted[] {
    const { rails: named, prices } = ask.sale
    return rails.all
      .filter((rail) => named?.includes(rail.name) ?? true)
      .flatMap((rail) =>
        prices.flatMap((price) => rail.quote(price)).map((terms) => ({ rail, terms })),
      )
  }

  function quote(ask: Ask, why?: Problem): readonly Offer[] | Promise<readonly Offer[]> {
    const all = quoted(ask)
    if (!all.some(isIssued)) return all.map(({ terms }) => bind(ask, terms))
    // Whoever sends garbage costs us no invoice.
    const wanted = why && !fresh.has(why.code) ? all.filter((one) => !isIssued(one)) : all
    return Promise.all(wanted.map((one) => issue(ask, one))).then((made) =>
      made.filter((offer) => offer !== undefined),
    )
  }

  function bind(ask: Ask, terms: Terms, endsAt = end()): Offer {
    return offers.bind(terms, boundTo(ask), endsAt, nonceFor(ask))
  }

  const end = (): number => Math.ceil((clock.now() + validMs) / OFFER_GRID_MS) * OFFER_GRID_MS

  /** A rail that cannot be asked is left out: what others offer still stands. */
  async function issue(ask: Ask, { rail, terms }: Quoted): Promise<Offer | undefined> {
    if (!rail.issue) return bind(ask, terms)
    if (ask.mayIssue?.() === false || !mayIssue()) return undefined
    const endsAt = end()
    try {
      const issued = await inTime(rail.issue(terms, memoOf(ask), endsAt))
      return issued && bind(ask, issued, endsAt)
    } catch (error) {
      fault('issue', error)
      return undefined
    }
  }

  async function inTime(made: Promise<Terms>): Promise<Terms | undefined> {
    const done = new AbortController()
    try {
      return await Promise.race([made, clock.sleep(ISSUE_MS, done.signal).then(() => undefined)])
    } finally {
      done.abort('done')
    }
  }

  /** An answer that is kept, and a token, may be fetched by whoever names its offer: no two payers may have the same. */
  function nonceFor({ sale }: Ask): string | undefined {
    const isSecret = sale.plan !== undefined || (keeps && sale.keep === true)
    return isSecret ? Buffer.from(chance(NONCE_BYTES)).toString('base64url') : undefined
  }

  /** What is paid before it is shown may be shown later than it could be paid. */
  function check(ask: Ask, offer: Offer): Problem | undefined {
    const why = offers.check(offer, boundTo(ask), clock.now())
    const redeemable =
      why?.code === 'offer-expired' &&
      rails.find(offer)?.prepaid === true &&
      clock.now() < offer.expiresAt + REDEEM_MS
    return redeemable ? undefined : why
  }

  const isTaken = (ask: Ask, offer: Offer | Unbound): boolean =>
    rails.find(offer) !== undefined && (ask.sale.rails?.includes(offer.rail) ?? true)

  return {
    quote,
    accept(ask, { offer }) {
      if (!offer || !isTaken(ask, offer)) return unsupported
      if (isBound(offer)) return check(ask, offer) ?? [offer]
      const [first, ...others] = quoted(ask)
        .filter((one) => !isIssued(one))
        .map(({ terms }) => bind(ask, terms))
        .filter((o) => o.rail === offer.rail && o.network === offer.network)
      return first ? [first, ...others] : unsupported
    },
    // Another chain's clock may run behind ours, or before it.
    wasOpen: ({ expiresAt }, at) =>
      at >= expiresAt - validMs - OFFER_GRID_MS - CLOCK_SKEW_MS && at <= expiresAt + CLOCK_SKEW_MS,
    isRecent: ({ expiresAt }) => clock.now() <= expiresAt + LATE_MS,
  }
}

/** Chance in an offer that is a secret. */
const NONCE_BYTES = 12
const MINUTE_MS = 60_000

/** Refusals after which an honest payer wants a new offer. */
const fresh: ReadonlySet<Code> = new Set<Code>([
  'payment-required',
  'offer-expired',
  'proof-expired',
  'payment-spent',
  'settlement-failed',
  'token-exhausted',
])

function isIssued({ rail }: Quoted): boolean {
  return rail.issue !== undefined
}

function memoOf({ sale, resource }: Ask): string {
  return sale.description ?? `${resource.method} ${resource.authority}${resource.path}`
}

/** Counts what costs us something at another's house. */
function createCap(clock: Clock): () => boolean {
  let since = -Infinity
  let count = 0
  return () => {
    const now = clock.now()
    if (now >= since + MINUTE_MS || now < since) [since, count] = [now, 0]
    count++
    return count <= ISSUES_PER_MINUTE_MAX
  }
}

const unsupported = problem(
  'credential-unsupported',
  'This service does not take payments of this kind here. Pay one of the offers given.',
)
