import type { Money, Price } from '../core/money.ts'
import { readPrice, rescale, writeMoney, writePrice } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import { VALIDITY_MS_MAX } from './limits.ts'

/** An amount such as `0.05 USD`, or one for each currency. */
type Limit = string | readonly string[]

/**
 * What may be paid without asking. One limit for a single payment and one that adds payments up must be there, in the
 * same currency. A currency limits every asset that stands for it; an asset without a currency needs limits in its code.
 * Bitcoin is limited in `SAT`, `MSAT` or `BTC`, which are one currency. What paying may cost beside the amount, for instance
 * the route of a Lightning payment, counts in every limit.
 */
export interface Policy {
  /** The most that one request may cost. */
  readonly perRequest: Limit
  /** The most that one host (`api.example`, `api.example:8443`) may ever get. */
  readonly perHost?: Limit
  /** The most that may be spent on one calendar day in UTC. */
  readonly perDay?: Limit
  /** The most that may ever be spent. */
  readonly total?: Limit
  /** Networks that may be used, for instance `eip155:8453`; all if absent. */
  readonly networks?: readonly string[]
  /** Ids or codes of assets that may be paid with; all if absent. */
  readonly assets?: readonly string[]
  /** Who may be paid; everybody if absent. */
  readonly payees?: readonly string[]
  /** Hosts that may be paid, also at the end of a redirect from elsewhere; if absent, the host that was called. */
  readonly hosts?: readonly string[]
  /** How long a payment may stay payable at most. */
  readonly validityMaxMs?: number
  /** Asks the wallet after each purchase whether the money really moved, which costs a look outside. */
  readonly checkReceipts?: boolean
}

/** The limits that add payments up. */
export const sums = ['perHost', 'perDay', 'total'] as const
export type Sum = (typeof sums)[number]

/** Digits behind the point in which budgets are kept, whatever the asset. */
export const BUDGET_SCALE = 18

/** A policy that was read once. */
export interface Rules {
  /** Currencies and codes with limits, in the order of `perRequest`. */
  readonly units: readonly string[]
  readonly validityMaxMs: number
  readonly checkReceipts: boolean
  /** The limit in 10^-18 of the unit, if there is one. */
  limit(name: Sum | 'perRequest', unit: string): bigint | undefined
  /**
   * What the offer costs, or a sentence why no limit covers it. `fee` is what paying may cost beside it, in the smallest unit of
   * its asset.
   */
  cost(offer: Offer, fee?: bigint): Cost | string
  /** Undefined if money may go there at all, otherwise a sentence why not. */
  shuns(place: Place): string | undefined
  /** Undefined if the policy allows the offer, otherwise a sentence why not. */
  refuses(offer: Offer, cost: Cost, place: Place): string | undefined
}

/** An amount in the unit of a budget, in 10^-18. */
export interface Cost {
  readonly unit: string
  readonly amount: bigint
  /** How much of the amount is what paying may cost at most; absent if it costs nothing. */
  readonly fee?: bigint
}

/** Who asks for the money. */
export interface Place {
  readonly host: string
  /** Whether a redirect from another origin led here. */
  readonly crossed: boolean
}

/** The kind of promise that is made where nothing else is said: one payment of exactly the amount. */
const CHARGE = 'charge'

/**
 * Reads a policy.
 * @param intent the kind of promise that is made.
 * @throws {RangeError} with a sentence what is missing or wrong.
 */
export function readPolicy(policy: Policy, intent: string = CHARGE): Rules {
  const limits = {
    perRequest: readLimit(policy.perRequest),
    perHost: readLimit(policy.perHost),
    perDay: readLimit(policy.perDay),
    total: readLimit(policy.total),
  }
  const units = [...limits.perRequest.keys()]
  checkLimits(limits)
  const validityMaxMs = policy.validityMaxMs ?? VALIDITY_MS_MAX
  if (!Number.isSafeInteger(validityMaxMs) || validityMaxMs < 1000)
    throw new RangeError('validityMaxMs is a whole number of milliseconds, at least 1000.')
  const shuns = outside(policy)
  const refusals = [among(policy, shuns), priced(intent), within(limits.perRequest)]
  return {
    units,
    validityMaxMs,
    checkReceipts: policy.checkReceipts ?? false,
    limit: (name, unit) => limits[name].get(unit),
    cost: (offer, fee = 0n) => costOf(offer, fee, units),
    shuns,
    refuses(offer, cost, place) {
      for (const refuses of refusals) {
        const why = refuses(offer, cost, place)
        if (why !== undefined) return why
      }
      return undefined
    },
  }
}

/** The cost as text for people, `0.01 USD`; bitcoin in satoshis. */
export function writeCost({ unit, amount }: Pick<Cost, 'unit' | 'amount'>): string {
  if (unit === BITCOIN)
    return writePrice({ currency: 'SAT', amount, scale: BUDGET_SCALE - SAT_SCALE })
  return writePrice({ currency: unit, amount, scale: BUDGET_SCALE })
}

/** Money for people, `0.01 USDC`; bitcoin in satoshis. */
export function sayMoney(money: Money): string {
  const { asset, amount } = money
  if (asset.code !== BITCOIN) return writeMoney(money)
  return writePrice({ currency: 'SAT', amount, scale: asset.scale - SAT_SCALE })
}

/** The cost in a sentence, with what of it may be fees. */
export function sayCost({ unit, amount, fee = 0n }: Cost): string {
  const whole = writeCost({ unit, amount })
  return fee === 0n ? whole : `${whole} with up to ${writeCost({ unit, amount: fee })} of fees`
}

