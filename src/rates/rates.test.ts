// What currencies are worth: exact fractions, both directions, and sources that fail, lie, lag and come back. Each attack
// stands beside honest sources, which go on.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, describe, test } from 'node:test'
import * as fc from 'fast-check'
import { createSeller } from '../adapters/seller.ts'
import { systemClock } from '../core/clock.ts'
import type { Event } from '../core/event.ts'
import type { Clock, Rail, Rate, Rates } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { compare, inverse, isFar, median, readFraction, times } from './decimal.ts'
import { eachOf, fixedRates } from './fixed.ts'
import type { HttpRates, HttpRatesSettings } from './http.ts'
import { ANSWER_BYTES_MAX, httpRates, SKEW_MS } from './http.ts'
import { readExact, readPointer, at as valueAt } from './pointer.ts'

const START = 1_800_000_000_000
const ends: (() => unknown)[] = []
after(async () => {
  for (const end of ends) await end()
})

describe('a number', () => {
  test('is read exactly, whichever way it is written', () => {
    const digits = fc.stringMatching(/^\d{1,20}$/)
    fc.assert(
      fc.property(digits, digits, fc.integer({ min: -15, max: 15 }), (whole, part, exponent) => {
        const read = readFraction(`${whole}.${part}e${exponent}`)
        const amount = BigInt(whole + part)
        if (amount === 0n) return assert.equal(read, undefined)
        assert.ok(read)
        const shift = exponent - part.length
        const [up, down] = [10n ** BigInt(Math.max(shift, 0)), 10n ** BigInt(Math.max(-shift, 0))]
        assert.equal(read.numerator * down, amount * up * read.denominator)
      }),
    )
    for (const no of ['', '0', '0.00', '-1', '+1', '1,5', '.5', '5.', 'NaN', 'Infinity', '0x10'])
      assert.equal(readFraction(no), undefined, no)
    for (const no of [' 1', '1 ', '1e41', '1e999', `1${'0'.repeat(64)}`])
      assert.equal(readFraction(no), undefined, no)
  })

  test('in JSON keeps every digit that stood there', () => {
    const said = readExact('{"a":65432.123456789012345678,"b":[1.50e-5,"7"]}', 100)
    assert.equal(valueAt(said, readPointer('/a')), '65432.123456789012345678')
    assert.equal(valueAt(said, readPointer('/b/0')), '1.50e-5')
    assert.equal(valueAt(said, readPointer('/b/1')), '7')
    for (const pointer of ['/c', '/b/2', '/b/length', '/a/0', '/constructor', '/b/-'])
      assert.equal(valueAt(said, readPointer(pointer)), undefined, pointer)
    assert.equal(valueAt(readExact('{"a/b":{"~":"1"}}', 100), readPointer('/a~1b/~0')), '1')
    for (const bad of ['a', '/~2', '/~', 'x/y', '/x'.repeat(17)])
      assert.throws(() => readPointer(bad), RangeError, bad)
  })

  test('in the middle of others is between them, and a minority moves it nowhere beyond the rest', () => {
    const fraction = fc.record({
      numerator: fc.bigInt({ min: 1n, max: 1n << 60n }),
      denominator: fc.bigInt({ min: 1n, max: 1n << 60n }),
    })
    fc.assert(
      fc.property(
        fc.array(fraction, { minLength: 2, maxLength: 4 }),
        fc.array(fraction, { maxLength: 3 }),
        (honest, lies) => {
          const liars = lies.slice(0, honest.length - 1)
          const middle = median([...honest, ...liars])
          const sorted = honest.toSorted(compare)
          const [low, high] = [sorted[0], sorted.at(-1)]
          assert.ok(middle && low && high)
          assert.ok(compare(low, middle) <= 0 && compare(middle, high) <= 0)
        },
      ),
    )
    assert.equal(median([]), undefined)
    const [hundred, two] = [readFraction('100'), readFraction('0.02')]
    assert.ok(hundred && two)
    for (const [text, far] of Object.entries({
      '98': false,
      '102': false,
      '97.99': true,
      '102.01': true,
    }))
      assert.equal(isFar(readFraction(text) ?? assert.fail(), hundred, two), far, text)
  })
})

