import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { Clock } from '../core/ports.ts'
import { problems } from '../core/problem.ts'
import {
  CALLER_CHARS_MAX,
  CALLERS_MAX_MAX,
  createRates,
  DEBT_FILLS_MAX,
  limited,
  RATES_DEFAULT,
  RATES_MAX,
} from './rates.ts'
import type { Limited, Rates, RateSettings, Taken } from './rates.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

interface Hand extends Clock {
  pass(ms: number): void
}

/** A clock that is moved by hand, also backwards. */
function createHand(): Hand {
  let now = 1_700_000_000_000
  return {
    now: () => now,
    sleep: () => assert.fail('Nobody sleeps here.'),
    pass: (ms) => void (now += ms),
  }
}

/** The same groups in every run. */
const fixed = (bytes: number): Uint8Array => new Uint8Array(bytes)

function make(settings: RateSettings): { readonly rates: Rates; readonly clock: Hand } {
  const clock = createHand()
  return { rates: createRates(settings, clock, fixed), clock }
}

const field = (taken: Taken, name: string): string | undefined =>
  taken.fields.find(([said]) => said === name)?.[1]

function refused(taken: Taken): Limited {
  assert.ok(!taken.ok)
  return taken
}

/** How many of so many pass. */
function passed(times: number, take: () => Taken): number {
  let count = 0
  for (let i = 0; i < times; i++) if (take().ok) count++
  return count
}

describe('a limit', () => {
  test('gives what it says, refuses the next, and gives it after the time that it named', () => {
    const { rates, clock } = make({ tiers: { unpaid: '100/h' } })
    const take = (): Taken => rates.take('a', 'unpaid')
    assert.equal(passed(150, take), 100)
    assert.equal(refused(take()).retryAfterMs, 36 * SECOND)
    clock.pass(36 * SECOND - 1)
    assert.equal(refused(take()).retryAfterMs, 1)
    clock.pass(1)
    assert.equal(passed(2, take), 1)
    clock.pass(10 * HOUR)
    assert.equal(passed(150, take), 100)
  })

  test('is one for each caller, tier and route', () => {
    const { rates } = make({
      tiers: { unpaid: '1/h', paid: '2/h' },
      routes: { 'GET /a': { unpaid: '1/d' } },
    })
    assert.ok(rates.take('a', 'unpaid').ok)
    assert.ok(!rates.take('a', 'unpaid').ok)
    assert.ok(rates.take('b', 'unpaid').ok)
    assert.equal(
      passed(3, () => rates.take('a', 'paid')),
      2,
    )
    assert.ok(!rates.take('a', 'unpaid', 'GET /a').ok)
  })

  test('of a route holds besides that of the tier, and takes from both or none', () => {
    const { rates, clock } = make({
      tiers: { unpaid: '4/h' },
      routes: { 'GET /a': { unpaid: '1/m' } },
    })
    assert.ok(rates.take('a', 'unpaid', 'GET /a').ok)
    assert.equal(
      passed(9, () => rates.take('a', 'unpaid', 'GET /a')),
      0,
    )
    assert.equal(
      passed(2, () => rates.take('a', 'unpaid', 'GET /b')),
      2,
    )
    clock.pass(MINUTE)
    assert.ok(rates.take('a', 'unpaid', 'GET /a').ok)
    clock.pass(MINUTE)
    const said = refused(rates.take('a', 'unpaid', 'GET /a'))
    assert.equal(said.retryAfterMs, 13 * MINUTE)
    // What the tier refused was not taken from the route.
    assert.equal(field(said, 'RateLimit'), '"unpaid";r=0;t=780')
  })

  test('of several rates lets through what all let through', () => {
    const { rates, clock } = make({ tiers: { paid: '10/h, 3/s' } })
    const take = (): Taken => rates.take('a', 'paid')
    assert.equal(passed(5, take), 3)
    clock.pass(SECOND)
    assert.equal(passed(5, take), 3)
    clock.pass(SECOND)
    assert.equal(passed(5, take), 3)
    clock.pass(SECOND)
    assert.equal(passed(5, take), 1)
  })

  test('that is unlimited never ends and says nothing', () => {
    const { rates } = make({ tiers: { premium: 'unlimited', unpaid: '1/d' } })
    const taken = rates.take('a', 'premium')
    assert.deepEqual(taken, { ok: true, fields: [] })
    assert.equal(
      passed(10_000, () => rates.take('a', 'premium')),
      10_000,
    )
    assert.equal(
      passed(10, () => rates.take('a', 'unpaid')),
      1,
    )
  })

  test('counts a cost, and a cost above the bucket takes all of it', () => {
    const { rates, clock } = make({ tiers: { unpaid: '10/s' } })
    assert.ok(rates.take('a', 'unpaid', undefined, 7).ok)
    assert.equal(refused(rates.take('a', 'unpaid', undefined, 7)).retryAfterMs, 400)
    assert.ok(rates.take('a', 'unpaid', undefined, 3).ok)
    assert.equal(refused(rates.take('a', 'unpaid', undefined, 11)).retryAfterMs, SECOND)
    clock.pass(SECOND)
    assert.ok(rates.take('a', 'unpaid', undefined, 11).ok)
    assert.ok(!rates.take('a', 'unpaid').ok)
    for (const cost of [0, -1, 0.5, Number.NaN, Infinity])
      assert.throws(() => rates.take('b', 'unpaid', undefined, cost))
    assert.equal(
      passed(20, () => rates.take('b', 'unpaid')),
      10,
    )
  })

  test('is looked at without taking', () => {
    const { rates } = make({ tiers: { unpaid: '2/h' } })
    assert.equal(
      passed(9, () => rates.look('a', 'unpaid')),
      9,
    )
    assert.equal(field(rates.look('a', 'unpaid'), 'RateLimit'), '"unpaid";r=2;t=3600')
    assert.equal(
      passed(9, () => rates.take('a', 'unpaid')),
      2,
    )
    assert.ok(!rates.look('a', 'unpaid').ok)
  })
})

