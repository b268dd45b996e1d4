import type { Asset, Price } from '../../../core/money.ts'
import { toMoney } from '../../../core/money.ts'
import type { Terms } from '../../../core/offer.ts'
import type { Hex } from '../hex.ts'
import { UINT256_MAX, ZERO_ADDRESS, isAddress, lower } from '../hex.ts'
import type { Network, NetworkSettings, Token } from '../networks.ts'
import { assetOf, resolveNetwork, tokenAt } from '../networks.ts'

/** The rail's name. */
export const RAIL = 'evm-transaction'
/** One payment of at least the amount. */
export const CHARGE = 'charge'
/** How long a payment may take unless the settings say otherwise. */
export const TIMEOUT_MS = 300_000

/** What the terms say beside the money: the token that is paid, or the receiver that the chain's own coin is paid through. */
export type Details =
  | { readonly token: Hex }
  | {
      readonly receiver: Hex
    }

/** The chain's own coin. */
export interface Coin {
  /** What people call it: `ETH`. */
  readonly code: string
  /** Its number in SLIP-44, for its id; 60 if absent, which is ether's. */
  readonly slip44?: number
  /** Where `contracts/TolseyReceiver.sol` is; where everybody puts it if absent. */
  readonly receiver?: string
}

/** Digits behind the point of every network's own coin. */
const COIN_SCALE = 18
/** Where `contracts/TolseyReceiver.sol` is on every chain on which somebody has put it. */
export const RECEIVER: Hex = '0x319aEA419D90B13C44cF3A2F6d3b2b5b7F810a62'

/** What is sold for, and to whom. */
export interface TermSettings extends NetworkSettings {
  /** The account that earns. */
  readonly payTo: string
  /** How long a payment may take, whole seconds. It stands in the terms; what counts is the end of the offer. */
  readonly timeoutMs?: number
  /** Takes the chain's own coin as well. */
  readonly coin?: Coin
}

/** One thing that can be paid with. */
export interface Payable {
  readonly asset: Asset
  readonly details: Details
}

/** All that is fixed by the settings. */
export interface Shop {
  readonly network: Network
  readonly payee: Hex
  readonly timeoutMs: number
  readonly payables: readonly Payable[]
}

/**
 * Reads the settings.
 * @throws {RangeError} with what to do, when they cannot be.
 */
export function shopOf(settings: TermSettings): Shop {
  const network = resolveNetwork(settings)
  const { payTo, timeoutMs = TIMEOUT_MS, coin } = settings
  if (!isAddress(payTo)) throw new RangeError(`"payTo" is "${payTo}", which is not an address.`)
  if (payTo === ZERO_ADDRESS) throw new RangeError('"payTo" is the zero address: nobody has it.')
  if (tokenAt(network, payTo))
    throw new RangeError('"payTo" is the token itself: what is sent there is lost.')
  if (!Number.isSafeInteger(timeoutMs / 1000) || timeoutMs <= 0)
    throw new RangeError(`"timeoutMs" is ${timeoutMs}. Give whole seconds, for instance 300000.`)
  return { network, payee: payTo, timeoutMs, payables: payablesOf(network, coin) }
}

/** All that can be paid with on a chain. @throws {RangeError} when the receiver is not an address. */
export function payablesOf(network: Network, coin: Coin | undefined): readonly Payable[] {
  const tokens = network.tokens.map((token) => payableOf(network, token))
  return coin ? [...tokens, coinOf(network, coin)] : tokens
}

function payableOf(network: Network, token: Token): Payable {
  return { asset: assetOf(network, token), details: { token: token.address } }
}

function coinOf(network: Network, { code, slip44 = 60, receiver = RECEIVER }: Coin): Payable {
  if (!isAddress(receiver))
    throw new RangeError(`"coin.receiver" is "${receiver}", which is not an address.`)
  const id = `${network.id}/slip44:${slip44}`
  return { asset: { id, code, scale: COIN_SCALE }, details: { receiver } }
}

/** The terms for a price, in each thing that stands for its currency. */
export function termsOf(shop: Shop, price: Price): readonly Terms<Details>[] {
  return shop.payables.flatMap((payable) => {
    const amount = amountOf(price, payable.asset)
    if (amount === undefined || amount <= 0n || amount > UINT256_MAX) return []
    return [termsFor(shop, payable, amount)]
  })
}

/** The terms for an amount. */
export function termsFor(
  { network, payee, timeoutMs }: Pick<Shop, 'network' | 'payee' | 'timeoutMs'>,
  { asset, details }: Payable,
  amount: bigint,
): Terms<Details> {
  const money = { asset, amount }
  return {
    rail: RAIL,
    network: network.id,
    intent: CHARGE,
    amount: money,
    payee,
    timeoutMs,
    details,
  }
}

/** The contract in whose log the payment stands. */
export function contractOf(details: Details): Hex {
  return 'token' in details ? details.token : details.receiver
}

/** What is paid by those details; undefined if that is not taken. */
export function payableBy(shop: Pick<Shop, 'payables'>, details: Details): Payable | undefined {
  const kind = 'token' in details
  const wanted = lower(contractOf(details))
  return shop.payables.find(
    (one) => 'token' in one.details === kind && lower(contractOf(one.details)) === wanted,
  )
}

/** Undefined if the asset does not stand for the currency, or the price is finer than its smallest unit. */
export function amountOf(price: Price, asset: Asset): bigint | undefined {
  try {
    return toMoney(price, asset).amount
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
