import type { Call } from './abi.ts'
import { bytes, encode, encodeBatch, list, padded, selectors, word } from './abi.ts'
import type { Hex } from './hex.ts'
import type { Proof } from './proof.ts'
import type { Outgoing } from './steps.ts'
import { MULTICALL3 } from './token.ts'

/** Most payments in one transaction. With each at its limit of gas they stay below what a transaction may take. */
export const ITEMS_MAX = 100
/** Most gas for one payment among many. A first payment takes 80,000, a wallet of two owners 95,000. */
export const ITEM_GAS = 120_000
/** Longest signature of a payment among many, in bytes. */
export const ITEM_SIGNATURE_BYTES_MAX = 512
/** Most gas of one transaction (EIP-7825). */
export const TRANSACTION_GAS_MAX = 16_777_216

/** What a transaction takes by itself, and what each payment takes beside its call: see contracts/README.md. */
const BASE_GAS = 40_000
const BESIDE_GAS = 8_000 + ITEM_SIGNATURE_BYTES_MAX
/** Gas of a byte of a call, if none of them is zero. */
const BYTE_GAS = 16

/** A payment that may be settled together with others. */
export interface Shared {
  readonly token: Hex
  readonly proof: Proof
  /** The call that settles it alone. */
  readonly call: Outgoing
}

/**
 * One call that settles them all, each for itself: by the batcher, which gives each its share of gas, or, where there is
 * none, by Multicall3, which is for payers without code only.
 */
export function batchCall(items: readonly Shared[], batcher: Hex | undefined): Outgoing {
  const data = batcher ? settleCall(items) : encodeBatch(items.map(toCall))
  const gas = BASE_GAS + items.length * (ITEM_GAS + BESIDE_GAS) + (data.length / 2) * BYTE_GAS
  return { to: batcher ?? MULTICALL3, data, gas: Math.min(gas, TRANSACTION_GAS_MAX) }
}

function toCall({ call: { to: target, data } }: Shared): Call {
  return { target, data, allowFailure: true }
}

/** `settle(Authorization[],uint256)` of contracts/TolseyBatcher.sol. */
function settleCall(items: readonly Shared[]): Hex {
  const tuples = items.map(({ token, proof }) => {
    const { from, to, value, validAfter, validBefore, nonce, signature } = proof
    const head = [padded(token), padded(from), padded(to), word(value), word(validAfter)]
    const rest = [word(validBefore), nonce.slice(2), word(0x100), bytes(signature)]
    return [...head, ...rest].join('')
  })
  return encode(selectors.settle, word(0x40), word(ITEM_GAS), list(tuples))
}
