/** How many lives go on at once. */
export const LANES = 2

/** Does the work for all of the list, a few at once. After a failure no more is begun, and what goes on is waited for. */
export async function spread<T, R>(
  list: readonly T[],
  work: (one: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = []
  const faults: unknown[] = []
  const next = list.entries()
  const lane = async (): Promise<void> => {
    for (const [i, one] of next) {
      if (faults.length > 0) return
      await work(one).then(
        (result) => (results[i] = result),
        (fault: unknown) => faults.push(fault),
      )
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  if (faults.length > 0) throw faults[0]
  return results
}

/** Whether that call leaves anything behind: all others only look. */
export function isChange(call: string): boolean {
  return /^(?:ledger\.(?:transfer|step|post|void|expire)|vault\.put|rpc eth_sendRaw|fetch paid)/.test(
    call,
  )
}

/** So many of the list, evenly over all of it; the last is one of them. */
export function some<T>(list: readonly T[], most: number): readonly T[] {
  const step = Math.max(1, list.length / most)
  return list.filter((_, i) => Math.floor((i + 1) / step) > Math.floor(i / step))
}
