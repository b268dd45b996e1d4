// A short soak, so that the long one (`node test/soak/run.ts --minutes 10`) cannot rot: the same world, fewer deaths.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { soak } from './soak.ts'

const FOR_MS = 12_000

test('with one in a hundred of everything failing nothing is free, charged twice, lost or refused', async () => {
  const report = await soak({
    seed: 1,
    forMs: FOR_MS,
    share: 0.01,
    blockMs: 500,
    killEveryMs: 3_000,
    killsMax: 2,
    buyers: 3,
    pair: false,
    tell: () => undefined,
  })
  assert.deepEqual(report.counters, {
    freeDeliveries: 0,
    doubleCharges: 0,
    paidUndelivered: 0,
    honestRefused: 0,
  })
  assert.deepEqual(report.wrong, [])
  // It was a market, and it was not calm.
  assert.ok(report.served > 0 && report.charges >= report.served, JSON.stringify(report))
  const { mishaps, deaths } = report
  assert.ok(Object.values(mishaps).reduce((sum, n) => sum + n, 0) > 0, JSON.stringify(mishaps))
  // At the end the three who take money die in any case.
  assert.ok(Object.values(deaths).reduce((sum, n) => sum + n, 0) > 3, JSON.stringify(deaths))
})
