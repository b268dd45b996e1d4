import type { Asset, Price } from './money.ts'
import { toMoney } from './money.ts'
import type { Resource } from './resource.ts'
import { hash } from 'node:crypto'

/** Currencies without a smaller unit (ISO 4217, exponent 0). All others that are sold in here have two digits. */
const WHOLE: ReadonlySet<string> = new Set(['CLP', 'ISK', 'JPY', 'KRW', 'VND'])

/**
 * The currency of a state as an asset, counted in its smallest unit (ISO 4217).
 * @throws {RangeError} when the code is not three capital letters.
 */
export function fiat(code: string): Asset {
  if (!/^[A-Z]{3}$/.test(code))
    throw new RangeError(`"${code.slice(0, 16)}" is no currency. Write it like "USD".`)
  return { id: `iso4217:${code}`, code, scale: WHOLE.has(code) ? 0 : 2, currency: code }
}

/** The currency by the id of its asset; undefined where it is something else. */
export function fiatOf(id: string): Asset | undefined {
  const code = /^iso4217:([A-Z]{3})$/.exec(id)?.[1]
  return code === undefined ? undefined : fiat(code)
}

/** The price in whole smallest units of a currency; undefined where it is in another currency, or finer. */
export function toFiat(price: Price, asset: Asset): bigint | undefined {
  if (price.currency !== asset.code) return undefined
  try {
    return toMoney(price, asset).amount
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/**
 * What a payment that others hold for us is for, as 64 hex digits: the request that is paid, and nothing of the payment. Two
 * requests have the same only if they are the same at the same seller's.
 */
export function purposeHash({ realm, method, authority, path, query, digest }: Resource): string {
  const said = JSON.stringify([realm, method, authority, path, query, digest ?? ''])
  return hash('sha256', `purpose/1 ${said}`, 'hex')
}
