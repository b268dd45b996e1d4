import { assert } from '../core/assert.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import type { Offer } from '../core/offer.ts'
import type { Held } from '../core/ports.ts'
import type { Resource } from '../core/resource.ts'

/** What the books keep of a sale: enough to settle it after a crash, and to tell a person what it was. */
export interface Note {
  readonly offer: Offer
  readonly payer: string
  readonly request: string
}

const SALE = 'sale'

/** Whether the books hold a sale here: a turn at delivery is a claim too, and so is what a payer reserves. */
export function isSale({ note }: Held): boolean {
  return note['kind'] === SALE
}

/** The note as plain JSON. */
export function writeNote({ offer, payer, request }: Note): JsonObject {
  const { amount, resource, details, echo: _, ...rest } = offer
  const money = { ...amount.asset, amount: amount.amount.toString() }
  return {
    kind: SALE,
    offer: { ...rest, amount: money, details: details as Json, resource: { ...resource } },
    payer,
    request,
  }
}

/** Reads back what {@link writeNote} wrote. The books are ours and hashed, so another shape is a bug. */
export function readNote(note: JsonObject): Note {
  const { offer, payer, request } = note
  assert(isObject(offer) && isObject(offer['amount']), 'a sale in the books has its offer')
  assert(
    typeof payer === 'string' && typeof request === 'string',
    'a sale in the books has its payer and request',
  )
  const { amount, ...asset } = offer['amount']
  assert(typeof amount === 'string', 'an amount in the books is text')
  const money = { asset: asset as unknown as Offer['amount']['asset'], amount: BigInt(amount) }
  return {
    offer: {
      ...(offer as unknown as Offer),
      amount: money,
      resource: offer['resource'] as unknown as Resource,
    },
    payer,
    request,
  }
}
