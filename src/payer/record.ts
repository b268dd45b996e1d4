import { assert } from '../core/assert.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import type { Asset } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
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
}

/** The step that holds a signed payment. */
export function writeSigned({ protocol, offer, proof, expiresAt }: Signed): Step {
  const { asset, amount } = offer.amount
  const plain = { ...offer, amount: { asset, amount: amount.toString() } }
  // Details and echo are JSON by their contract; this drops members that are undefined.
  const data = JSON.parse(
    JSON.stringify({ protocol, offer: plain, proof, expiresAt }),
  ) as JsonObject
  return { type: 'signed', data }
}

/** Reads the steps of a purchase, which this engine wrote. */
export function readStanding(held: Held): Standing {
  let owner = held.note['owner'] as Owner | undefined
  let signed: Signed | undefined
  let refused = false
  for (const { type, data } of held.steps) {
    if (type === 'signed') signed = readSigned(data)
    if (type === 'adopted') owner = data as Owner
    if (type === 'released') owner = undefined
    if (type === 'released') refused = data['refused'] === true
  }
  return { refused, ...(owner && { owner }), ...(signed && { signed }) }
}

function readSigned({ protocol, offer, proof, expiresAt }: JsonObject): Signed {
  assert(isObject(offer) && isObject(offer['amount']), 'a signed step holds its offer')
  assert(typeof protocol === 'string' && proof !== undefined, 'a signed step holds its proof')
  assert(typeof expiresAt === 'number', 'a signed step holds its end')
  const { asset, amount } = offer['amount']
  assert(typeof amount === 'string', 'an amount is written as text')
  const money = { asset: asset as unknown as Asset, amount: BigInt(amount) }
  return { protocol, offer: { ...(offer as unknown as Offer), amount: money }, proof, expiresAt }
}
