import { assert } from '../core/assert.ts'
import type { Offer } from '../core/offer.ts'
import type { Held } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { REFUND_TURN_MS } from './limits.ts'
import type { House } from './sale.ts'

/**
 * Books what sending something has cost us, in the smallest unit of the network's own coin, under a key that is claimed once.
 * Whether the key is this one's: somebody else may have claimed it before.
 */
export async function bookCost(
  { ledger, clock }: Pick<House, 'ledger' | 'clock'>,
  key: string,
  of: Pick<Held, 'key'>,
  { rail, network }: Pick<Offer, 'rail' | 'network'>,
  cost: bigint,
): Promise<boolean> {
  const made = await ledger.transfer({
    key,
    purpose: of.key,
    asset: `gas:${network}`,
    amount: cost,
    legs: [{ debit: `${WORLD}gas`, credit: `costs/${rail}/${network}` }],
    leaseUntilAt: clock.now() + REFUND_TURN_MS,
    note: { kind: 'cost', of: of.key, rail, network },
  })
  assert(made.outcome !== 'insufficient', 'the outside world is never short of money')
  if (made.outcome !== 'made' && made.held.purpose !== of.key) return false
  const claim = made.outcome === 'made' ? made.claim : made.held.claim
  const done = await ledger.post(key, undefined, undefined, claim)
  return done === 'posted' || done === 'replayed'
}
