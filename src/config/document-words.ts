import * as v from 'valibot'
import { nearest } from './nearest.ts'

/** A secret, by where it stands: a document never holds one. */
export type SecretRef = { env: string } | { file: string }
/** A text that may be a secret. */
export type TextRef = string | SecretRef
/** One, or a list of them. */
export type Several<T> = T | T[]

/** An object without any other member, with the names that it may have at hand for whoever mistypes one. */
export function object<const E extends v.ObjectEntries>(
  entries: E,
): v.StrictObjectSchema<E, (issue: v.StrictObjectIssue) => string> {
  const names = Object.keys(entries)
  return v.strictObject(entries, (issue) => {
    if (issue.expected !== 'never') {
      const missing = /^"(.+)"$/.exec(issue.expected ?? '')?.[1]
      return missing === undefined ? 'An object belongs here.' : `"${missing}" is missing here.`
    }
    const said = String(issue.path?.at(-1)?.key)
    const near = nearest(said, names)
    const hint = near ? `Did you mean "${near}"?` : `There are ${names.join(', ')}.`
    return `There is no "${said}" here. ${hint}`
  })
}

/** Says what a member means, for editors. */
export const say: typeof v.description = v.description
/** A text. */
export const Words: v.GenericSchema<string> = v.pipe(
  v.string('A text belongs here.'),
  v.nonEmpty('This text is empty.'),
  v.maxLength(8_192, 'This text is too long.'),
)
/** True or false. */
export const Flag: v.GenericSchema<boolean> = v.boolean('This is true or false.')
/** A whole number above zero. */
export const Count: v.GenericSchema<number> = v.pipe(
  v.number('A number belongs here.'),
  v.integer('This is a whole number.'),
  v.minValue(1, 'This is a number above zero.'),
)
/** A time like `30s`. */
export const Duration: v.GenericSchema<string> = v.pipe(
  v.string('A time is written like "30s".'),
  v.regex(/^\d{1,9}(?:ms|s|m|h|d)$/, 'A time is written like "500ms", "30s", "5m", "1h" or "30d".'),
)
/** A size like `10MB`. */
export const Size: v.GenericSchema<string> = v.pipe(
  v.string('A size is written like "10MB".'),
  v.regex(/^\d{1,9}(?:B|kB|MB|GB)$/, 'A size is written like "32kB", "10MB" or "1GB".'),
)
/** An address of HTTP. */
export const Url: v.GenericSchema<string> = v.pipe(
  v.string('An address belongs here.'),
  v.regex(/^https?:\/\/[^\s/]+/, 'An address begins with http:// or https://.'),
)
const Env = object({ env: v.pipe(Words, say('The name of an environment variable.')) })
const File = object({ file: v.pipe(Words, say('A file that holds nothing else.')) })
/** Where a secret stands. */
export const SecretSchema: v.GenericSchema<SecretRef> = v.pipe(
  v.union([Env, File], 'A secret is written by where it stands: { env: NAME } or { file: PATH }.'),
  say('A secret, by where it stands.'),
)
/** A text, or where it stands. */
export const TextSchema: v.GenericSchema<TextRef> = v.union(
  [Words, Env, File],
  'A text belongs here, or where it stands: { env: NAME } or { file: PATH }.',
)
/** A price like `0.01 USD`. */
export const Price: v.GenericSchema<string> = v.pipe(
  v.string('A price is written like "0.01 USD".'),
  v.regex(/^\d{1,30}(?:\.\d{1,18})? [A-Z][A-Z0-9]{1,15}$/, 'A price is written like "0.01 USD".'),
)
/** A price, or the same in several currencies. */
export const Prices: v.GenericSchema<Several<string>> = v.union(
  [Price, v.pipe(v.array(Price), v.minLength(1), v.maxLength(8))],
  'A price is written like "0.01 USD", several as a list.',
)
const ADDRESS =
  'Write a port, or an address like "0.0.0.0:8402"; a port alone is on this machine only.'
/** Where a server listens. */
export const Address: v.GenericSchema<string | number> = v.union(
  [
    v.pipe(v.number(), v.integer(ADDRESS), v.minValue(0, ADDRESS), v.maxValue(65_535, ADDRESS)),
    v.pipe(
      v.string(),
      v.regex(/^(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]*):\d{1,5}$/, ADDRESS),
      v.check((said) => Number(said.slice(said.lastIndexOf(':') + 1)) <= 65_535, ADDRESS),
    ),
  ],
  ADDRESS,
)
/** A scheme and a name, and nothing behind. */
export const Origin: v.GenericSchema<string> = v.pipe(
  v.string('An origin is written like "https://api.example.com".'),
  v.regex(
    /^https?:\/\/(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/,
    'An origin is written like "https://api.example.com": nothing follows the name.',
  ),
)

/** One, or a list of up to 64. */
export function several<T>(one: v.GenericSchema<T>, sentence: string): v.GenericSchema<Several<T>> {
  return v.union([one, v.pipe(v.array(one), v.minLength(1), v.maxLength(64))], sentence)
}

/** A number as text, since YAML would make a rounded one of it. */
export const Decimal: v.GenericSchema<string> = v.pipe(
  v.string('A number is written as text here: "1.08".'),
  v.regex(/^\d{1,30}(?:\.\d{1,30})?$/, 'A number is written like "1.08".'),
)
/** A name of a header field (RFC 9110, 5.1). */
export const FieldName: v.GenericSchema<string> = v.pipe(
  v.string(),
  v.regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'This is no name of a header field.'),
)
/** A file with the certificate of a server that signed itself. */
export const Ca: v.OptionalSchema<v.GenericSchema<string>, undefined> = v.optional(
  v.pipe(Words, say('A file with the certificate, in PEM.')),
)

const msPer: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** A time like `30s`, in milliseconds. */
export function durationOf(text: string): number {
  const [, count = '', unit = ''] = /^(\d+)([a-z]+)$/.exec(text) ?? []
  return Number(count) * (msPer[unit] ?? Number.NaN)
}

const bytesPer: Readonly<Record<string, number>> = { B: 1, kB: 1_000, MB: 1e6, GB: 1e9 }

/** A size like `10MB`, in bytes. */
export function sizeOf(text: string): number {
  const [, count = '', unit = ''] = /^(\d+)([A-Za-z]+)$/.exec(text) ?? []
  return Number(count) * (bytesPer[unit] ?? Number.NaN)
}

/** Whether a fallback lets what is paid wait for its upstream. */
export function isQueue(said: unknown): boolean {
  return said === 'queue' || (typeof said === 'object' && said !== null && 'queue' in said)
}
