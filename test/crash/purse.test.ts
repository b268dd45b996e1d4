// A payer is killed with SIGKILL at each call of its ports, and calls the same address again on the same books.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Market } from './purse.ts'
import { createMarket, sweepPurse } from './purse.ts'

/** Fewer calls than this, and it is not a purchase any more that is swept. */
const CALLS_MIN = 12

let market: Market
before(async () => {
  market = await createMarket()
})
after(async () => {
  await market?.close()
})

test('a payer killed at any call signs once for each purchase, is served, and stays in its budget', async () => {
  const calls = await market.calls()
  assert.ok(calls.length >= CALLS_MIN, calls.join('\n'))
  const outcomes = await sweepPurse(market, calls, ['before', 'after'])
  assert.equal(outcomes.length, 2 * calls.length)
  assert.deepEqual(
    outcomes.filter(({ died, wrong }) => !died || wrong.length > 0),
    [],
  )
})
