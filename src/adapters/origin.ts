/** How a request's host is named to the outside. */
export interface Place {
  readonly scheme: string
  /** Host and, unless it is the scheme's own, port; lower case. */
  readonly authority: string
}

/** What a request says of its place. */
interface Said {
  readonly scheme: string
  readonly authority: string | undefined
}

/** Longest host with port: a DNS name has 253 characters. */
const AUTHORITY_CHARS_MAX = 260

/**
 * Finds the public place of a request. With origins declared, only theirs; without, what the request says.
 * @throws {RangeError} when an origin is not one.
 */
export function createLocator(
  origin: string | readonly string[] | undefined,
): (said: Said) => Place | undefined {
  if (origin === undefined) return believed
  const origins = typeof origin === 'string' ? [origin] : origin
  const places = new Map(origins.map(readOrigin).map((place) => [place.authority, place]))
  return ({ authority = '' }) => {
    const exact = places.get(authority)
    if (exact) return exact
    const host = authority.toLowerCase()
    return places.get(host) ?? places.get(host.replace(/:(80|443)$/, ''))
  }
}

function believed({ scheme, authority = '' }: Said): Place | undefined {
  const host = authority.toLowerCase()
  if (
    host.length > AUTHORITY_CHARS_MAX ||
    !/^([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?$/.test(host)
  )
    return undefined
  return { scheme, authority: host.replace(scheme === 'https' ? /:443$/ : /:80$/, '') }
}

function readOrigin(text: string): Place {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (
    !url ||
    url.origin !== text.replace(/\/$/, '').toLowerCase() ||
    !/^https?:$/.test(url.protocol)
  )
    throw new RangeError(`"${text}" is not an origin. Write it like "https://api.example.com".`)
  return { scheme: url.protocol.slice(0, -1), authority: url.host }
}
