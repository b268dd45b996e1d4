import { createKeccak } from 'hash-wasm'
import { assert } from '../../../core/assert.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import type { Engine } from '../secp256k1.ts'
import { loadCurve } from '../secp256k1.ts'
import type { Keccak, TypedData, TypedField } from '../typed-data.ts'
import { digestBy } from '../typed-data.ts'
import type { Details } from './terms.ts'
import { contractOf } from './terms.ts'

/** What a payer signs to say that a transaction pays an offer. */
export interface Claim {
  /** The id of the offer. */
  readonly offer: string
  readonly transaction: Hex
  /** Out of whose account the money went. */
  readonly payer: Hex
  readonly payee: Hex
  /** The token, or the receiver that the coin went through. */
  readonly asset: Hex
  /** What the offer asks for, in the asset's smallest unit; more may have been paid. */
  readonly amount: bigint
  /** Host and port of the seller, as the payer names them. */
  readonly origin: string
}

/** `PaymentClaim`. */
const CLAIM_FIELDS: readonly TypedField[] = [
  { name: 'offer', type: 'string' },
  { name: 'transaction', type: 'bytes32' },
  { name: 'payer', type: 'address' },
  { name: 'payee', type: 'address' },
  { name: 'asset', type: 'address' },
  { name: 'amount', type: 'uint256' },
  { name: 'origin', type: 'string' },
]
const CLAIM = 'PaymentClaim'
const DOMAIN = { name: 'Payment by transaction', version: '1' }

/** Half the order of secp256k1. A larger `s` is the twin of another signature (EIP-2). */
const S_MAX = '7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0'

/** The claim that a payer makes for an offer. */
export function claimOf(
  offer: Pick<Offer<Details>, 'id' | 'payee' | 'amount' | 'details' | 'resource'>,
  transaction: Hex,
  payer: Hex,
): Claim {
  return {
    offer: offer.id,
    transaction,
    payer,
    payee: lower(offer.payee as Hex),
    asset: lower(contractOf(offer.details)),
    amount: offer.amount.amount,
    origin: offer.resource.authority,
  }
}

/** The claim as typed data (EIP-712), for any wallet to sign. Its domain names the chain and the asset's contract. */
export function claimData(claim: Claim, chainId: number): TypedData {
  return {
    domain: { ...DOMAIN, chainId, verifyingContract: claim.asset },
    types: { [CLAIM]: CLAIM_FIELDS },
    primaryType: CLAIM,
    message: { ...claim },
  }
}

/** Reads claims and tags, without asking a chain. */
export interface Claims {
  /** What the payer signs (EIP-712). */
  digest(claim: Claim, chainId: number): Hex
  /** The account whose key has signed; undefined if it is not a plain signature: 65 bytes, `s` in the lower half. */
  signer(digest: Hex, signature: Hex): Hex | undefined
  /**
   * What stands behind the calldata of a payment in place of a signature: `keccak256(utf8(id ‖ host))`, the host without its
   * port, which is what MPP calls the hash of a challenge. The id is a secret between two, and its hash tells nobody.
   */
  tag(offer: Pick<Offer, 'id' | 'resource'>): Hex
  readonly keccak: Keccak
}

/**
 * Loads the reader of claims.
 * @throws {Error} with what to do, when no signature code can be loaded.
 */
export async function createClaims(engine?: Engine): Promise<Claims> {
  const [{ recover }, hasher] = await Promise.all([loadCurve(engine), createKeccak(256)])
  const keccak: Keccak = (bytes) => hasher.init().update(bytes).digest('binary')
  return {
    keccak,
    digest(claim, chainId) {
      const digest = digestBy(claimData(claim, chainId), CLAIM, CLAIM_FIELDS, keccak)
      assert(digest, 'a claim has members of its types')
      return hexOf(digest)
    },
    signer(digest, signature) {
      const recovery = recoveryOf(signature)
      if (recovery === undefined) return undefined
      const key = recover(bytesOf(signature).subarray(0, 64), recovery, bytesOf(digest))
      return key && hexOf(keccak(key.subarray(1)).subarray(12))
    },
    tag: ({ id, resource }) =>
      hexOf(keccak(Buffer.from(id + resource.authority.replace(/:\d*$/, '')))),
  }
}

function recoveryOf(signature: Hex): 0 | 1 | undefined {
  if (signature.length !== 132 || signature.slice(66, 130) > S_MAX) return undefined
  const v = signature.slice(130)
  // Some devices count from 0.
  if (v === '1b' || v === '00') return 0
  return v === '1c' || v === '01' ? 1 : undefined
}

function bytesOf(hex: Hex): Buffer {
  return Buffer.from(hex.slice(2), 'hex')
}

function hexOf(bytes: Uint8Array): Hex {
  return `0x${Buffer.from(bytes).toString('hex')}`
}