describe('what costs us and earns nothing', () => {
  test('is limited where nothing was said', () => {
    const { rates } = make({})
    assert.equal(RATES_DEFAULT.challenges, '60/m')
    assert.equal(
      passed(99, () => rates.take('a', 'challenges')),
      60,
    )
    assert.equal(
      passed(99, () => rates.take('a', 'failures')),
      60,
    )
    assert.equal(
      passed(99, () => rates.take('a', 'unpaid')),
      99,
    )
  })

  test('challenges that are paid are given back, so that a buyer is not slowed and garbage is', () => {
    const { rates } = make({ tiers: { challenges: '5/h' } })
    const buy = (): Taken => {
      const taken = rates.take('buyer', 'challenges')
      if (taken.ok) rates.give('buyer', 'challenges')
      return taken
    }
    assert.equal(passed(1_000, buy), 1_000)
    assert.equal(
      passed(1_000, () => rates.take('garbage', 'challenges')),
      5,
    )
    for (let i = 0; i < 99; i++) rates.give('garbage', 'challenges')
    assert.equal(
      passed(1_000, () => rates.take('garbage', 'challenges')),
      5,
    )
  })

  test('failures that were under way together are owed, and good credentials cost nothing', () => {
    const { rates, clock } = make({ tiers: { failures: '10/m' } })
    assert.equal(
      passed(30, () => rates.look('a', 'failures')),
      30,
    )
    for (let i = 0; i < 30; i++) rates.charge('a', 'failures')
    assert.equal(refused(rates.look('a', 'failures')).retryAfterMs, 126 * SECOND)
    assert.ok(rates.look('b', 'failures').ok)
    clock.pass(126 * SECOND)
    assert.ok(rates.look('a', 'failures').ok)
    assert.ok(rates.take('a', 'failures').ok)
    assert.ok(!rates.look('a', 'failures').ok)
  })

  test('debts end', () => {
    const { rates, clock } = make({ tiers: { failures: '10/m' } })
    rates.charge('a', 'failures', undefined, 1_000_000)
    const { retryAfterMs } = refused(rates.take('a', 'failures'))
    assert.equal(retryAfterMs, (DEBT_FILLS_MAX - 1) * MINUTE + 6 * SECOND)
    rates.charge('a', 'failures')
    clock.pass(retryAfterMs)
    assert.ok(rates.take('a', 'failures').ok)
  })
})

