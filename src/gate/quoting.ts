import type { Credential } from '../core/credential.ts'
import { isBound } from '../core/credential.ts'
import type { Price } from '../core/money.ts'
import type { Offer, Terms } from '../core/offer.ts'
import type { Offers, QuotedRate } from '../core/offers.ts'
import { rateOf } from '../core/offers.ts'
import type { Ask, Chance, Clock, Rail, Rates, Unit } from '../core/ports.ts'
import type { Code, Problem } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import type { Converted } from './exchange.ts'
import { createExchange, unitsBy } from './exchange.ts'
import {
  CLOCK_SKEW_MS,
  ISSUES_PER_MINUTE_MAX,
  LATE_MS,
  OFFER_GRID_MS,
  REDEEM_MS,
} from './limits.ts'
import { boundTo, isSession } from './plans.ts'
import type { Rails } from './rails.ts'
import type { House } from './sale.ts'

/** What quoting needs. */
export interface QuotingParts {
  readonly rails: Rails
  readonly offers: Offers
  readonly clock: Clock
  readonly validMs: number
  /** When the books were restored from a backup: what was offered or paid before that may have been served already. */
  readonly restoredAt?: number | undefined
  readonly chance: Chance
  /** Whether every offer is one of its kind, and not only those that are secrets. */
  readonly distinct?: boolean | undefined
  /** Whether answers are kept: then the offers of sales that ask for it are secrets. */
  readonly keeps: boolean
  readonly fault: House['fault']
  /** Most offers that rails complete in a minute; {@link ISSUES_PER_MINUTE_MAX} if absent. */
  readonly issuesPerMinuteMax?: number | undefined
  /** Without them a rail takes the prices that are in its own currency, and no other. */
  readonly rates?: Rates
}

/** Makes offers, and knows its own again. */
export interface Quoting {
  /** A promise only where a rail must be asked for each offer. */
  readonly quote: (ask: Ask, why?: Problem) => readonly Offer[] | Promise<readonly Offer[]>
  /** The offers that the credential may be for: its own, checked, or those that quoting finds again. */
  accept(ask: Ask, credential: Credential): Problem | readonly [Offer, ...Offer[]]
  /** Whether the sale asks just now for what the offer asks for: its price may be another from request to request. */
  asks(ask: Ask, offer: Offer): boolean
  /** Whether money that moved at that time may have been meant for the offer. */
  wasOpen(offer: Offer, at: number): boolean
  /** Whether the offer's end is so near that a payment for it may still be on its way. */
  isRecent(offer: Offer): boolean
}

interface Quoted {
  readonly rail: Rail
  readonly terms: Terms
  /** By which the price became the amount. */
  readonly rate?: QuotedRate
}

type Convert = (prices: readonly Price[], unit: Unit) => readonly Converted[]

