import type { Problem } from './problem.ts'

/** What its payer has signed away of what was paid into a channel: a sum over all time, in the smallest unit of its asset. */
export interface Voucher {
  readonly cumulative: bigint
  /** As the rail reads it. */
  readonly signature: string
}

/** How far a channel may be drawn on. Sums over all time, in the smallest unit of its asset. */
export interface Allowance {
  /** What the best voucher promises. */
  readonly accepted: bigint
  /** What was paid in: no voucher may promise more. */
  readonly deposit: bigint
  /**
   * Of `accept`: whether the voucher shows its sender to be the payer. False for one that may have been public since it was collected:
   * anybody can say it again.
   */
  readonly proves?: boolean
}

/**
 * What a rail offers whose payments are deposits into a channel: the money lies with neither side, and is ours only as far as vouchers
 * go. A channel is named as its account is: 64 hex digits.
 */
export interface Vouchers {
  /**
   * Takes a voucher. Durable once it resolves, so that it is safe to serve for it. One that promises no more than what was taken
   * before changes nothing; its signature is checked all the same. Throws `PaymentError` when the world cannot be asked.
   * @param isLast its payer wants no more: it may promise less than one before, for `Rail.refund` to close with. What may be drawn
   * stays as it was.
   */
  accept(channel: string, voucher: Voucher, isLast?: boolean): Promise<Allowance | Problem>
  /** How far it may be drawn on now, whichever process took the voucher. Undefined for a channel that is not ours. */
  allowance(channel: string): Promise<Allowance | undefined>
  /**
   * Collects what the last voucher promises, or the best where there is none, and closes the channel. Safe to call twice, and after
   * `Rail.refund` has closed it. Undefined while it is not done: ask again.
   */
  close(channel: string): Promise<{ readonly reference: string } | undefined>
}
