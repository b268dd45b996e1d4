// The whole crash sweep by hand, every subject at every call and on both sides, and then again inside of every recovery:
// `node test/crash/run.ts --all`, or `--subject /kept`, or `--subject payer`, with `--once` for a single death each. With `--soon` a dead seller comes back while its leases still run, as a
// supervisor would start it: its payers wait for a minute, so that it takes long.
import { parseArgs } from 'node:util'
import type { Mode, Point } from './ports.ts'
import type { Market } from './purse.ts'
import { createMarket, sweepPurse } from './purse.ts'
import type { Bench, Subject } from './sweep.ts'
import { createBench, sweep, table, verdict } from './sweep.ts'

const MODES: readonly Mode[] = ['before', 'after']
const SUBJECTS: readonly Subject[] = [
  '/plain',
  '/kept',
  '/first',
  '/deferred',
  '/batch',
  'refund',
  'facilitator',
]
/** What a first death leaves behind that is worth a recovery to die in. */
const FIRSTS: readonly Point[] = [
  { call: 'ledger.transfer sale #1', mode: 'after' },
  { call: 'ledger.step sale prepared #1', mode: 'after' },
  { call: 'ledger.step refund prepared #1', mode: 'after' },
  { call: 'rpc eth_sendRawTransaction #1', mode: 'after' },
  { call: 'ledger.post sale #1', mode: 'after' },
  { call: 'ledger.post refund #1', mode: 'before' },
]
const PAYER_FIRSTS: readonly Point[] = [
  { call: 'ledger.step purchase signed #1', mode: 'after' },
  { call: 'fetch paid #1', mode: 'after' },
]

const { values } = parseArgs({
  options: {
    all: { type: 'boolean', default: false },
    subject: { type: 'string', multiple: true, default: [] },
    /** One death each, and none inside of a recovery. */
    once: { type: 'boolean', default: false },
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
      const calls = await bench.calls(subject)
      right = (await swept(bench, subject, calls, [])) && right
      if (values.once) continue
      for (const first of FIRSTS.filter(({ call }) => calls.includes(call)))
        right = (await swept(bench, subject, await bench.calls(subject, [first]), [first])) && right
    }
  } finally {
    await bench.close()
  }
  return right
}

async function swept(
  bench: Bench,
  subject: Subject,
  all: readonly string[],
  before: readonly Point[],
): Promise<boolean> {
  const startedAt = Date.now()
  const calls = all.filter((call) => call.includes(values.call))
  const outcomes = await sweep(bench, subject, calls, MODES, before)
  const wrong = verdict(outcomes)
  const where = before.map(({ mode, call }) => `, after a death ${mode} ${call}`).join('')
  say(table(outcomes))
  for (const line of wrong) say(`WRONG ${line}`)
  say(
    `${subject}${where}: ${outcomes.length} lives, ${wrong.length} wrong, ${seconds(startedAt)} s.`,
  )
  return wrong.length === 0
}

async function payers(local: boolean): Promise<boolean> {
  const market = await createMarket({ local })
  say(`The payer's signer is ${local ? 'local' : 'not local'}.`)
  try {
    let right = await sweptPurse(market, await market.calls(), [])
    for (const first of values.once ? [] : PAYER_FIRSTS)
      right = (await sweptPurse(market, await market.calls([first]), [first])) && right
    return right
  } finally {
    await market.close()
  }
}

async function sweptPurse(
  market: Market,
  all: readonly string[],
  before: readonly Point[],
): Promise<boolean> {
  const startedAt = Date.now()
  const calls = all.filter((call) => call.includes(values.call))
  const outcomes = await sweepPurse(market, calls, MODES, before)
  for (const { points, wrong } of outcomes) {
    const where = points.map(({ mode, call }) => `${mode} ${call}`).join(', then ')
    say(`payer, ${where}: ${wrong.join('; ') || 'right'}`)
  }
  const bad = outcomes.filter(({ wrong }) => wrong.length > 0).length
  say(`payer: ${outcomes.length} lives, ${bad} wrong, ${seconds(startedAt)} s.`)
  return bad === 0
}

function seconds(startedAt: number): number {
  return Math.round((Date.now() - startedAt) / 1000)
}

// The test runner loads every file below test/, and then nothing is asked for.
if (SUBJECTS.some(asked) && !(await sellers())) process.exitCode = 1
for (const local of asked('payer') ? [false, true] : [])
  if (!(await payers(local))) process.exitCode = 1
