import { assert } from '../core/assert.ts'
import type { JsonObject } from '../core/json.ts'
import type { PriceItem } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import { readOffer, writeOffer } from '../core/offer.ts'
import { rateOf } from '../core/offers.ts'
import type { Held } from '../core/ports.ts'

/** What the books keep of a sale: enough to settle it after a crash, and to tell a person what it was. */
export interface Note {
  readonly offer: Offer
  readonly payer: string
  readonly request: string
  /** What the price was made of. */
  readonly breakdown?: readonly PriceItem[]
}

const SALE = 'sale'

/** Whether the books hold a sale here: a turn at delivery is a claim too, and so is what a payer reserves. */
export function isSale({ note }: Held): boolean {
  return note['kind'] === SALE
}

/** The note as plain JSON. */
export function writeNote({ offer, payer, request, breakdown }: Note): JsonObject {
  const { echo: _, ...ours } = offer
  const rate = rateOf(offer)
  return {
    kind: SALE,
    offer: writeOffer(ours),
    payer,
    request,
    ...(rate && { rate: { ...rate } }),
    ...(breakdown && { breakdown: breakdown.map((item) => ({ ...item })) }),
  }
}

/** Reads back what {@link writeNote} wrote. */
export function readNote({ offer, payer, request }: JsonObject): Note {
  assert(typeof payer === 'string' && typeof request === 'string', 'a sale has its payer')
  return { offer: readOffer(offer), payer, request }
}
