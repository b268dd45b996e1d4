import type { Offer } from '../../core/offer.ts'
import type { Form } from '../../core/ports.ts'
import type { Words } from './part.ts'

/** An offer that was found in a token of ours. */
export interface Sealed {
  readonly offer: Omit<Offer, 'resource'>
  /** Whether its payment is locked first, so that the payer has no preimage yet. */
  readonly isHeld: boolean
}

/** An offer as the token carries it back: its id, its end in seconds, and the rail's own terms. */
export function writeSealed({ id, expiresAt }: Offer, terms: string): string {
  return [id, String(expiresAt / 1000), terms].join(';')
}

/** The offer that was sealed in a token of ours; a sentence if no rail here reads its terms any more. */
export function readSealed(
  sealed: string,
  paymentHash: string,
  forms: readonly Form<unknown, unknown, Words>[],
): Sealed | string {
  const [id = '', seconds = '', ...rest] = sealed.split(';')
  const words: Words = { hash: paymentHash, terms: rest.join(';') }
  for (const form of forms) {
    const terms = form.readDetails(words)
    if (typeof terms === 'string') continue
    const isHeld = form.writeDetails(terms).hold === true
    return { offer: { ...terms, id, expiresAt: Number(seconds) * 1000 }, isHeld }
  }
  return 'No rail here reads the terms of this token.'
}
