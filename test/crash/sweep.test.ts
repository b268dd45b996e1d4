// A seller is killed with SIGKILL at each call of its ports, and started again on the same files. A life without a kill
// tells which calls there are; `node test/crash/run.ts` goes through all of them for every subject, on both sides.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Mode } from './ports.ts'
import type { Bench, Subject } from './sweep.ts'
import { createBench, sweep, table, verdict } from './sweep.ts'

const BOTH: readonly Mode[] = ['before', 'after']
/** Fewer calls than this, and it is not a paid request any more that is swept. */
const CALLS_MIN = 8

let bench: Bench
before(async () => {
  bench = await createBench()
})
after(async () => {
  await bench?.close()
})

async function swept(subject: Subject, from: string, modes: readonly Mode[]): Promise<void> {
  const all = await bench.calls(subject)
  const calls = all.slice(all.indexOf(from))
  assert.ok(calls.length >= CALLS_MIN && calls[0] === from, all.join('\n'))
  const outcomes = await sweep(bench, subject, calls, modes)
  assert.equal(outcomes.length, calls.length * modes.length)
  assert.deepEqual(verdict(outcomes), [], table(outcomes))
}

describe('a seller killed at any call of its ports', () => {
  test('from its start on: nothing is charged twice, lost, given away or refused', async () => {
    await swept('/plain', 'ledger.open #1', BOTH)
  })

  test('of a route that keeps its answers: the same payment gets the same bytes', async () => {
    await swept('/kept', 'rail.verify #1', ['after'])
  })

  test('of a route that is paid before the work', async () => {
    await swept('/first', 'rail.verify #1', ['after'])
  })

  test('of a route that is paid after the answer: it is collected all the same', async () => {
    await swept('/deferred', 'rail.verify #1', ['after'])
  })

  test('of a refund: it is paid back once', async () => {
    await swept('refund', 'rail.refund #1', ['after'])
  })
})
