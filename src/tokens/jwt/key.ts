import { calculateJwkThumbprint, exportJWK, generateKeyPair } from 'jose'
import type { JWK } from 'jose'
import { Buffer } from 'node:buffer'
import type { KeyObject } from 'node:crypto'
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto'

/** What signs: ECDSA on P-256 with SHA-256, or Ed25519 (RFC 7518, 3.4; RFC 8037). */
export type JwtAlg = 'ES256' | 'EdDSA'

/** A key as a JWK (RFC 7517). It signs if it has `d`; without it, it only verifies. */
export interface JwtKey {
  readonly kty: string
  readonly crv: string
  readonly alg: JwtAlg
  /** By what a token names the key; another for each. */
  readonly kid: string
  readonly x: string
  readonly y?: string
  readonly d?: string
}

/** What is published of a key. */
export type PublicJwk = Omit<JwtKey, 'd'> & { readonly use: 'sig' }

/** A key that is ready for use. */
export interface Loaded {
  readonly kid: string
  readonly alg: JwtAlg
  readonly privateKey?: KeyObject
  readonly publicKey: KeyObject
  readonly jwk: PublicJwk
}

const curves: Readonly<Record<JwtAlg, readonly [kty: string, crv: string]>> = {
  ES256: ['EC', 'P-256'],
  EdDSA: ['OKP', 'Ed25519'],
}

const KID = /^[\w.~-]{1,128}$/

/** Makes a key that signs, named by its thumbprint (RFC 7638). It is a secret: keep it as one. */
export async function newJwtKey(alg: JwtAlg = 'ES256'): Promise<JwtKey> {
  const { privateKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = await exportJWK(privateKey)
  const { kty = '', crv = '', x = '', y, d = '' } = jwk as JWK & Partial<JwtKey>
  const kid = await calculateJwkThumbprint(jwk)
  return { kty, crv, alg, kid, x, ...(y !== undefined && { y }), d }
}

/**
 * Makes a key ready.
 * @throws {RangeError} with a sentence, when it is of another kind, or is no key.
 */
export function loadJwtKey(key: JwtKey): Loaded {
  const { kty, crv, alg, kid, x, y } = key
  const curve = Object.hasOwn(curves, alg) ? curves[alg] : undefined
  if (curve?.[0] !== kty || curve[1] !== crv)
    throw new RangeError('A key for tokens is ES256 on P-256, or EdDSA on Ed25519.')
  if (!KID.test(kid)) throw new RangeError('A key for tokens needs a kid of 1 to 128 letters.')
  const said = { kty, crv, alg, kid, x, ...(y !== undefined && { y }) }
  try {
    const jwk = { ...said, use: 'sig' } as const
    const publicKey = createPublicKey({ key: said, format: 'jwk' })
    if (key.d === undefined) return { kid, alg, publicKey, jwk }
    const privateKey = createPrivateKey({ key: { ...said, d: key.d }, format: 'jwk' })
    if (!fits(alg, privateKey, publicKey)) throw new TypeError('another half')
    return { kid, alg, privateKey, publicKey, jwk }
  } catch {
    // Without the cause: its text may hold the key.
    throw new RangeError(`The key ${kid} for tokens cannot be read.`)
  }
}

/** Whether the halves are of one key: a JWK holds both, and reading it compares nothing. */
function fits(alg: JwtAlg, privateKey: KeyObject, publicKey: KeyObject): boolean {
  const digest = alg === 'ES256' ? 'sha256' : undefined
  const text = Buffer.from('tolsey')
  return verify(digest, text, publicKey, sign(digest, text, privateKey))
}
