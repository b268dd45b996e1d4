/** Most payments that are remembered as verified. */
export const SEEN_MAX = 16_384
/** How long: as long as a server's work may take between verifying and settling. */
export const SEEN_MS = 600_000

/** Remembers, for a while, which proofs were found good, for which terms, and when. */
export interface Seen {
  put(key: string, good: string, at: number): void
  /** When this very thing was found good. */
  at(key: string, good: string, now: number): number | undefined
}

/** Makes an empty memory. The oldest goes first when there are too many. */
export function createSeen(): Seen {
  const known = new Map<string, { readonly good: string; readonly at: number }>()
  return {
    put(key, good, at) {
      known.delete(key)
      known.set(key, { good, at })
      if (known.size <= SEEN_MAX) return
      const [oldest = ''] = known.keys()
      known.delete(oldest)
    },
    at(key, good, now) {
      const found = known.get(key)
      if (!found || found.good !== good || found.at + SEEN_MS <= now) return undefined
      return found.at
    },
  }
}
