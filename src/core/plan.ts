import type { Price } from './money.ts'
import type { Rights } from './rights.ts'

/** What is sold as a token: paid once, and good for many requests. */
export interface Plan {
  /** Also the name of the service in its tokens. */
  readonly name: string
  /** The same in one currency or another. */
  readonly prices: readonly Price[]
  /** How long a token is good, from its payment on. */
  readonly validForMs: number
  /** How many requests it pays; not counted if absent. */
  readonly uses?: number
  /** What it may spend on routes that have a price. */
  readonly balance?: Price
  /** What narrows it beside that. */
  readonly rights: Rights
  /** Under which limits its tokens ask; those of everybody who pays if absent. */
  readonly tier?: string
  /** On which terms a holder may have back what is left; not at all if absent. */
  readonly refund?: RestTerms
}

/** What a seller keeps when the rest of a balance goes back. */
export interface RestTerms {
  /** Of what goes back, in hundredths of a percent: 0 to {@link FEE_BPS_MAX}. */
  readonly feeBps: number
  /** Beside that, in the currency of the balance. */
  readonly fee?: Price
}

/** All of it, in hundredths of a percent. */
export const FEE_BPS_MAX = 10_000

/** A price by measure: what a request costs is known when its work is done. Tokens with a balance pay it. */
export interface Measure {
  /** Held at a time: what is used is never more than this ahead of what is held. */
  readonly unit: Price
  /** Most that one request may cost; as much as there is if absent. */
  readonly most?: Price
}

/** Counts what a request costs while its work runs. Calls may overlap; they are done in their order. */
export interface Meter {
  /**
   * Before it is given: holds the amount, all or nothing. False when it is not covered (or all is over), and then nothing was
   * counted: give nothing, and ask again once the buyer has topped up, or end.
   */
  take(amount: Price, what?: string): Promise<boolean>
  /** Where the measure is only known afterwards: counts as much as is covered. False when that was not all: end. */
  add(amount: Price, what?: string): Promise<boolean>
  /**
   * The true measure of the whole, where what was counted so far was estimated: more as far as it is covered (false when it is
   * not), less as far as it is not charged yet.
   */
  correct(total: Price): Promise<boolean>
  /** What was counted. */
  readonly used: Price
}

/** What a token draws on. */
export interface Account {
  /** As in the grant. */
  readonly id: string
  readonly plan: string
  /** Milliseconds since 1970; from then on nothing is drawn. */
  readonly expiresAt: number
  readonly revoked: boolean
  /** What each payment for it has bought as its end; tokens made for one of them say that. Only the last if absent. */
  readonly ends?: readonly number[]
  /** The keys that its tokens were bound to when it was bought. */
  readonly payerKeys?: readonly string[]
  /** Where what is left goes back to when its payer closes it; only a session has one. */
  readonly returnTo?: string
  /** Its payments are deposits into a channel, and it is drawn on as far as vouchers go. */
  readonly isChannel?: true
}

/** What is left in an account. */
export interface Left {
  readonly uses?: number
  readonly balance?: Price
}

/** One line of an account's statement. */
export interface Entry {
  readonly at: number
  readonly type: 'bought' | 'topped-up' | 'drawn' | 'held' | 'released' | 'given-back'
  /** Uses, or the balance's currency in decimals; zero where nothing is counted. */
  readonly amount: string
  /** What was asked for with it, or the plan that was bought. */
  readonly what: string
}
