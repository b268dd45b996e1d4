import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { test } from 'node:test'
import { systemClock } from './clock.ts'

const LONG_MS = 1_000_000

test('a sleep ends after its time', async () => {
  const startAt = performance.now()
  await systemClock.sleep(20)
  // A timer may be early by what the clock rounds off.
  assert(performance.now() - startAt >= 18)
})

test('a sleep ends when the signal fires, and leaves no listener behind', async () => {
  const waker = new AbortController()
  const slept = systemClock.sleep(LONG_MS, waker.signal)
  waker.abort()
  await slept
  await systemClock.sleep(LONG_MS, waker.signal)
  await systemClock.sleep(1, AbortSignal.any([]))
  assert.equal(getEventListeners(waker.signal, 'abort').length, 0)
  const calm = new AbortController()
  await systemClock.sleep(1, calm.signal)
  assert.equal(getEventListeners(calm.signal, 'abort').length, 0)
})
