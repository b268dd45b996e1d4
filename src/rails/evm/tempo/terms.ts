import type { Price } from '../../../core/money.ts'
import { toMoney } from '../../../core/money.ts'
import type { Terms } from '../../../core/offer.ts'
import type { Hex } from '../hex.ts'
import { ZERO_ADDRESS, isAddress } from '../hex.ts'
import type { Network, NetworkSettings } from '../networks.ts'
import { assetOf, resolveNetwork } from '../networks.ts'

/** The rail's name, and what MPP calls the method. */
export const RAIL = 'tempo'
/** One payment of exactly the amount. */
export const CHARGE = 'charge'
/** How long a payment may take unless the settings say otherwise. */
export const TIMEOUT_MS = 300_000

/** What the terms say beside the money. */
export interface Details {
  /** The token (TIP-20), as the settings write it. */
  readonly token: Hex
}

/** A token of Tempo; signatures are made for transactions there, and not for the token. */
export interface TempoToken {
  readonly address: string
  readonly code: string
  readonly scale: number
  readonly currency?: string
}

const PATH_USD = {
  address: '0x20c0000000000000000000000000000000000000',
  code: 'pathUSD',
  scale: 6,
  currency: 'USD',
} as const
/** What the chains are called. */
const NAMES: Readonly<Record<string, string>> = {
  tempo: 'eip155:4217',
  'tempo-testnet': 'eip155:42431',
}

/** Where payments are made, and to whom. */
export interface TermSettings {
  /** `tempo`, `tempo-testnet`, or `eip155:` and the chain's number. */
  readonly network: string
  /** The account that earns. */
  readonly payTo: string
  /** The tokens that are taken; pathUSD if absent. */
  readonly assets?: readonly TempoToken[]
  /** How long a payment may take, whole seconds. */
  readonly timeoutMs?: number
}

/** All that is fixed by the settings. */
export interface Shop {
  readonly network: Network
  readonly payee: Hex
  readonly timeoutMs: number
}

/** The chain that the settings name, with its tokens. */
export function chainOf({
  network,
  assets = [PATH_USD],
}: Pick<TermSettings, 'network' | 'assets'>): Network {
  const tokens = assets.map((one) => {
    if (!isAddress(one.address))
      throw new RangeError(`The address of ${one.code} is not an address.`)
    // No domain: nothing is signed for the token itself.
    return { ...one, address: one.address, name: '', version: '' }
  })
  const settings: NetworkSettings = { network: NAMES[network] ?? network, assets: tokens }
  return resolveNetwork(settings)
}

/**
 * Reads the settings.
 * @throws {RangeError} with what to do, when they cannot be.
 */
export function shopOf(settings: TermSettings): Shop {
  const { payTo, timeoutMs = TIMEOUT_MS } = settings
  const network = chainOf(settings)
  if (!isAddress(payTo) || payTo === ZERO_ADDRESS)
    throw new RangeError(`"payTo" is "${payTo}", which is nobody's address.`)
  if (!Number.isSafeInteger(timeoutMs / 1000) || timeoutMs <= 0)
    throw new RangeError(`"timeoutMs" is ${timeoutMs}. Give whole seconds, for instance 300000.`)
  return { network, payee: payTo, timeoutMs }
}

/** The terms for a price, in each token that stands for its currency. */
export function termsOf(
  { network, payee, timeoutMs }: Shop,
  price: Price,
): readonly Terms<Details>[] {
  return network.tokens.flatMap((token) => {
    const asset = assetOf(network, token)
    try {
      const amount = toMoney(price, asset)
      if (amount.amount <= 0n) return []
      const details = { token: token.address }
      return [
        { rail: RAIL, network: network.id, intent: CHARGE, amount, payee, timeoutMs, details },
      ]
    } catch (error) {
      if (error instanceof RangeError) return []
      throw error
    }
  })
}
