// The simulator by hand: worlds of which each is a seed. What it says of a failure is all that a replay needs.
import { parseArgs } from 'node:util'
import { STEPS, commitOf, sentenceOf, simulate } from './simulate.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    steps: { type: 'string' },
    minutes: { type: 'string' },
    seeds: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    all: { type: 'boolean', default: false },
  },
})

const USAGE = `npm run simulate -- [options]
  --seed N      the first seed; the time of day if absent
  --steps M     steps of bad weather in each world, ${STEPS} if absent
  --seeds K     how many worlds; 1 if absent
  --minutes T   as many worlds as fit into that time
  --all         go on after a failure
  --verbose     tell each step
`

const say = (text: string): void => void process.stdout.write(text)

const steps = Number(values.steps ?? STEPS)
const first = values.seed === undefined ? startOf() : Number(values.seed)
const untilAt = Date.now() + Number(values.minutes ?? Infinity) * 60_000
const seeds = Number(values.seeds ?? (values.minutes ? Infinity : 1))

function timeIsLeft(): boolean {
  return Date.now() < untilAt
}

function startOf(): number {
  return Math.floor(Date.now() / 1000)
}

async function run(): Promise<void> {
  const total = { steps: 0, failed: 0, runs: 0, received: 0, paid: 0, deaths: 0 }
  const kinds = new Map<string, number[]>()
  const gaps = new Map<string, number>()
  const startedAt = Date.now()
  for (let i = 0; i < seeds && timeIsLeft(); i++) {
    const seed = first + i
    const trace = values.verbose ? (line: string): void => say(`${line}\n`) : undefined
    const outcome = await simulate({ seed, steps, ...(trace && { trace }) })
    total.steps += outcome.steps
    total.received += outcome.counts.received
    total.paid += outcome.counts.paid
    total.deaths += outcome.counts.deaths
    for (const [kind, count] of outcome.gaps) gaps.set(kind, (gaps.get(kind) ?? 0) + count)
    if (values.verbose) say(`${JSON.stringify(outcome.counts)} print ${outcome.print}\n`)
    const [violation] = outcome.violations
    if (violation) {
      total.failed++
      kinds.set(violation.kind, [...(kinds.get(violation.kind) ?? []), seed])
      say(`${sentenceOf(outcome, steps, commitOf())}\n`)
      if (!values.all) break
    }
    const seconds = (Date.now() - startedAt) / 1000
    if (i % 20 === 19)
      say(
        `${i + 1} worlds, ${total.steps} steps, ${Math.round(total.steps / seconds)} a second, ${total.failed} failed\n`,
      )
  }
  const seconds = (Date.now() - startedAt) / 1000
  say(
    `${total.steps} steps in ${seconds.toFixed(1)} s, ${Math.round(total.steps / seconds)} a second: ` +
      `${total.paid} paid, ${total.received} received, ${total.deaths} deaths, ${total.failed} failed.\n`,
  )
  for (const [kind, seeds] of kinds)
    say(`violation ${kind}: ${seeds.length}, seeds ${seeds.slice(0, 12).join(' ')}\n`)
  for (const [kind, count] of gaps) say(`gap ${kind}: ${count}\n`)
  process.exitCode = total.failed > 0 ? 1 : 0
}

// Test runners start every file below test/: without a wish nothing is lived.
if (process.argv.length > 2) await run()
else say(USAGE)
