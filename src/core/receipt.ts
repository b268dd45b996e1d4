import type { Money } from './money.ts'

/** The seller's answer to a payment: what was paid, and where that can be looked up. */
export interface Receipt {
  readonly rail: string
  readonly network: string
  /** Where the outside world keeps it: a transaction hash, a preimage, a charge id. Empty while it is on its way. */
  readonly reference: string
  readonly payer: string
  readonly payee: string
  readonly amount: Money
  readonly settledAt: number
  /** False while settlement is deferred: the payment was checked and will be collected. */
  readonly settled: boolean
}
