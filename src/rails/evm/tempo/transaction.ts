import { decodeFunctionData, keccak256, parseAbi } from 'viem'
import { Transaction } from 'viem/tempo'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'

/** Longest transaction that is read, in bytes: a transfer signed by a key of a device has some hundred. */
export const TRANSACTION_BYTES_MAX = 8_192
/** Most calls of one transaction that are looked at: an exchange of tokens, and the transfer. */
export const CALLS_MAX = 8

const abi = parseAbi(['function transferWithMemo(address to, uint256 amount, bytes32 memo)'])

/** A transfer as a transaction asks for it. */
export interface Transfer {
  readonly token: Hex
  readonly to: Hex
  readonly amount: bigint
  readonly memo: Hex
}

/** What is known of a signed transaction that nobody has sent yet. Hex in lower case. */
export interface Signed {
  readonly raw: Hex
  readonly hash: Hex
  readonly chainId: number
  readonly from: Hex
  /** From then on no block can hold it, in milliseconds since 1970. */
  readonly untilAt: number
  readonly transfers: readonly Transfer[]
}

/** Reads a transaction of Tempo (type 0x76) that its sender has signed and pays for, or says in a sentence why not. */
export function readSigned(said: unknown): Signed | string {
  if (typeof said !== 'string' || !/^0x76(?:[0-9a-f]{2})+$/i.test(said))
    return 'The transaction is not one of Tempo (0x76) in hex.'
  if (said.length > 2 + 2 * TRANSACTION_BYTES_MAX) return 'The transaction is too long.'
  const raw = lower(said as Hex)
  try {
    return read(raw)
  } catch {
    return 'The transaction cannot be read.'
  }
}

function read(raw: Hex): Signed | string {
  const found = Transaction.deserialize(raw as `0x76${string}`)
  const { chainId, calls, validBefore } = found
  const from = 'from' in found ? found.from : undefined
  if (from === undefined || !found.signature) return 'The transaction is not signed by its sender.'
  if (typeof validBefore !== 'number')
    return 'The transaction has no end ("validBefore"): it could be sent at any time.'
  if (calls.length > CALLS_MAX) return 'The transaction makes too many calls.'
  const transfers = calls.flatMap(({ to, data }) => transferIn(to, data) ?? [])
  const hash = keccak256(raw)
  return { raw, hash, chainId, from: lower(from), untilAt: validBefore * 1_000, transfers }
}

function transferIn(token: Hex | undefined, data: Hex | undefined): Transfer | undefined {
  if (!token || !data) return undefined
  try {
    const { args } = decodeFunctionData({ abi, data })
    const [to, amount, memo] = args
    return { token: lower(token), to: lower(to), amount, memo: lower(memo) }
  } catch {
    // Another call.
    return undefined
  }
}
