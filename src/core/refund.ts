import type { Money, Price } from './money.ts'
import type { RestTerms } from './plan.ts'

/** What a seller wants to give back of a sale. */
export interface RefundOrder {
  /** The key of the sale in the books. */
  readonly key: string
  /** In the currency or the asset of the sale; all that was not given back yet if absent. */
  readonly amount?: Price
  /** For the books. */
  readonly reason?: string
  /** Whom or what to pay, where the rail does not know who paid; the payer if absent. */
  readonly to?: string
  /** Letters, digits and `._:-`, at most 128. The same order under the same key is carried out once. */
  readonly idempotencyKey: string
}

/** What became of an order. Only `denied` says that nothing was sent and nothing will be. */
export type RefundOutcome = Refunded | RefundOpen | RefundDenial

/** The money has gone back. */
export interface Refunded {
  readonly kind: 'refunded'
  /** The key of the refund in the books. */
  readonly key: string
  readonly amount: Money
  readonly to: string
  /** Where the outside world keeps it. */
  readonly reference: string
  /** Milliseconds since 1970. */
  readonly settledAt: number
}

/** It is being sent, or nobody knows whether it was: it is looked at until there is evidence. The same order tells how it stands. */
export interface RefundOpen {
  readonly kind: 'open'
  readonly key: string
  readonly amount: Money
}

/** Nothing was given back. The sentence is for the operator: why, and what to do. */
export interface RefundDenial {
  readonly kind: 'denied'
  readonly code:
    | 'order-invalid'
    | 'order-conflict'
    | 'sale-unknown'
    | 'sale-open'
    | 'sale-unpaid'
    | 'amount-invalid'
    | 'amount-exceeded'
    | 'rail-unable'
    | 'funds-short'
    | 'failed'
  readonly detail: string
}

/** What is wanted back of what is left in a token's account. */
export interface RestOrder {
  /** As in the grant. */
  readonly account: string
  /** As of a {@link RefundOrder}. */
  readonly to?: string
  readonly reason?: string
  /** What the seller keeps of it; nothing if absent. */
  readonly terms?: RestTerms
}

/**
 * What became of it: each payment that the rest was bought with gets its share back. While it is open the rest is out of the
 * account, and nothing can be drawn on it. Only `denied` says that it stands there as before.
 */
export type RestOutcome =
  | { readonly kind: 'refunded'; readonly account: string; readonly parts: readonly Refunded[] }
  | {
      readonly kind: 'open'
      readonly account: string
      readonly parts: readonly (Refunded | RefundOpen)[]
    }
  | RefundDenial

/**
 * The account of all that goes back of a sale, by whichever way: it has room for what was charged, so that links by which payers
 * pull money and refunds that are sent share one ceiling.
 */
export function givenBack(sale: string): string {
  return `withdrawn/${sale}`
}

/**
 * What one payment of the outside world is claimed by as the evidence of one refund, or of one pull, in the books: who finds it
 * claimed for another has given nothing back.
 */
export function evidenceOf(
  { rail, network }: { readonly rail: string; readonly network: string },
  reference: string,
): string {
  return `refunds/${rail}/${network}/${reference}`
}
