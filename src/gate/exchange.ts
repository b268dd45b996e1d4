import { assert } from '../core/assert.ts'
import type { Price } from '../core/money.ts'
import { writePrice } from '../core/money.ts'
import type { QuotedRate } from '../core/offers.ts'
import { RATE_CHARS_MAX } from '../core/offers.ts'
import type { Clock, Rate, Rates, Unit } from '../core/ports.ts'
import { RATE_SOURCE_CHARS_MAX } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { OFFER_GRID_MS, PAIRS_MAX, RATES_RECENT_MAX } from './limits.ts'
import type { House } from './sale.ts'

/** A price in a rail's own unit, and the rate by which it was made of another. */
export interface Converted {
  readonly price: Price
  readonly rate: QuotedRate
}

/** What turning prices into other currencies needs. */
export interface ExchangeParts {
  readonly rates: Rates
  readonly clock: Pick<Clock, 'now'>
  /** How long an offer stands. */
  readonly validMs: number
  readonly fault: House['fault']
}

/** Turns prices into what rails are paid in. */
export interface Exchange {
  /** The first of the prices for which there is a rate now. Undefined where there is none, which is told once. */
  readonly convert: (prices: readonly Price[], unit: Unit) => Converted | undefined
  /** The same by every rate of which an offer may still stand, the youngest first. */
  readonly recent: (prices: readonly Price[], unit: Unit) => readonly Converted[]
}

/** The rates of one pair of currencies that offers were made by. */
interface Pair {
  /** The moment on the grid of offers for which the first of them was last taken. */
  readonly tick: number
  /** The youngest first, each with when it was last taken. */
  readonly used: readonly { readonly rate: Rate; readonly usedAt: number }[]
}

/**
 * Makes the exchange. A rate that was taken is used for all offers of the same end, unless it grows too old before: so equal
 * requests are asked with equal bytes on the grid, whatever the source says in between.
 */
export function createExchange({ rates, clock, validMs, fault }: ExchangeParts): Exchange {
  const pairs = new Map<string, Pair>()
  /** What nobody has a rate for, and was told. */
  const told = new Set<string>()
  const made = new WeakMap<Price, Map<Unit, { readonly rate: Rate; readonly made: Converted }>>()

  function rateOf(from: string, to: string): Rate | undefined {
    const now = clock.now()
    const tick = Math.ceil((now + validMs) / OFFER_GRID_MS)
    const name = `${from}/${to}`
    const pair = pairs.get(name)
    const [last] = pair?.used ?? []
    if (pair?.tick === tick && last && last.rate.untilAt > now) return last.rate
    const asked = ask(from, to, now)
    if (!asked) return undefined
    // The same as before is the same object, of which is known what it makes of a price.
    const rate = last && isSame(last.rate, asked) ? last.rate : asked
    remember(name, { tick, used: usedOf(pair, rate, now) })
    return rate
  }

  function ask(from: string, to: string, now: number): Rate | undefined {
    try {
      const rate = rates.rate(from, to)
      return rate && isFit(rate, now) ? rate : undefined
    } catch (error) {
      fault('rates', error)
      return undefined
    }
  }

  function remember(name: string, pair: Pair): void {
    const [oldest] = pairs.has(name) || pairs.size < PAIRS_MAX ? [] : pairs.keys()
    if (oldest !== undefined) pairs.delete(oldest)
    pairs.set(name, pair)
  }

  function usedOf(pair: Pair | undefined, rate: Rate, now: number): Pair['used'] {
    const before = (pair?.used ?? []).filter((one) => one.rate !== rate && mayStand(one, now))
    return [{ rate, usedAt: now }, ...before].slice(0, RATES_RECENT_MAX)
  }

  /** It is used until the next moment on the grid, and the offers end on that. */
  function mayStand({ usedAt }: { readonly usedAt: number }, now: number): boolean {
    return usedAt + validMs + 2 * OFFER_GRID_MS > now
  }

  /** A route hands in the same price each time, and a rail the same unit: then it gets the same object back. */
  function convertBy(price: Price, unit: Unit, rate: Rate): Converted {
    const known = made.get(price) ?? new Map<Unit, { rate: Rate; made: Converted }>()
    const before = known.get(unit)
    if (before?.rate === rate) return before.made
    const fresh = convertedBy(price, unit, rate)
    made.set(price, known.set(unit, { rate, made: fresh }))
    return fresh
  }

  function missing(prices: readonly Price[], unit: Unit): void {
    const from = prices.map(({ currency }) => currency).join(' or ')
    const name = `${from} to ${unit.currency}`
    if (told.has(name) || told.size >= PAIRS_MAX) return
    told.add(name)
    const sentence = `There is no rate from ${name} that may be used: nothing is asked for in ${unit.currency} there until there is.`
    fault('rates', new PaymentError('price-unavailable', sentence))
  }

  function found(prices: readonly Price[], unit: Unit): void {
    if (told.size === 0) return
    told.delete(`${prices.map(({ currency }) => currency).join(' or ')} to ${unit.currency}`)
  }

  return {
    convert(prices, unit) {
      for (const price of prices) {
        const rate = rateOf(price.currency, unit.currency)
        if (!rate) continue
        found(prices, unit)
        return convertBy(price, unit, rate)
      }
      missing(prices, unit)
      return undefined
    },
    recent(prices, unit) {
      const now = clock.now()
      return prices.flatMap((price) => {
        // By the rate of now too, though nobody was asked for it here yet.
        rateOf(price.currency, unit.currency)
        const pair = pairs.get(`${price.currency}/${unit.currency}`)
        return (pair?.used ?? [])
          .filter((one) => mayStand(one, now))
          .map(({ rate }) => convertedBy(price, unit, rate))
      })
    },
  }
}

