import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../core/ports.ts'
import { FAILURES_MAX, FAILURES_WINDOW_MS, GAS_WINDOW_MS, createBudget } from './budget.ts'

let now = 1_000_000
const clock: Clock = { now: () => now, sleep: async () => undefined }
const payer = '0x00000000000000000000000000000000000000aa'
const other = '0x00000000000000000000000000000000000000bb'

test('a payer is barred after its failures until their time is over; another is not', () => {
  const budget = createBudget(clock, undefined, () => assert.fail('there is no gas budget'))
  for (let i = 1; i < FAILURES_MAX; i++) budget.failed(payer)
  assert.equal(budget.refuses(payer), undefined)
  budget.failed(payer)
  assert.equal(budget.refuses(payer)?.retryAfterMs, FAILURES_WINDOW_MS)
  assert.equal(budget.refuses(other), undefined)
  now += FAILURES_WINDOW_MS
  assert.equal(budget.refuses(payer), undefined)
})

test('gas is counted by the hour, and its end is told once', () => {
  let told = 0
  const budget = createBudget(clock, 100n, () => void told++)
  budget.spent(99n)
  assert.equal(budget.refuses(other), undefined)
  budget.spent(1n)
  budget.spent(1n)
  assert.equal(budget.refuses(other)?.code, 'rail-unavailable')
  assert.equal(told, 1)
  now += GAS_WINDOW_MS
  assert.equal(budget.refuses(other), undefined)
})

test('ten thousand other failures make a payer forgotten, so that they take no more room', () => {
  const budget = createBudget(clock, undefined, () => undefined)
  for (let i = 0; i < FAILURES_MAX; i++) budget.failed(payer)
  for (let i = 0; i < 9_999; i++) budget.failed(`0x${(i + 4096).toString(16).padStart(40, '0')}`)
  assert(budget.refuses(payer))
  budget.failed(other)
  assert.equal(budget.refuses(payer), undefined)
})
