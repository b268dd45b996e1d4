import { assert } from './assert.ts'
import type { Offer } from './offer.ts'
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

/** What of a payment went to others, by the settlement that it is part of. */
export interface PassedOn {
  /** The rail under whose name the money of the sale lies. */
  readonly booked: string
  readonly amount: bigint
  /** Where the outside world keeps it. */
  readonly reference: string
}

/** The key under which the books have what of a payment went to others. */
function passedOnKey(key: string): string {
  return `${key}/shares`
}

/**
 * Books what of a payment went to others as a cost of the sale, in the asset that was paid: the sale stays whole, and less lies
 * at its payee. Claimed once, so that it may be done again after a crash.
 */
export async function bookPassedOn(
  { ledger, clock }: { readonly ledger: Ledger; readonly clock: Clock },
  of: Pick<Held, 'key'>,
  offer: Offer,
  { booked, amount, reference }: PassedOn,
): Promise<void> {
  const { rail, network } = offer
  const key = passedOnKey(of.key)
  const made = await ledger.transfer({
    key,
    purpose: of.key,
    asset: offer.amount.asset.id,
    amount,
    legs: [{ debit: `${WORLD}shares`, credit: `costs/${booked}/${network}` }],
    leaseUntilAt: clock.now() + COST_LEASE_MS,
    note: { kind: 'cost', of: of.key, rail, network, what: 'shares' },
  })
  assert(made.outcome === 'made' || made.outcome === 'replayed', 'the key is this sale’s alone')
  const claim = made.outcome === 'made' ? made.claim : made.held.claim
  // The network has both or neither, and is asked for both in the same way.
  await ledger.post(key, undefined, { type: 'settled', data: { reference } }, claim)
}

/** Takes back what {@link bookPassedOn} booked, of a sale that came undone. Nothing where there is none; safe to call twice. */
export async function unbookPassedOn(
  { ledger, clock }: { readonly ledger: Ledger; readonly clock: Clock },
  of: Pick<Held, 'key'>,
): Promise<void> {
  const shares = await ledger.find(passedOnKey(of.key))
  if (!shares || shares.state !== 'posted') return
  const { key, asset, posted: amount, note, legs, steps, claim } = shares
  const undone = `${key}/undone`
  await ledger.transfer({
    ...{ key: undone, purpose: 'undone', asset, amount },
    legs: legs.map(({ debit, credit }) => ({ debit: credit, credit: debit })),
    leaseUntilAt: clock.now() + COST_LEASE_MS,
    note: { ...note, kind: 'cost-back' },
  })
  // Marked first: the two are nothing together, and are never to be counted by halves.
  if (!steps.some(({ type }) => type === 'undone'))
    await ledger.step(key, { type: 'undone', data: {} }, claim)
  await ledger.post(undone)
}

/** Notes that a payment lies elsewhere now: what of it went to others does so too. Nothing where nothing did. */
export async function movePassedOn(
  { ledger }: { readonly ledger: Ledger },
  of: Pick<Held, 'key'>,
  reference: string,
): Promise<void> {
  const shares = await ledger.find(passedOnKey(of.key))
  if (shares?.state === 'posted')
    await ledger.step(shares.key, { type: 'settled', data: { reference } }, shares.claim)
}
