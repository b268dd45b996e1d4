// A payer is killed with SIGKILL behind each of the calls that change something, and calls the same address again on the same
// books. `npm run crash` goes through all calls of its ports, on both sides.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import type { Point } from './ports.ts'
import type { Market } from './purse.ts'
import { createMarket, sweepPurse } from './purse.ts'
import { isChange } from './spread.ts'

/** Fewer calls than this, and it is not a purchase any more that is swept. */
const CALLS_MIN = 12
const PAID: Point = { call: 'fetch paid #1', mode: 'after' }

let market: Market | undefined
after(async () => {
  await market?.close()
})

for (const [kind, local] of [
  ['nobody else sees', true],
  ['others may see', false],
] as const)
  describe(`a payer whose unwritten signatures ${kind}`, () => {
    const open = async (): Promise<Market> => {
      await market?.close()
      return (market = await createMarket({ local }))
    }

    test('killed at a call signs once for each purchase, is served, and stays in its budget', async () => {
      const here = await open()
      const calls = await here.calls()
      assert.ok(calls.length >= CALLS_MIN, calls.join('\n'))
      await swept(here, calls.filter(isChange))
    })

    if (!local)
      test('and once more while it takes its own open purchase over, which it pays once', async () => {
        assert.ok(market)
        const calls = await market.calls([PAID])
        const own = calls.filter(isChange)
        assert.ok(own.includes('ledger.step purchase adopted #1'), calls.join('\n'))
        await swept(market, own, [PAID])
      })
  })

async function swept(
  market: Market,
  calls: readonly string[],
  before: readonly Point[] = [],
): Promise<void> {
  const outcomes = await sweepPurse(market, calls, ['after'], before)
  assert.equal(outcomes.length, calls.length)
  assert.ok(outcomes.length > 0)
  assert.deepEqual(
    outcomes.filter(({ died, wrong }) => !died || wrong.length > 0),
    [],
  )
}