describe('rates that are given', () => {
  test('hold in both directions, and for the parts of a currency', () => {
    const rates = fixedRates({ 'BTC/USD': '65432.1', 'EUR/USD': '1.08' })
    const is = (from: string, to: string, numerator: bigint, denominator: bigint): void => {
      const rate = rates.rate(from, to) ?? assert.fail(`${from}/${to}`)
      assert.equal(rate.numerator * denominator, numerator * rate.denominator, `${from}/${to}`)
    }
    is('BTC', 'USD', 654_321n, 10n)
    is('USD', 'BTC', 10n, 654_321n)
    is('SAT', 'USD', 654_321n, 10n ** 9n)
    is('USD', 'SAT', 10n ** 9n, 654_321n)
    is('USD', 'MSAT', 10n ** 12n, 654_321n)
    is('USD', 'EUR', 100n, 108n)
    for (const [from, to] of [
      ['EUR', 'BTC'],
      ['USD', 'USD'],
      ['SAT', 'BTC'],
      ['SAT', 'MSAT'],
      ['X', 'Y'],
    ])
      assert.equal(rates.rate(from ?? '', to ?? ''), undefined, `${from}/${to}`)
    const [there, back] = [rates.rate('USD', 'SAT'), rates.rate('SAT', 'USD')]
    assert.ok(there && back)
    assert.equal(compare(times(there, back), { numerator: 1n, denominator: 1n }), 0)
    assert.equal(compare(inverse(there), back), 0)
  })

  test('end when they are said to', () => {
    const clock = handClock()
    const rates = fixedRates(
      { 'EUR/USD': '1.08' },
      { untilAt: START + 10, source: 'treasury', clock },
    )
    assert.deepEqual(rates.rate('EUR', 'USD'), {
      ...{ numerator: 108n, denominator: 100n },
      ...{ source: 'treasury', at: START, untilAt: START + 10 },
    })
    clock.pass(10)
    assert.equal(rates.rate('EUR', 'USD'), undefined)
  })

  test('that cannot be meant stop the start', () => {
    for (const pairs of [
      { BTC: '1' },
      { 'BTC/BTC': '1' },
      { 'SAT/USD': '1' },
      { 'BTC/SAT': '1' },
      { 'btc/usd': '1' },
      { 'BTC/USD': '0' },
      { 'BTC/USD': '-1' },
      { 'BTC/USD': 'x' },
      { 'BTC/USD': '1', 'USD/BTC': '1' },
    ] as const)
      assert.throws(() => fixedRates(pairs), RangeError, JSON.stringify(pairs))
    assert.throws(() => fixedRates({ 'BTC/USD': '1' }, { source: 'a b' }), RangeError)
  })

  test('are asked in turn', async () => {
    const rates = eachOf(
      fixedRates({ 'EUR/USD': '1.08' }),
      fixedRates({ 'EUR/USD': '2', 'BTC/USD': '3' }),
    )
    await rates.open?.()
    assert.equal(rates.rate('EUR', 'USD')?.numerator, 108n)
    assert.equal(rates.rate('BTC', 'USD')?.numerator, 3n)
    assert.equal(rates.rate('GBP', 'USD'), undefined)
    await rates.close?.()
  })
})

