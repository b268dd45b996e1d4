import { createRequire } from 'node:module'
import { instantiateSecp256k1 } from '@bitauth/libauth/build/lib/crypto/secp256k1.js'

/** Code that recovers keys and signs: the native addon of libsecp256k1, or its WebAssembly build. */
export type Engine = 'native' | 'wasm'

/** A signature of a digest: r and s in 64 bytes, s in the lower half of the order, and which of two keys it gives. */
interface Signature {
  readonly signature: Uint8Array
  readonly recid: number
}

/** Arithmetic on the curve. */
export interface Curve {
  readonly engine: Engine
  /** The public key of a signature in 65 bytes, undefined if there is none. Good until the next call. */
  readonly recover: (
    signature: Uint8Array,
    recovery: 0 | 1,
    digest: Uint8Array,
  ) => Uint8Array | undefined
  /** By RFC 6979: the same key signs the same digest in the same way. @throws {Error} if it is not a private key. */
  readonly sign: (digest: Uint8Array, key: Uint8Array) => Signature
}

/**
 * Loads the fastest engine that is there, or the one that is asked for. Both are libsecp256k1; there is no third,
 * slower one to fall to.
 * @throws {Error} with what to do, when none can be loaded.
 */
export async function loadCurve(wanted?: Engine): Promise<Curve> {
  const native = wanted === 'wasm' ? undefined : loadNative()
  if (native) return native
  if (wanted === 'native')
    throw new Error('The native signature code cannot be loaded. Install the package "secp256k1".')
  try {
    return await loadWasm()
  } catch (cause) {
    throw new Error(
      'No signature code can be loaded: this machine refuses WebAssembly and the package "secp256k1" is not installed.',
      { cause },
    )
  }
}

interface Addon {
  ecdsaRecover(
    signature: Uint8Array,
    recovery: number,
    digest: Uint8Array,
    compressed: false,
    out: Uint8Array,
  ): Uint8Array
  ecdsaSign(digest: Uint8Array, key: Uint8Array): Signature
}

function loadNative(): Curve | undefined {
  let addon: Addon
  try {
    // The package's root falls to slow code without a word where the addon is missing; this file throws.
    addon = createRequire(import.meta.url)('secp256k1/bindings.js') as Addon
  } catch {
    return undefined
  }
  const out = new Uint8Array(65)
  return {
    engine: 'native',
    recover(signature, recovery, digest) {
      try {
        return addon.ecdsaRecover(signature, recovery, digest, false, out)
      } catch {
        return undefined
      }
    },
    sign: (digest, key) => addon.ecdsaSign(digest, key),
  }
}

async function loadWasm(): Promise<Curve> {
  const secp256k1 = await instantiateSecp256k1()
  return {
    engine: 'wasm',
    // It answers an error as text.
    recover(signature, recovery, digest) {
      const key = secp256k1.recoverPublicKeyUncompressed(signature, recovery, digest)
      return typeof key === 'string' ? undefined : key
    },
    sign(digest, key) {
      const signed = secp256k1.signMessageHashRecoverableCompact(key, digest)
      if (typeof signed === 'string') throw new Error('The digest cannot be signed with this key.')
      return { signature: signed.signature, recid: signed.recoveryId }
    },
  }
}
