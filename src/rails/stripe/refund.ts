import { hash } from 'node:crypto'
import { assert } from '../../core/assert.ts'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Money } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Settlement } from '../../core/ports.ts'
import type { Call } from './client.ts'
import { queryOf } from './client.ts'
import { isIntent } from './forms.ts'
import { failed, unknown } from './problems.ts'
import { readAhead, writeAhead } from './steps.ts'

/** What refunds need. */
export interface RefundParts {
  readonly call: Call
  readonly clock: Clock
}

/** Most refunds of one payment that are looked through. */
const LIST_MAX = 100
const MARK = 'tolsey_refund'

/** Sends money back to the card that paid, once per key. */
export type Refund = (
  offer: Offer,
  payer: string,
  amount: Money,
  key: string,
  log: Log,
  reference?: string,
) => Promise<Settlement>

/** Makes the verb. Money goes back to where it came from: whoever the order names is not asked. */
export function createRefund({ call, clock }: RefundParts): Refund {
  /** What there is of it, whenever it was sent; `none` where there is nothing for sure. */
  async function look(intent: string, mark: string): Promise<Settlement | 'none'> {
    const query = queryOf({ payment_intent: intent, limit: `${LIST_MAX}` })
    const answer = await call('GET', `/v1/refunds?${query}`)
    const data = answer.kind === 'done' ? answer.object['data'] : undefined
    if (answer.kind !== 'done' || !Array.isArray(data)) return unknown
    const ours = data.filter(isObject).find((one) => markOf(one) === mark)
    if (ours) return told(ours)
    return answer.object['has_more'] === true ? unknown : 'none'
  }

  async function send(intent: string, amount: bigint, mark: string): Promise<Settlement> {
    const params = { payment_intent: intent, amount: Number(amount), metadata: { [MARK]: mark } }
    const answer = await call('POST', '/v1/refunds', params, { idempotencyKey: mark })
    if (answer.kind === 'done') return told(answer.object)
    const found = await look(intent, mark)
    if (found !== 'none') return found
    // It said no, and there is none: nothing is on its way either, for a call under way would have said so.
    return answer.kind === 'refused' && answer.type !== 'idempotency_error' ? refused : unknown
  }

  function told(said: JsonObject): Settlement {
    const { id, status } = said
    if (typeof id !== 'string') return unknown
    if (status === 'succeeded')
      return { state: 'settled', reference: id, payer: '', settledAt: clock.now() }
    return status === 'failed' || status === 'canceled' ? refused : unknown
  }

  return async (offer, payer, amount, key, log, reference) => {
    assert(reference !== undefined && isIntent(reference), 'a refund names the payment it is of')
    assert(amount.asset.id === offer.amount.asset.id, 'a refund is in the currency that was paid')
    assert(amount.amount > 0n && amount.amount <= offer.amount.amount, 'no more than was paid')
    const mark = `tolsey_${hash('sha256', key, 'hex')}`
    if (await readAhead(log, 'refund')) {
      const found = await look(reference, mark)
      if (found !== 'none') return withPayer(found, payer)
    } else await writeAhead(log, 'refund', { intent: reference, mark, at: clock.now() })
    return withPayer(await send(reference, amount.amount, mark), payer)
  }
}

function withPayer(settlement: Settlement, payer: string): Settlement {
  return settlement.state === 'settled' ? { ...settlement, payer } : settlement
}

function markOf({ metadata }: JsonObject): unknown {
  return isObject(metadata) ? metadata[MARK] : undefined
}

const refused: Settlement = failed(
  'settlement-failed',
  'stripe-refused',
  'Stripe refused the refund: more than is left of the payment, or the payment is disputed. Nothing was sent.',
)