describe('a source over HTTP', () => {
  test('is asked in the background, and its word holds until it is too old', async () => {
    const world = await open([
      { body: () => '{"data":{"amount":"65432.10"}}', pointer: '/data/amount' },
    ])
    const { rates, clock, says } = world
    assert.equal(rates.rate('USD', 'BTC'), undefined)
    await rates.refresh()
    assert.equal(says(), '65432.1')
    const rate = rates.rate('USD', 'BTC')
    assert.deepEqual([rate?.source, rate?.at, rate?.untilAt], ['s0', START, START + 120_000])
    clock.pass(119_999)
    assert.equal(says(), '65432.1')
    clock.pass(1)
    assert.equal(says(), undefined)
    await rates.refresh()
    assert.equal(says(), '65432.1')
    // A clock that goes back: nobody can tell how old it is.
    clock.pass(-1)
    assert.equal(says(), undefined)
  })

  test('that fails is told once, its last word holds as long as it may, and never a moment longer', async () => {
    const good = '{"p":60000}'
    let body: () => string | number | undefined = () => good
    const { rates, clock, says, told } = await open([{ body: () => body() }])
    await rates.refresh()
    const failures: readonly (readonly [string, () => string | number | undefined, RegExp])[] = [
      ['an error', () => 500, /answers 500/],
      ['a redirect', () => 302, /leads elsewhere/],
      ['no content', () => 204, /answers 204/],
      ['no JSON', () => '60000!', /no JSON/],
      ['something else', () => '{"q":1}', /no number above zero/],
      ['nothing', () => '{"p":null}', /no number above zero/],
      ['zero', () => '{"p":0}', /no number above zero/],
      ['below zero', () => '{"p":-60000}', /no number above zero/],
      ['words', () => '{"p":"a lot"}', /no number above zero/],
      ['a list', () => '{"p":[60000]}', /no number above zero/],
      ['too much', () => `{"p":60000,"x":"${'x'.repeat(ANSWER_BYTES_MAX)}"}`, /too long/],
      ['depth', () => `{"p":60000,"x":${'['.repeat(99)}${']'.repeat(99)}}`, /no JSON/],
      ['no answer', () => undefined, /time is up/],
    ]
    for (const [what, broken, why] of failures) {
      const before = told.length
      body = broken
      await rates.refresh()
      await rates.refresh()
      assert.equal(told.length, before + 1, what)
      assert.match(told.at(-1) ?? '', why, what)
      assert.doesNotMatch(told.at(-1) ?? '', /127\.0\.0\.1|http:/, what)
      assert.equal(says(), '60000', what)
      clock.pass(120_000)
      assert.equal(says(), undefined, what)
      body = () => good
      await rates.refresh()
      assert.equal(says(), '60000', what)
    }
  })

  test('that says an old price with a new face is not believed, where it tells the time', async () => {
    let time: unknown = START / 1000
    const { rates, says, clock, told } = await open([
      { body: () => JSON.stringify({ p: 60_000, t: time }), atPointer: '/t' },
    ])
    const fresh = [START / 1000, START, `${START / 1000}.25`, new Date(START).toISOString()]
    for (const good of fresh) {
      time = good
      await rates.refresh()
      assert.equal(says(), '60000', `${good}`)
    }
    clock.pass(119_999)
    await rates.refresh()
    assert.equal(says(), '60000')
    clock.pass(1)
    await rates.refresh()
    assert.equal(says(), undefined)
    assert.match(told.at(-1) ?? '', /too old/)
    for (const bad of [null, 'soon', -1, {}, (clock.now() + SKEW_MS + 1_000) / 1000]) {
      time = bad
      await rates.refresh()
      assert.equal(says(), undefined, JSON.stringify(bad))
    }
    // A clock that is a little before ours makes no rate younger than our question.
    time = (clock.now() + 30_000) / 1000
    await rates.refresh()
    assert.equal(rates.rate('USD', 'BTC')?.at, clock.now())
  })

  test('that lies is outvoted by two that are honest, and told once', async () => {
    let lie = '1'
    const { rates, says, told } = await open([
      { body: () => '{"p":"60000"}' },
      { body: () => '{"p":"60010"}' },
      { body: () => `{"p":"${lie}"}` },
    ])
    for (lie of ['1', '0.0000001', '1e30', '61300', '58000']) {
      await rates.refresh()
      assert.equal(says(), '60005', lie)
      assert.equal(rates.rate('USD', 'BTC')?.source, 'median-of-2')
    }
    assert.equal(told.length, 1)
    assert.match(told[0] ?? '', /"s2" of BTC\/USD.*too far from the others/)
    lie = '60020'
    await rates.refresh()
    assert.equal(says(), '60010')
    assert.equal(rates.rate('USD', 'BTC')?.source, 'median-of-3')
  })

  test('that lies beside one that is honest leaves no rate: nobody can tell which', async () => {
    let other = '{"p":"60100"}'
    const settings = { pairs: { 'BTC/USD': { sourcesMin: 1, sources: [] } } }
    for (const more of [{}, settings]) {
      const { rates, says } = await open(
        [{ body: () => '{"p":"60000"}' }, { body: () => other }],
        more,
      )
      other = '{"p":"60100"}'
      await rates.refresh()
      assert.equal(says(), '60050')
      other = '{"p":"70000"}'
      await rates.refresh()
      assert.equal(says(), undefined)
    }
  })

  test('that is down leaves the others, as long as they are enough', async () => {
    let [a, b]: (string | number)[] = [500, '{"p":"60010"}']
    const { rates, says, clock } = await open([
      { body: () => '{"p":"60000"}' },
      { body: () => b },
      { body: () => a },
    ])
    await rates.refresh()
    assert.equal(says(), '60005')
    ;[a, b] = [500, 500]
    clock.pass(120_000)
    await rates.refresh()
    assert.equal(says(), undefined)
    a = '{"p":"60010"}'
    await rates.refresh()
    assert.equal(says(), '60005')
  })

  test('that says what cannot be is not believed, though it be alone', async () => {
    let price = '60000'
    const { rates, says, told, clock } = await open([{ body: () => `{"p":"${price}"}` }], {
      pairs: { 'BTC/USD': { between: ['20000', '500000'], sources: [] } },
    })
    await rates.refresh()
    for (price of ['19999.99', '500000.01', '1e20']) {
      await rates.refresh()
      assert.equal(says(), '60000')
    }
    assert.equal(told.length, 1)
    clock.pass(120_000)
    await rates.refresh()
    assert.equal(says(), undefined)
    for (price of ['20000', '500000']) {
      await rates.refresh()
      assert.equal(says(), price)
    }
  })

  test('is asked again and again until it is closed', async () => {
    let asked = 0
    const third = Promise.withResolvers<void>()
    const url = await serve(() => {
      if (++asked === 3) third.resolve()
      return `{"p":${asked}}`
    })
    const rates = httpRates({
      pairs: { 'BTC/USD': { sources: [{ url, pointer: '/p' }] } },
      refreshMs: 5,
    })
    await rates.open()
    assert.ok(rates.rate('BTC', 'USD'))
    await third.promise
    await rates.close()
    const last = asked
    await systemClock.sleep(30)
    assert.equal(asked, last)
  })

  test('that cannot be meant stops the start', () => {
    const one = { url: 'https://a.test/', pointer: '/p' }
    const pairOf = (...sources: readonly object[]): HttpRatesSettings['pairs'] => ({
      'BTC/USD': { sources: sources as [typeof one] },
    })
    const wrong: readonly HttpRatesSettings[] = [
      { pairs: {} },
      { pairs: pairOf() },
      { pairs: pairOf(...Array.from({ length: 10 }, (_, i) => ({ ...one, name: `${i}` }))) },
      { pairs: pairOf(one, one) },
      { pairs: pairOf({ ...one, url: 'http://a.test/' }) },
      { pairs: pairOf({ ...one, url: 'a.test' }) },
      { pairs: pairOf({ ...one, pointer: 'p' }) },
      { pairs: pairOf({ ...one, name: 'a b' }) },
      { pairs: { 'BTC/USD': { sources: [one], sourcesMin: 2 } } },
      { pairs: { 'BTC/USD': { sources: [one], sourcesMin: 0 } } },
      { pairs: { 'BTC/USD': { sources: [one], between: ['2', '1'] } } },
      { pairs: { 'BTC/USD': { sources: [one], between: ['0', '1'] } } },
      { pairs: { BTC: { sources: [one] } } },
      { pairs: pairOf(one), spreadMax: '0' },
      { pairs: pairOf(one), timeoutMs: 0 },
      { pairs: pairOf(one), maxAgeMs: 15_000 },
    ]
    for (const settings of wrong)
      assert.throws(() => httpRates(settings), RangeError, JSON.stringify(settings))
    assert.ok(httpRates({ pairs: pairOf(one, { ...one, name: 'b' }) }))
  })
})

