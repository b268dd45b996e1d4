import type { JsonObject } from '../core/json.ts'

/** Where people look at a transaction: an address in which `{reference}` stands for what the network calls it. */
export type Explorers = Readonly<Record<string, string>>

/** Explorers of public networks, by CAIP-2. */
export const explorers: Explorers = {
  'eip155:1': 'https://etherscan.io/tx/{reference}',
  'eip155:8453': 'https://basescan.org/tx/{reference}',
  'eip155:84532': 'https://sepolia.basescan.org/tx/{reference}',
}

/** Links for a reference on a network; none where nobody knows an explorer. */
export type LinksOf = (network: string, reference: string) => readonly JsonObject[]

/**
 * Makes the links.
 * @throws {RangeError} for an explorer that is no web address.
 */
export function createLinks(settings: Explorers = {}): LinksOf {
  const table = new Map(Object.entries({ ...explorers, ...settings }))
  for (const [network, url] of table)
    if (!/^https?:\/\/[^/\s]+\/\S*\{reference\}/.test(url))
      throw new RangeError(
        `The explorer of ${network} is written like "https://example.com/tx/{reference}".`,
      )
  return (network, reference) => {
    const url = table.get(network)
    // A transaction's hash and nothing else: it becomes part of an address.
    if (url === undefined || !/^(?:0x)?[0-9a-zA-Z]{32,128}$/.test(reference)) return []
    return [{ label: new URL(url).host, url: url.replace('{reference}', reference) }]
  }
}
