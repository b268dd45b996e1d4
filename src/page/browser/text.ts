/** Names of networks that people know. */
const networks: Readonly<Record<string, string>> = {
  'eip155:1': 'Ethereum',
  'eip155:10': 'OP Mainnet',
  'eip155:137': 'Polygon',
  'eip155:8453': 'Base',
  'eip155:42161': 'Arbitrum One',
  'eip155:43114': 'Avalanche',
  'eip155:84532': 'Base Sepolia',
  'eip155:11155111': 'Sepolia',
}

/** What a network is called, or its CAIP-2 id. */
export function networkName(id: string): string {
  return networks[id] ?? id
}
