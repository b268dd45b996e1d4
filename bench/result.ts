/** How a bench is run. */
export interface Run {
  /** A tenth of the work: to see that it runs, not to quote. */
  readonly quick: boolean
  /** Tells what is going on. */
  readonly tell: (text: string) => void
}

/** A file of figures. */
export type Bench = (run: Run) => Promise<readonly Result[]>

/** What several rounds gave. */
export interface Figure {
  readonly median: number
  readonly least: number
  readonly most: number
}

/** At least so many times better than the peer, or at most so much of our own. */
export type Goal = { readonly ratioLeast: number } | { readonly most: number }

/** One line of the table. */
export interface Result {
  readonly bench: string
  readonly what: string
  readonly unit: string
  /** Which is better. */
  readonly better: 'more' | 'less'
  readonly ours: Figure
  readonly peer?: { readonly name: string; readonly figure: Figure }
  /** How many times better than the peer we are, each round compared with itself. */
  readonly ratio?: Figure
  readonly goal?: Goal
  readonly met?: boolean
}

/** One line's figures, round by round. */
export interface Measured extends Pick<Result, 'bench' | 'what' | 'unit' | 'better' | 'goal'> {
  readonly ours: readonly number[]
  readonly peer?: { readonly name: string; readonly rounds: readonly number[] }
}

/** Makes a line of rounds. The rounds of both must have been interleaved, so that each pair saw the same machine. */
export function compare({ ours, peer, goal, ...rest }: Measured): Result {
  const figure = figureOf(ours)
  const ratio = peer && figureOf(ratios(ours, peer.rounds, rest.better))
  return {
    ...rest,
    ours: figure,
    ...(peer && { peer: { name: peer.name, figure: figureOf(peer.rounds) } }),
    ...(ratio && { ratio }),
    ...(goal && { goal, met: isMet(goal, figure, ratio) }),
  }
}

/** The middle of the values, and how far they lie apart. */
export function figureOf(values: readonly number[]): Figure {
  const sorted = values.toSorted((a, b) => a - b)
  const [least, most] = [sorted[0], sorted.at(-1)]
  if (least === undefined || most === undefined) throw new Error('No round was measured.')
  return { median: at(sorted, 0.5), least, most }
}

/** The value below which that share of the sorted values lies. */
export function at(sorted: readonly number[], share: number): number {
  const place = (sorted.length - 1) * share
  const below = sorted[Math.floor(place)] ?? NaN
  const above = sorted[Math.ceil(place)] ?? NaN
  return below + (above - below) * (place - Math.floor(place))
}

function ratios(
  ours: readonly number[],
  peer: readonly number[],
  better: Result['better'],
): readonly number[] {
  if (ours.length !== peer.length) throw new Error('Both must have been measured equally often.')
  return ours.map((our, round) => {
    const their = peer[round] ?? NaN
    return better === 'more' ? our / their : their / our
  })
}

function isMet(goal: Goal, ours: Figure, ratio: Figure | undefined): boolean {
  if ('most' in goal) return ours.median <= goal.most
  return ratio !== undefined && ratio.median >= goal.ratioLeast
}
