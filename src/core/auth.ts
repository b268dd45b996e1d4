/** One challenge of a `WWW-Authenticate` field (RFC 9110, 11.6.1). */
export interface AuthChallenge {
  /** As it was written; compare without case. */
  readonly scheme: string
  /** By their names in lower case; of a repeated one the first counts. */
  readonly params: ReadonlyMap<string, string>
}

/** Longest field that is read, in characters. */
export const AUTH_CHARS_MAX = 32_768
/** Most challenges in one field. */
export const AUTH_CHALLENGES_MAX = 32

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const param = new RegExp(`(${TOKEN})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s,"]+))`, 'y')
const scheme = new RegExp(`(${TOKEN})(?=[ \\t]|,|$)`, 'y')
const token68 = /[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)/y
const between = /[ \t]*(?:,[ \t]*)*/y

/**
 * The challenges of a field, several lines of which may have been joined by commas. A value may be quoted or not. What cannot
 * be read ends the reading: what stands before it counts.
 */
export function readAuth(field: string): readonly AuthChallenge[] {
  const found: { scheme: string; params: Map<string, string> }[] = []
  if (field.length > AUTH_CHARS_MAX) return found
  let at = 0
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at
    const match = pattern.exec(field) ?? undefined
    if (match) at = pattern.lastIndex
    return match
  }
  for (take(between); at < field.length; take(between)) {
    const pair = take(param)
    const last = found.at(-1)
    if (pair && last) {
      const [, name = '', quoted, plain] = pair
      const value = quoted === undefined ? (plain ?? '') : quoted.replaceAll(/\\(.)/g, '$1')
      if (!last.params.has(name.toLowerCase())) last.params.set(name.toLowerCase(), value)
      continue
    }
    const next = pair ? undefined : take(scheme)
    if (!next || found.length === AUTH_CHALLENGES_MAX) return found
    found.push({ scheme: next[1] ?? '', params: new Map() })
    take(token68)
  }
  return found
}

/** A quoted string (RFC 9110, 5.6.4). What is no visible ASCII becomes a question mark: fields are bytes, and logs are read. */
export function quoted(value: string): string {
  return `"${value.replaceAll(/[^ -~]/g, '?').replaceAll(/["\\]/g, String.raw`\$&`)}"`
}
