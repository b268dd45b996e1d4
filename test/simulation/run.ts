// The simulator by hand: worlds of which each is a seed. What it says of a failure is all that a replay needs.
import { parseArgs } from 'node:util'
import { recordHistories } from './histories.ts'
import { recordJournal } from './journals.ts'
import { STEPS, commitOf, kinds, live, sentenceOf } from './simulate.ts'
import type { Kind, Outcome } from './simulate.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    steps: { type: 'string' },
    minutes: { type: 'string' },
    seeds: { type: 'string' },
    world: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
    record: { type: 'boolean', default: false },
    'record-journal': { type: 'boolean', default: false },
  },
})

const USAGE = `npm run simulate -- [options]
  --seed N      the first seed; the time of day if absent
  --steps M     steps of bad weather in each world, ${STEPS} if absent
  --seeds K     how many seeds; 1 if absent
  --minutes T   as many seeds as fit into that time: 60 for an hour
  --world W     only worlds of that kind: ${kinds.join(', ')}; all if absent
  --all         go on after a failure
  --verbose     tell each step
  --record      live the recorded histories anew and keep what they are now
  --record-journal  keep the books of this version, with a payment in every state, for later versions to read
`

/** How often a person is told how far it is. */
const TELL_MS = 1_000
const DAY_S = 86_400

const say = (text: string): void => void process.stdout.write(text)
const person = process.stdout.isTTY

const steps = Number(values.steps ?? STEPS)
const first = values.seed === undefined ? startOf() : Number(values.seed)
const minutes = Number(values.minutes ?? Infinity)
const startedAt = Date.now()
const untilAt = startedAt + minutes * 60_000
const seeds = Number(values.seeds ?? (values.minutes ? Infinity : 1))
const worlds = values.world === undefined ? kinds : kinds.filter((kind) => kind === values.world)

function startOf(): number {
  return Math.floor(Date.now() / 1000)
}

interface Total {
  worlds: number
  steps: number
  failed: number
  readonly counts: Record<string, number>
  readonly gaps: Record<string, number>
  readonly violations: Record<string, string[]>
}

async function run(): Promise<void> {
  const total: Total = { worlds: 0, steps: 0, failed: 0, counts: {}, gaps: {}, violations: {} }
  let toldAt = startedAt
  for (let i = 0; i < seeds && Date.now() < untilAt; i++)
    for (const kind of worlds) {
      const outcome = await one(kind, first + i)
      add(total, outcome)
      if (person && Date.now() - toldAt >= TELL_MS) {
        toldAt = Date.now()
        say(`\r\u001b[K${progress(total, i + 1)}`)
      }
      if (outcome.violations.length > 0 && !values.all) return end(total)
    }
  end(total)
}

async function one(kind: Kind, seed: number): Promise<Outcome> {
  const trace = values.verbose ? (line: string): void => say(`${line}\n`) : undefined
  const outcome = await live(kind, { seed, steps, ...(trace && { trace }) })
  if (values.verbose) say(`${JSON.stringify(outcome.counts)} print ${outcome.print}\n`)
  // Beside the summary, which a program may read.
  if (outcome.violations.length > 0)
    process.stderr.write(`${person ? '\r\u001b[K' : ''}${sentenceOf(outcome, steps, commitOf())}\n`)
  return outcome
}

function add(total: Total, outcome: Outcome): void {
  const { seed, kind, counts, asked, gaps } = outcome
  total.worlds++
  total.steps += outcome.steps
  for (const [name, count] of Object.entries({ ...counts, ...asked }))
    total.counts[name] = (total.counts[name] ?? 0) + count
  for (const [name, count] of gaps) total.gaps[name] = (total.gaps[name] ?? 0) + count
  const [violation] = outcome.violations
  if (!violation) return
  total.failed++
  total.violations[violation.kind] = [
    ...(total.violations[violation.kind] ?? []),
    `${kind} ${seed}`,
  ]
}

/** One line: how far it is, how fast, and what was seen. */
function progress({ worlds, steps, failed, counts }: Total, seedsDone: number): string {
  const goneS = (Date.now() - startedAt) / 1000
  const part = Number.isFinite(minutes) ? goneS / (minutes * 60) : seedsDone / seeds
  const leftS = Math.min(DAY_S, part > 0 ? goneS / part - goneS : 0)
  const { paid = 0, deaths = 0, refunded = 0 } = counts
  return (
    `${Math.min(100, Math.floor(part * 100))} %, ${clockOf(leftS)} left · ${worlds} worlds, ${steps} steps, ` +
    `${Math.round(steps / goneS)} a second · ${paid} paid, ${refunded} paid back, ${deaths} deaths · ${failed} failed`
  )
}

function clockOf(seconds: number): string {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`
}

/** For a person in lines, for a program as one JSON object. */
function end(total: Total): void {
  process.exitCode = total.failed > 0 ? 1 : 0
  const seconds = Math.round((Date.now() - startedAt) / 100) / 10
  const stepsPerSecond = Math.round(total.steps / Math.max(seconds, 0.1))
  const summary = { commit: commitOf(), first, seconds, stepsPerSecond, ...total }
  if (!person) return say(`${JSON.stringify(summary)}\n`)
  const { counts, gaps, violations } = total
  say(
    `\r\u001b[K${total.steps} steps of ${total.worlds} worlds in ${seconds} s, ${total.failed} failed.\n`,
  )
  for (const [name, count] of Object.entries(counts)) say(`  ${name} ${count}\n`)
  for (const [name, count] of Object.entries(gaps)) say(`gap ${name}: ${count}\n`)
  for (const [name, where] of Object.entries(violations))
    say(`violation ${name}: ${where.slice(0, 12).join(', ')}\n`)
}

// Test runners start every file below test/: without a wish nothing is lived.
if (process.argv.length <= 2 || worlds.length === 0) say(USAGE)
else if (values.record) say(`${await recordHistories()}\n`)
else if (values['record-journal']) say(`${await recordJournal()}\n`)
else await run()
