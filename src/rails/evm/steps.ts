import type { JsonObject } from '../../core/json.ts'
import type { Log } from '../../core/ports.ts'
import type { Hex } from './hex.ts'
import { ZERO_ADDRESS } from './hex.ts'

/** A contract call that costs gas. */
export interface Outgoing {
  readonly to: Hex
  readonly data: Hex
  readonly gas: number
  /** Of the chain's own coin, in its smallest unit; none if absent. */
  readonly value?: bigint
}

/** A signed transaction, as it is written ahead. The call is what it does for this key, and may go alone. */
export interface Prepared extends Outgoing {
  /** The account that sends it. */
  readonly sender: Hex
  /** `0x` where it carries so many payments that the bytes do not stand under each of them. */
  readonly raw: Hex
  readonly hash: Hex
  readonly nonce: number
  /** Most that it pays per gas, in wei, and how much of that the block's maker may keep. */
  readonly fee: bigint
  readonly tip: bigint
  /** Whether it carries other payments beside this one. */
  readonly many: boolean
}

/** Writes a signed transaction ahead. What is not written is not sent. */
export type WriteAhead = (prepared: Prepared) => Promise<void>

/** What a prepared transaction is for. A refund may stand in the same log as the charge. */
export type Kind = 'charge' | 'refund' | 'sweep' | 'payment'

/** A transaction as the log has it. */
export interface Written extends Prepared {
  /** End of the authorization, in seconds; 0 for a plain transfer, which has none. */
  readonly validBefore: bigint
}

/** Writes signed transactions ahead, with what {@link written} needs to know of them. */
export function ahead(log: Log, kind: Kind, validBefore = 0n): WriteAhead {
  return (prepared) => {
    const data: JsonObject = { ...writePrepared(prepared), validBefore: `${validBefore}`, kind }
    return log.write({ type: 'prepared', data })
  }
}

/** What was written ahead, oldest first. */
export async function written(log: Log, kind: Kind): Promise<readonly Written[]> {
  const steps = await log.read()
  return steps.flatMap(({ type, data }) => {
    const { validBefore } = data
    if (type !== 'prepared' || data['kind'] !== kind || typeof validBefore !== 'string') return []
    const prepared = readPrepared(data)
    return prepared ? [{ ...prepared, validBefore: BigInt(validBefore) }] : []
  })
}

/** A prepared transaction as the data of a step. */
function writePrepared(prepared: Prepared): JsonObject {
  const { fee, tip, value, ...rest } = prepared
  const coin = value === undefined ? {} : { value: value.toString() }
  return { ...rest, fee: fee.toString(), tip: tip.toString(), ...coin }
}

/** What {@link writePrepared} wrote; undefined for any other data. */
function readPrepared(data: JsonObject): Prepared | undefined {
  const { sender = ZERO_ADDRESS, to, data: input, gas, raw, hash, nonce, fee, tip, many } = data
  const { value } = data
  if (!isHex(sender) || !isHex(to) || !isHex(input) || !isHex(raw) || !isHex(hash)) return undefined
  if (typeof gas !== 'number' || typeof nonce !== 'number') return undefined
  if (typeof fee !== 'string' || typeof tip !== 'string') return undefined
  const price = { fee: BigInt(fee), tip: BigInt(tip) }
  const coin = typeof value === 'string' ? { value: BigInt(value) } : {}
  return { sender, to, data: input, gas, raw, hash, nonce, ...price, many: many === true, ...coin }
}

/** Whether it is bytes as we write them. */
export function isHex(value: unknown): value is Hex {
  return typeof value === 'string' && /^0x[0-9a-f]*$/.test(value)
}
