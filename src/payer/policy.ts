import type { Price } from '../core/money.ts'
import { readPrice, rescale, writePrice } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import { VALIDITY_MS_MAX } from './limits.ts'

/** An amount such as `0.05 USD`, or one for each currency. */
type Limit = string | readonly string[]

/**
 * What may be paid without asking. One limit for a single payment and one that adds payments up must be there, in the
 * same currency. A currency limits every asset that stands for it; an asset without a currency needs limits in its code.
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
  /** What the offer costs, or a sentence why no limit covers it. */
  cost(offer: Offer): Cost | string
  /** Undefined if the policy allows the offer, otherwise a sentence why not. */
  refuses(offer: Offer, cost: Cost, place: Place): string | undefined
}

/** An amount in the unit of a budget, in 10^-18. */
export interface Cost {
  readonly unit: string
  readonly amount: bigint
}

/** Who asks for the money. */
export interface Place {
  readonly host: string
  /** Whether a redirect from another origin led here. */
  readonly crossed: boolean
}

/**
 * Reads a policy.
 * @throws {RangeError} with a sentence what is missing or wrong.
 */
export function readPolicy(policy: Policy): Rules {
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
  const refusals = [among(policy), priced, within(limits.perRequest)]
  return {
    units,
    validityMaxMs,
    checkReceipts: policy.checkReceipts ?? false,
    limit: (name, unit) => limits[name].get(unit),
    cost: (offer) => costOf(offer, units),
    refuses(offer, cost, place) {
      for (const refuses of refusals) {
        const why = refuses(offer, cost, place)
        if (why !== undefined) return why
      }
      return undefined
    },
  }
}

/** The cost as text for people, `0.01 USD`. */
export function writeCost({ unit, amount }: Cost): string {
  return writePrice({ currency: unit, amount, scale: BUDGET_SCALE })
}

type Amounts = ReadonlyMap<string, bigint>

function readLimit(limit: Limit | undefined): Amounts {
  const texts = limit === undefined ? [] : typeof limit === 'string' ? [limit] : limit
  const prices = texts.map((text): Price => readPrice(text))
  const amounts = new Map(prices.map((price) => [price.currency, scaled(price)]))
  if (amounts.size !== prices.length)
    throw new RangeError(`A limit names a currency twice: ${texts.join(', ')}.`)
  return amounts
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

function costOf({ amount: { asset, amount } }: Offer, units: readonly string[]): Cost | string {
  const covering = [...new Set([asset.currency, asset.code])].filter(
    (unit): unit is string => unit !== undefined && units.includes(unit),
  )
  const [unit, second] = covering
  if (unit === undefined) return `No limit of the policy covers ${asset.code}.`
  // Which of the two the operator meant to count cannot be known, and no limit may be passed over in silence.
  if (second !== undefined)
    return `The policy limits both ${unit} and ${second}, and ${asset.code} is both. Keep one.`
  try {
    return { unit, amount: rescale(amount, asset.scale, BUDGET_SCALE, unit) }
  } catch {
    return `The amount is finer than 10^-${BUDGET_SCALE} ${unit}, in which budgets are kept.`
  }
}

function priced({ amount, intent, timeoutMs }: Offer): string | undefined {
  if (amount.amount <= 0n) return 'The amount is not more than zero.'
  if (intent !== 'charge') return `A promise of the kind "${intent}" is not made, only a charge.`
  if (!(timeoutMs > 0)) return 'The payment would have no time to be valid in.'
  return undefined
}

function within(perRequest: Amounts): (offer: Offer, cost: Cost) => string | undefined {
  return (_, cost) => {
    const limit = perRequest.get(cost.unit) ?? 0n
    if (cost.amount <= limit) return undefined
    return `It costs ${writeCost(cost)}, and perRequest allows ${writeCost({ ...cost, amount: limit })}.`
  }
}

function among(policy: Policy): (offer: Offer, cost: Cost, place: Place) => string | undefined {
  const networks = listed(policy.networks)
  const assets = listed(policy.assets)
  const payees = listed(policy.payees)
  const hosts = listed(policy.hosts)
  return ({ network, payee, amount: { asset } }, _, { host, crossed }) => {
    if (hosts && !hosts.has(host.toLowerCase())) return `The policy does not list the host ${host}.`
    if (crossed && !hosts)
      return `A redirect from another origin led to ${host}, which the policy does not list in hosts.`
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