describe('a free allowance', () => {
  test('is given once to each caller on its route, and nowhere else', () => {
    const { rates, clock } = make({ free: { 'GET /a': '3/d' } })
    assert.equal(
      passed(9, () => rates.free('a', 'GET /a') ?? assert.fail('There is one.')),
      3,
    )
    assert.ok(rates.free('b', 'GET /a')?.ok)
    assert.equal(rates.free('a', 'GET /b'), undefined)
    clock.pass(8 * HOUR)
    assert.equal(
      passed(9, () => rates.free('a', 'GET /a') ?? assert.fail('There is one.')),
      1,
    )
  })
})

describe('the fields (draft-ietf-httpapi-ratelimit-headers-11)', () => {
  test('say each policy and what is left of it', () => {
    const { rates } = make({
      tiers: { unpaid: '100/h, 5/10s' },
      routes: { 'GET /a"\\é': { unpaid: '50/m' } },
    })
    assert.deepEqual(rates.take('a', 'unpaid').fields, [
      ['RateLimit-Policy', '"unpaid 100/h";q=100;w=3600, "unpaid 5/10s";q=5;w=10'],
      ['RateLimit', '"unpaid 100/h";r=99;t=3564, "unpaid 5/10s";r=4;t=8'],
    ])
    assert.equal(
      field(rates.take('b', 'unpaid', 'GET /a"\\é'), 'RateLimit')?.split(', ')[2],
      String.raw`"unpaid GET /a\"\\%C3%A9";r=49;t=59`,
    )
  })

  test('of a refusal name what refuses, and no earlier time than the refusal does', () => {
    const { rates, clock } = make({ tiers: { unpaid: '100/h, 5/10s' } })
    assert.equal(
      passed(9, () => rates.take('a', 'unpaid')),
      5,
    )
    clock.pass(500)
    const said = refused(rates.take('a', 'unpaid'))
    assert.equal(said.retryAfterMs, 1_500)
    assert.deepEqual(said.fields, [
      ['RateLimit-Policy', '"unpaid 100/h";q=100;w=3600, "unpaid 5/10s";q=5;w=10'],
      ['RateLimit', '"unpaid 5/10s";r=0;t=2'],
    ])
  })

  test('tell the time until something is left, when the last has been taken', () => {
    const { rates } = make({ tiers: { unpaid: '1/m' } })
    assert.equal(field(rates.take('a', 'unpaid'), 'RateLimit'), '"unpaid";r=0;t=60')
  })

  test('a refusal is a problem with its time', () => {
    const { rates } = make({ tiers: { unpaid: '1/m' } })
    rates.take('a', 'unpaid')
    const why = limited(refused(rates.take('a', 'unpaid')))
    assert.equal(problems[why.code].status, 429)
    assert.equal(why.retryAfterMs, MINUTE)
  })
})

test('a caller with a long name is the same caller and not another', () => {
  const { rates } = make({ tiers: { unpaid: '1/d' } })
  const name = 'x'.repeat(CALLER_CHARS_MAX + 1)
  assert.ok(rates.take(`${name}1`, 'unpaid').ok)
  assert.ok(!rates.take(`${name}1`, 'unpaid').ok)
  assert.ok(rates.take(`${name}2`, 'unpaid').ok)
})

describe('a clock', () => {
  test('that is set back refills nothing and stops nothing', () => {
    const { rates, clock } = make({ tiers: { unpaid: '60/h' } })
    const take = (): Taken => rates.take('a', 'unpaid')
    assert.equal(passed(99, take), 60)
    clock.pass(-24 * HOUR)
    assert.equal(refused(take()).retryAfterMs, MINUTE)
    clock.pass(MINUTE)
    assert.equal(passed(99, take), 1)
  })
})

