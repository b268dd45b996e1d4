import { execFileSync } from 'node:child_process'
import type { Asked } from './clerk.ts'
import type { Counts, Violation } from './watch.ts'
import { createTill } from './refunds.ts'
import type { TillOptions } from './refunds.ts'
import { createWorld } from './world.ts'
import type { WorldOptions } from './world.ts'

/** How many steps of bad weather a world has, unless told otherwise. */
export const STEPS = 800

/**
 * What kinds of world there are: a seller with its own rail, one that settles through facilitators, and a till that pays
 * money back.
 */
export const kinds = ['shop', 'facilitated', 'refunds'] as const
export type Kind = (typeof kinds)[number]

/** What came of one seed. */
export interface Outcome {
  readonly seed: number
  readonly kind: Kind
  readonly steps: number
  /** Those before everything was let come to rest. */
  readonly weather: number
  readonly print: number
  readonly violations: readonly Violation[]
  readonly gaps: ReadonlyMap<string, number>
  readonly counts: Partial<Counts>
  /** What facilitators were asked, where there are any. */
  readonly asked: Asked | undefined
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
  const asked = world.clerk?.counts
  const kind = options.facilitated ? 'facilitated' : 'shop'
  return { seed: options.seed, kind, steps, weather, print, violations, gaps, counts, asked }
}

/** Lives one seed of a till to its end. */
export async function simulateTill(
  options: TillOptions & { readonly steps?: number },
): Promise<Outcome> {
  const till = createTill(options)
  await till.run(options.steps ?? STEPS)
  const weather = till.scheduler.steps
  await till.rest()
  const { violations, gaps, counts } = till
  const { steps, print } = till.scheduler
  const { seed } = options
  return {
    seed,
    kind: 'refunds',
    steps,
    weather,
    print,
    violations,
    gaps,
    counts,
    asked: undefined,
  }
}

/** Lives a seed in a world of that kind. */
export function live(
  kind: Kind,
  options: Pick<WorldOptions, 'seed' | 'trace'> & { readonly steps?: number },
): Promise<Outcome> {
  if (kind === 'refunds') return simulateTill(options)
  return simulate({ ...options, facilitated: kind === 'facilitated' })
}

/** What a person needs to know of a failure. */
export function sentenceOf(
  { seed, kind, violations }: Outcome,
  steps: number,
  commit: string,
): string {
  const told = violations.map(({ kind, detail, step }) => `  ${kind} at step ${step}: ${detail}`)
  return [
    `Seed ${seed} (${kind}) failed at commit ${commit}:`,
    ...told.slice(0, 5),
    `Replay: npm run simulate -- --world ${kind} --seed ${seed} --steps ${steps} --verbose`,
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
