import { PATH_CHARS_MAX } from '../adapters/routes.ts'

/** Where a request goes, in the one spelling that routes are matched on and that the upstream is sent. */
export interface Target {
  readonly path: string
  /** With its question mark, as it was sent; empty if there is none. */
  readonly query: string
  /** Both. */
  readonly whole: string
}

/** What needs no second look: nothing encoded, no empty segment but the last, no segment that begins with a dot. */
const plain = /^(?:\/(?!\.)[A-Za-z0-9._~!$&'()*+,;=:@-]+)*\/?$/

/** An escape, or a character that a path cannot hold as it is (RFC 3986, 3.3). */
const unusual = /%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~!$&'()*+,;=:@-]/g

/** Where servers differ: a hidden slash or control, a second encoding, dots, also before a semicolon. */
// oxlint-disable-next-line no-control-regex
const strange = /[/\\\u0000-\u001f\u007f-\u009f]|%[0-9a-f]{2}|^\.{1,2}(?:;|$)/i

/**
 * Reads the target of a request into its normal form (RFC 3986, 6.2.2): nothing encoded without need, capital hex digits.
 * Undefined for what two servers could read differently: encoded slashes, dot segments, empty segments, backslashes,
 * controls, what is encoded twice or is no UTF-8, and every form but `/path?query`.
 */
export function readTarget(target: string): Target | undefined {
  const cut = target.indexOf('?')
  const said = cut < 0 ? target : target.slice(0, cut)
  const query = cut < 0 ? '' : target.slice(cut)
  if (said.length > PATH_CHARS_MAX) return undefined
  const path = plain.test(said) ? said : normal(said)
  if (path === undefined || path === '') return undefined
  return { path, query, whole: path === said ? target : path + query }
}

function normal(said: string): string | undefined {
  if (!said.startsWith('/') || !/^[!-~]+$/.test(said) || /[\\#]/.test(said)) return undefined
  const segments = said.slice(1).split('/')
  const last = segments.length - 1
  const read = segments.map((segment, i) => (segment === '' && i < last ? undefined : one(segment)))
  return read.includes(undefined) ? undefined : `/${read.join('/')}`
}

function one(segment: string): string | undefined {
  const spelled = segment.replaceAll(unusual, spell)
  try {
    return strange.test(decodeURIComponent(spelled)) ? undefined : spelled
  } catch {
    return undefined
  }
}

/** A lone percent sign is left as it is, and does not decode. */
function spell(piece: string): string {
  if (piece === '%') return piece
  const code = piece.length > 1 ? Number.parseInt(piece.slice(1), 16) : piece.charCodeAt(0)
  const letter = String.fromCharCode(code)
  if (piece.length > 1 && /[A-Za-z0-9._~-]/.test(letter)) return letter
  return `%${code.toString(16).toUpperCase().padStart(2, '0')}`
}

/**
 * Makes the path at the upstream of a path in normal form: a template like `/api/*`, in which `:name` and `*` stand for what
 * stood there in the route's pattern.
 * @throws {RangeError} with a sentence, when the template names what the pattern does not.
 */
export function createRewrite(pattern: string, template: string): (path: string) => string {
  const wanted = pattern.replace(/^\S+ /, '').replace(/^\//, '').split('/')
  const tail = wanted.at(-1) === '*'
  const length = tail ? wanted.length - 1 : wanted.length
  if (!template.startsWith('/'))
    throw new RangeError(`The path "${template}" does not begin with a slash.`)
  const parts = template.slice(1).split('/')
  for (const part of parts.filter((part) => part.startsWith(':')))
    if (!wanted.includes(part))
      throw new RangeError(`The path "${template}" names "${part}", which "${pattern}" does not.`)
  if (parts.slice(0, -1).includes('*') || (parts.at(-1) === '*' && !tail))
    throw new RangeError(`The path "${template}" may end in * only where "${pattern}" does.`)
  const fixed = parts.at(-1) === '*' ? parts.slice(0, -1) : parts
  return (path) => {
    const said = path.slice(1).split('/')
    const made = fixed.map((part) =>
      part.startsWith(':') ? (said[wanted.indexOf(part)] ?? '') : part,
    )
    const rest = parts.at(-1) === '*' ? said.slice(length) : []
    return `/${[...made, ...rest].join('/')}`
  }
}
