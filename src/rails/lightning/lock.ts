import type { Clock } from '../../core/ports.ts'
import type { InvoiceState, LightningNode } from './node.ts'

/** How long a payment that the payer is locking just now is waited for. */
export const LOCK_WAIT_MS = 5_000
/** Time between two looks. */
export const LOCK_LOOK_MS = 100
/** Most payments that are waited for at once; for any more there is one look. */
export const LOCKS_MAX = 64

/**
 * Looks at an invoice until its payment is locked or will not be: a payer who locks a payment cannot wait for its end, so
 * that the request may be here first. However many ask for one payment, one loop looks.
 */
export function createLocks(
  node: LightningNode,
  clock: Clock,
): (hash: string) => Promise<InvoiceState | undefined> {
  const waiting = new Map<string, Promise<InvoiceState | undefined>>()

  async function wait(hash: string): Promise<InvoiceState | undefined> {
    const untilAt = clock.now() + LOCK_WAIT_MS
    for (;;) {
      const found = await node.invoice(hash)
      if (found?.state !== 'open' || clock.now() >= untilAt) return found
      await clock.sleep(LOCK_LOOK_MS)
    }
  }

  return async (hash) => {
    const others = waiting.get(hash)
    if (others) return others
    if (waiting.size >= LOCKS_MAX) return node.invoice(hash)
    const work = wait(hash).finally(() => waiting.delete(hash))
    waiting.set(hash, work)
    return work
  }
}
