import { calculateJwkThumbprint, decodeProtectedHeader, EmbeddedJWK, errors, jwtVerify } from 'jose'
import type { JWTPayload } from 'jose'
import { Buffer } from 'node:buffer'
import { hash, timingSafeEqual } from 'node:crypto'
import { systemClock } from '../../core/clock.ts'
import { isObject } from '../../core/json.ts'
import type { Clock, Seen } from '../../core/ports.ts'
import type { Resource } from '../../core/resource.ts'

/** Longest proof, in characters. */
export const PROOF_CHARS_MAX = 4_096
/** How old a proof may be. */
export const PROOF_AGE_MS = 60_000
/** How far the clock of whoever made it may be ahead of ours. */
export const PROOF_AHEAD_MS = 10_000
/** Most proofs that are remembered as used. Where there is no room, no proof is taken until the oldest is out of its time. */
export const PROOFS_MAX = 100_000
/** How long a caller waits where nobody can tell whether his proof is new. */
export const SEEN_RETRY_MS = 1_000
/** Longest `jti`, in characters. */
export const JTI_CHARS_MAX = 256
/** Algorithms of proofs: asymmetric, and quick to check. */
export const PROOF_ALGS: readonly string[] = ['ES256', 'EdDSA', 'Ed25519', 'ES384']

/** What {@link createProofs} is made of. */
export interface ProofSettings {
  /** {@link PROOF_AGE_MS} if absent. */
  readonly ageMs?: number
  /** {@link PROOFS_MAX} if absent. */
  readonly proofsMax?: number
  /** What other processes have taken: a proof is good once among all that share it. Where it cannot be asked, none is taken. */
  readonly seen?: Seen
  readonly clock?: Clock
}

/** What a proof shows: the thumbprint of the key that made it (RFC 7638), or a sentence, or that there is no room. */
export type Proven =
  | { readonly kind: 'proven'; readonly jkt: string }
  | { readonly kind: 'unproven'; readonly why: string }
  | { readonly kind: 'full'; readonly retryAfterMs: number }

/** Checks DPoP proofs; remembers which were used. */
export interface Proofs {
  /**
   * Checks a proof for the request, and for the token that comes with it if there is one (RFC 9449, 4.3). `fits` is asked
   * about the key before the proof is used up.
   */
  check(
    proof: string | null | undefined,
    resource: Resource,
    token?: string,
    fits?: (jkt: string) => boolean,
  ): Promise<Proven>
}

const HEADER = ['typ', 'alg', 'jwk']
const KEY = ['kty', 'crv', 'x', 'y', 'alg', 'use', 'kid', 'key_ops']

/**
 * Proofs of possession of a key. Each is good once in its time: in this process, or with `seen` among all that share it. Without
 * that, a proof that is shown to several processes at once is told from a second one only by what it pays for.
 */
export function createProofs(settings: ProofSettings = {}): Proofs {
  const { ageMs = PROOF_AGE_MS, proofsMax = PROOFS_MAX, seen, clock = systemClock } = settings
  const keepMs = ageMs + PROOF_AHEAD_MS
  const used = createUsed(keepMs, proofsMax)

  /** Here first, which costs nothing; then among all. */
  async function claim(name: string, now: number): Promise<number | 'again' | undefined> {
    const here = used.claim(name, now)
    if (here !== undefined || !seen) return here
    try {
      return (await seen.claim(`dpop/${name}`, now + keepMs)) ? undefined : 'again'
    } catch {
      // In doubt no. It may be taken elsewhere by now, so that the caller makes a new one.
      return SEEN_RETRY_MS
    }
  }

  return {
    async check(proof, resource, token, fits = () => true) {
      const why = proof ? unreadable(proof) : 'There is no proof in the DPoP field.'
      if (!proof || why !== undefined) return unproven(why ?? '')
      const read = await verify(proof, clock.now())
      if (typeof read === 'string') return unproven(read)
      const { claims, jkt } = read
      // One instant for both: what is still in its time must still be remembered.
      const now = clock.now()
      const wrong = mismatch(claims, resource, token) ?? outOfTime(claims, now, ageMs)
      if (wrong !== undefined) return unproven(wrong)
      if (!fits(jkt)) return unproven('The token belongs to another key than that of the proof.')
      const { jti } = claims
      if (typeof jti !== 'string' || jti === '' || jti.length > JTI_CHARS_MAX)
        return unproven(`The proof needs a jti of 1 to ${JTI_CHARS_MAX} characters.`)
      const retryAfterMs = await claim(hash('sha256', `${jkt}/${jti}`, 'base64url'), now)
      if (retryAfterMs === 'again') return unproven('The proof was used before. Make a new one.')
      return retryAfterMs === undefined ? { kind: 'proven', jkt } : { kind: 'full', retryAfterMs }
    },
  }
}

