/** Names that every version 1 client knows. One entry of another name makes some of them refuse all entries. */
const common: Readonly<Record<string, string>> = {
  abstract: 'eip155:2741',
  'abstract-testnet': 'eip155:11124',
  'base-sepolia': 'eip155:84532',
  base: 'eip155:8453',
  'avalanche-fuji': 'eip155:43113',
  avalanche: 'eip155:43114',
  iotex: 'eip155:4689',
  'solana-devnet': 'solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1',
  solana: 'solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp',
  sei: 'eip155:1329',
  'sei-testnet': 'eip155:1328',
  polygon: 'eip155:137',
  'polygon-amoy': 'eip155:80002',
  peaq: 'eip155:3338',
  story: 'eip155:1514',
  educhain: 'eip155:41923',
  'skale-base-sepolia': 'eip155:324705682',
}

/** Names that came later, with clients that also speak version 2: read, not written. */
const later: Readonly<Record<string, string>> = {
  ethereum: 'eip155:1',
  sepolia: 'eip155:11155111',
  megaeth: 'eip155:4326',
  monad: 'eip155:143',
  stable: 'eip155:988',
  'stable-testnet': 'eip155:2201',
  celo: 'eip155:42220',
  flare: 'eip155:14',
  'solana-testnet': 'solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z',
}

const byName = new Map(Object.entries({ ...common, ...later }))
const byNetwork = new Map([...byName].map(([name, network]) => [network, name]))

/** The CAIP-2 network that version 1 calls by that name; the name itself if it is not one of version 1's. */
export function networkOf(legacy: string): string {
  return byName.get(legacy) ?? legacy
}

/** Version 1's name of the network, if it has one. */
export function legacyOf(network: string): string | undefined {
  return byNetwork.get(network)
}

/** Whether an offer on that network may be shown to version 1 clients without spoiling the others. */
export function isCommon(legacy: string, network: string): boolean {
  return Object.hasOwn(common, legacy) && common[legacy] === network
}
