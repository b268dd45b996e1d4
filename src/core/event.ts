import type { Money } from './money.ts'
import type { Code } from './problem.ts'

interface Of<T extends string> {
  readonly type: T
  readonly at: number
  /** The id that the problem and the journal's row carry too. */
  readonly request?: string
  /** Which of several sellers in one process it is about, where there are several. */
  readonly tenant?: string
}

/** What a payment is for and how it goes, as far as whoever tells it knows. */
interface Sold {
  /** The account that earns, for instance `sales/GET /weather`. */
  readonly account?: string
  readonly rail?: string
  readonly network?: string
}

/** What engines tell while they work. What must survive a crash is a row of the journal, not an event. */
export type Event =
  | (Of<'challenged'> & { readonly url: string; readonly code: Code })
  | (Of<'refused'> & { readonly url: string; readonly code: Code; readonly detail: string })
  | (Of<'held'> & Sold & { readonly key: string; readonly payer: string; readonly amount: Money })
  | (Of<'settled'> &
      Sold & { readonly key: string; readonly reference: string; readonly amount: Money })
  | (Of<'voided'> & { readonly key: string; readonly code: Code })
  | (Of<'unknown'> & { readonly key: string })
  /** An alarm: a sale's transfer vanished from its network for good. It is booked back. */
  | (Of<'undone'> & { readonly key: string; readonly reference: string; readonly amount: Money })
  /**
   * An alarm: what lies at an account of ours is not what the books say. The difference is booked under `key`: above zero
   * where there is more than that, below where some is missing. `closed`: it makes up for one that was told before; a sale
   * that came into the books late, or money that went as it came.
   */
  | (Of<'mismatch'> & {
      readonly key: string
      readonly rail: string
      readonly network: string
      /** Where the money lies, or should. */
      readonly holder: string
      readonly finding: 'surplus' | 'missing' | 'closed'
      readonly amount: Money
    })
  /** A rail is not offered any more, since it failed too often; or again, since it is back. */
  | (Of<'rail'> & {
      readonly rail: string
      readonly network: string
      readonly state: 'up' | 'down'
    })
  /** Money went back to a payer. `key` is the refund's, `of` the sale's. */
  | (Of<'refunded'> & {
      readonly key: string
      readonly of: string
      readonly reference: string
      readonly amount: Money
    })
  | (Of<'delivered'> & { readonly key: string })
  | (Of<'reserved'> & { readonly key: string; readonly url: string; readonly amount: Money })
  | (Of<'paid'> & {
      readonly key: string
      readonly url: string
      readonly amount: Money
      readonly reference: string
    })
  /** A payer waits before it sends a request again: with that purchase, or without one where none can be made yet. */
  | (Of<'waiting'> & {
      /** Its key. */
      readonly purchase?: string
      readonly url: string
      /** How often it was sent. */
      readonly sends: number
      readonly waitMs: number
      /** What it waits for. */
      readonly detail: string
    })
  /** Paid by us, and what it bought will not come any more. */
  | (Of<'lost'> & { readonly key: string })
  | (Of<'fault'> & { readonly where: string; readonly error: unknown })

/** A subscriber: logs, metrics, a dashboard. It must not throw, and nobody waits for it. */
export type Observe = (event: Event) => void
