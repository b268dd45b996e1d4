import type { JsonObject } from '../../../core/json.ts'
import type { Log, Step } from '../../../core/ports.ts'
import type { Hex } from '../hex.ts'
import { isHex } from '../steps.ts'
import type { Sighting } from './look.ts'
import type { Transfer } from './transfers.ts'

/** What is known of a payment: enough to find it again, and to know when it never will be. */
export interface Evidence {
  readonly transaction: Hex
  readonly at: number | 'value'
  readonly payer: Hex
  /** What was paid, in the asset's smallest unit. */
  readonly paid: bigint
  /** Who sent the transaction, and its number there: once that went to another, ours is gone. */
  readonly sender: Hex
  readonly nonce: bigint
  /** The time of its block, milliseconds since 1970; 0 while it is in none. */
  readonly settledAt: number
  /** The signed transaction, where it was ours to send. */
  readonly raw?: Hex
}

/** What a look has found. */
export function evidenceOf(seen: Sighting, transfer: Transfer): Evidence {
  const { hash: transaction, sender, nonce, time } = seen
  const { at, from: payer, amount: paid } = transfer
  return { transaction, at, payer, paid, sender, nonce, settledAt: Number(time) * 1000 }
}

/** The natural key of the spend: one log of one transaction of one chain. */
export function keyOf(
  network: string,
  { transaction, at }: Pick<Evidence, 'transaction' | 'at'>,
): string {
  return `${network}/tx:${transaction}/${at}`
}

/** The step that tells of it. */
export function writeEvidence(evidence: Evidence): Step {
  const { paid, nonce, ...rest } = evidence
  const data = { kind: KIND, paid: paid.toString(), nonce: nonce.toString(), ...rest }
  return { type: 'prepared', data }
}

/** What stands in the log; undefined if nothing was written ahead. */
export async function readEvidence(log: Log): Promise<Evidence | undefined> {
  const steps = await log.read()
  const data = steps.findLast(({ type, data: one }) => type === 'prepared' && one['kind'] === KIND)
  return data && readData(data.data)
}

const KIND = 'transaction'

function readData(data: JsonObject): Evidence | undefined {
  const { transaction, at, payer, paid, sender, nonce, settledAt, raw } = data
  if (!isHex(transaction) || !isHex(payer) || !isHex(sender)) return undefined
  if (typeof paid !== 'string' || typeof nonce !== 'string' || typeof settledAt !== 'number')
    return undefined
  if (typeof at !== 'number' && at !== 'value') return undefined
  const numbers = { paid: BigInt(paid), nonce: BigInt(nonce) }
  return { transaction, at, payer, sender, settledAt, ...numbers, ...(isHex(raw) && { raw }) }
}