/** Makes the quoting. */
export function createQuoting(parts: QuotingParts): Quoting {
  const { rails, offers, clock, validMs, chance, keeps, distinct = false } = parts
  const { fault, restoredAt = -Infinity } = parts
  const mayIssue = createCap(clock, parts.issuesPerMinuteMax ?? ISSUES_PER_MINUTE_MAX)
  const exchange = parts.rates && createExchange({ ...parts, rates: parts.rates })

  /** What rails ask for: in their own currency as the price says, in others by the rates that `convert` gives. */
  function quoted(ask: Ask, convert?: Convert, among = rails.all): readonly Quoted[] {
    const { rails: named, prices } = ask.sale
    const hasSessions = isSession(ask.sale) && ask.into === undefined
    return among
      .filter((rail) => named?.includes(rail.name) ?? true)
      .filter((rail) => hasSessions || !rail.vouchers)
      .flatMap((rail) => {
        const own = prices.flatMap((price) => rail.quote(price)).map((terms) => ({ rail, terms }))
        return convert ? [...own, ...converted(rail, prices, own, convert)] : own
      })
  }

  /** What is rated is what no price is said for. A price that is finer than the asset is not payable, and no rate makes it so. */
  function converted(
    rail: Rail,
    prices: readonly Price[],
    own: readonly Quoted[],
    convert: Convert,
  ): readonly Quoted[] {
    const lacking = (rail.units ?? []).filter(
      ({ asset, currency }) =>
        !own.some(({ terms }) => terms.amount.asset.id === asset) &&
        !prices.some((price) => price.currency === currency),
    )
    return lacking.flatMap((unit) =>
      convert(prices, unit).flatMap(({ price, rate }) =>
        rail
          .quote(price)
          .filter((terms) => terms.amount.asset.id === unit.asset)
          .map((terms) => ({ rail, terms, rate })),
      ),
    )
  }

  function quote(ask: Ask, why?: Problem): readonly Offer[] | Promise<readonly Offer[]> {
    let isLacking = false
    const convert: Convert | undefined =
      exchange &&
      ((prices, unit) => {
        const found = exchange.convert(prices, unit)
        isLacking ||= !found
        return found ? [found] : []
      })
    const up = rails.all.filter((rail) => rails.isUp(rail))
    const all = quoted(ask, convert, up)
    // Nobody has answered yet what it costs, or no rail answers that could take it.
    isLacking ||= up.length < rails.all.length
    if (all.length === 0 && isLacking) return Promise.resolve([])
    if (!all.some(isIssued)) return all.map((one) => bind(ask, one))
    // Whoever sends garbage costs us no invoice.
    const wanted = why && !fresh.has(why.code) ? all.filter((one) => !isIssued(one)) : all
    return Promise.all(wanted.map((one) => issue(ask, one))).then((made) =>
      made.filter((offer) => offer !== undefined),
    )
  }

  function bind(ask: Ask, { terms, rate }: Omit<Quoted, 'rail'>, endsAt = end()): Offer {
    return offers.bind(terms, boundTo(ask), endsAt, nonceFor(ask), rate)
  }

  /** At the earliest. */
  const madeAt = ({ expiresAt }: Offer): number => expiresAt - validMs - OFFER_GRID_MS

  const end = (): number => Math.ceil((clock.now() + validMs) / OFFER_GRID_MS) * OFFER_GRID_MS

  /** A rail that cannot be asked is left out: what others offer still stands. */
  async function issue(ask: Ask, one: Quoted): Promise<Offer | undefined> {
    const { rail, terms } = one
    if (!rail.issue) return bind(ask, one)
    if (ask.mayIssue?.() === false || !mayIssue()) return undefined
    const endsAt = end()
    try {
      const issued = await rail.issue(terms, memoOf(ask), endsAt)
      return bind(ask, { ...one, terms: issued }, endsAt)
    } catch (error) {
      fault('issue', error)
      return undefined
    }
  }

  /** An answer that is kept, and a token, may be fetched by whoever names its offer: no two payers may have the same. */
  function nonceFor({ sale }: Ask): string | undefined {
    const isSecret = sale.plan !== undefined || (keeps && sale.keep === true)
    return isSecret || distinct ? Buffer.from(chance(NONCE_BYTES)).toString('base64url') : undefined
  }

  /** What is paid before it is shown may be shown later than it could be paid. */
  function check(ask: Ask, offer: Offer): Problem | undefined {
    const why = offers.check(offer, boundTo(ask), clock.now())
    if (madeAt(offer) < restoredAt && why?.code !== 'offer-foreign') return forgotten
    const redeemable =
      why?.code === 'offer-expired' &&
      rails.find(offer)?.prepaid === true &&
      clock.now() < offer.expiresAt + REDEEM_MS
    return redeemable ? undefined : why
  }

  function isTaken({ sale, into }: Ask, { offer, session }: Credential): boolean {
    const rail = offer && rails.find(offer)
    if (!rail || !offer || !(sale.rails?.includes(offer.rail) ?? true)) return false
    // A deposit is into the channel that its session names, or into nothing.
    return !rail.vouchers || (isSession(sale) && session !== undefined && into === undefined)
  }

  return {
    quote,
    accept(ask, credential) {
      const { offer } = credential
      if (!offer || !isTaken(ask, credential)) return unsupported
      if (isBound(offer)) return check(ask, offer) ?? [offer]
      const [first, ...others] = quoted(ask, exchange?.recent)
        .filter((one) => !isIssued(one))
        .map((one) => bind(ask, one))
        .filter((o) => o.rail === offer.rail && o.network === offer.network)
      return first ? [first, ...others] : unsupported
    },
    asks({ sale: { prices } }, offer) {
      const { asset, amount } = offer.amount
      const rate = rateOf(offer)
      const rated = prices.find(({ currency }) => currency === rate?.currency)
      if (!rate || !rated)
        return prices
          .flatMap((price) => rails.of(offer).quote(price))
          .some((terms) => terms.amount.asset.id === asset.id && terms.amount.amount === amount)
      // What was rounded up twice: to the unit that the rail counts in, and the rate itself.
      const { scale = asset.scale } =
        rails.of(offer).units?.find((unit) => unit.asset === asset.id) ?? {}
      const step = 10n ** BigInt(asset.scale - scale)
      const least = unitsBy(rated, rate, asset.scale)
      return amount >= least - step && amount <= least + 2n * step
    },
    // Another chain's clock may run behind ours, or before it.
    wasOpen: ({ expiresAt }, at) =>
      at >= restoredAt &&
      at >= expiresAt - validMs - OFFER_GRID_MS - CLOCK_SKEW_MS &&
      at <= expiresAt + CLOCK_SKEW_MS,
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
function createCap(clock: Clock, most: number): () => boolean {
  let since = -Infinity
  let count = 0
  return () => {
    const now = clock.now()
    if (now >= since + MINUTE_MS || now < since) [since, count] = [now, 0]
    count++
    return count <= most
  }
}

/** Why an offer of ours is not taken any more, for the gate: what is in the books holds. */
export const RESTORED = 'restored'

const forgotten = problem(
  'offer-foreign',
  'The offer was made before this service was restored from a backup, and a payment for it is not in its books. Ask the operator about that payment; for a new one take an offer given here.',
  { reason: RESTORED },
)
const unsupported = problem(
  'credential-unsupported',
  'This service does not take payments of this kind here. Pay one of the offers given.',
)
