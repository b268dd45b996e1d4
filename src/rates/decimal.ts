/** An exact fraction above zero. */
export interface Fraction {
  readonly numerator: bigint
  readonly denominator: bigint
}

/** Longest text of a number, and most digits that an exponent may add. */
const CHARS_MAX = 64
const EXPONENT_MAX = 40

/** Reads `65432.10` or `1.5e-5` exactly; undefined for zero and for what is no number above it. */
export function readFraction(text: string): Fraction | undefined {
  const found =
    text.length <= CHARS_MAX ? /^(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d{1,2}))?$/.exec(text) : null
  if (!found) return undefined
  const [, whole = '', part = '', said = '0'] = found
  const digits = BigInt(whole + part)
  const exponent = Number(said) - part.length
  if (digits === 0n || Math.abs(exponent) > EXPONENT_MAX) return undefined
  return exponent >= 0
    ? { numerator: digits * 10n ** BigInt(exponent), denominator: 1n }
    : { numerator: digits, denominator: 10n ** BigInt(-exponent) }
}

/** Below zero if the first is less, zero if they are equal. */
export function compare(one: Fraction, other: Fraction): number {
  const difference = one.numerator * other.denominator - other.numerator * one.denominator
  return difference < 0n ? -1 : Number(difference > 0n)
}

/** The other way round. */
export function inverse({ numerator, denominator }: Fraction): Fraction {
  return { numerator: denominator, denominator: numerator }
}

/** The product. */
export function times(one: Fraction, other: Fraction): Fraction {
  return {
    numerator: one.numerator * other.numerator,
    denominator: one.denominator * other.denominator,
  }
}

/** The middle one; between the two middle ones their mean. There is at least one. */
export function median(fractions: readonly Fraction[]): Fraction | undefined {
  const sorted = fractions.toSorted(compare)
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]]
  if (!low || !high || low === high) return low
  return {
    numerator: low.numerator * high.denominator + high.numerator * low.denominator,
    denominator: 2n * low.denominator * high.denominator,
  }
}

/** Whether it is further from the middle than that part of it. */
export function isFar(one: Fraction, middle: Fraction, part: Fraction): boolean {
  const [a, b] = [one.numerator * middle.denominator, middle.numerator * one.denominator]
  const away = a > b ? a - b : b - a
  return away * part.denominator > b * part.numerator
}
