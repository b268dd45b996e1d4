import { assert } from '../core/assert.ts'
import type { Json, JsonObject } from '../core/json.ts'
import type { Offer } from '../core/offer.ts'
import { readOffer, writeOffer } from '../core/offer.ts'
import type { Held, Step } from '../core/ports.ts'
import type { Owner } from './owner.ts'

/** What is written ahead of the first send: all that is needed to send the same payment again. */
export interface Signed {
  readonly protocol: string
  readonly offer: Offer
  readonly proof: Json
  readonly expiresAt: number
}

/** What the books tell of a purchase. */
export interface Standing {
  readonly signed?: Signed
  /** Who works on it, unless it was released. */
  readonly owner?: Owner
  /** The seller will not take this payment, so sending it again is of no use. */
  readonly refused: boolean
  /** The seller served: the money is spent, whatever became of the answer. */
  readonly paid: boolean
  /** The owner has the head of the answer, and its body was on the way. */
  readonly receiving: boolean
}

/** The step that holds a signed payment. */
export function writeSigned({ protocol, offer, proof, expiresAt }: Signed): Step {
  return { type: 'signed', data: { protocol, offer: writeOffer(offer), proof, expiresAt } }
}

/** Reads the steps of a purchase, which this engine wrote. */
export function readStanding(held: Held): Standing {
  let owner = held.note['owner'] as Owner | undefined
  let signed: Signed | undefined
  let refused = false
  let paid = false
  let receiving = false
  for (const { type, data } of held.steps) {
    if (type === 'signed') signed = readSigned(data)
    if (type === 'adopted') owner = data as Owner
    if (type === 'released') owner = undefined
    if (type === 'released') refused = data['refused'] === true
    if (type === 'receipt') paid = true
    if (type === 'receipt' && owner) owner = { ...owner, ...leaseIn(data) }
    receiving = type === 'receipt' || (receiving && type !== 'adopted' && type !== 'released')
  }
  return { refused, paid, receiving, ...(owner && { owner }), ...(signed && { signed }) }
}

/** A body may take longer than the lease of its purchase. */
function leaseIn({ leaseUntilAt }: JsonObject): { readonly leaseUntilAt?: number } {
  return typeof leaseUntilAt === 'number' ? { leaseUntilAt } : {}
}

function readSigned({ protocol, offer, proof, expiresAt }: JsonObject): Signed {
  assert(typeof protocol === 'string' && proof !== undefined, 'a signed step holds its proof')
  assert(typeof expiresAt === 'number', 'a signed step holds its end')
  return { protocol, offer: readOffer(offer), proof, expiresAt }
}
