// A process is killed with SIGKILL at calls of its ports, and started again on the same files. A life without a kill tells
// which calls there are. Only a call that changes something leaves anything new behind for whoever comes next: here deaths
// are behind such calls, all of those of one paid request and some of the others. `npm run crash` goes through every call of
// every subject, on both sides.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { BATCH } from './messages.ts'
import type { Point } from './ports.ts'
import { isChange, some } from './spread.ts'
import type { Bench, Subject } from './sweep.ts'
import { createBench, sweep, table, verdict } from './sweep.ts'

/** Fewer calls than this, and it is not a paid request any more that is swept. */
const CALLS_MIN = 8

let bench: Bench
before(async () => {
  bench = await createBench()
})
after(async () => {
  await bench?.close()
})

/** Dies behind each of the calls that change something, from that one on; or behind so many of them. */
async function swept(
  subject: Subject,
  from: string,
  most = Infinity,
  before: readonly Point[] = [],
): Promise<void> {
  const all = await bench.calls(subject, before)
  const calls = all.slice(all.indexOf(from))
  assert.ok(calls.length >= CALLS_MIN && calls[0] === from, all.join('\n'))
  const chosen = some(calls.filter(isChange), most)
  const outcomes = await sweep(bench, subject, chosen, ['after'], before)
  assert.ok(outcomes.length > 0 && outcomes.length === chosen.length)
  assert.deepEqual(verdict(outcomes), [], table(outcomes))
  assert.ok(outcomes.some(({ died }) => died))
}

const SENT: Point = { call: 'rpc eth_sendRawTransaction #1', mode: 'after' }

describe('a seller killed at any call of its ports', () => {
  test('from its start on: nothing is charged twice, lost, given away or refused', async () => {
    await swept('/plain', 'ledger.open #1')
  })

  test('and once more while it recovers', async () => {
    await swept('/plain', 'ledger.open #1', 2, [SENT])
  })

  test('of a route that keeps its answers: the same payment gets the same bytes', async () => {
    await swept('/kept', 'rail.verify #1', 3)
  })

  test('of a route that is paid before the work', async () => {
    await swept('/first', 'rail.verify #1', 2)
  })

  test('of a route that is paid after the answer: it is collected all the same', async () => {
    await swept('/deferred', 'rail.verify #1', 2)
  })

  test('while several payments are settled together', async () => {
    const calls = await bench.calls('/batch')
    const sends = calls.filter((call) => call.startsWith('rpc eth_sendRawTransaction #'))
    assert.ok(sends.length < BATCH, calls.join('\n'))
    await swept('/batch', 'rail.verify #1', 2)
  })

  test('of a refund: it is paid back once', async () => {
    await swept('refund', 'rail.refund #1', 2)
  })
})

test('a facilitator killed at any call of its ports: the payment is taken once, and the answer stays', async () => {
  await swept('facilitator', 'rail.verify #1', 3)
})
