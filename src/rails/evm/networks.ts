import type { Asset } from '../../core/money.ts'
import type { Hex } from './hex.ts'
import { isAddress, lower } from './hex.ts'

/** A token that knows EIP-3009, with the domain that its signatures are made for (EIP-712). */
export interface Token {
  /** With the checksum of EIP-55. */
  readonly address: Hex
  readonly code: string
  readonly scale: number
  readonly currency?: string
  readonly name: string
  readonly version: string
}

/** One EVM chain and the tokens that are taken on it. */
export interface Network {
  /** CAIP-2, `eip155:` and the chain id. */
  readonly id: string
  readonly chainId: number
  /** What x402 called it in version 1. */
  readonly legacyName?: string
  readonly tokens: readonly Token[]
}

/** The chains that are known without configuration: Circle's own contracts only. */
export const networks: readonly Network[] = [
  known(1, 'ethereum', '0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48', 'USD Coin'),
  known(8453, 'base', '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913', 'USD Coin'),
  known(84532, 'base-sepolia', '0x036CbD53842c5426634e7929541eC2318f3dCF7e', 'USDC'),
]

function known(chainId: number, legacyName: string, address: Hex, name: string): Network {
  const usdc = { address, code: 'USDC', scale: 6, currency: 'USD', name, version: '2' }
  return { id: `eip155:${chainId}`, chainId, legacyName, tokens: [usdc] }
}

/** How a chain is named in settings. */
export interface NetworkSettings {
  /** `eip155:8453`, or a version 1 name of a known chain such as `base`. */
  readonly network: string
  /** The tokens that are taken; those of the table if absent. */
  readonly assets?: readonly Token[]
  /** What x402 called the chain in version 1, where the table does not say. */
  readonly legacyNetwork?: string
}

/**
 * The chain that the settings name.
 * @throws {RangeError} with what to do, when it is not an EVM chain or has no token.
 */
export function resolveNetwork(settings: NetworkSettings): Network {
  const { network, assets, legacyNetwork } = settings
  const row = networks.find(({ id, legacyName }) => id === network || legacyName === network)
  const chainId = row?.chainId ?? Number(/^eip155:([1-9]\d{0,14})$/.exec(network)?.[1])
  if (!Number.isSafeInteger(chainId))
    throw new RangeError(`"${network}" is not an EVM chain. Write it like "eip155:8453".`)
  const tokens = assets ?? row?.tokens ?? []
  if (tokens.length === 0)
    throw new RangeError(`No token is known on ${network}. Name at least one in "assets".`)
  for (const { address, code } of tokens)
    if (!isAddress(address)) throw new RangeError(`The address of ${code} is not an address.`)
  const legacyName = legacyNetwork ?? row?.legacyName
  return { id: `eip155:${chainId}`, chainId, tokens, ...(legacyName && { legacyName }) }
}

/** The token at that address, in any case. */
export function tokenAt(network: Network, address: string): Token | undefined {
  const wanted = address.toLowerCase()
  return network.tokens.find((token) => lower(token.address) === wanted)
}

/** The token as something that can be owed; its id is CAIP-19. */
export function assetOf(network: Network, token: Token): Asset {
  const { address, code, scale, currency } = token
  const id = `${network.id}/erc20:${address}`
  return { id, code, scale, ...(currency !== undefined && { currency }) }
}
