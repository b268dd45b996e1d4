import { Buffer } from 'node:buffer'
import { createKeccak } from 'hash-wasm'
import type { IHasher } from 'hash-wasm'
import type { Hex } from './hex.ts'
import type { Token } from './networks.ts'
import type { Proof } from './proof.ts'
import type { Curve, Engine } from './secp256k1.ts'
import { loadCurve } from './secp256k1.ts'

export type { Engine } from './secp256k1.ts'

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

const WORD = 32

/** Half the order of secp256k1. A larger `s` is the twin of another signature, and tokens refuse it (EIP-2). */
const S_MAX = '7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0'

/** `TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)`, hashed. */
export const TRANSFER_TYPE_HASH: Hex =
  '0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267'

/** `EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)`, hashed. */
const DOMAIN_TYPE_HASH: Hex = '0x8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f'

/**
 * Makes the verifier, of the fastest engine that is there or of the one that is asked for.
 * @throws {Error} with what to do, when none can be loaded.
 */
export async function createVerifier(wanted?: Engine): Promise<Verifier> {
  const curve = await loadCurve(wanted)
  const hasher = await createKeccak(256)
  return verifier(curve, hasher)
}

function verifier({ engine, recover }: Curve, hasher: IHasher): Verifier {
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
