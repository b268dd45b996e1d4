import { errors, jwtVerify, SignJWT } from 'jose'
import type { JWTPayload } from 'jose'
import { Buffer } from 'node:buffer'
import { assert } from '../../core/assert.ts'
import { systemChance } from '../../core/chance.ts'
import { systemClock } from '../../core/clock.ts'
import type { Grant } from '../../core/credential.ts'
import { inTime, readGrant, writeGrant } from '../../core/grants.ts'
import { createKnown } from '../../core/known.ts'
import type { Chance, Clock, Mint } from '../../core/ports.ts'
import type { Rights } from '../../core/rights.ts'
import { meet } from '../../core/rights.ts'
import type { JwtKey, Loaded, PublicJwk } from './key.ts'
import { loadJwtKey } from './key.ts'

/** Longest token, in characters. */
export const JWT_CHARS_MAX = 8_192
/** Most keys at once: one that signs and those that are being rotated out. */
export const JWT_KEYS_MAX = 8
/** How long a token is good whose rights name no end. What is left on its account stays there. */
export const JWT_LIFETIME_MS: number = 30 * 86_400_000

/** What {@link createJwts} is made of. */
export interface JwtSettings {
  /** The first signs, the others still verify. Make one with `newJwtKey`. */
  readonly keys: readonly JwtKey[]
  /** Who makes the tokens: the `issuer` of the server's metadata (RFC 8414). */
  readonly issuer: string
  /** For whom they are: the `resource` of the protected resource's metadata (RFC 9728). */
  readonly audience: string
  /** {@link JWT_LIFETIME_MS} if absent. */
  readonly lifetimeMs?: number
  readonly clock?: Clock
  readonly chance?: Chance
}

/** A mint of JWT access tokens. */
export interface Jwts extends Mint {
  mint(grant: Grant): Promise<string>
  /** The public keys (RFC 7517, 5), for whoever else verifies. */
  jwks(): { readonly keys: readonly PublicJwk[] }
}

const TYP = 'at+jwt'
const JTI_BYTES = 16
const JKT = /^jkt:([\w-]{43})$/

/**
 * JWT access tokens (RFC 9068). The header must be, letter by letter, one that we write: so algorithm and key are ours to
 * choose, and there is no room for `none`, `crit`, or a key that a token brings along. `sub` and `client_id` name the account
 * (the grant's id), `conditions` its rights; their end is `exp`, and a single proven key is `cnf` (RFC 7800, RFC 9449).
 * @throws {RangeError} when a key must not be used, or the first cannot sign.
 */
export function createJwts(settings: JwtSettings): Jwts {
  const { issuer, audience, lifetimeMs = JWT_LIFETIME_MS } = settings
  const { clock = systemClock, chance = systemChance } = settings
  const keys = loadAll(settings.keys)
  const byHeader = new Map(keys.map((key) => [headerText(key), key]))
  const [first] = keys
  const signs = first?.privateKey
  if (!first || !signs) throw new RangeError('The first key for tokens must have its private half.')
  const known = createKnown<Grant>()

  async function verify(token: string, key: Loaded): Promise<Grant | string> {
    if (!isCanonical(token)) return NOT_OURS
    try {
      const { payload } = await jwtVerify(token, key.publicKey, {
        algorithms: [key.alg],
        issuer,
        audience,
        typ: TYP,
        currentDate: new Date(clock.now()),
        requiredClaims: ['exp', 'sub', 'client_id', 'iat', 'jti'],
      })
      return readClaims(payload)
    } catch (error) {
      if (error instanceof errors.JOSEError) return sentenceOf(error)
      throw error
    }
  }

  return {
    name: 'jwt',
    jwks: () => ({ keys: keys.map(({ jwk }) => jwk) }),

    async mint({ id, rights: { expiresAt, ...rest } }) {
      const now = clock.now()
      const { jkt, rights } = partOf(rest)
      const claims = {
        iss: issuer,
        aud: audience,
        sub: id,
        client_id: id,
        iat: Math.floor(now / 1000),
        exp: Math.floor((expiresAt ?? now + lifetimeMs) / 1000),
        jti: Buffer.from(chance(JTI_BYTES)).toString('base64url'),
        ...(jkt !== undefined && { cnf: { jkt } }),
        conditions: writeGrant({ id, rights }),
      }
      const { alg, kid } = first
      const token = await new SignJWT(claims).setProtectedHeader({ alg, kid, typ: TYP }).sign(signs)
      assert(token.startsWith(`${headerText(first)}.`), 'the header is the one that we read')
      if (token.length > JWT_CHARS_MAX)
        throw new RangeError(`The token would be longer than ${JWT_CHARS_MAX} characters.`)
      return token
    },

    check(token) {
      const key = byHeader.get(token.slice(0, Math.max(token.indexOf('.'), 0)))
      if (!key) return undefined
      if (token.length > JWT_CHARS_MAX)
        return `The token is longer than ${JWT_CHARS_MAX} characters.`
      const found = known.get(token)
      if (found) return inTime(found, clock.now())
      return verify(token, key).then((checked) => {
        if (typeof checked === 'object') known.add(token, checked)
        return checked
      })
    },
  }
}

