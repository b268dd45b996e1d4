// The hunt itself: mutants of a room's sources against the room's tests, two benches at most, and what is known already.
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Bench, Fate, Proof } from './bench.ts'
import { createBench, testsOf } from './bench.ts'
import type { Mutant } from './mutants.ts'
import { mutantsOf } from './mutants.ts'

/** What is hunted together: sources, and the tests that must see every wrong in them. Patterns, from the root. */
export interface Room {
  readonly sources: readonly string[]
  readonly tests: readonly string[]
}

/** A mutant that no test sees, and the reason why that is right. */
export interface Survivor {
  readonly file: string
  /** The line, without its indent. */
  readonly text: string
  readonly mutation: string
  /** Why it may live: it changes nothing that can be seen, or something beyond the room's tests sees it. */
  readonly why: string
}

/** How many of a room's mutants came to which end. */
export interface Score {
  mutants: number
  /** Do not compile. */
  refused: number
  killed: number
  timeout: number
  /** Survived, and stand in the list of survivors with a reason. */
  explained: number
  /** Survived, and nobody has said why. */
  open: number
  /** Time was up. */
  untried: number
}

/** Settings of {@link hunt}. */
export interface HuntOptions {
  readonly root: string
  /** Where packages lie, if not below the root. */
  readonly lent?: string
  readonly room: Room
  /** Only sources whose path holds one of these; all if absent or empty. */
  readonly files?: readonly string[]
  /** Only mutants that stand in the list of survivors. */
  readonly known?: boolean
  /** Only that many mutants, drawn by `seed`. */
  readonly sample?: number
  readonly seed?: number
  /** Nothing new is begun after that, in milliseconds since 1970. */
  readonly untilAt?: number
  readonly workers?: number
  readonly survivors: readonly Survivor[]
  /** Called for each mutant as its fate is known. */
  readonly tell?: (mutant: Mutant, fate: Fate | 'explained', score: Readonly<Score>) => void
}

/** Tries the mutants. Throws when the tests fail over the sources as they are. */
export async function hunt(options: HuntOptions): Promise<Score> {
  const { root, room, survivors, untilAt = Infinity, workers = 2, tell } = options
  const all = sourcesOf(options).flatMap(mutantsIn(root))
  const stands = (mutant: Mutant): boolean => survivors.some((one) => isSame(one, mutant))
  const mutants = drawn(options.known ? all.filter(stands) : all, options)
  const score: Score = {
    mutants: mutants.length,
    refused: 0,
    killed: 0,
    timeout: 0,
    explained: 0,
    open: 0,
    untried: 0,
  }
  const count = (mutant: Mutant, fate: Fate): void => {
    const known = fate === 'survived' && stands(mutant)
    score[fate === 'survived' ? (known ? 'explained' : 'open') : fate]++
    tell?.(mutant, known ? 'explained' : fate, score)
  }
  const benches = Array.from({ length: workers }, () => createBench(root, options.lent))
  try {
    const proofs = await learn(benches, testsOf(root, room.tests))
    const refused = (await benches[0]?.refused(mutants)) ?? new Set()
    for (const mutant of refused) count(mutant, 'refused')
    const waiting = mutants.filter((mutant) => !refused.has(mutant))
    await share(benches, waiting, async (bench, mutant) => {
      if (Date.now() > untilAt) score.untried++
      else count(mutant, await bench.tryOut(mutant, proofs))
    })
    return score
  } finally {
    for (const bench of benches) bench.close()
  }
}

/** The sources of a room that are asked for. */
export function sourcesOf({ root, room, files = [] }: HuntOptions): readonly string[] {
  return globSync([...room.sources], { cwd: root })
    .filter((path) => !path.endsWith('.test.ts'))
    .filter((path) => files.length === 0 || files.some((part) => path.includes(part)))
    .toSorted()
}

/** Whether a survivor of the list is this mutant. */
export function isSame(one: Survivor, mutant: Mutant): boolean {
  return one.file === mutant.file && one.text === mutant.text && one.mutation === mutant.mutation
}

function mutantsIn(root: string): (file: string) => readonly Mutant[] {
  return (file) => mutantsOf(file, readFileSync(join(root, file), 'utf8'))
}

/** Some of them, the same for the same seed, in the order of the sources. */
function drawn(all: readonly Mutant[], { sample, seed = 1 }: HuntOptions): readonly Mutant[] {
  if (sample === undefined || sample >= all.length) return all
  let state = seed >>> 0
  const ticket = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state
  }
  const tickets = all.map((mutant, i) => ({ mutant, i, ticket: ticket() }))
  const chosen = tickets.toSorted((a, b) => a.ticket - b.ticket).slice(0, sample)
  return chosen.toSorted((a, b) => a.i - b.i).map(({ mutant }) => mutant)
}

async function learn(benches: readonly Bench[], tests: readonly string[]): Promise<Proof[]> {
  const proofs: Proof[] = []
  await share(benches, tests, async (bench, test) => void proofs.push(await bench.learn(test)))
  return proofs
}

/** Each worker takes the next one as soon as it is free. */
async function share<W, T>(
  workers: readonly W[],
  things: readonly T[],
  work: (worker: W, thing: T) => Promise<void>,
): Promise<void> {
  const left = things.values()
  await Promise.all(
    workers.map(async (worker) => {
      for (const thing of left) await work(worker, thing)
    }),
  )
}
