import { Buffer } from 'node:buffer'
import { createRequire } from 'node:module'
import { instantiateSecp256k1 } from '@bitauth/libauth/build/lib/crypto/secp256k1.js'
import { createKeccak } from 'hash-wasm'
import type { IHasher } from 'hash-wasm'
import type { Hex } from './hex.ts'
import type { Token } from './networks.ts'
import type { Proof } from './proof.ts'

/** Code that recovers keys: the native addon of libsecp256k1, or its WebAssembly build. */
export type Engine = 'native' | 'wasm'

/**
 * What local arithmetic says of a signature: `payer`, the account itself signed, in the form that tokens take;
 * `other`, well formed but somebody else's; `odd`, not of that form. A contract wallet may sign in any of these ways
 * (ERC-1271), so that only the first is a judgement, and the token's own check decides the others.
 */
export type Signed = 'payer' | 'other' | 'odd'

/** Checks EIP-3009 signatures without asking a chain. */
export interface Verifier {
  readonly engine: Engine
  /** The domain separator of a token (EIP-712). */
  readonly domain: (token: Token, chainId: number) => Uint8Array
  /** The digest that the payer signs. */
  readonly digest: (domain: Uint8Array, proof: Proof) => Uint8Array
  readonly look: (domain: Uint8Array, proof: Proof) => Signed
  readonly keccak: (bytes: Uint8Array) => Uint8Array
}

/** The public key of a signature in 65 bytes, undefined if there is none. */
type Recover = (
  signature: Uint8Array,
  recovery: 0 | 1,
  digest: Uint8Array,
) => Uint8Array | undefined

const WORD = 32

/** Half the order of secp256k1. A larger `s` is the twin of another signature, and tokens refuse it (EIP-2). */
const S_MAX = '7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0'

/** `TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)`, hashed. */
export const TRANSFER_TYPE_HASH: Hex =
  '0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267'

/** `EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)`, hashed. */
const DOMAIN_TYPE_HASH: Hex = '0x8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f'

/**
 * Loads the fastest engine that is there, or the one that is asked for. Both are libsecp256k1; there is no third,
 * slower one to fall to.
 * @throws {Error} with what to do, when none can be loaded.
 */
export async function createVerifier(wanted?: Engine): Promise<Verifier> {
  const { engine, recover } = await load(wanted)
  const hasher = await createKeccak(256)
  return verifier(engine, recover, hasher)
}

async function load(wanted?: Engine): Promise<{ engine: Engine; recover: Recover }> {
  const native = wanted === 'wasm' ? undefined : loadNative()
  if (native) return { engine: 'native', recover: native }
  if (wanted === 'native')
    throw new Error('The native signature code cannot be loaded. Install the package "secp256k1".')
  try {
    return { engine: 'wasm', recover: await loadWasm() }
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
}

function loadNative(): Recover | undefined {
  let addon: Addon
  try {
    // The package's root falls to slow code without a word where the addon is missing; this file throws.
    addon = createRequire(import.meta.url)('secp256k1/bindings.js') as Addon
  } catch {
    return undefined
  }
  const out = new Uint8Array(65)
  return (signature, recovery, digest) => {
    try {
      return addon.ecdsaRecover(signature, recovery, digest, false, out)
    } catch {
      return undefined
    }
  }
}

async function loadWasm(): Promise<Recover> {
  const secp256k1 = await instantiateSecp256k1()
  return (signature, recovery, digest) => {
    // It answers an error as text.
    const key = secp256k1.recoverPublicKeyUncompressed(signature, recovery, digest)
    return typeof key === 'string' ? undefined : key
  }
}

function verifier(engine: Engine, recover: Recover, hasher: IHasher): Verifier {
  const keccak = (bytes: Uint8Array): Uint8Array => hasher.init().update(bytes).digest('binary')
  // Reused: all of this is synchronous, so no two checks are ever in it at once.
  const struct = Buffer.alloc(7 * WORD)
  struct.write(TRANSFER_TYPE_HASH.slice(2), 0, 'hex')
  const message = Buffer.alloc(2 + 2 * WORD)
  message.write('1901', 'hex')
  const signature = Buffer.alloc(64)

  const digest = (domain: Uint8Array, proof: Proof): Uint8Array => {
    struct.write(proof.from.slice(2), WORD + 12, 'hex')
    struct.write(proof.to.slice(2), 2 * WORD + 12, 'hex')
    writeUint(struct, proof.value, 3 * WORD)
    writeUint(struct, proof.validAfter, 4 * WORD)
    writeUint(struct, proof.validBefore, 5 * WORD)
    struct.write(proof.nonce.slice(2), 6 * WORD, 'hex')
    message.set(domain, 2)
    message.set(keccak(struct), 2 + WORD)
    return keccak(message)
  }

  const look = (domain: Uint8Array, proof: Proof): Signed => {
    const recovery = recoveryOf(proof.signature)
    if (recovery === undefined) return 'odd'
    signature.write(proof.signature.slice(2, 130), 'hex')
    const key = recover(signature, recovery, digest(domain, proof))
    if (!key) return 'odd'
    const hash = keccak(key.subarray(1))
    const address = Buffer.from(hash.buffer, hash.byteOffset + 12, 20).toString('hex')
    return proof.from.endsWith(address) ? 'payer' : 'other'
  }

  const domain = (token: Token, chainId: number): Uint8Array => {
    const words = Buffer.alloc(5 * WORD)
    words.write(DOMAIN_TYPE_HASH.slice(2), 0, 'hex')
    words.set(keccak(Buffer.from(token.name)), WORD)
    words.set(keccak(Buffer.from(token.version)), 2 * WORD)
    writeUint(words, BigInt(chainId), 3 * WORD)
    words.write(token.address.slice(2), 4 * WORD + 12, 'hex')
    return keccak(words)
  }

  return { engine, domain, digest, look, keccak }
}

/** The recovery id of a signature in the only form that tokens take: 65 bytes, v of 27 or 28, s in the lower half. */
function recoveryOf(signature: Hex): 0 | 1 | undefined {
  if (signature.length !== 132 || signature.slice(66, 130) > S_MAX) return undefined
  if (signature.endsWith('1b')) return 0
  return signature.endsWith('1c') ? 1 : undefined
}

function writeUint(words: Buffer, value: bigint, at: number): void {
  if (value < 2n ** 64n) {
    words.fill(0, at, at + 24)
    words.writeBigUInt64BE(value, at + 24)
  } else words.write(value.toString(16).padStart(64, '0'), at, 'hex')
}
