import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { fiat, fiatOf, purposeHash, toFiat } from './fiat.ts'
import { readPrice } from './money.ts'

const resource = { realm: 'r', method: 'GET', authority: 'a', path: '/p', query: '', url: 'x' }

describe('currencies of states', () => {
  test('are assets in their smallest unit', () => {
    assert.deepEqual(fiat('USD'), { id: 'iso4217:USD', code: 'USD', scale: 2, currency: 'USD' })
    assert.equal(fiat('JPY').scale, 0)
    assert.deepEqual(fiatOf('iso4217:EUR'), fiat('EUR'))
    assert.equal(fiatOf('eip155:1/slip44:60'), undefined)
    assert.throws(() => fiat('usd'), RangeError)
    assert.throws(() => fiat('DOLLAR'), RangeError)
  })

  test('take prices exactly, or not at all', () => {
    assert.equal(toFiat(readPrice('1.05 USD'), fiat('USD')), 105n)
    assert.equal(toFiat(readPrice('1.050 USD'), fiat('USD')), 105n)
    assert.equal(toFiat(readPrice('1.055 USD'), fiat('USD')), undefined)
    assert.equal(toFiat(readPrice('1 EUR'), fiat('USD')), undefined)
    assert.equal(toFiat(readPrice('0.5 JPY'), fiat('JPY')), undefined)
  })
})

test('the purpose of a payment is the request and nothing else', () => {
  const own = purposeHash(resource)
  assert.match(own, /^[0-9a-f]{64}$/)
  assert.equal(purposeHash({ ...resource, url: 'y' }), own)
  for (const change of [
    { realm: 'other' },
    { method: 'POST' },
    { authority: 'b' },
    { path: '/p/' },
    { query: 'q' },
    { digest: 'd' },
    // What stands beside each other is not run together.
    { authority: 'a/p', path: '' },
  ])
    assert.notEqual(purposeHash({ ...resource, ...change }), own, JSON.stringify(change))
})
