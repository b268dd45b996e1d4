import { readJson } from '../core/json.ts'

/** Longest pointer, and most steps of one. */
const CHARS_MAX = 512
const STEPS_MAX = 16

/**
 * Reads a JSON Pointer (RFC 6901), `/data/0/price`.
 * @throws {RangeError} when it is none.
 */
export function readPointer(text: string): readonly string[] {
  const steps = text.split('/').slice(1)
  if (
    !/^(?:\/(?:[^~/]|~[01])*)*$/.test(text) ||
    text.length > CHARS_MAX ||
    steps.length > STEPS_MAX
  )
    throw new RangeError(
      `"${text.slice(0, CHARS_MAX)}" is no JSON Pointer. Write it like "/data/price".`,
    )
  return steps.map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
}

/** A stranger's JSON whose numbers are the texts that stood there: none becomes a floating number. Undefined for anything else. */
export function readExact(text: string, charsMax: number): unknown {
  if (readJson(text, charsMax) === undefined) return undefined
  return parse(text, (_, value, context) =>
    typeof value === 'number' ? (context?.source ?? String(value)) : value,
  )
}

/** With the source text of each literal, which engines have and the types do not tell yet. */
const parse = JSON.parse as (
  text: string,
  revive: (key: string, value: unknown, context?: { readonly source?: string }) => unknown,
) => unknown

/** What stands there; undefined if nothing does. */
export function at(value: unknown, steps: readonly string[]): unknown {
  let found = value
  for (const step of steps) {
    if (typeof found !== 'object' || found === null || !isMember(found, step)) return undefined
    found = (found as Readonly<Record<string, unknown>>)[step]
  }
  return found
}

/** Own members alone, and of a list its items. */
function isMember(value: object, name: string): boolean {
  return Object.prototype.propertyIsEnumerable.call(value, name)
}
