import type { Offer } from '../../../core/offer.ts'
import type { Clock, Ledger } from '../../../core/ports.ts'
import { WORLD } from '../../../core/ports.ts'
import type { Stray } from './strays.ts'
import { bookStray } from './strays.ts'

/** How long a mark may take to be made. */
const MARK_MS = 300_000

/** What this rail itself keeps in the seller's books. */
export interface Books {
  /** The key of the spend that the offer was paid by; undefined if it was not. */
  spendFor(offer: Pick<Offer, 'id'>): Promise<string | undefined>
  /** The offer is for that spend from now on. False if it was paid by another. */
  takeOffer(offer: Pick<Offer, 'id'>, key: string): Promise<boolean>
  /** The log is of that spend from now on. False if it was taken under its own key before. */
  takeLog(log: string, key: string): Promise<boolean>
  /** Books what buys nothing. False if its key is taken by something else. */
  putAside(stray: Stray): Promise<boolean>
}

/** Opens them. */
export function createBooks(ledger: Ledger, clock: Clock): Books {
  /** One step: of two spends that want the same mark, one has it. */
  async function mark(name: string, key: string): Promise<boolean> {
    const made = await ledger.transfer({
      key: name,
      purpose: key,
      asset: 'mark',
      amount: 0n,
      legs: [{ debit: `${WORLD}offers`, credit: `${WORLD}paid` }],
      leaseUntilAt: clock.now() + MARK_MS,
      note: { kind: 'mark' },
    })
    if (made.outcome === 'foreign') return false
    await ledger.post(name)
    return true
  }

  return {
    spendFor: async (offer) => (await ledger.find(nameOf(offer)))?.purpose,
    takeOffer: (offer, key) => mark(nameOf(offer), key),
    takeLog: mark,
    putAside: (stray) => bookStray({ ledger, clock }, stray),
  }
}

function nameOf({ id }: Pick<Offer, 'id'>): string {
  return `evm-transaction/offer/${id}`
}
