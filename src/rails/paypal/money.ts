import { fiat, toFiat } from '../../core/fiat.ts'
import type { Asset, Money, Price } from '../../core/money.ts'

/** Currencies that PayPal takes (developer.paypal.com, currency codes); those without decimals there are marked so. */
export const currencies: ReadonlyMap<string, { readonly isWhole: boolean }> = new Map(
  'AUD BRL CAD CHF CZK DKK EUR GBP HKD HUF* ILS JPY* MXN MYR NOK NZD PHP PLN SEK SGD THB TWD* USD'
    .split(' ')
    .map((code) => [code.slice(0, 3), { isWhole: code.endsWith('*') }] as const),
)

/** Most that one payment may be, in the smallest unit. */
export const AMOUNT_MAX = 999_999_999n

/** A currency that is sold in. */
export interface Sold {
  readonly asset: Asset
  /** Digits that PayPal knows: none where the currency has them and PayPal does not. */
  readonly scale: number
}

/**
 * The currencies that a rail sells in.
 * @throws {RangeError} for one that PayPal does not take.
 */
export function readCurrencies(codes: readonly string[]): readonly Sold[] {
  return codes.map((code) => {
    const known = currencies.get(code)
    if (!known)
      throw new RangeError(
        `"${code}" is not sold in here. Take one of ${[...currencies.keys()].join(', ')}.`,
      )
    const asset = fiat(code)
    return { asset, scale: known.isWhole ? 0 : asset.scale }
  })
}

/** What of a currency the price comes to; undefined where it is none of them, finer, or too much. */
export function moneyOf(price: Price, sold: readonly Sold[]): Money | undefined {
  const one = sold.find(({ asset }) => asset.code === price.currency)
  const amount = one && toFiat(price, one.asset)
  if (!one || amount === undefined || amount <= 0n || amount > AMOUNT_MAX) return undefined
  return amount % 10n ** BigInt(one.asset.scale - one.scale) === 0n
    ? { asset: one.asset, amount }
    : undefined
}

/** As PayPal writes money. */
export interface Said {
  readonly currency_code: string
  readonly value: string
}

/** Money in PayPal's words: `{ currency_code: "USD", value: "1.00" }`. */
export function writeAmount({ asset: { code, scale }, amount }: Money): Said {
  const digits = amount.toString().padStart(scale + 1, '0')
  const whole = digits.slice(0, digits.length - scale)
  const isWhole = currencies.get(code)?.isWhole ?? false
  return {
    currency_code: code,
    value: isWhole || scale === 0 ? whole : `${whole}.${digits.slice(-scale)}`,
  }
}

/** Whether PayPal's words say that very money, however many zeros it writes. */
export function isAmount(said: unknown, { asset, amount }: Money): boolean {
  if (typeof said !== 'object' || said === null) return false
  const { currency_code: code, value } = said as Readonly<Record<string, unknown>>
  const found = typeof value === 'string' ? /^(\d{1,12})(?:\.(\d{1,4}))?$/.exec(value) : null
  if (code !== asset.code || !found) return false
  const [, whole = '', part = ''] = found
  const price = { currency: asset.code, amount: BigInt(whole + part), scale: part.length }
  return toFiat(price, asset) === amount
}
