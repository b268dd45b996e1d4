/** Longest `Authorization` that is read, in characters: several tokens of other schemes may stand beside ours. */
export const AUTHORIZATION_CHARS_MAX = 16_384

/** A token as a request shows it. */
export interface Shown {
  readonly scheme: 'Bearer' | 'DPoP'
  readonly token: string
}

const ours = /^(bearer|dpop)(?:[ \t]+|$)(.*)$/is
const token68 = /^[A-Za-z0-9._~+/-]+=*$/

/**
 * The token of an `Authorization` field, whose lines may have been joined by commas (RFC 6750, 2.1; RFC 9449, 7.1). Other
 * schemes are left alone, whatever they quote. Undefined where there is none of ours; a sentence where it cannot be read, or
 * there are two.
 */
export function readAuthorization(field: string | null | undefined): Shown | string | undefined {
  if (field === null || field === undefined) return undefined
  const isOurs = ours.test(field.trimStart())
  if (field.length > AUTHORIZATION_CHARS_MAX) return isOurs ? 'The token is too long.' : undefined
  const found = partsOf(field).flatMap((text) => {
    const [, scheme, token = ''] = ours.exec(text.trim()) ?? []
    return scheme === undefined ? [] : [{ scheme: nameOf(scheme), token }]
  })
  const [first, ...others] = found
  if (!first) return undefined
  if (others.length > 0) return 'The request shows more than one token. Send one.'
  return token68.test(first.token) ? first : 'The Authorization field is not "Bearer <token>".'
}

/** Cut at commas outside quotes. By hand: a pattern goes over unclosed quotes again and again. */
function partsOf(field: string): readonly string[] {
  const parts: string[] = []
  let from = 0
  let quoted = false
  for (let i = 0; i < field.length; i++) {
    const c = field[i]
    if (quoted && c === '\\') i++
    else if (c === '"') quoted = !quoted
    else if (c === ',' && !quoted) {
      parts.push(field.slice(from, i))
      from = i + 1
    }
  }
  return [...parts, field.slice(from)]
}

function nameOf(scheme: string): Shown['scheme'] {
  return scheme.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer'
}
