import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { Limit, Rate } from '../core/rights.ts'
import { WINDOWS_MAX } from './limits.ts'
import { createWindows } from './windows.ts'

const START = 1_800_000_000_000

const limit = (scope: string, count: number, windowMs: number): Limit<Rate> => ({
  scope,
  most: { count, windowMs },
})

describe('a window', () => {
  const rate = fc.record({
    count: fc.integer({ min: 1, max: 12 }),
    windowMs: fc.integer({ min: 1, max: 5_000 }),
  })
  const story = fc.record({
    startAt: fc.integer({ min: 0, max: 2 ** 42 }),
    rates: fc.array(rate, { minLength: 1, maxLength: 3 }),
    gaps: fc.array(fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 4_000 })), {
      minLength: 1,
      maxLength: 120,
    }),
  })

  test('of that length never lets in more than its count, wherever it begins', () => {
    let taken = 0
    const tell = fc.property(story, ({ startAt, rates, gaps }) => {
      const windows = createWindows()
      const limits = rates.map(({ count, windowMs }) => limit('s', count, windowMs))
      const times: number[] = []
      let now = startAt
      for (const gap of gaps) {
        now += gap
        if (windows.take(limits, now) === undefined) times.push(now)
      }
      taken += times.length
      // A window that begins with a request that was let in holds the most.
      for (const { count, windowMs } of rates)
        for (const at of times)
          assert.ok(times.filter((time) => time >= at && time < at + windowMs).length <= count)
    })
    fc.assert(tell, { numRuns: 300 })
    assert.ok(taken > 300)
  })

  test('that is full tells when there is room again, to the millisecond', () => {
    let waits = 0
    const tell = fc.property(story, ({ startAt, rates, gaps }) => {
      const windows = createWindows()
      const limits = rates.map(({ count, windowMs }) => limit('s', count, windowMs))
      let now = startAt
      for (const gap of gaps) {
        now += gap
        const waitMs = windows.take(limits, now)
        if (waitMs === undefined) continue
        waits++
        assert.ok(waitMs > 0)
        assert.notEqual(windows.take(limits, now + waitMs - 1), undefined)
        assert.equal(windows.take(limits, now + waitMs), undefined)
        now += waitMs
      }
    })
    fc.assert(tell, { numRuns: 200 })
    assert.ok(waits > 100)
  })

  test('lets in what is paced by it, with one part in sixteen to spare', () => {
    const windows = createWindows()
    const limits = [limit('s', 10, 32_000)]
    for (let i = 0; i < 200; i++) assert.equal(windows.take(limits, i * 3_400), undefined)
  })

  test('stays as full when the clock jumps back', () => {
    const windows = createWindows()
    const limits = [limit('s', 2, 1_000)]
    assert.equal(windows.take(limits, 10_000), undefined)
    assert.equal(windows.take(limits, 5_000), undefined)
    assert.notEqual(windows.take(limits, 10_100), undefined)
    assert.notEqual(windows.take(limits, 5_100), undefined)
    assert.equal(windows.take(limits, 11_100), undefined)
  })
})

describe('several windows', () => {
  test('count all or none', () => {
    const windows = createWindows()
    const [wide, narrow] = [limit('wide', 3, 1_000), limit('narrow', 1, 1_000)]
    assert.equal(windows.take([wide, narrow], 0), undefined)
    for (let i = 0; i < 9; i++) assert.notEqual(windows.take([wide, narrow], 0), undefined)
    assert.equal(windows.take([wide], 0), undefined)
    assert.equal(windows.take([wide], 0), undefined)
    assert.notEqual(windows.take([wide], 0), undefined)
  })

  test('of other scopes are others', () => {
    const windows = createWindows()
    assert.equal(windows.take([limit('a', 1, 1_000)], 0), undefined)
    assert.equal(windows.take([limit('b', 1, 1_000)], 0), undefined)
    assert.notEqual(windows.take([limit('a', 1, 1_000)], 0), undefined)
    assert.equal(windows.take([], 0), undefined)
  })

  test('are forgotten above a limit, and not for those who are refused', () => {
    const windows = createWindows()
    const full = limit('full', 1, 1_000)
    assert.equal(windows.take([full], START), undefined)
    // Names are free: whoever is at his limit must not drive others out with them.
    for (let i = 0; i <= WINDOWS_MAX; i++)
      assert.notEqual(windows.take([full, limit(`${i}`, 1, 1_000)], START), undefined)
    assert.notEqual(windows.take([full], START), undefined)
    for (let i = 0; i < WINDOWS_MAX; i += 16)
      windows.take(
        Array.from({ length: 16 }, (_, j) => limit(`${i + j}`, 1, 1_000)),
        START,
      )
    assert.equal(windows.take([full], START), undefined)
  })
})
