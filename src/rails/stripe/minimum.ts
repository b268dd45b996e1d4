import { fiat, toFiat } from '../../core/fiat.ts'
import type { Asset, Price } from '../../core/money.ts'

/** The least that a card is charged, by currency, in its smallest unit (docs.stripe.com/currencies, minimum charge amounts). */
export const minimums: Readonly<Record<string, bigint>> = {
  AED: 200n,
  AUD: 50n,
  BGN: 100n,
  BRL: 50n,
  CAD: 50n,
  CHF: 50n,
  CZK: 1500n,
  DKK: 250n,
  EUR: 50n,
  GBP: 30n,
  HKD: 400n,
  HUF: 17500n,
  INR: 50n,
  JPY: 50n,
  MXN: 1000n,
  MYR: 200n,
  NOK: 300n,
  NZD: 50n,
  PLN: 200n,
  RON: 200n,
  SEK: 300n,
  SGD: 50n,
  THB: 1000n,
  USD: 50n,
}

/** Most that one payment may be: eight digits of the smallest unit, which every currency takes. */
export const AMOUNT_MAX = 99_999_999n

/** A currency that is sold in, and the least of it that is charged at once. */
export interface Sold {
  readonly asset: Asset
  readonly least: bigint
}

/**
 * The currencies that a rail sells in.
 * @throws {RangeError} for a currency whose least amount is not known.
 */
export function readCurrencies(
  codes: readonly string[],
  table: Readonly<Record<string, bigint>> = minimums,
): readonly Sold[] {
  return codes.map((code) => {
    const asset = fiat(code)
    const least = table[code]
    if (least === undefined)
      throw new RangeError(
        `"${code}" is not sold in here. Take one of ${Object.keys(table).join(', ')}.`,
      )
    return { asset, least }
  })
}

/** What of a currency the price comes to; undefined where it is none of them, finer, too little or too much. */
export function amountOf(
  price: Price,
  sold: readonly Sold[],
): { readonly sold: Sold; readonly amount: bigint } | undefined {
  const one = sold.find(({ asset }) => asset.code === price.currency)
  const amount = one && toFiat(price, one.asset)
  if (!one || amount === undefined) return undefined
  return amount >= one.least && amount <= AMOUNT_MAX ? { sold: one, amount } : undefined
}
