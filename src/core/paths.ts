/**
 * Whether a path is covered by a pattern: it is the path itself, or with a last segment `*` lies below it. A path that
 * routers read differently is covered by nothing. Case counts, and so do empty segments.
 */
export function coversPath(pattern: string, path: string): boolean {
  const wanted = pattern.split('/').map(plain)
  const said = path.split('/').map(plain)
  const below = pattern.endsWith('/*')
  if (said.includes(undefined) || wanted.includes(undefined)) return false
  if (below ? said.length < wanted.length : said.length !== wanted.length) return false
  return wanted.every((segment, i) => segment === said[i] || (below && i === wanted.length - 1))
}

/** Whether all that the pattern `inner` covers is covered by `outer`; both in normal form. */
export function liesIn(inner: string, outer: string): boolean {
  if (inner === outer) return true
  return outer.endsWith('/*') && inner.startsWith(outer.slice(0, -1))
}

const LETTER =
  "(?:[A-Za-z0-9._~!$&'()+;=:@-]|%(?:2[0235AC]|3[CEF]|5[BDE]|60|7[BCD]|[89A-F][0-9A-F]))"

/** How a path pattern in normal form looks; what must still hold is said at {@link isNormalPath}. */
export const PATH_PATTERN: string = `(?:/${LETTER}+)*/(?:${LETTER}*|\\*)`

const normal = new RegExp(`^${PATH_PATTERN}$`)

/**
 * Whether a pattern has the one spelling that it should have (RFC 3986, 6.2.2): nothing encoded without need, capital hex
 * digits, no dots, no empty segment but the last. A comma and a star are encoded, since both mean something in a list of
 * patterns.
 */
export function isNormalPath(pattern: string): boolean {
  return normal.test(pattern) && pattern.split('/').every((segment) => plain(segment) !== undefined)
}

/**
 * A segment as a name; undefined where routers differ on it: a hidden slash or control, dots, also before a semicolon, a
 * second encoding, bytes that are not UTF-8.
 */
function plain(segment: string): string | undefined {
  try {
    const name = segment.includes('%') ? decodeURIComponent(segment) : segment
    return strange.test(name) ? undefined : name
  } catch {
    return undefined
  }
}

// oxlint-disable-next-line no-control-regex
const strange = /[/\\\u0000-\u001f\u007f-\u009f]|%[0-9a-f]{2}|^\.{1,2}(?:;|$)/i
