// A process is killed with SIGKILL at each call of its ports, and started again on the same files. A life without a kill
// tells which calls there are. All of one paid request are gone through here, and some of the others; `npm run crash` goes
// through all of them for every subject, on both sides.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { BATCH } from './messages.ts'
import type { Mode, Point } from './ports.ts'
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

/** Dies at each call from that one on; or at every so many of them, where `npm run crash` goes through all. */
async function swept(
  subject: Subject,
  from: string,
  modes: readonly Mode[],
  every = 1,
  before: readonly Point[] = [],
): Promise<void> {
  const all = await bench.calls(subject, before)
  const calls = all.slice(all.indexOf(from))
  assert.ok(calls.length >= CALLS_MIN && calls[0] === from, all.join('\n'))
  const chosen = calls.filter((_, i) => i % every === 0)
  const outcomes = await sweep(bench, subject, chosen, modes, before)
  assert.equal(outcomes.length, chosen.length * modes.length)
  assert.deepEqual(verdict(outcomes), [], table(outcomes))
  assert.ok(outcomes.some(({ died }) => died))
}

const SENT: Point = { call: 'rpc eth_sendRawTransaction #1', mode: 'after' }

describe('a seller killed at any call of its ports', () => {
  test('from its start on: nothing is charged twice, lost, given away or refused', async () => {
    await swept('/plain', 'ledger.open #1', BOTH)
  })

  test('and once more while it recovers', async () => {
    await swept('/plain', 'ledger.open #1', ['after'], 5, [SENT])
  })

  test('of a route that keeps its answers: the same payment gets the same bytes', async () => {
    await swept('/kept', 'rail.verify #1', ['after'], 3)
  })

  test('of a route that is paid before the work', async () => {
    await swept('/first', 'rail.verify #1', ['after'], 3)
  })

  test('of a route that is paid after the answer: it is collected all the same', async () => {
    await swept('/deferred', 'rail.verify #1', ['after'], 3)
  })

  test('while several payments are settled together', async () => {
    const calls = await bench.calls('/batch')
    const sends = calls.filter((call) => call.startsWith('rpc eth_sendRawTransaction #'))
    assert.ok(sends.length < BATCH, calls.join('\n'))
    await swept('/batch', 'rail.verify #1', ['after'], 10)
  })

  test('of a refund: it is paid back once', async () => {
    await swept('refund', 'rail.refund #1', ['after'], 2)
  })
})

test('a facilitator killed at any call of its ports: the payment is taken once, and the answer stays', async () => {
  await swept('facilitator', 'rail.verify #1', ['after'], 3)
})
