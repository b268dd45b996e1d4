import { assert } from './assert.ts'

/** Something that can be owed: a token on a chain, a currency, a unit of work. */
export interface Asset {
  /** Globally unique, CAIP-19 where there is one, for instance `eip155:8453/erc20:0x8335…2913`. */
  readonly id: string
  /** What people call it, for instance `USDC`. */
  readonly code: string
  /** Digits behind the point of its smallest unit: 6 for USDC. */
  readonly scale: number
  /** The currency that one unit stands for at par, if it does: `USD` for USDC. */
  readonly currency?: string
}

/** A whole number of an asset's smallest unit. */
export interface Money {
  readonly asset: Asset
  readonly amount: bigint
}

/** What a seller writes: decimal text with a currency or asset code, `0.01 USD`. */
export interface Price {
  readonly currency: string
  /** Counted in 10^-scale of the currency. */
  readonly amount: bigint
  readonly scale: number
}

/** One line of what a price is made of: `{ what: 'tokens', quantity: '1200', unit: 'token', amount: '0.0012 USD' }`. */
export interface PriceItem {
  readonly what: string
  /** Decimal text. */
  readonly quantity: string
  readonly unit: string
  /** Written as a price; all items together are the price. */
  readonly amount: string
}

/** Longest decimal text of a price. 78 digits hold any uint256. */
const PRICE_TEXT_MAX = 96

/**
 * Reads `0.01 USD`. Refused, with a sentence: signs, exponents, a missing currency.
 * @throws {RangeError} when the text is not a price.
 */
export function readPrice(text: string): Price {
  const found =
    text.length <= PRICE_TEXT_MAX && /^(\d+)(?:\.(\d+))? ([A-Z][A-Z0-9]{1,15})$/.exec(text)
  if (!found)
    throw new RangeError(
      `"${text.slice(0, PRICE_TEXT_MAX)}" is not a price. Write it like "0.01 USD".`,
    )
  const [, whole = '', part = '', currency = ''] = found
  return { currency, amount: BigInt(whole + part), scale: part.length }
}

/**
 * The price in the asset's smallest unit, exactly.
 * @throws {RangeError} when the asset does not stand for the price's currency, or the price is finer than its unit.
 */
export function toMoney(price: Price, asset: Asset): Money {
  if (price.currency !== asset.currency && price.currency !== asset.code)
    throw new RangeError(`${asset.code} does not stand for ${price.currency}.`)
  return { asset, amount: rescale(price.amount, price.scale, asset.scale, asset.code) }
}

/** A price as text: the shortest that {@link readPrice} reads back to the same value. */
export function writePrice(price: Price): string {
  return `${decimal(price.amount, price.scale)} ${price.currency}`
}

/** Money as text for people, `0.01 USDC`. */
export function writeMoney(money: Money): string {
  return `${decimal(money.amount, money.asset.scale)} ${money.asset.code}`
}

/** The same value counted in 10^-to instead of 10^-from; finer than that is refused, never rounded. */
export function rescale(amount: bigint, from: number, to: number, unit: string): bigint {
  if (to >= from) return amount * 10n ** BigInt(to - from)
  const step = 10n ** BigInt(from - to)
  if (amount % step !== 0n)
    throw new RangeError(
      `${decimal(amount, from)} is finer than the smallest unit of ${unit}, 10^-${to}.`,
    )
  return amount / step
}

/** The shortest decimal text that is exactly `amount · 10^-scale`. */
export function decimal(amount: bigint, scale: number): string {
  assert(scale >= 0, 'a scale is not negative')
  const sign = amount < 0n ? '-' : ''
  const digits = (amount < 0n ? -amount : amount).toString().padStart(scale + 1, '0')
  const part = scale ? digits.slice(-scale).replace(/0+$/, '') : ''
  return sign + digits.slice(0, digits.length - scale) + (part && `.${part}`)
}
