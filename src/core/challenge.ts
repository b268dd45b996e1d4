import type { Price, PriceItem } from './money.ts'
import type { Offer } from './offer.ts'
import type { Problem } from './problem.ts'
import type { Resource } from './resource.ts'
import type { Rights } from './rights.ts'

/** The answer "pay first": what may be paid, and why it must be. */
export interface Challenge {
  readonly resource: Resource
  readonly offers: readonly Offer[]
  readonly problem: Problem
  /** What is sold, for people. */
  readonly description?: string
  /** Media type of what is sold. */
  readonly mimeType?: string
  /** What the price is made of. */
  readonly breakdown?: readonly PriceItem[]
  /** What the payment buys beyond this one answer: a token with these rights. */
  readonly plan?: {
    readonly name: string
    readonly rights: Rights
    /** How its balance is used, where what is left of it goes back: one unit at a time. */
    readonly session?: { readonly balance: Price; readonly unit: Price }
  }
  /** Payer's side: offers that could be read but not understood, each with a sentence why. */
  readonly unreadable?: readonly Unreadable[]
}

/** An offer of a rail, network or asset that the reader does not know. */
export interface Unreadable {
  readonly why: string
  readonly said: unknown
}
