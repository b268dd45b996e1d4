import type { JsonObject } from '../../../core/json.ts'
import type { Offer } from '../../../core/offer.ts'
import { writeOffer } from '../../../core/offer.ts'
import type { Clock, Ledger } from '../../../core/ports.ts'
import { WORLD } from '../../../core/ports.ts'
import type { Evidence } from './evidence.ts'
import { writeEvidence } from './evidence.ts'
import type { Details } from './terms.ts'

/** Why money lies at the payee that has bought nothing. */
export type Finding = 'late' | 'short' | 'excess'

/** How long the booking of one may take. */
const BOOK_MS = 60_000

/** Money that came and bought nothing. */
export interface Stray {
  /** Its key in the books: the spend's own, or, of an excess, below that of the sale. */
  readonly key: string
  readonly offer: Offer<Details>
  readonly finding: Finding
  /** What is booked, in the asset's smallest unit. */
  readonly amount: bigint
  readonly evidence: Evidence
}

/**
 * Books what came and bought nothing: out of the world, into `suspense/<rail>/<network>/<payee>/<finding>`, where the operator
 * sees it. It stands there as a sale does that is paid and never delivered, so that it is looked at again until it is final,
 * and can be given back to its payer, once and never more than came. Once for each key, whoever does it and how often.
 *
 * False if the key is taken by something else.
 */
export async function bookStray(
  { ledger, clock }: { readonly ledger: Ledger; readonly clock: Clock },
  { key, offer, finding, amount, evidence }: Stray,
): Promise<boolean> {
  const where = `${offer.rail}/${offer.network}/${offer.payee}`
  const purpose = `stray/${finding}`
  const made = await ledger.transfer({
    key,
    purpose,
    asset: offer.amount.asset.id,
    amount,
    legs: [{ debit: `${WORLD}${where}`, credit: `suspense/${where}/${finding}` }],
    leaseUntilAt: clock.now() + BOOK_MS,
    note: noteOf(offer, amount, finding, evidence),
  })
  if (made.outcome === 'foreign' || made.outcome === 'insufficient') return false
  if (made.outcome === 'replayed' && made.held.state !== 'pending') return true
  const { payer, settledAt, transaction } = evidence
  const data = { reference: transaction, payer, settledAt, deliverBy: 0 }
  // Whoever comes while another books it, or has died over it, writes the same.
  await ledger.step(key, writeEvidence(evidence))
  await ledger.post(key, undefined, { type: 'settled', data })
  return true
}

/** As the gate keeps a sale (`gate/note.ts`): its refunds and its later looks read this. */
function noteOf(
  offer: Offer<Details>,
  amount: bigint,
  finding: Finding,
  { payer }: Evidence,
): JsonObject {
  const { echo: _, ...ours } = offer
  const paid = { ...ours, amount: { asset: offer.amount.asset, amount } }
  return { kind: 'sale', offer: writeOffer(paid), payer, request: '', finding }
}