function unproven(why: string): Proven {
  return { kind: 'unproven', why }
}

/** What can be seen before a signature is checked; nothing that the header brings is believed but a public key. */
function unreadable(proof: string): string | undefined {
  if (proof.length > PROOF_CHARS_MAX) return 'The proof is too long.'
  // Two fields are joined by a comma, which no proof contains.
  if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(proof)) return 'The DPoP field is not one signed JWT.'
  const header = headerOf(proof)
  if (header?.['typ'] !== 'dpop+jwt') return 'The proof is not of the type dpop+jwt.'
  if (!PROOF_ALGS.includes(String(header['alg'])))
    return `The proof must be signed by one of ${PROOF_ALGS.join(', ')}.`
  if (!Object.keys(header).every((name) => HEADER.includes(name)))
    return 'The header of the proof has a member that is not known here.'
  const { jwk } = header
  if (!isObject(jwk) || !Object.keys(jwk).every((name) => KEY.includes(name)))
    return 'The proof must bring its public key, and nothing but that.'
  return undefined
}

function headerOf(proof: string): Record<string, unknown> | undefined {
  try {
    return { ...decodeProtectedHeader(proof) }
  } catch {
    return undefined
  }
}

/** The claims and the thumbprint of the key that signed them. */
async function verify(
  proof: string,
  now: number,
): Promise<{ readonly claims: JWTPayload; readonly jkt: string } | string> {
  try {
    const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, {
      algorithms: [...PROOF_ALGS],
      typ: 'dpop+jwt',
      currentDate: new Date(now),
    })
    const { jwk } = protectedHeader
    if (!jwk) return 'The proof brings no key.'
    return { claims: payload, jkt: await calculateJwkThumbprint(jwk, 'sha256') }
  } catch (error) {
    // What a stranger's key makes the machine throw is the stranger's fault.
    if (error instanceof errors.JOSEError || error instanceof TypeError || isDomException(error))
      return 'The proof does not hold: its signature, its key or its time is wrong.'
    throw error
  }
}

function isDomException(error: unknown): boolean {
  return error instanceof DOMException
}

/** What the proof was made for, if it is not this. */
function mismatch(claims: JWTPayload, resource: Resource, token?: string): string | undefined {
  if (claims['htm'] !== resource.method) return 'The proof was made for another method.'
  const htu = claims['htu']
  const made = typeof htu === 'string' ? placeOf(htu) : undefined
  if (made === undefined || made !== placeOf(resource.url))
    return 'The proof was made for another address.'
  const ath = claims['ath']
  if (token === undefined) return undefined
  return typeof ath === 'string' && isSame(ath, hash('sha256', token, 'base64url'))
    ? undefined
    : 'The proof was made for another token: its ath is not the digest of this one.'
}

function outOfTime({ iat }: JWTPayload, now: number, ageMs: number): string | undefined {
  if (iat === undefined) return 'The proof does not say when it was made.'
  const age = now - iat * 1000
  if (age > ageMs) return 'The proof is too old. Make one for each request.'
  return age < -PROOF_AHEAD_MS ? 'The proof is from the future. Set your clock.' : undefined
}

/** An address without query and fragment, in normal form (RFC 3986, 6.2.2 and 6.2.3); undefined for what is none. */
export function placeOf(address: string): string | undefined {
  const url = URL.parse(address)
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    return undefined
  return url.origin + url.pathname.replaceAll(/%[0-9a-f]{2}/gi, plain)
}

function plain(encoded: string): string {
  const letter = String.fromCharCode(Number.parseInt(encoded.slice(1), 16))
  return /[A-Za-z0-9._~-]/.test(letter) ? letter : encoded.toUpperCase()
}

function isSame(a: string, b: string): boolean {
  const [one, other] = [Buffer.from(a), Buffer.from(b)]
  return one.length === other.length && timingSafeEqual(one, other)
}

/** What was used, as long as it could be shown again. All stay for the same time, so the first in is the first out. */
function createUsed(keepMs: number, most: number) {
  const untilAt = new Map<string, number>()

  function drop(now: number): void {
    for (const [name, until] of untilAt) {
      if (until >= now) return
      untilAt.delete(name)
    }
  }

  return {
    /** Takes the name; `again` if it was taken before; where there is no room, how long to wait for it. */
    claim(name: string, now: number): number | 'again' | undefined {
      drop(now)
      if (untilAt.has(name)) return 'again'
      const [first] = untilAt.size < most ? [] : untilAt.values()
      if (first !== undefined) return first - now + 1
      untilAt.set(name, now + keepMs)
      return undefined
    },
  }
}
