import type { Price } from './money.ts'
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
   * Of `accept`: whether the voucher shows its sender to be the payer. False for one that has been public on chain since it was
   * collected: anybody may send it again.
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
   * @param isLast its payer wants no more: it may promise less than one before, to be closed with if that covers what was drawn. What
   * may be drawn stays as it was.
   */
  accept(channel: string, voucher: Voucher, isLast?: boolean): Promise<Allowance | Problem>
  /** How far it may be drawn on now, whichever process took the voucher. Undefined for a channel that is not ours. */
  allowance(channel: string): Promise<Allowance | undefined>
  /**
   * Closes the channel with the voucher over that sum, which was taken before, or with the best one; what was fixed first counts. It is
   * collected, and the rest goes back. Safe to call twice, and after `Rail.refund` has closed it. Undefined while it is not done: ask
   * again.
   */
  close(channel: string, sum?: bigint): Promise<{ readonly reference: string } | undefined>
}

/** How a channel stands with what was drawn on it. In the smallest unit of its asset, rounded up. */
export interface Drawn extends Allowance {
  readonly rail: string
  readonly network: string
  /** What was charged. */
  readonly spent: bigint
  /** What is held for requests that are being worked on. */
  readonly held: bigint
  /** What a voucher must promise for as much to be drawn as was asked about, beside all that. */
  readonly needed: bigint
}

/** What its payer is told of a channel with each answer. */
export interface ChannelReceipt extends Drawn {
  readonly channel: string
  /** The challenge that the credential named. */
  readonly challenge: string
  readonly at: number
  /** What the answer has used, in units that were begun. */
  readonly units?: bigint
  /** Where the outside world keeps its end. */
  readonly reference?: string
}

/** Accounts that are channels, for the doors. */
export interface Channels {
  /** Takes a voucher of its payer. Throws `PaymentError` when the world cannot be asked. */
  accept(account: string, voucher: Voucher): Promise<Drawn | Problem>
  /** How it stands; undefined for an account that is no channel. `more` is what `needed` is told for. */
  look(account: string, more?: Price): Promise<Drawn | undefined>
  /** Calls back whenever this process takes a voucher for it, until the function that it gives is called. */
  hear(account: string, wake: () => void): () => void
  /**
   * Ends it: what the voucher promises is charged, and the rest goes back. Said twice it is the same. A problem where the voucher does
   * not cover what was drawn, where requests are being worked on, or as long as the end is under way.
   */
  close(
    account: string,
    voucher: Voucher,
  ): Promise<(Drawn & { readonly reference: string }) | Problem>
}

/** What a seller asks of the payer of a channel. In the smallest unit of its asset. */
export interface ChannelTerms {
  /** What a unit costs. */
  readonly unit: bigint
  /** How much more than the one before a voucher must promise at least. */
  readonly step: bigint
}

/** What a seller has told of a channel: his word, no more. In the smallest unit of its asset. */
export interface ChannelTold {
  readonly channel: string
  readonly accepted: bigint
  readonly spent?: bigint
  /** What a voucher must promise for the work to go on. */
  readonly needed?: bigint
  readonly deposit?: bigint
  /** Whether something was done for it, where that is told. */
  readonly isServed?: boolean
  readonly reference?: string
}
