import type { JsonObject } from '../../core/json.ts'
import type { Log } from '../../core/ports.ts'

/** What was written ahead is for: a payment that is held is taken, or money goes back. Both may stand in one log. */
export type Kind = 'charge' | 'refund'

/** Writes ahead what the node is about to be asked. What is not written is not asked. */
export async function writeAhead(log: Log, kind: Kind, data: JsonObject): Promise<void> {
  await log.write({ type: 'prepared', data: { ...data, kind } })
}

/** What was written ahead for that, oldest first. */
export async function readAhead(log: Log, kind: Kind): Promise<readonly JsonObject[]> {
  const steps = await log.read()
  return steps
    .filter(({ type, data }) => type === 'prepared' && data['kind'] === kind)
    .map(({ data }) => data)
}
