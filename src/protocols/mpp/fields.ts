/** Longest field that is read, in characters. */
export const FIELD_CHARS_MAX = 65_536
/** Most challenges of one scheme that are looked at. */
export const CHALLENGES_MAX = 32
/** Longest credential that is read, in characters. */
export const CREDENTIAL_CHARS_MAX = 32_768

/** What a challenge may say that we look at. */
export const PARAMS = [
  'id',
  'realm',
  'method',
  'intent',
  'request',
  'description',
  'digest',
  'expires',
  'header',
  'opaque',
] as const

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const SCHEME = new RegExp(`^(${TOKEN})(?:[ \\t]+(?![ \\t]*=)(.*))?$`, 's')
/** What follows a closing quote comes of a quote that was not escaped, and is left out. */
const PARAM = new RegExp(`^(${TOKEN})[ \\t]*=[ \\t]*(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s,"]+)$)`, 's')
const NAME = new RegExp(`^(${TOKEN})[ \\t]*=`)

/** The parameters of a challenge by their names in lower case, or a sentence why it cannot be read. */
export type Params = ReadonlyMap<string, string> | string

/**
 * The challenges of the scheme `Payment` in a `WWW-Authenticate` field (RFC 9110, 11.6.1), several lines of which may have been
 * joined by commas. One that cannot be read does not spoil those beside it.
 */
export function readChallenges(field: string): readonly Params[] {
  if (field.length > FIELD_CHARS_MAX) return []
  const found: string[][] = []
  let current: string[] | undefined
  for (const part of split(field)) {
    const isParam = PARAM.test(part)
    const [, scheme, first] = (!isParam && SCHEME.exec(part)) || []
    if (scheme !== undefined) {
      current = /^payment$/i.test(scheme) && found.length < CHALLENGES_MAX ? [] : undefined
      if (current) found.push(current)
      if (first) current?.push(first.trim())
    } else current?.push(part)
  }
  return found.map(paramsOf)
}

function paramsOf(parts: readonly string[]): Params {
  const params = new Map<string, string>()
  for (const part of parts) {
    const [, name, quoted, plain = ''] = PARAM.exec(part) ?? []
    const key = (name ?? NAME.exec(part)?.[1] ?? '').toLowerCase()
    if (params.has(key)) return 'A parameter of the challenge is given twice.'
    if (name !== undefined)
      params.set(key, quoted === undefined ? plain : quoted.replaceAll(/\\(.)/gs, '$1'))
    else if (PARAMS.some((known) => known === key))
      return `"${key}" of the challenge is not "name=value".`
  }
  return params
}

/** What stands between commas, those in quotes aside. */
function split(field: string): readonly string[] {
  const parts: string[] = []
  let from = 0
  let quoted = false
  for (let at = 0; at < field.length; at++) {
    const c = field[at]
    if (quoted && c === '\\') at++
    else if (c === '"') quoted = !quoted
    if (quoted || c !== ',') continue
    parts.push(field.slice(from, at))
    from = at + 1
  }
  parts.push(field.slice(from))
  return parts.map((part) => part.trim()).filter((part) => part !== '')
}

/** The credentials of the scheme `Payment` in a field; others may stand beside them, joined by commas. */
export function readCredentials(field: string): readonly string[] {
  const parts = field.split(',').map((part) => part.trim())
  return parts.flatMap((part) => {
    const said = /^payment(?:[ \t]+(.*))?$/is.exec(part)
    return said ? [said[1] ?? ''] : []
  })
}

/** Whether the field begins with a credential of the scheme. */
export function isOurs(field: string): boolean {
  return /^\s*payment(?:\s|$)/i.test(field)
}
