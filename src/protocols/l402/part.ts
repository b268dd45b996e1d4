import type { Form, Protocol } from '../../core/ports.ts'
import type { Rights } from '../../core/rights.ts'

/** A rail in L402's words. */
export interface Words {
  /** BOLT11; absent when a seller reads its own terms back. */
  readonly invoice?: string
  /** The payment hash in hex. */
  readonly hash?: string
  /** Whether the payment is locked until the work is done; then the token is shown without a preimage. */
  readonly hold?: boolean
  /** The terms as the rail itself would read them back: ASCII without commas, sealed in the token. */
  readonly terms?: string
}

/** A rail, a wallet, or anything else that knows how one rail is said in L402. */
export interface Part<D = unknown, P = unknown> {
  readonly forms: { readonly l402?: Form<D, P> }
}

/** What a token says that was minted here and is whole. */
export interface Checked {
  readonly identifier: { readonly paymentHash: Uint8Array; readonly tokenId: Uint8Array }
  readonly rights: Rights
  /** In lower-case hex, where the client has put it into the token. */
  readonly preimage?: string
  /** What was offered, as it was sealed. */
  readonly offer?: string
}

/** Mints macaroons and checks those that come back. */
export interface Mint {
  mint(identifier: Checked['identifier'], conditions: readonly string[]): string
  /** A sentence why not. */
  check(token: string): Checked | string
}

/** What L402 is made of. */
export interface L402Settings {
  /** Rails of a seller or wallets of a payer. */
  readonly parts: readonly Part[]
  /** The seller's mint. A payer has none. */
  readonly mint?: Mint
  /** Says each challenge as `LSAT` too, before all else: old clients look for that on the first line alone. Off if absent. */
  readonly legacy?: boolean
  /**
   * The payment hash in a token of somebody else, where it is a macaroon of version 0: then it must be that of the invoice.
   */
  readonly hashIn?: (token: string) => string | undefined
}

/** The protocol, as {@link l402} makes it. */
export type L402 = Protocol

type Forms = readonly Form<unknown, unknown, Words>[]

/** Collects the forms; a part without one is not offered here. */
export function formsOf(parts: readonly Part[]): Forms {
  // What stands under our name speaks the shape that we publish: the ports do not carry its type.
  return parts.flatMap((part) => (part.forms.l402 ? [part.forms.l402 as Forms[number]] : []))
}
