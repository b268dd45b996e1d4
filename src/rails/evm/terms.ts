import type { Terms } from '../../core/offer.ts'
import type { Hex } from './hex.ts'
import type { Network, Token } from './networks.ts'
import { assetOf } from './networks.ts'

/** What the terms of this rail say beside the money: the token and the domain that its signatures are made for. */
export interface Details {
  /** With the checksum of EIP-55. */
  readonly asset: Hex
  readonly name: string
  readonly version: string
  /** Payer's side, over MPP: the challenge, after which the nonce is named. */
  readonly challenge?: string
}

/** The rail's name, unless the settings give another: a gate with two chains needs two names. */
export const RAIL = 'evm'

/** One payment of exactly the amount. */
export const CHARGE = 'charge'

/** Longest time that terms may ask a payment to stay payable; the wallet bounds it further. */
export const TIMEOUT_SECONDS_MAX: number = 2 ** 31 - 1

/** Why this rail refuses, in its own words. */
export type Reason =
  | 'signature-invalid'
  | 'payee-mismatch'
  | 'amount-mismatch'
  | 'too-early'
  | 'too-late'
  | 'nonce-used'
  | 'funds-insufficient'
  | 'simulation-failed'
  | 'transaction-failed'
  | 'transfer-missing'
  | 'factory-refused'
  | 'deployment-failed'
  | 'token-absent'
  | 'token-unknown'
  | 'network-mismatch'
  | 'pending'

/** What the forms are made for. */
export interface FormParts {
  /** The chains and tokens that are known, and no others. */
  readonly networks: readonly Network[]
  /** The seller's own address. */
  readonly payTo?: Hex
}

/** The terms of this rail on that network, for an amount of that token. */
export function termsOf(
  network: Network,
  token: Token,
  rest: Pick<Terms, 'payee' | 'timeoutMs'> & { readonly amount: bigint },
): Terms<Details> {
  const { address: asset, name, version } = token
  return {
    rail: RAIL,
    network: network.id,
    intent: CHARGE,
    amount: { asset: assetOf(network, token), amount: rest.amount },
    payee: rest.payee,
    timeoutMs: rest.timeoutMs,
    details: { asset, name, version },
  }
}
