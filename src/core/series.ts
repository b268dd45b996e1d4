import type { Held, Ledger } from './ports.ts'

/**
 * The last of the transfers under `<prefix>/1`, `<prefix>/2` and so on, each made only when the one before was closed;
 * undefined while there is none. Found by halving, from `known` on, of which the caller knows that it is there.
 */
export async function lastOf(
  ledger: Pick<Ledger, 'find'>,
  prefix: string,
  known = 0,
): Promise<{ readonly number: number; readonly held: Held } | undefined> {
  const at = (number: number): Promise<Held | undefined> => ledger.find(`${prefix}/${number}`)
  let low = known
  let high = known + 1
  while (await at(high)) {
    low = high
    high *= 2
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (await at(middle)) low = middle
    else high = middle
  }
  const held = low > 0 ? await at(low) : undefined
  return held && { number: low, held }
}