/** Counts an amount of an asset as budgets do. @throws {RangeError} when it is finer than budgets are kept. */
export function budgeted({ asset, amount }: Money, unit: string): bigint {
  return rescale(amount, asset.scale, BUDGET_SCALE, unit)
}

/** Bitcoin, whatever it is counted in. */
const BITCOIN = 'BTC'
/** Digits behind the point of a bitcoin that make a satoshi. */
const SAT_SCALE = 8
/** What else bitcoin is counted in, and how many digits behind a bitcoin's point. */
const parts: Readonly<Record<string, number>> = { SAT: SAT_SCALE, MSAT: 11 }

type Amounts = ReadonlyMap<string, bigint>

function readLimit(limit: Limit | undefined): Amounts {
  const texts = limit === undefined ? [] : typeof limit === 'string' ? [limit] : limit
  const prices = texts.map((text): Price => inBitcoin(readPrice(text)))
  const amounts = new Map(prices.map((price) => [price.currency, scaled(price)]))
  if (amounts.size !== prices.length)
    throw new RangeError(`A limit names a currency twice: ${texts.join(', ')}.`)
  return amounts
}

function inBitcoin(price: Price): Price {
  const digits = parts[price.currency]
  if (digits === undefined) return price
  return { ...price, currency: BITCOIN, scale: price.scale + digits }
}

function scaled({ amount, scale, currency }: Price): bigint {
  return rescale(amount, scale, BUDGET_SCALE, currency)
}

function checkLimits(limits: Readonly<Record<Sum | 'perRequest', Amounts>>): void {
  if (limits.perRequest.size === 0)
    throw new RangeError('The policy has no perRequest. Give one, for instance "0.05 USD".')
  const summed = new Set(sums.flatMap((sum) => [...limits[sum].keys()]))
  for (const unit of limits.perRequest.keys())
    if (!summed.has(unit))
      throw new RangeError(
        `The policy never stops spending ${unit}. Give total, perDay or perHost, for instance "5 ${unit}".`,
      )
  for (const unit of summed)
    if (!limits.perRequest.has(unit))
      throw new RangeError(
        `The policy has no perRequest in ${unit}. Give one, for instance "0.05 ${unit}".`,
      )
}

function costOf({ amount }: Offer, fee: bigint, units: readonly string[]): Cost | string {
  const { asset } = amount
  const covering = [...new Set([asset.currency, asset.code])].filter(
    (unit): unit is string => unit !== undefined && units.includes(unit),
  )
  const [unit, second] = covering
  if (unit === undefined) return `No limit of the policy covers ${asset.code}.`
  // Which of the two the operator meant to count cannot be known, and no limit may be passed over in silence.
  if (second !== undefined)
    return `The policy limits both ${unit} and ${second}, and ${asset.code} is both. Keep one.`
  try {
    const whole = budgeted({ asset, amount: amount.amount + fee }, unit)
    return fee === 0n
      ? { unit, amount: whole }
      : { unit, amount: whole, fee: budgeted({ asset, amount: fee }, unit) }
  } catch {
    return `The amount is finer than 10^-${BUDGET_SCALE} ${unit}, in which budgets are kept.`
  }
}

function priced(only: string): (offer: Offer) => string | undefined {
  return ({ amount, intent, timeoutMs }) => {
    if (amount.amount <= 0n) return 'The amount is not more than zero.'
    if (intent !== only) return `A promise of the kind "${intent}" is not made, only a ${only}.`
    if (!(timeoutMs > 0)) return 'The payment would have no time to be valid in.'
    return undefined
  }
}

function within(perRequest: Amounts): (offer: Offer, cost: Cost) => string | undefined {
  return (_, cost) => {
    const limit = perRequest.get(cost.unit) ?? 0n
    if (cost.amount <= limit) return undefined
    return `It costs ${sayCost(cost)}, and perRequest allows ${writeCost({ ...cost, amount: limit })}.`
  }
}

function outside(policy: Policy): (place: Place) => string | undefined {
  const hosts = listed(policy.hosts)
  return ({ host, crossed }) => {
    if (hosts && !hosts.has(host.toLowerCase())) return `The policy does not list the host ${host}.`
    if (crossed && !hosts)
      return `A redirect from another origin led to ${host}, which the policy does not list in hosts.`
    return undefined
  }
}

function among(
  policy: Policy,
  shuns: (place: Place) => string | undefined,
): (offer: Offer, cost: Cost, place: Place) => string | undefined {
  const networks = listed(policy.networks)
  const assets = listed(policy.assets)
  const payees = listed(policy.payees)
  return ({ network, payee, amount: { asset } }, _, place) => {
    const why = shuns(place)
    if (why !== undefined) return why
    if (networks && !networks.has(network.toLowerCase()))
      return `The policy does not list the network ${network}.`
    if (assets && !assets.has(asset.id.toLowerCase()) && !assets.has(asset.code.toLowerCase()))
      return `The policy does not list the asset ${asset.code} (${asset.id}).`
    if (payees && !payees.has(payee.toLowerCase()))
      return `The policy does not list the payee ${payee}.`
    return undefined
  }
}

/** Upper and lower case are one: hex addresses are written in both, and no two names differ in case alone. */
function listed(names: readonly string[] | undefined): ReadonlySet<string> | undefined {
  return names && new Set(names.map((name) => name.toLowerCase()))
}