describe('the memory', () => {
  test('keeps nobody’s bucket fuller than it was: a flood of callers gives nothing back', () => {
    const { rates } = make({ tiers: { unpaid: '10/h' }, callersMax: 100 })
    const take = (): Taken => rates.take('a', 'unpaid')
    assert.equal(passed(99, take), 10)
    for (let i = 0; i < 10_000; i++) rates.take(`flood ${i}`, 'unpaid')
    assert.equal(passed(99, take), 0)
  })

  test('of a group is that of the emptiest, whoever is forgotten after him', () => {
    const { rates } = make({ tiers: { unpaid: '10/h' }, callersMax: 8_000 })
    for (let i = 0; i < 4_000; i++) rates.take(`heavy ${i}`, 'unpaid', undefined, 10)
    for (let i = 0; i < 4_000; i++) rates.take(`light ${i}`, 'unpaid')
    for (let i = 0; i < 8_000; i++) rates.take(`flood ${i}`, 'unpaid')
    let at = 0
    assert.equal(
      passed(4_000, () => rates.look(`heavy ${at++}`, 'unpaid')),
      0,
    )
  })

  test('limits more callers than it holds by groups, until time has given back what they took', () => {
    const { rates, clock } = make({ tiers: { unpaid: '10/h' }, callersMax: 100 })
    for (let i = 0; i < 60_000; i++) rates.take(`flood ${i}`, 'unpaid', undefined, 10)
    const some = (): number => {
      let at = 0
      return passed(500, () => rates.look(`new ${at++}`, 'unpaid'))
    }
    const left = some()
    assert.ok(left > 50 && left < 300, `${left} of 500 newcomers`)
    clock.pass(HOUR)
    assert.equal(some(), 500)
    assert.equal(
      passed(99, () => rates.take('new', 'unpaid')),
      10,
    )
  })

  test('of strangers, however many, pushes out no customer', () => {
    const { rates } = make({ tiers: { unpaid: '10/h', paid: '10/h' }, callersMax: 100 })
    assert.ok(rates.take('token', 'paid', undefined, 4).ok)
    for (let i = 0; i < 10_000; i++) rates.take(`flood ${i}`, 'unpaid', undefined, 10)
    assert.equal(
      passed(99, () => rates.take('token', 'paid')),
      6,
    )
    assert.equal(
      passed(99, () => rates.take('another', 'paid')),
      10,
    )
  })

  test('leaves a newcomer nearly all after a flood that its groups can hold', () => {
    const { rates } = make({ tiers: { unpaid: '10/h' }, callersMax: 100 })
    for (let i = 0; i < 10_000; i++) rates.take(`flood ${i}`, 'unpaid')
    for (let i = 0; i < 100; i++)
      assert.ok(passed(99, () => rates.take(`new ${i}`, 'unpaid')) >= 8, `new ${i}`)
  })

  test('keeps those who ask', () => {
    const { rates } = make({ tiers: { unpaid: '1000/h' }, callersMax: 10 })
    for (let i = 0; i < 900; i++) {
      assert.ok(rates.take('here', 'unpaid').ok)
      rates.take(`flood ${i}`, 'unpaid', undefined, 1_000)
    }
    assert.equal(
      passed(999, () => rates.take('here', 'unpaid')),
      100,
    )
  })
})

