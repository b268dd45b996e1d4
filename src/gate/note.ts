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
  /** The account that it was booked into, where it bought a token. */
  readonly account?: string
}

const SALE = 'sale'

/** Whether the books hold a sale here: a turn at delivery is a claim too, and so is what a payer reserves. */
export function isSale({ note }: Held): boolean {
  return note['kind'] === SALE
}

/** The note as plain JSON. */
export function writeNote({ offer, payer, request, breakdown, account }: Note): JsonObject {
  const { echo: _, ...ours } = offer
  const rate = rateOf(offer)
  return {
    kind: SALE,
    offer: writeOffer(ours),
    payer,
    request,
    ...(rate && { rate: { ...rate } }),
    ...(breakdown && { breakdown: breakdown.map((item) => ({ ...item })) }),
    ...(account !== undefined && { account }),
  }
}

/** Reads back what {@link writeNote} wrote. */
export function readNote({ offer, payer, request, account }: JsonObject): Note {
  assert(typeof payer === 'string' && typeof request === 'string', 'a sale has its payer')
  const into = typeof account === 'string' ? { account } : {}
  return { offer: readOffer(offer), payer, request, ...into }
}

/** A member of a note that is text. The books are ours and hashed, so another shape is a bug. */
export function textIn(note: JsonObject, member: string): string {
  const said = note[member]
  assert(typeof said === 'string', `a note has its ${member}`)
  return said
}