test('rates are opened with their seller, who opens though nobody answers, and closed with it', async () => {
  const calls: string[] = []
  const rates: Rates = {
    rate: () => undefined,
    open: async () => void calls.push('open'),
    close: async () => void calls.push('close'),
  }
  const dead = httpRates({
    pairs: { 'BTC/USD': { sources: [{ url: 'http://127.0.0.1:9/', pointer: '' }] } },
    timeoutMs: 100,
  })
  const method = { name: 'test', network: 'net', forms: {}, quote: () => [] }
  const settings = {
    secret: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    rails: [],
    protocols: [],
    ledger: memory(),
  }
  const seller = await createSeller({ ...settings, rates: eachOf(rates, dead) })
  assert.deepEqual(calls, ['open'])
  await seller.close()
  assert.deepEqual(calls, ['open', 'close'])
  // A seller that cannot be opened leaves nobody asking.
  const broken = {
    ...method,
    open: () => Promise.reject(new Error('No chain.')),
  } as unknown as Rail
  await assert.rejects(createSeller({ ...settings, rails: [broken], rates }), /No chain/)
  assert.deepEqual(calls, ['open', 'close', 'open', 'close'])
})

/** A clock that is moved by hand; who waits in real time is woken by that. */
function handClock(): Clock & { pass(ms: number): void } {
  let passed = 0
  return {
    now: () => START + passed,
    sleep: (ms, signal) => systemClock.sleep(ms, signal),
    pass: (ms) => void (passed += ms),
  }
}

