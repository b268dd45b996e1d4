import type { Held } from '../core/ports.ts'
import type { Chain } from './chain.ts'
import { entryOf, openChain } from './chain.ts'

/** Most problems that are told; the first ones are those that matter. */
const PROBLEMS_MAX = 100

/** Compares what books call posted with what the chains have on record. */
export interface Audit {
  compare(held: Held): Promise<void>
  counts(): { readonly confirmed: number; readonly unchecked: number }
  problems(): readonly string[]
  close(): void
}

/** Makes an audit over endpoints by network, or over a list of endpoints of which each serves whatever chain it serves. */
export function createAudit(
  endpoints: ReadonlyMap<string, readonly string[]> | readonly string[],
): Audit {
  const chains = new Map<string, readonly Chain[]>()
  const problems: string[] = []
  let confirmed = 0
  let unchecked = 0

  function chainsOf(network: string): readonly Chain[] {
    const open = chains.get(network) ?? openAll(network)
    chains.set(network, open)
    return open
  }
  function openAll(network: string): readonly Chain[] {
    if (isList(endpoints)) return endpoints.map((url) => openChain(network, [url]))
    const urls = endpoints.get(network) ?? []
    return urls.length > 0 ? [openChain(network, urls)] : []
  }

  return {
    async compare(held) {
      const entry = entryOf(held)
      if (!entry) return
      for (const chain of chainsOf(entry.network)) {
        const why = await chain.disproves(entry).catch(otherChain)
        if (why === OTHER) continue
        if (why === undefined) confirmed++
        else if (problems.length < PROBLEMS_MAX) problems.push(`${held.key}: ${why}`)
        return
      }
      unchecked++
    },
    counts: () => ({ confirmed, unchecked }),
    problems: () => problems,
    close() {
      for (const chain of [...chains.values()].flat()) chain.close()
    },
  }
}

const OTHER = Symbol('other chain')

/** An endpoint of another chain has nothing to say about this payment; one that cannot be asked stops the audit. */
function otherChain(error: unknown): typeof OTHER {
  if (error instanceof RangeError) return OTHER
  throw error
}

function isList(
  endpoints: ReadonlyMap<string, readonly string[]> | readonly string[],
): endpoints is readonly string[] {
  return Array.isArray(endpoints)
}
