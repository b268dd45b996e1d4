import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto'
import { checkSecret } from './mac.ts'
import type { Chance } from './ports.ts'

/** Encrypts for ourselves: bytes that lie around until they are asked for again. */
export interface Seal {
  /** AES-256-GCM; what was sealed under one name does not open under another. */
  seal(name: string, bytes: Uint8Array): Uint8Array
  /** Undefined if it was not sealed by us under that name, or not whole. */
  open(name: string, sealed: Uint8Array): Uint8Array | undefined
}

const NONCE_BYTES = 12
const TAG_BYTES = 16

/**
 * Makes a seal from the operator's secrets. The first seals, the others still open. Each name has a key of its own (HKDF,
 * RFC 5869), so that random nonces never meet under one key.
 * @throws {RangeError} when a secret must not be used.
 */
export function createSeal(secrets: readonly string[], purpose: string, chance: Chance): Seal {
  const keysOf = (name: string): readonly Uint8Array[] =>
    secrets.map(
      (secret) => new Uint8Array(hkdfSync('sha256', secret, name, `tolsey/${purpose}`, 32)),
    )
  for (const secret of secrets) checkSecret(secret)
  return {
    seal(name, bytes) {
      const [key = new Uint8Array()] = keysOf(name)
      const nonce = chance(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', key, nonce)
      return Buffer.concat([nonce, cipher.update(bytes), cipher.final(), cipher.getAuthTag()])
    },
    open(name, sealed) {
      if (sealed.length < NONCE_BYTES + TAG_BYTES) return undefined
      for (const key of keysOf(name)) {
        const opened = tryOpen(key, sealed)
        if (opened) return opened
      }
      return undefined
    },
  }
}

function tryOpen(key: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
  const end = sealed.length - TAG_BYTES
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES))
  decipher.setAuthTag(sealed.subarray(end))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, end)), decipher.final()])
  } catch {
    return undefined
  }
}
