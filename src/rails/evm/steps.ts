import type { JsonObject } from '../../core/json.ts'
import type { Log } from '../../core/ports.ts'
import type { Prepared, WriteAhead } from './sender.ts'
import { readPrepared, writePrepared } from './sender.ts'

/** What a prepared transaction is for. A refund may stand in the same log as the charge. */
export type Kind = 'charge' | 'refund'

/** A transaction as the log has it. */
export interface Written extends Prepared {
  /** End of the authorization, in seconds; 0 for a refund, which has none. */
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
