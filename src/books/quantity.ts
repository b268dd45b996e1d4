import type { Json, JsonObject } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import type { Asset } from '../core/money.ts'
import { writePrice } from '../core/money.ts'

/** So much of something, below zero where it left us. */
export interface Quantity {
  /** Id of the asset. */
  readonly asset: string
  /** For people; the id where nothing else is known. */
  readonly code: string
  /** Digits behind the point. */
  readonly scale: number
  /** In the smallest unit. */
  readonly units: bigint
}

/** What a quantity was worth in a currency at the time: exact, never rounded. */
export interface Value {
  readonly currency: string
  readonly amount: bigint
  readonly scale: number
  /** What one whole unit of the asset was worth, as decimal text. */
  readonly rate: string
  /** Who said so; `par` where the asset stands for the currency. */
  readonly source: string
}

/** A tax that the amount contains; of several all together, with plus signs between their names and their percentages. */
export interface Tax {
  readonly name: string
  /** As decimal text, for instance `19`. */
  readonly percent: string
  readonly amount: Quantity
  /** Each by itself, where there are several. */
  readonly lines?: readonly Omit<Tax, 'lines'>[]
}

/** Names an asset by its id, where the books themselves do not. */
export type NameAsset = (id: string) => Pick<Asset, 'code' | 'scale'> | undefined

/** Most characters of what a rate or a tax says. */
const WORD_CHARS_MAX = 64

/** A quantity of what the name giver knows, else in smallest units. */
export function quantityOf(id: string, units: bigint, nameAsset: NameAsset): Quantity {
  const { code, scale } = nameAsset(id) ?? { code: id, scale: 0 }
  return { asset: id, code, scale, units }
}

/** Decimal text, the shortest that is exact. */
export function decimalOf({
  units,
  scale,
}: {
  readonly units: bigint
  readonly scale: number
}): string {
  return writePrice({ currency: '', amount: units, scale }).trim()
}

/** For people: `0.01 USDC`. */
export function sayQuantity(quantity: Quantity): string {
  return `${decimalOf(quantity)} ${quantity.code}`
}

/** For people: `0.01 USD`. */
export function sayValue({ amount, scale, currency }: Omit<Value, 'rate' | 'source'>): string {
  return `${decimalOf({ units: amount, scale })} ${currency}`
}

/**
 * The value by the rate that the note tells, `{ currency, price, source? }`, where `price` is decimal text for one whole unit;
 * else at par, if the asset stands for a currency. Undefined where nobody knows.
 */
export function valueOf(
  { units, scale }: Quantity,
  said: JsonObject[string] | undefined,
  par?: string,
): Value | undefined {
  const { currency, price, source } = isObject(said) ? said : {}
  const found = typeof price === 'string' && /^(\d{1,30})(?:\.(\d{1,30}))?$/.exec(price)
  if (found && isWord(currency)) {
    const [, whole = '', part = ''] = found
    const amount = units * BigInt(whole + part)
    const by = isWord(source) ? source : 'unnamed'
    return { currency, amount, scale: scale + part.length, rate: found[0], source: by }
  }
  if (par === undefined) return undefined
  return { currency: par, amount: units, scale, rate: '1', source: 'par' }
}

/**
 * The tax that the note tells, `{ of, lines: [{ name, percent, amount }] }`, where each amount is in smallest units and contained
 * in `of`, what was asked for; or one such line by itself, contained in what was charged. Of a part it is the same part, rounded
 * towards zero.
 */
export function taxOf(
  said: JsonObject[string] | undefined,
  part: Quantity,
  charged: bigint,
): Tax | undefined {
  if (!isObject(said)) return undefined
  const { of, lines = [said] } = said
  const whole = isUnits(of) ? BigInt(of) : charged
  if (whole === 0n || !Array.isArray(lines)) return undefined
  const found = (lines as readonly Json[]).flatMap((line) => taxLine(line, part, whole))
  const [first, ...others] = found
  if (!first || others.length === 0) return first
  return {
    name: found.map(({ name }) => name).join(' + '),
    percent: found.map(({ percent }) => percent).join(' + '),
    amount: { ...part, units: found.reduce((sum, { amount }) => sum + amount.units, 0n) },
    lines: found,
  }
}

function taxLine(said: Json, part: Quantity, whole: bigint): readonly Omit<Tax, 'lines'>[] {
  const { name, percent, amount } = isObject(said) ? said : {}
  if (!isWord(name) || !isWord(percent) || !isUnits(amount)) return []
  return [{ name, percent, amount: { ...part, units: (BigInt(amount) * part.units) / whole } }]
}

function isUnits(said: unknown): said is string {
  return typeof said === 'string' && /^\d{1,78}$/.test(said)
}

function isWord(said: unknown): said is string {
  return typeof said === 'string' && said !== '' && said.length <= WORD_CHARS_MAX
}
