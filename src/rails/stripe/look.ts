import { PaymentError } from '../../core/problem.ts'
import type { Call } from './client.ts'
import { unreachable } from './client.ts'
import type { Intent } from './intent.ts'
import { readIntent } from './intent.ts'

/**
 * The intent as it is now, with its charge; undefined where there is none.
 * @throws {PaymentError} when Stripe cannot be asked.
 */
export async function readAnew(call: Call, id: string): Promise<Intent | undefined> {
  const answer = await call('GET', `/v1/payment_intents/${id}?expand[]=latest_charge`)
  if (answer.kind === 'refused' && answer.status === 404) return undefined
  if (answer.kind !== 'done') throw unreachable(answer)
  const found = readIntent(answer.object)
  if (found?.id === id) return found
  throw new PaymentError('rail-unavailable', 'Stripe answers for another payment.')
}
