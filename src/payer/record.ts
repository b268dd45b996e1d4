import { assert } from '../core/assert.ts'
import type { Json, JsonObject } from '../core/json.ts'
import type { Offer } from '../core/offer.ts'
import { readOffer, writeOffer } from '../core/offer.ts'
import type { Held, Step } from '../core/ports.ts'
import type { Owner } from './owner.ts'

/** What is written ahead where paying moves the money: all that is needed to pay the same again, which moves it once. */
export interface Ordered {
  readonly protocol: string
  readonly offer: Offer
}

/** What is written ahead of the first send: all that is needed to send the same payment again. */
export interface Signed extends Ordered {
  readonly proof: Json
  readonly expiresAt: number
  /** The wallet saw the money move. */
  readonly paid?: boolean
}

/** What the books tell of a purchase. */
export interface Standing {
  /** The wallet was asked to move the money for this. */
  readonly ordered?: Ordered
  readonly signed?: Signed
  /** Who works on it, unless it was released. */
  readonly owner?: Owner
  /** The seller will not take this payment, so sending it again is of no use. */
  readonly refused: boolean
  /** The seller served, or the wallet saw it: the money is spent, whatever became of the answer. */
  readonly paid: boolean
  /** The owner has the head of the answer, and its body was on the way. */
  readonly receiving: boolean
}

/** The step before a wallet moves money. */
export function writeOrdered({ protocol, offer }: Ordered): Step {
  return { type: 'ordered', data: { protocol, offer: writeOffer(offer) } }
}

/** The step that holds a signed payment. */
export function writeSigned({ protocol, offer, proof, expiresAt, paid = false }: Signed): Step {
  const data = { protocol, offer: writeOffer(offer), proof, expiresAt, ...(paid && { paid }) }
  return { type: 'signed', data }
}

/**
 * The step by which a process takes a purchase over, whose steps before it were so many. It counts only if it stands right
 * behind them: of several who take over at once, whoever is first in the books has it.
 */
export function writeAdopted(owner: Owner, after: number): Step {
  return { type: 'adopted', data: { ...owner, after } }
}

/** The new owner, if the step at that place made one. */
export function readAdopted({ steps }: Held, at: number): Owner | undefined {
  const step = steps[at]
  return step?.type === 'adopted' && step.data['after'] === at ? (step.data as Owner) : undefined
}

/** Reads the steps of a purchase, which this engine wrote. */
export function readStanding(held: Held): Standing {
  let owner = held.note['owner'] as Owner | undefined
  let ordered: Ordered | undefined
  let signed: Signed | undefined
  let refused = false
  let paid = false
  let receiving = false
  for (const [at, { type, data }] of held.steps.entries()) {
    const heir = readAdopted(held, at)
    if (type === 'ordered') ordered = readOrdered(data)
    if (type === 'signed') signed = readSigned(data)
    if (signed?.paid) paid = true
    if (heir) owner = heir
    if (type === 'released') owner = undefined
    if (type === 'released') refused = data['refused'] === true
    if (type === 'receipt') paid = true
    if (type === 'receipt' && owner) owner = { ...owner, ...leaseIn(data) }
    receiving = type === 'receipt' || (receiving && !heir && type !== 'released')
  }
  const written = { ...(ordered && { ordered }), ...(signed && { signed }) }
  return { refused, paid, receiving, ...(owner && { owner }), ...written }
}

/** A body may take longer than the lease of its purchase. */
function leaseIn({ leaseUntilAt }: JsonObject): { readonly leaseUntilAt?: number } {
  return typeof leaseUntilAt === 'number' ? { leaseUntilAt } : {}
}

function readOrdered({ protocol, offer }: JsonObject): Ordered {
  assert(typeof protocol === 'string', 'an order names its protocol')
  return { protocol, offer: readOffer(offer) }
}

function readSigned(data: JsonObject): Signed {
  const { proof, expiresAt, paid } = data
  assert(proof !== undefined, 'a signed step holds its proof')
  assert(typeof expiresAt === 'number', 'a signed step holds its end')
  return { ...readOrdered(data), proof, expiresAt, ...(paid === true && { paid }) }
}
