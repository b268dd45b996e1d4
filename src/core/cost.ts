import { assert } from './assert.ts'
import type { Clock, Held, Ledger } from './ports.ts'
import { WORLD } from './ports.ts'

/** How long the claim of a cost is its maker's: it is posted at once. */
const COST_LEASE_MS = 180_000

/**
 * Books what sending something has cost us, in the smallest unit of the network's own coin, under a key that is claimed once.
 * Whether the key is this one's: somebody else may have claimed it before.
 */
export async function bookCost(
  { ledger, clock }: { readonly ledger: Ledger; readonly clock: Clock },
  key: string,
  of: Pick<Held, 'key'>,
  { rail, network }: { readonly rail: string; readonly network: string },
  cost: bigint,
): Promise<boolean> {
  const made = await ledger.transfer({
    key,
    purpose: of.key,
    asset: `gas:${network}`,
    amount: cost,
    legs: [{ debit: `${WORLD}gas`, credit: `costs/${rail}/${network}` }],
    leaseUntilAt: clock.now() + COST_LEASE_MS,
    note: { kind: 'cost', of: of.key, rail, network },
  })
  assert(made.outcome !== 'insufficient', 'the outside world is never short of money')
  if (made.outcome !== 'made' && made.held.purpose !== of.key) return false
  const claim = made.outcome === 'made' ? made.claim : made.held.claim
  const done = await ledger.post(key, undefined, undefined, claim)
  return done === 'posted' || done === 'replayed'
}