interface World {
  readonly rates: HttpRates
  readonly clock: ReturnType<typeof handClock>
  readonly told: string[]
  /** What a bitcoin is worth, as decimal text. */
  readonly says: () => string | undefined
}

interface Said {
  /** A body, a status without one, or no answer at all. */
  readonly body: () => string | number | undefined
  readonly pointer?: string
  readonly atPointer?: string
}

async function open(
  said: readonly Said[],
  settings: Partial<HttpRatesSettings> = {},
): Promise<World> {
  const clock = handClock()
  const told: string[] = []
  const sources = await Promise.all(
    said.map(async ({ body, pointer = '/p', atPointer }, i) => {
      const url = await serve(body)
      return { name: `s${i}`, url, pointer, ...(atPointer !== undefined && { atPointer }) }
    }),
  )
  const rates = httpRates({
    clock,
    timeoutMs: 150,
    ...settings,
    pairs: { 'BTC/USD': { ...settings.pairs?.['BTC/USD'], sources } },
    observe(event: Event) {
      assert.ok(event.type === 'fault' && event.error instanceof PaymentError)
      assert.equal(event.where, 'rates BTC/USD')
      told.push(event.error.message)
    },
  })
  ends.push(() => rates.close())
  return { rates, clock, told, says: () => textOf(rates.rate('BTC', 'USD')) }
}

function textOf(rate: Rate | undefined): string | undefined {
  if (!rate) return undefined
  const { numerator, denominator } = rate
  const cents = (numerator * 100n) / denominator
  return `${Number(cents) / 100}`
}

async function serve(body: () => string | number | undefined): Promise<string> {
  const server = createServer((_, response) => {
    const said = body()
    if (typeof said === 'number') response.writeHead(said, { location: '/' }).end()
    else if (said !== undefined) response.end(said)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  ends.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}
