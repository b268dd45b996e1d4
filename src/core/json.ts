/** JSON as a value. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject
export type JsonObject = { readonly [key: string]: Json }

/** How deep a stranger's JSON may nest. */
export const JSON_DEPTH_MAX = 32

/** Parses a stranger's JSON: bounded in size and depth, `__proto__` refused. Undefined for anything else. */
export function readJson(text: string, charsMax: number): Json | undefined {
  if (text.length > charsMax || tooDeep(text)) return undefined
  try {
    // A reviver costs ten times the parsing, so it looks only where the word can be, plainly or escaped.
    return JSON.parse(text, /__proto__|\\u/.test(text) ? withoutPrototype : undefined) as Json
  } catch {
    return undefined
  }
}

/** A literal `__proto__` would be an own property after parsing, and dangerous once it is copied. */
function withoutPrototype(key: string, value: Json): Json {
  if (key === '__proto__') throw new SyntaxError('__proto__')
  return value
}

/** Whether the value is a JSON object, neither null nor a list. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** JSON with sorted keys and no spaces: the same value gives the same text (RFC 8785 for what we write). */
export function canonical(value: Json): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (isList(value)) return `[${value.map(canonical).join(',')}]`
  const members = Object.keys(value)
    .toSorted()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key] as Json)}`)
  return `{${members.join(',')}}`
}

function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value)
}

/** Counts brackets outside strings, so that no parser ever recurses deeper than the limit. */
function tooDeep(text: string): boolean {
  let depth = 0
  let quoted = false
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (quoted) {
      if (c === 92) i++
      else if (c === 34) quoted = false
    } else if (c === 34) quoted = true
    else if (c === 91 || c === 123) {
      if (++depth > JSON_DEPTH_MAX) return true
    } else if (c === 93 || c === 125) depth--
  }
  return false
}
