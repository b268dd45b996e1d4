import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { Asset } from './money.ts'
import { readPrice, rescale, toMoney, writeMoney, writePrice } from './money.ts'

const coin: Asset = { id: 'test:coin', code: 'COIN', scale: 6, currency: 'USD' }

describe('a price', () => {
  test('is decimal text with a currency, and becomes a whole number of the smallest unit', () => {
    assert.equal(toMoney(readPrice('0.01 USD'), coin).amount, 10_000n)
    assert.equal(toMoney(readPrice('1.50 COIN'), coin).amount, 1_500_000n)
    assert.equal(toMoney(readPrice('0 USD'), coin).amount, 0n)
  })

  test('finer than the smallest unit is refused, never rounded', () => {
    assert.equal(toMoney(readPrice('0.000001 USD'), coin).amount, 1n)
    assert.throws(
      () => toMoney(readPrice('0.0000001 USD'), coin),
      /finer than the smallest unit of COIN/,
    )
    // Trailing zeros say nothing, so they are not finer.
    assert.equal(toMoney(readPrice('0.0100000 USD'), coin).amount, 10_000n)
  })

  test('has at most 96 characters, and is not said again at length when it has more', () => {
    const long = `${'0'.repeat(91)}1 USD`
    assert.equal(long.length, 96)
    assert.equal(readPrice(long).amount, 1n)
    assert.throws(() => readPrice(`0${long}`), /is not a price/)
    const said = new RegExp(`^RangeError: "${'x'.repeat(96)}" is not a price`)
    assert.throws(() => readPrice('x'.repeat(1_000_000)), said)
  })

  test('counted finer by several digits is the same value, or refused', () => {
    assert.equal(rescale(700n, 8, 6, 'COIN'), 7n)
    assert.equal(rescale(7n, 6, 8, 'COIN'), 700n)
    assert.equal(rescale(7n, 6, 6, 'COIN'), 7n)
    assert.throws(() => rescale(720n, 8, 6, 'COIN'), /^RangeError: 0\.0000072 is finer/)
  })

  test('in a currency that the asset does not stand for is refused', () => {
    assert.throws(() => toMoney(readPrice('0.01 EUR'), coin), /does not stand for EUR/)
  })

  for (const text of [
    '',
    '1',
    'USD',
    '$0.01',
    '-1 USD',
    '+1 USD',
    '1e3 USD',
    '.5 USD',
    '1. USD',
    '1,5 USD',
    '0.01  USD',
    ' 1 USD',
    '1 usd',
    '0x10 USD',
    `${'9'.repeat(100)} USD`,
    '1 USD\n',
  ])
    test(`"${text.slice(0, 12)}" is no price`, () => {
      assert.throws(() => readPrice(text), /is not a price\. Write it like/)
    })

  test('of any size is written and read back to the same value', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 2n ** 256n), fc.nat(18), (amount, scale) => {
        const price = { amount, scale, currency: 'USD' }
        const back = readPrice(writePrice(price))
        assert.equal(rescale(back.amount, back.scale, 18, 'USD'), rescale(amount, scale, 18, 'USD'))
      }),
    )
  })
})

test('money is written for people with its code', () => {
  assert.equal(writeMoney({ asset: coin, amount: 10_000n }), '0.01 COIN')
  assert.equal(writeMoney({ asset: coin, amount: 1n }), '0.000001 COIN')
  assert.equal(writeMoney({ asset: { ...coin, scale: 0 }, amount: 7n }), '7 COIN')
  assert.equal(writeMoney({ asset: coin, amount: 0n }), '0 COIN')
  assert.throws(() => writeMoney({ asset: { ...coin, scale: -1 }, amount: 7n }), { name: 'Bug' })
  assert.equal(writeMoney({ asset: coin, amount: -2_500_000n }), '-2.5 COIN')
})
