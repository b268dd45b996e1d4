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
}

/** What is left in an account. */
export interface Left {
  readonly uses?: number
  readonly balance?: Price
}

/** One line of an account's statement. */
export interface Entry {
  readonly at: number
  readonly type: 'bought' | 'topped-up' | 'drawn' | 'held' | 'released'
  /** Uses, or the balance's currency in decimals; zero where nothing is counted. */
  readonly amount: string
  /** What was asked for with it, or the plan that was bought. */
  readonly what: string
}