const EXPIRED = 'The token has expired. Buy a new one.'
const NOT_OURS = 'The signature of the token does not hold: it was changed, or made by another.'

function loadAll(said: readonly JwtKey[]): readonly Loaded[] {
  if (said.length === 0 || said.length > JWT_KEYS_MAX)
    throw new RangeError(`Give between one and ${JWT_KEYS_MAX} keys for tokens.`)
  const keys = said.map(loadJwtKey)
  if (new Set(keys.map(({ kid }) => kid)).size < keys.length)
    throw new RangeError('Two keys for tokens have one kid.')
  return keys
}

function headerText({ alg, kid }: Loaded): string {
  return Buffer.from(JSON.stringify({ alg, kid, typ: TYP })).toString('base64url')
}

/** What the claims of their own say, and what is left for `conditions`: nothing is said twice. */
function partOf({ payerKeys, ...rest }: Rights): {
  readonly jkt?: string
  readonly rights: Rights
} {
  const [only = '', ...others] = payerKeys ?? []
  const jkt = others.length === 0 ? JKT.exec(only)?.[1] : undefined
  if (jkt !== undefined) return { jkt, rights: rest }
  return { rights: payerKeys ? { ...rest, payerKeys } : rest }
}

function readClaims({ sub, client_id, exp, cnf, conditions }: JWTPayload): Grant | string {
  const grant = readGrant(sub, conditions)
  if (typeof grant === 'string') return grant
  if (client_id !== sub || exp === undefined) return NOT_OURS
  const end = meet(grant.rights, { expiresAt: exp * 1000 })
  if (cnf === undefined) return { id: grant.id, rights: end }
  const jkt = typeof cnf === 'object' && cnf !== null && 'jkt' in cnf ? cnf.jkt : undefined
  const payerKey = `jkt:${String(jkt)}`
  // A confirmation of another kind binds too; who cannot check it must not take the token.
  if (!JKT.test(payerKey)) return 'The token is bound to a key in a way that is not known here.'
  return { id: grant.id, rights: meet(end, { payerKeys: [payerKey] }) }
}

/** The last letter of a signature has bits to spare, which must be zero: one token, one text. */
function isCanonical(token: string): boolean {
  const signature = token.slice(token.lastIndexOf('.') + 1)
  return Buffer.from(signature, 'base64url').toString('base64url') === signature
}

function sentenceOf(error: InstanceType<typeof errors.JOSEError>): string {
  if (error instanceof errors.JWTExpired) return EXPIRED
  if (!(error instanceof errors.JWTClaimValidationFailed)) return NOT_OURS
  if (error.claim === 'iss') return 'The token was made by another issuer.'
  if (error.claim === 'aud') return 'The token was made for another service.'
  return `The claim ${error.claim} of the token is missing, or not one of ours.`
}
