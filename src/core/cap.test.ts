import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CALLERS_MAX, createCap } from './cap.ts'

test('a cap counts each caller and all together, by the minute', () => {
  let now = 1_000
  const may = createCap({ now: () => now }, 2, 5)
  assert.deepEqual([may('a'), may('a'), may('a')], [true, true, false])
  assert.deepEqual([may('b'), may('b'), may('c'), may('d')], [true, true, true, false])
  now += 60_000
  assert.deepEqual([may('a'), may(undefined)], [true, true])
  // A clock that was set back holds nobody up for ever.
  now = 0
  assert.equal(may('a'), true)
})

test('callers beyond those that are counted apart share one count', () => {
  const may = createCap({ now: () => 0 }, 1, Infinity)
  for (let i = 0; i < CALLERS_MAX; i++) assert.equal(may(`caller ${i}`), true)
  assert.equal(may('one more'), true)
  assert.equal(may('another'), false)
})