/** Rounded up to the smallest unit: never less than the price, and never as much as one unit more. */
function convertedBy(price: Price, { currency, scale }: Unit, rate: Rate): Converted {
  const { numerator, denominator, source, at } = rate
  const amount = ceilDiv(
    price.amount * numerator * 10n ** BigInt(scale),
    denominator * 10n ** BigInt(price.scale),
  )
  const worth = worthOf(rate)
  assert(worth !== undefined, 'a rate that is used can be written')
  return {
    price: { currency, amount, scale },
    rate: { currency: price.currency, price: worth, source, at },
  }
}

function ceilDiv(amount: bigint, by: bigint): bigint {
  return (amount + by - 1n) / by
}

/**
 * What the price comes to by a rate that an offer tells: one unit more or less than it was asked for, where the rate had to be
 * cut.
 */
export function unitsBy(price: Price, { price: worth }: QuotedRate, scale: number): bigint {
  const [whole = '', part = ''] = worth.split('.')
  const amount = price.amount * 10n ** BigInt(scale + part.length)
  return amount / (BigInt(whole + part) * 10n ** BigInt(price.scale))
}

/** What one of the target is worth, as decimal text: exact where that is short enough, else to the nearest of so many digits. */
function worthOf({ numerator, denominator }: Rate): string | undefined {
  const whole = (denominator / numerator).toString().length
  const scale = RATE_CHARS_MAX - 1 - whole
  if (scale < 0) return undefined
  const amount = (2n * denominator * 10n ** BigInt(scale) + numerator) / (2n * numerator)
  return amount > 0n ? writePrice({ currency: '', amount, scale }).trim() : undefined
}

/** What a source says is used as it stands, or not at all. */
function isFit(rate: Rate, now: number): boolean {
  const { numerator, denominator, source, at, untilAt } = rate
  if (numerator <= 0n || denominator <= 0n || !(untilAt > now)) return false
  if (!SOURCE.test(source) || !Number.isSafeInteger(at) || at < 0) return false
  return worthOf(rate) !== undefined
}

const SOURCE = new RegExp(`^[\\w.-]{1,${RATE_SOURCE_CHARS_MAX}}$`)

function isSame(one: Rate, other: Rate): boolean {
  return (
    one.numerator === other.numerator &&
    one.denominator === other.denominator &&
    one.source === other.source &&
    one.at === other.at &&
    one.untilAt === other.untilAt
  )
}