describe('over any sequence of takes', () => {
  const rates = fc.constantFrom('1/s', '3/s', '5/10s', '7/m', '10/s')
  const sizes: Readonly<Record<string, readonly [count: number, windowMs: number]>> = {
    '1/s': [1, SECOND],
    '3/s': [3, SECOND],
    '5/10s': [5, 10 * SECOND],
    '7/m': [7, MINUTE],
    '10/s': [10, SECOND],
  }
  const steps = fc.array(
    fc.record({
      /** How much time really passes. */
      ms: fc.oneof(fc.nat(50), fc.nat(2_000), fc.nat(90_000)),
      /** And by how much the clock is set back besides. */
      backMs: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.nat(100_000)),
      caller: fc.constantFrom('a', 'b', 'c', 'd'),
      cost: fc.integer({ min: 1, max: 3 }),
    }),
    { minLength: 1, maxLength: 120 },
  )

  test('no caller gets more in any window than what it refills and one bucket', () => {
    fc.assert(
      fc.property(rates, steps, fc.integer({ min: 1, max: 4 }), (text, steps, callersMax) => {
        const [count = 0, windowMs = 0] = sizes[text] ?? []
        const { rates, clock } = make({ tiers: { unpaid: text }, callersMax })
        const got: { readonly at: number; readonly caller: string; readonly cost: number }[] = []
        let at = 0
        for (const { ms, backMs, caller, cost } of steps) {
          // The clock is set back after a look: whatever passed before it was seen.
          clock.pass(ms)
          at += ms
          rates.look(caller, 'unpaid')
          clock.pass(-backMs)
          if (rates.take(caller, 'unpaid', undefined, cost).ok)
            got.push({ at, caller, cost: Math.min(cost, count) })
        }
        for (const [i, first] of got.entries()) {
          let sum = 0
          for (const { at, caller, cost } of got.slice(i)) {
            if (caller !== first.caller) continue
            sum += cost
            const most = count + ((at - first.at) * count) / windowMs
            assert.ok(sum <= most, `${sum} of ${most} within ${at - first.at} ms`)
            if (at - first.at <= windowMs) assert.ok(sum <= 2 * count)
          }
        }
      }),
      { numRuns: 300 },
    )
  })

  test('an honest caller gets all of it, whatever others do, and what is promised holds', () => {
    fc.assert(
      fc.property(rates, steps, (text, steps) => {
        const [count = 0, windowMs = 0] = sizes[text] ?? []
        const { rates, clock } = make({ tiers: { unpaid: text } })
        for (const { ms, caller, cost } of steps) {
          clock.pass(ms)
          const taken = rates.take(caller, 'unpaid', undefined, cost)
          if (taken.ok) continue
          clock.pass(taken.retryAfterMs - 1)
          assert.ok(!rates.look(caller, 'unpaid', undefined, cost).ok)
          clock.pass(1)
          assert.ok(rates.take(caller, 'unpaid', undefined, cost).ok)
        }
        for (let i = 0; i < 2 * count; i++) {
          assert.ok(rates.take('honest', 'unpaid').ok)
          clock.pass(Math.ceil(windowMs / count))
        }
      }),
      { numRuns: 100 },
    )
  })

  test('a small memory gives nobody more than a large one', () => {
    fc.assert(
      fc.property(rates, steps, (text, steps) => {
        const clock = createHand()
        // What each has really taken is taken from the large one too, so that both know the same.
        const small = createRates({ tiers: { unpaid: text }, callersMax: 1 }, clock)
        const large = createRates({ tiers: { unpaid: text } }, clock)
        for (const { ms, caller, cost } of steps) {
          clock.pass(ms)
          if (!small.take(caller, 'unpaid', undefined, cost).ok) continue
          assert.ok(large.take(caller, 'unpaid', undefined, cost).ok)
        }
      }),
      { numRuns: 300 },
    )
  })
})

describe('settings', () => {
  test('that cannot be meant are refused, with their name', () => {
    for (const text of ['', '100', '0/h', '100/w', '100/h,', '-1/h', 'none', '1/h,1/h', '1 / h'])
      assert.throws(() => createRates({ tiers: { gold: text } }), {
        name: 'RangeError',
        message: /^The limit "gold" /,
      })
    const many = Array.from({ length: RATES_MAX + 1 }, (_, i) => `${i + 1}/h`)
    assert.throws(() => createRates({ tiers: { gold: many.join(',') } }), /more than 4 rates/)
    assert.ok(createRates({ tiers: { gold: many.slice(1).join(',') } }))
    // @ts-expect-error -- Settings may come from a file.
    assert.throws(() => createRates({ tiers: { gold: 100 } }), /is not a text/)
    assert.throws(
      () => createRates({ routes: { 'GET /a': { gold: '1/h' } } }),
      /limits a tier "gold" that is not there/,
    )
    assert.throws(() => createRates({ free: { 'GET /a': 'unlimited' } }), /Write it "free"/)
    for (const callersMax of [0, 1.5, CALLERS_MAX_MAX + 1])
      assert.throws(() => createRates({ callersMax }), /remembers between 1 and/)
  })

  test('name the tiers that may be asked for, and no other is answered', () => {
    const rates = createRates({ tiers: { gold: '1/h' } })
    assert.deepEqual([...rates.tiers].toSorted(), [
      'challenges',
      'failures',
      'gold',
      'paid',
      'unpaid',
    ])
    assert.ok(rates.take('a', 'gold').ok)
    assert.throws(() => rates.take('a', 'silver'))
    assert.throws(() => rates.take('a', 'toString'))
  })
})
