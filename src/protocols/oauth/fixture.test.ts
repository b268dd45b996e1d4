import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { test } from 'node:test'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { CryptoKey, JWK } from 'jose'
import type { Credential } from '../../core/credential.ts'
import type { Clock, Fields, Read } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import type { Resource } from '../../core/resource.ts'

export const NOW = 1_700_000_000_000
export const clock: Clock = { now: () => NOW, sleep: () => Promise.resolve() }
export const id: string = 'ab'.repeat(32)

export const resource: Resource = {
  realm: 'api',
  method: 'GET',
  authority: 'api.test',
  path: '/a/b',
  query: 'c=d',
  url: 'https://api.test/a/b?c=d',
}

export function fieldsOf(fields: Readonly<Record<string, string>>): Fields {
  return new Headers(fields)
}

/** A key that makes proofs. */
export interface Prover {
  readonly jkt: string
  readonly jwk: JWK
  readonly privateKey: CryptoKey
  prove(claims?: object, header?: object): Promise<string>
}

let last = 0

export async function createProver(alg = 'ES256'): Promise<Prover> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = await exportJWK(publicKey)
  return {
    jkt: await calculateJwkThumbprint(jwk),
    jwk,
    privateKey,
    prove(claims = {}, header = {}) {
      const said = { htm: 'GET', htu: 'https://api.test/a/b', iat: NOW / 1000, jti: `j${++last}` }
      return new SignJWT({ ...said, ...claims })
        .setProtectedHeader({ typ: 'dpop+jwt', alg, jwk, ...header })
        .sign(privateKey)
    },
  }
}

export function athOf(token: string): string {
  return hash('sha256', token, 'base64url')
}

export function credentialOf(read: Read): Credential {
  assert.ok(read && !('code' in read), JSON.stringify(read))
  return read
}

export function problemOf(read: Read): Problem {
  assert.ok(read && 'code' in read, JSON.stringify(read))
  return read
}

test('a prover signs', async () => {
  assert.equal((await (await createProver()).prove()).split('.').length, 3)
})
