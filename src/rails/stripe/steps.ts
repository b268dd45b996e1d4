import type { JsonObject } from '../../core/json.ts'
import type { Log } from '../../core/ports.ts'

/** What was written ahead is for. */
export type Kind = 'charge' | 'refund'

/** Writes ahead what Stripe is about to be asked. What is not written is not asked. */
export async function writeAhead(log: Log, kind: Kind, data: JsonObject): Promise<void> {
  await log.write({ type: 'prepared', data: { ...data, kind } })
}

/** What was written ahead for that; undefined where nothing was. */
export async function readAhead(log: Log, kind: Kind): Promise<JsonObject | undefined> {
  const steps = await log.read()
  return steps.find(({ type, data }) => type === 'prepared' && data['kind'] === kind)?.data
}

/** Writes down how far the list of intents was read: whoever looks next goes on there. */
export async function writeSearched(log: Log, after: string): Promise<void> {
  await log.write({ type: 'searched', data: { after } })
}

/** The last intent that was looked at; undefined where the look begins. */
export async function readSearched(log: Log): Promise<string | undefined> {
  const steps = await log.read()
  const after = steps.findLast(({ type }) => type === 'searched')?.data['after']
  return typeof after === 'string' ? after : undefined
}
