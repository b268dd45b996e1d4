import { Buffer } from 'node:buffer'
import { hash } from 'node:crypto'
import { assert } from '../../core/assert.ts'
import { checkSecret, SECRETS_MAX } from '../../core/mac.ts'
import type { Digest } from './hmac.ts'
import { bytesOf, hmac } from './hmac.ts'

/** Bytes of an identifier, version 0. */
export const IDENTIFIER_BYTES = 66
/** Bytes of a payment hash, and of a token id. */
export const HASH_BYTES = 32

/** What the identifier of a token says (L402, version 0). */
export interface Identifier {
  /** What was or is to be paid. For a payment that has no hash of its own: the SHA-256 of its key in the books. */
  readonly paymentHash: Uint8Array
  /** 32 random bytes. */
  readonly tokenId: Uint8Array
}

/** Writes `version (2 bytes, 0) | payment hash (32) | token id (32)`. */
export function writeIdentifier({ paymentHash, tokenId }: Identifier): Uint8Array {
  assert(paymentHash.length === HASH_BYTES, 'a payment hash has 32 bytes')
  assert(tokenId.length === HASH_BYTES, 'a token id has 32 bytes')
  return Buffer.concat([Buffer.alloc(2), paymentHash, tokenId])
}

/** Reads an identifier of version 0, or says why it is none. */
export function readIdentifier(bytes: Uint8Array): Identifier | string {
  if (bytes.length !== IDENTIFIER_BYTES || bytes[0] !== 0 || bytes[1] !== 0)
    return 'The identifier of the token is not one of version 0.'
  return {
    paymentHash: bytes.subarray(2, 2 + HASH_BYTES),
    tokenId: bytes.subarray(2 + HASH_BYTES),
  }
}

/** Root keys that need no store: each is derived from a secret and the identifier. */
export interface RootKeys {
  /** The key that mints, under the newest secret. */
  newest(id: Uint8Array): Uint8Array
  /** The keys under which a token may have been minted, the newest first. */
  every(id: Uint8Array): Iterable<Uint8Array>
}

/**
 * Root keys under the operator's secrets. The first mints; the others verify until they are rotated out, which ends all
 * tokens that they minted. What is minted for one purpose is foreign to all others.
 * @throws {RangeError} when a secret is missing, short, or a sample.
 */
export function createRootKeys(secrets: readonly string[], purpose = 'macaroon'): RootKeys {
  if (secrets.length === 0 || secrets.length > SECRETS_MAX)
    throw new RangeError(`Give between one and ${SECRETS_MAX} secrets for tokens.`)
  const keys = secrets.map((secret): Digest =>
    hash('sha256', `tolsey/${purpose}/${checkSecret(secret)}`, 'binary'),
  )
  const [first] = keys
  assert(first, 'there is a first secret')
  return {
    newest: (id) => bytesOf(hmac(first, id)),
    *every(id) {
      for (const key of keys) yield bytesOf(hmac(key, id))
    },
  }
}
