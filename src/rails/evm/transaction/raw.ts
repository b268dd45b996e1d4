import type { TransactionSerializedEIP1559 } from 'viem'
import { keccak256, parseTransaction, recoverTransactionAddress } from 'viem'
import { encode, padded, selectors, word } from '../abi.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'

/** Longest signed transaction that is read, in bytes. A transfer with a tag has some 220. */
export const RAW_BYTES_MAX = 1_024

/** A transaction that was signed and not sent. */
export interface Unsent {
  readonly chainId: number
  readonly sender: Hex
  readonly nonce: number
  readonly to: Hex | undefined
  readonly data: Hex
  readonly value: bigint
  readonly gas: bigint
  /** Most that it pays per gas, in wei. */
  readonly fee: bigint
}

/** Whether the text is a signed transaction by the rules of EIP-1559, as far as can be seen at once. */
export function isRaw(said: unknown): said is Hex {
  if (typeof said !== 'string' || said.length > 2 + 2 * RAW_BYTES_MAX) return false
  return /^0x02(?:[0-9a-fA-F]{2})+$/.test(said)
}

/** Its hash. */
export function hashOf(raw: Hex): Hex {
  return keccak256(raw)
}

/** What it does, and who signed it; undefined if it is not one. */
export async function readRaw(raw: Hex): Promise<Unsent | undefined> {
  try {
    const serialized = raw as TransactionSerializedEIP1559
    const {
      chainId,
      nonce = 0,
      to,
      data = '0x',
      value = 0n,
      ...rest
    } = parseTransaction(serialized)
    const { gas = 0n, maxFeePerGas: fee = 0n, accessList = [] } = rest
    // It would cost its sender more than can be foreseen here, and no wallet needs it for a transfer.
    if (accessList.length > 0) return undefined
    const sender = lower(await recoverTransactionAddress({ serializedTransaction: serialized }))
    return {
      chainId,
      sender,
      nonce,
      to: to ? lower(to) : undefined,
      data: lower(data),
      value,
      gas,
      fee,
    }
  } catch {
    return undefined
  }
}

/** What a transfer of exactly that says to its token. */
export function transferData(to: Hex, amount: bigint): Hex {
  return encode(selectors.transfer, padded(lower(to)), word(amount))
}
