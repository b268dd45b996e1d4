import type { Clock, Ledger } from './ports.ts'
import { WORLD } from './ports.ts'

/** How long one event may take to be dealt with. After that another process may. */
export const INBOX_LEASE_MS = 60_000
const INBOX = 'inbox'

/** What became of an event. `busy`: another process is at it. */
export type Taken = 'done' | 'repeated' | 'busy'

/** Deals with what others tell us: each event once, in every process that shares the books, and after a restart too. */
export interface Inbox {
  /** Whatever the work throws is thrown on: the event then comes as if for the first time. */
  take(id: string, work: () => Promise<void>): Promise<Taken>
}

/** Makes an inbox of that name; `id`s are the sender's, and checked by whoever reads them. */
export function createInbox(ledger: Ledger, clock: Clock, name: string): Inbox {
  return {
    async take(id, work) {
      const key = `${INBOX}/${name}/${id}`
      const claim = await ledger.transfer({
        key,
        purpose: INBOX,
        asset: INBOX,
        amount: 0n,
        legs: [{ debit: `${WORLD}${INBOX}`, credit: `${WORLD}${INBOX}/${name}` }],
        leaseUntilAt: clock.now() + INBOX_LEASE_MS,
        note: { kind: INBOX },
      })
      if (claim.outcome === 'replayed') return claim.held.state === 'posted' ? 'repeated' : 'busy'
      if (claim.outcome !== 'made') return 'busy'
      try {
        await work()
      } catch (error) {
        await ledger.void(key, 'work-failed', claim.claim)
        throw error
      }
      await ledger.post(key, undefined, undefined, claim.claim)
      return 'done'
    },
  }
}
