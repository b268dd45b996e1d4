import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readPriced } from '../adapters/routes.ts'
import type { Priced, PriceRequest } from '../adapters/routes.ts'
import { PaymentError } from '../core/problem.ts'
import { priceByRule, ratesBy } from './document-prices.ts'
import type { RuleEntry } from './document-prices.ts'

interface Asking extends Partial<Omit<PriceRequest, 'fields'>> {}

/** What the rule says of a request. */
function priceOf(rule: RuleEntry, asking: Asking = {}): Priced {
  const request = { method: 'GET', url: '', path: '/', query: '', params: {}, ...asking }
  const said = priceByRule(rule)({ ...request, fields: new Headers() })
  assert.ok(!(said instanceof Promise))
  // What the door would refuse is no price.
  readPriced(said)
  return typeof said === 'object' && 'price' in said ? said : { price: said }
}

const sized: RuleEntry = {
  base: '0.10 USD',
  when: [
    { query: { size: 'small' }, price: '0.01 USD' },
    { method: 'POST', price: '0.5 USD' },
  ],
}
const paged: RuleEntry = {
  base: '0.02 USD',
  each: { unit: 'page', price: '0.005 USD', query: 'pages', most: 100 },
}

describe('a price by rules', () => {
  test('is the first case that fits, and else the base', () => {
    assert.equal(priceOf(sized).price, '0.1 USD')
    assert.equal(priceOf(sized, { query: 'size=small' }).price, '0.01 USD')
    assert.equal(priceOf(sized, { query: 'size=smallest' }).price, '0.1 USD')
    assert.equal(priceOf(sized, { method: 'POST' }).price, '0.5 USD')
    assert.equal(priceOf(sized, { method: 'POST', query: 'size=small' }).price, '0.01 USD')
  })

  test('counts units exactly, and says what it is made of', () => {
    const { price, breakdown } = priceOf(paged, { query: 'pages=3' })
    assert.equal(price, '0.035 USD')
    assert.deepEqual(breakdown, [
      { what: 'request', quantity: 1, unit: 'request', amount: '0.02 USD' },
      { what: 'pages', quantity: 3, unit: 'page', amount: '0.015 USD' },
    ])
    assert.equal(priceOf(paged).price, '0.025 USD')
    const several = { each: [{ unit: 'kB', price: '1 SAT', bodyBytes: 1000 }] }
    assert.equal(priceOf(several, { body: Buffer.alloc(1001) }).price, '2 SAT')
    assert.equal(priceOf(several).price, '1 SAT')
    const named = { each: { unit: 'day', price: '7 SAT', param: 'days' } }
    assert.equal(priceOf(named, { params: { days: '30' } }).price, '210 SAT')
  })

  // The upstream might take the other value, or one that was priced as another.
  for (const [what, query] of [
    ['two values', 'pages=1&pages=100'],
    ['one too many', 'pages=101'],
    ['nothing', 'pages='],
    ['less than one', 'pages=0'],
    ['below zero', 'pages=-1'],
    ['a fraction', 'pages=1.5'],
    ['another notation', 'pages=1e2'],
    ['hex', 'pages=0x64'],
    ['a sign', 'pages=%2B5'],
    ['a space', 'pages=5%20'],
    ['more digits than there are pages', `pages=${'9'.repeat(400)}`],
    ['zeros in front', 'pages=007'],
  ] as const)
    test(`refuses ${what}, and takes what is said plainly`, () => {
      const refused = (error: unknown): boolean =>
        error instanceof PaymentError && error.code === 'request-unpriced'
      assert.throws(() => priceOf(paged, { query }), refused)
      assert.equal(priceOf(paged, { query: 'pages=100' }).price, '0.52 USD')
    })

  test('refuses what decides the price and is said twice', () => {
    const query = 'size=small&size=large'
    assert.throws(() => priceOf(sized, { query }), PaymentError)
    assert.equal(priceOf(sized, { query: 'size=small&other=1&other=2' }).price, '0.01 USD')
  })

  for (const [what, rule, expected] of [
    [
      'two currencies',
      { base: '1 USD', when: [{ method: 'PUT', price: '1 SAT' }] },
      /one currency/,
    ],
    ['nothing', { base: '0 USD' }, /"free"/],
    ['a unit for nothing', { each: { unit: 'page', price: '0.00 USD', query: 'p' } }, /"free"/],
  ] as const)
    test(`is not made of ${what}`, () => {
      assert.throws(
        () => priceByRule(rule as unknown as RuleEntry),
        (error) => {
          assert.ok(error instanceof RangeError)
          assert.match(error.message, expected)
          return true
        },
      )
    })
})

test('rates that are given hold before those that are asked for, and until their end', () => {
  let now = 1_000
  const clock = { now: () => now, sleep: () => Promise.resolve() }
  const entry = { fixed: { 'EUR/USD': '1.08' }, fixedUntil: '1970-01-01T00:00:05Z' }
  const rates = ratesBy(entry, { headers: () => undefined, clock })
  const rate = rates.rate('EUR', 'USD')
  assert.deepEqual([rate?.numerator, rate?.denominator, rate?.untilAt], [108n, 100n, 5_000])
  now = 5_000
  assert.equal(rates.rate('EUR', 'USD'), undefined)
  assert.throws(
    () => ratesBy({ fixed: { EURUSD: '1.08' } }, { headers: () => undefined }),
    RangeError,
  )
})
