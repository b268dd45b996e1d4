import type { Price } from '../../../core/money.ts'
import { toMoney } from '../../../core/money.ts'
import type { Terms } from '../../../core/offer.ts'
import type { Hex } from '../hex.ts'
import { ZERO_ADDRESS, isAddress, lower } from '../hex.ts'
import type { Network, NetworkSettings, Token } from '../networks.ts'
import { assetOf, resolveNetwork, tokenAt } from '../networks.ts'
import type { Place } from './voucher.ts'
import { UINT128_MAX } from './voucher.ts'

/** The rail's name. */
export const RAIL = 'channel'
/** What is asked for: a deposit that is drawn on as far as vouchers go. */
export const SESSION = 'session'
/** How long a deposit stays payable unless the settings say otherwise. */
export const TIMEOUT_MS = 300_000
/** Most vouchers that one deposit may be drawn on with, unless the settings name the least step themselves: each is kept. */
export const VOUCHERS_MAX = 10_000n

/** Where `contracts/TolseyChannel.sol` is, on every chain where somebody has put it. */
export const ESCROW: Hex = '0x7e494F25fF2A5569C32f8c23320D0dc663D4aE0b'

/** What the terms say beside the money. */
export interface Details {
  /** With the checksum of EIP-55. */
  readonly token: Hex
  /** The contract that keeps the channels. */
  readonly escrow: Hex
  /** How much more than the one before a voucher must promise at least, in the token's smallest unit. */
  readonly minVoucherDelta: string
}

/** Where deposits go, and for whom. */
export interface TermSettings extends NetworkSettings {
  /** The account that earns: it alone can collect. */
  readonly payTo: string
  /** Where `TolseyChannel` is; the address that follows from its code, if absent. */
  readonly escrow?: string
  /** How long a deposit may take, whole seconds. */
  readonly timeoutMs?: number
  /** In the token's smallest unit; one in {@link VOUCHERS_MAX} of what is deposited if absent. */
  readonly minVoucherDelta?: bigint
}

/** All that is fixed by the settings. */
export interface Shop {
  readonly network: Network
  readonly place: Place
  /** As the settings write it. */
  readonly escrow: Hex
  readonly payee: Hex
  readonly timeoutMs: number
  readonly minVoucherDelta?: bigint
}

/**
 * Reads the settings.
 * @throws {RangeError} with what to do, when they cannot be.
 */
export function shopOf(settings: TermSettings): Shop {
  const network = resolveNetwork(settings)
  const { payTo, escrow = ESCROW, timeoutMs = TIMEOUT_MS, minVoucherDelta } = settings
  if (!isAddress(payTo) || payTo === ZERO_ADDRESS || tokenAt(network, payTo))
    throw new RangeError(`"payTo" is "${payTo}", which is nobody's address.`)
  if (!isAddress(escrow)) throw new RangeError(`"escrow" is "${escrow}", which is not an address.`)
  if (!Number.isSafeInteger(timeoutMs / 1000) || timeoutMs <= 0)
    throw new RangeError(`"timeoutMs" is ${timeoutMs}. Give whole seconds, for instance 300000.`)
  if (minVoucherDelta !== undefined && minVoucherDelta < 0n)
    throw new RangeError('"minVoucherDelta" is below zero.')
  return {
    network,
    place: { chainId: network.chainId, escrow: lower(escrow) },
    ...{ escrow, payee: payTo, timeoutMs },
    ...(minVoucherDelta !== undefined && { minVoucherDelta }),
  }
}

/** The terms for a price, in each token that stands for its currency. */
export function quote(shop: Shop, price: Price): readonly Terms<Details>[] {
  return shop.network.tokens.flatMap((token) => {
    const amount = amountOf(price, token)
    if (amount === undefined || amount <= 0n || amount > UINT128_MAX) return []
    const delta = shop.minVoucherDelta ?? (amount + VOUCHERS_MAX - 1n) / VOUCHERS_MAX
    return [termsOf(shop, token, amount, delta)]
  })
}

/** The terms for an amount of that token. */
export function termsOf(
  { network, escrow, payee, timeoutMs }: Omit<Shop, 'place'>,
  token: Token,
  amount: bigint,
  delta: bigint,
): Terms<Details> {
  return {
    ...{ rail: RAIL, network: network.id, intent: SESSION, payee, timeoutMs },
    amount: { asset: assetOf(network, token), amount },
    details: { token: token.address, escrow, minVoucherDelta: delta.toString() },
  }
}

/** Undefined if the token does not stand for the currency, or the price is finer than its smallest unit. */
function amountOf(price: Price, token: Token): bigint | undefined {
  try {
    return toMoney(price, { id: '', ...token }).amount
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}
