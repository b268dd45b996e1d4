import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock, Counted } from '../core/ports.ts'
import { sharedMemory } from '../ledger/shared-memory.ts'
import { createRates } from './rates.ts'
import { SHARE_BATCH_MAX, SHARE_RETRY_MS, SHARE_WAITING_MAX } from './shared-rates.ts'

/** Time that passes when it is told to, and then lets everybody go on whose time has come. */
function createTime() {
  let now = 1_800_000_000_000
  const sleepers: { readonly at: number; readonly wake: () => void }[] = []
  const clock: Clock = {
    now: () => now,
    sleep: (ms) => new Promise((wake) => sleepers.push({ at: now + ms, wake })),
  }
  async function pass(ms: number): Promise<void> {
    now += ms
    for (const one of sleepers.splice(0))
      if (one.at <= now) one.wake()
      else sleepers.push(one)
    for (let i = 0; i < 10; i++) await Promise.resolve()
  }
  return { clock, pass }
}

const settings = { tiers: { paid: '4/m' } }

test('what was given back at one door is there at the other', async () => {
  const { clock, pass } = createTime()
  const { counter } = sharedMemory({ clock })
  const [a, b] = [0, 1].map(() => createRates(settings, clock, undefined, counter))
  assert.ok(a && b)
  for (let i = 0; i < 3; i++) assert.ok(a.take('ann', 'paid').ok)
  a.give('ann', 'paid')
  await pass(200)
  assert.ok(b.take('ann', 'paid').ok)
  await pass(200)
  assert.ok(b.take('ann', 'paid').ok)
  assert.equal(b.take('ann', 'paid').ok, false)
})

test('a counter that is away makes no limit looser, and is told all of it when it is back', async () => {
  const { clock, pass } = createTime()
  const { counter } = sharedMemory({ clock })
  let isAway = true
  const flaky = {
    add: (counted: readonly Counted[]) =>
      isAway ? Promise.reject(new Error('away')) : counter.add(counted),
  }
  const a = createRates(settings, clock, undefined, flaky)
  for (let i = 0; i < 4; i++) assert.ok(a.take('ann', 'paid').ok)
  assert.equal(a.take('ann', 'paid').ok, false)
  await pass(200)
  isAway = false
  a.charge('ann', 'paid')
  await pass(SHARE_RETRY_MS)
  const b = createRates(settings, clock, undefined, flaky)
  assert.ok(b.take('ann', 'paid').ok, 'it has not heard of him')
  await pass(200)
  assert.equal(b.take('ann', 'paid').ok, false)
})

test('a flood of callers is told in batches, and takes bounded memory', async () => {
  const { clock, pass } = createTime()
  const sizes: number[] = []
  const counter = {
    add(counted: readonly Counted[]) {
      sizes.push(counted.length)
      return Promise.resolve(counted.map(() => 0))
    },
  }
  const rates = createRates(settings, clock, undefined, counter)
  for (let i = 0; i < SHARE_WAITING_MAX + 1_000; i++) rates.take(`c${i}`, 'paid')
  while (sizes.reduce((sum, size) => sum + size, 0) < SHARE_WAITING_MAX) await pass(200)
  await pass(200)
  assert.equal(Math.max(...sizes), SHARE_BATCH_MAX)
  assert.equal(
    sizes.reduce((sum, size) => sum + size, 0),
    SHARE_WAITING_MAX,
  )
})
