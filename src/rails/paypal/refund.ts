import { hash } from 'node:crypto'
import { assert } from '../../core/assert.ts'
import { isObject } from '../../core/json.ts'
import type { Money } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Settlement } from '../../core/ports.ts'
import type { PayPalClient } from './client.ts'
import { isOrder } from './forms.ts'
import { isAmount, writeAmount } from './money.ts'
import type { Refunded } from './order.ts'
import { isVoid, readOrder, readRefund } from './order.ts'
import { kept, unknown } from './problems.ts'
import { readAhead, writeAhead } from './steps.ts'

/** How long the same refund is sent again with the same id: PayPal forgets ids of payments after 45 days. */
export const RESEND_MS = 3_456_000_000

/** What refunds need. */
export interface RefundParts {
  readonly call: PayPalClient['call']
  readonly clock: Clock
}

/** Sends money back to whoever paid, once per key. */
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
  /** Those of the capture's order; undefined where that cannot be told. */
  async function listed(capture: string): Promise<readonly Refunded[] | undefined> {
    const found = await call('GET', `/v2/payments/captures/${capture}`)
    const said = found.kind === 'done' ? found.object['supplementary_data'] : undefined
    const ids = isObject(said) ? said['related_ids'] : undefined
    const id = isObject(ids) ? ids['order_id'] : undefined
    if (!isOrder(id)) return undefined
    const answer = await call('GET', `/v2/checkout/orders/${id}`)
    return answer.kind === 'done' ? readOrder(answer.object)?.refunds : undefined
  }

  function told(refund: Refunded, payer: string): Settlement {
    if (refund.status === 'COMPLETED')
      return { state: 'settled', reference: refund.id, payer, settledAt: clock.now() }
    return isVoid(refund) ? kept : unknown
  }

  return async (offer, payer, amount, key, log, reference) => {
    assert(reference !== undefined && isCapture(reference), 'a refund names the payment it is of')
    assert(amount.asset.id === offer.amount.asset.id, 'a refund is in the currency that was paid')
    assert(amount.amount > 0n && amount.amount <= offer.amount.amount, 'no more than was paid')
    // Of a currency without decimals there no part of a whole can be said.
    if (!isAmount(writeAmount(amount), amount)) return kept
    const mark = `tolsey-${hash('sha256', key, 'hex')}`
    const before = await readAhead(log, 'refund')
    if (!before) await writeAhead(log, 'refund', { capture: reference, mark, at: clock.now() })
    const known = before && (await listed(reference))?.find((one) => one.mark === mark)
    if (known) return told(known, payer)
    const { at } = before ?? { at: clock.now() }
    assert(typeof at === 'number', 'what is written ahead has its time')
    if (clock.now() > at + RESEND_MS) return unknown
    const body = { amount: { ...writeAmount(amount) }, custom_id: mark }
    const answer = await call('POST', `/v2/payments/captures/${reference}/refund`, body, mark)
    const sent = answer.kind === 'done' ? readRefund(answer.object) : undefined
    if (sent) return told(sent, payer)
    const found = await listed(reference)
    const ours = found?.find((one) => one.mark === mark)
    if (ours) return told(ours, payer)
    return answer.kind === 'refused' && found ? kept : unknown
  }
}

function isCapture(value: string): boolean {
  return /^[A-Z0-9]{10,36}$/.test(value)
}
