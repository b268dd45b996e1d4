import { execFileSync } from 'node:child_process'
import type { Counts, Violation } from './watch.ts'
import { createWorld } from './world.ts'
import type { WorldOptions } from './world.ts'

/** How many steps of bad weather a world has, unless told otherwise. */
export const STEPS = 800

/** What came of one seed. */
export interface Outcome {
  readonly seed: number
  readonly steps: number
  /** Those before everything was let come to rest. */
  readonly weather: number
  readonly print: number
  readonly violations: readonly Violation[]
  readonly gaps: ReadonlyMap<string, number>
  readonly counts: Counts
}

/** Lives one seed to its end. */
export async function simulate(
  options: WorldOptions & { readonly steps?: number },
): Promise<Outcome> {
  const world = createWorld(options)
  await world.run(options.steps ?? STEPS)
  const weather = world.scheduler.steps
  await world.rest()
  const { violations, gaps, counts } = world.watch
  const { steps, print } = world.scheduler
  return { seed: options.seed, steps, weather, print, violations, gaps, counts }
}

/** What a person needs to know of a failure. */
export function sentenceOf({ seed, violations }: Outcome, steps: number, commit: string): string {
  const told = violations.map(({ kind, detail, step }) => `  ${kind} at step ${step}: ${detail}`)
  return [
    `Seed ${seed} failed at commit ${commit}:`,
    ...told.slice(0, 5),
    `Replay: npm run simulate -- --seed ${seed} --steps ${steps} --verbose`,
  ].join('\n')
}

/** The commit that is checked out, as far as that can be told. */
export function commitOf(): string {
  try {
    const cwd = import.meta.dirname
    const git = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd, stdio: 'pipe' })
    return git.toString().trim()
  } catch {
    return 'unknown'
  }
}
