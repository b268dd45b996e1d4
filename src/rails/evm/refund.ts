import { assert } from '../../core/assert.ts'
import type { Money } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Log, Settlement } from '../../core/ports.ts'
import type { Details } from './forms.ts'
import { isAddress, lower } from './hex.ts'
import type { PlainParts } from './plain.ts'
import { createPlain } from './plain.ts'
import type { Queues } from './queue.ts'

/** What refunds need. */
export interface RefundParts extends PlainParts {
  readonly queues: Queues
}

/** Sends money back, once per key. */
export type Refund = (
  offer: Offer<Pick<Details, 'asset'>>,
  payer: string,
  amount: Money,
  key: string,
  log: Log,
) => Promise<Settlement>

/** Makes the verb that sends money back by a plain transfer. */
export function createRefund(parts: RefundParts): Refund {
  const send = createPlain(parts, 'refund')
  return async (offer, payer, amount, key, log) => {
    assert(isAddress(payer), 'a refund goes to an address')
    assert(amount.asset.id === offer.amount.asset.id, 'a refund is in the asset that was paid')
    assert(amount.amount > 0n && amount.amount <= offer.amount.amount, 'no more than was paid')
    const back = { token: lower(offer.details.asset), to: lower(payer), amount: amount.amount }
    return parts.queues.run(`refund/${key}`, () => send(back, log))
  }
}
