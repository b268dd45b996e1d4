import { createKeccak } from 'hash-wasm'
import type { Hex } from '../hex.ts'
import type { Engine } from '../secp256k1.ts'
import { loadCurve } from '../secp256k1.ts'
import type { Keccak } from '../typed-data.ts'

/** Reads signatures without asking a chain. */
export interface Signers {
  readonly engine: Engine
  /**
   * The account whose key has signed, in a form that Permit2 takes: 65 bytes with a `v` of 27 or 28, or 64 (EIP-2098). Undefined
   * if it is of another form, or nobody's.
   */
  signer(digest: Hex, signature: Hex): Hex | undefined
  readonly keccak: Keccak
}

/**
 * Loads the reader of signatures.
 * @throws {Error} with what to do, when no signature code can be loaded.
 */
export async function createSigners(wanted?: Engine): Promise<Signers> {
  const [{ engine, recover }, hasher] = await Promise.all([loadCurve(wanted), createKeccak(256)])
  const keccak: Keccak = (bytes) => hasher.init().update(bytes).digest('binary')
  return {
    engine,
    keccak,
    signer(digest, signature) {
      const read = readSignature(signature)
      const key = read && recover(read.bytes, read.recovery, bytesOf(digest))
      return key && `0x${Buffer.from(keccak(key.subarray(1)).subarray(12)).toString('hex')}`
    },
  }
}

function readSignature(
  signature: Hex,
): { readonly bytes: Uint8Array; readonly recovery: 0 | 1 } | undefined {
  const bytes = bytesOf(signature)
  const rest = bytes.subarray(0, 64)
  if (bytes.length === 65) {
    const v = bytes[64]
    return v === 27 || v === 28 ? { bytes: rest, recovery: v === 27 ? 0 : 1 } : undefined
  }
  if (bytes.length !== 64) return undefined
  // Which of two keys it gives stands in the highest bit of s.
  const high = rest[32] ?? 0
  rest[32] = high & 0x7f
  return { bytes: rest, recovery: high > 0x7f ? 1 : 0 }
}

function bytesOf(hex: Hex): Uint8Array {
  return Buffer.from(hex.slice(2), 'hex')
}
