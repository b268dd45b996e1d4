import type { Rate } from '../core/ports.ts'
import { RATE_SOURCE_CHARS_MAX } from '../core/ports.ts'
import type { Fraction } from './decimal.ts'
import { inverse, times } from './decimal.ts'

/** Currencies that are parts of others: a satoshi is 10^-8 of a bitcoin. */
const parts: Readonly<Record<string, { readonly of: string; readonly scale: number }>> = {
  SAT: { of: 'BTC', scale: 8 },
  MSAT: { of: 'BTC', scale: 11 },
}

/** A currency as so much of another; itself where it is none's part. */
function wholeOf(currency: string): { readonly of: string; readonly scale: number } {
  return (Object.hasOwn(parts, currency) && parts[currency]) || { of: currency, scale: 0 }
}

/** What is known of a pair: how much of the second one of the first is worth. */
export type Known = Fraction & Pick<Rate, 'source' | 'at' | 'untilAt'>

/**
 * The rate between two currencies from what is known of a pair or of the same pair turned round. Parts of a currency are
 * counted by the whole. Undefined between a currency and itself or its parts: that is no question of rates.
 */
export function rateBy(
  from: string,
  to: string,
  known: (pair: string) => Known | undefined,
): Rate | undefined {
  const [a, b] = [wholeOf(from), wholeOf(to)]
  if (a.of === b.of) return undefined
  const straight = known(`${a.of}/${b.of}`)
  const found = straight ?? known(`${b.of}/${a.of}`)
  if (!found) return undefined
  const { source, at, untilAt } = found
  const step = { numerator: 10n ** BigInt(b.scale), denominator: 10n ** BigInt(a.scale) }
  return { ...times(straight ?? inverse(found), step), source, at, untilAt }
}

/**
 * Checks the name of a pair, `BTC/USD`: what one of the first is worth in the second.
 * @throws {RangeError} with what to do.
 */
export function checkPair(pair: string, all: readonly string[]): void {
  const [, from, to] = /^([A-Z][A-Z0-9]{1,15})\/([A-Z][A-Z0-9]{1,15})$/.exec(pair) ?? []
  if (from === undefined || to === undefined || wholeOf(from).of === wholeOf(to).of)
    throw new RangeError(`"${pair}" is no pair of currencies. Write it like "BTC/USD".`)
  if (Object.hasOwn(parts, from) || Object.hasOwn(parts, to))
    throw new RangeError(`"${pair}" names a part of a currency. Give the pair of the whole.`)
  if (all.includes(`${to}/${from}`))
    throw new RangeError(`"${pair}" is there the other way round too. Keep one.`)
}

/**
 * Checks what the books will call a source.
 * @throws {RangeError} with what to do.
 */
export function checkSource(name: string): void {
  if (!SOURCE.test(name))
    throw new RangeError(
      `"${name}" is no name of a source: letters, digits, ".", "_" and "-", at most ${RATE_SOURCE_CHARS_MAX}.`,
    )
}

const SOURCE = new RegExp(`^[\\w.-]{1,${RATE_SOURCE_CHARS_MAX}}$`)
