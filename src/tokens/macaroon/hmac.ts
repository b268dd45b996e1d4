import { Buffer } from 'node:buffer'
import { hash } from 'node:crypto'
import { assert } from '../../core/assert.ts'

/** 32 bytes as text, a character a byte (latin1): the form in which one-shot hashing is quickest. */
export type Digest = string

/** Longest message, in bytes: more than any token has. */
const MESSAGE_BYTES_MAX = 8192
const BLOCK_BYTES = 64
const DIGEST_BYTES = 32

const inner = Buffer.alloc(BLOCK_BYTES + MESSAGE_BYTES_MAX)
const outer = Buffer.alloc(BLOCK_BYTES + DIGEST_BYTES)

/**
 * HMAC-SHA256 (RFC 2104) by one-shot hashes. A chain has another key at every step, and a `createHmac` with a fresh raw key
 * costs ten times as much on Node 24.18 and later.
 */
export function hmac(key: Digest, message: Uint8Array | Digest): Digest {
  assert(key.length <= BLOCK_BYTES, 'a key is a digest, or short')
  assert(message.length <= MESSAGE_BYTES_MAX, 'no message is longer than a token')
  inner.fill(0x36, 0, BLOCK_BYTES)
  outer.fill(0x5c, 0, BLOCK_BYTES)
  for (let i = 0; i < key.length; i++) {
    const byte = key.charCodeAt(i)
    inner[i] = byte ^ 0x36
    outer[i] = byte ^ 0x5c
  }
  if (typeof message === 'string') inner.write(message, BLOCK_BYTES, 'latin1')
  else inner.set(message, BLOCK_BYTES)
  const digest = hash('sha256', inner.subarray(0, BLOCK_BYTES + message.length), 'binary')
  outer.write(digest, BLOCK_BYTES, 'latin1')
  return hash('sha256', outer, 'binary')
}

/** Bytes as a digest. */
export function digestOf(bytes: Uint8Array): Digest {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

/** The bytes of a digest. */
export function bytesOf(digest: Digest): Buffer {
  return Buffer.from(digest, 'latin1')
}
