// The whole crash sweep by hand, every subject at every call and on both sides: `node test/crash/run.ts --all`, or
// `--subject /kept`, or `--subject payer`. With `--soon` a dead seller comes back while its leases still run, as a
// supervisor would start it: its payers wait for a minute, so that it takes long.
import { parseArgs } from 'node:util'
import type { Mode } from './ports.ts'
import { createMarket, sweepPurse } from './purse.ts'
import type { Subject } from './sweep.ts'
import { createBench, sweep, table, verdict } from './sweep.ts'

const MODES: readonly Mode[] = ['before', 'after']
const SUBJECTS: readonly Subject[] = ['/plain', '/kept', '/first', '/deferred', 'refund']

const { values } = parseArgs({
  options: {
    all: { type: 'boolean', default: false },
    subject: { type: 'string', multiple: true, default: [] },
    soon: { type: 'boolean', default: false },
    /** Only calls whose name holds this. */
    call: { type: 'string', default: '' },
  },
})

const say = (text: string): void => void process.stdout.write(`${text}\n`)
const asked = (name: string): boolean => values.all || values.subject.includes(name)

async function sellers(): Promise<boolean> {
  const bench = await createBench(values.soon)
  let right = true
  try {
    for (const subject of SUBJECTS.filter(asked)) {
      const startedAt = Date.now()
      const calls = (await bench.calls(subject)).filter((call) => call.includes(values.call))
      const outcomes = await sweep(bench, subject, calls, MODES)
      const wrong = verdict(outcomes)
      right &&= wrong.length === 0
      say(table(outcomes))
      say(`${subject}: ${outcomes.length} deaths, ${wrong.length} wrong, ${seconds(startedAt)} s.`)
    }
  } finally {
    await bench.close()
  }
  return right
}

async function payers(): Promise<boolean> {
  const startedAt = Date.now()
  const market = await createMarket()
  try {
    const outcomes = await sweepPurse(market, await market.calls(), MODES)
    for (const { point, wrong } of outcomes)
      say(`payer, ${point?.mode} ${point?.call}: ${wrong.join('; ') || 'right'}`)
    const bad = outcomes.filter(({ wrong }) => wrong.length > 0).length
    say(`payer: ${outcomes.length} deaths, ${bad} wrong, ${seconds(startedAt)} s.`)
    return bad === 0
  } finally {
    await market.close()
  }
}

function seconds(startedAt: number): number {
  return Math.round((Date.now() - startedAt) / 1000)
}

// The test runner loads every file below test/, and then nothing is asked for.
if (SUBJECTS.some(asked) && !(await sellers())) process.exitCode = 1
if (asked('payer') && !(await payers())) process.exitCode = 1
