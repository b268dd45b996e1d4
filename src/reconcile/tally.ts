import { PaymentError } from '../core/problem.ts'
import type { Flow } from './flows.ts'
import { placeOf } from './flows.ts'
import type { Position } from './round.ts'

/** Most movements that are on their way to a state that nothing can undo, or wait for evidence. */
export const FLOWS_MAX = 100_000

/** What the journal says of one place, from where the round before stopped. */
export interface Tallied {
  /** What that round found. */
  readonly before: Position | undefined
  /** All that is sure up to this row, in sum: no movement stands in between. */
  readonly sum: bigint
  /** What comes behind. */
  readonly flows: readonly Flow[]
}

/** Adds up movements while the journal is read, so that only what is not sure yet takes room. */
export interface Tally {
  add(flow: Flow): void
  at(place: string): Tallied
  /** Where reading must begin for that place. */
  tailOf(place: string): number
  /** All that is to be asked of the network. */
  references(): readonly string[]
}

/** Makes the sums, on top of what the round before found. `root` is what the names of all these accounts begin with. */
export function createTally(before: readonly Position[], root: string): Tally {
  const positions = new Map(
    before.map((one) => [placeOf(`${root}/${one.account}`, one.asset.id), one]),
  )
  const sums = new Map<string, bigint>()
  const lists = new Map<string, Flow[]>()
  let count = 0

  const sumOf = (place: string): bigint => sums.get(place) ?? positions.get(place)?.sum ?? 0n
  const tailOf = (place: string): number => positions.get(place)?.tail ?? 0

  return {
    tailOf,
    add(flow) {
      const { place, amount, sequence, evidence } = flow
      if (sequence <= tailOf(place)) return
      const list = lists.get(place)
      if (!list && evidence === 'sure') {
        sums.set(place, sumOf(place) + amount)
        return
      }
      if (++count > FLOWS_MAX)
        throw new PaymentError('rail-unavailable', 'Too much is not final yet.', {
          retryable: true,
        })
      if (list) list.push(flow)
      else lists.set(place, [flow])
    },
    at: (place) => ({
      before: positions.get(place),
      sum: sumOf(place),
      flows: lists.get(place) ?? [],
    }),
    references: () =>
      [...lists.values()]
        .flat()
        .flatMap(({ evidence }) => (typeof evidence === 'object' ? [evidence.reference] : [])),
  }
}
