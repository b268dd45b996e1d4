import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { memory } from '../ledger/memory.ts'
import type { Offer } from '../core/offer.ts'
import { usdc } from './fakes.test.ts'
import { reportSpent } from './budget.ts'
import type { Policy } from './policy.ts'
import { readPolicy, sayCost, sayMoney, writeCost } from './policy.ts'

const offer: Offer = {
  id: '',
  rail: 'toy',
  network: 'toy:1',
  intent: 'charge',
  amount: { asset: usdc, amount: 10_000n },
  payee: 'seller',
  timeoutMs: 1000,
  details: {},
  resource: { realm: '', method: 'GET', authority: '', path: '', query: '', url: '' },
  expiresAt: 1,
}

function refused(cost: unknown, why: RegExp): void {
  assert.ok(typeof cost === 'string')
  assert.match(cost, why)
}

describe('a policy', () => {
  test('needs a limit for one request and one that adds up, in every currency it names', () => {
    const wrong: readonly [object, RegExp][] = [
      [{}, /no perRequest\. Give one/],
      [{ total: '1 USD' }, /no perRequest/],
      [{ perRequest: '0.05 USD' }, /never stops spending USD\. Give total, perDay or perHost/],
      [{ perRequest: '0.05 USD', total: '1 EUR' }, /never stops spending USD/],
      [{ perRequest: '1 USD', total: ['1 USD', '1 EUR'] }, /no perRequest in EUR/],
      [{ perRequest: ['1 USD', '2 USD'], total: '1 USD' }, /names a currency twice/],
      [{ perRequest: '5 cents', total: '1 USD' }, /is not a price/],
      [{ perRequest: `0.${'1'.repeat(19)} USD`, total: '1 USD' }, /finer than/],
      [{ perRequest: '1 USD', total: '1 USD', validityMaxMs: 0 }, /validityMaxMs/],
    ]
    for (const [policy, why] of wrong)
      assert.throws(
        () => readPolicy(policy as Policy),
        (error: Error) => error instanceof RangeError && why.test(error.message),
      )
    for (const sum of ['total', 'perDay', 'perHost'])
      assert.deepEqual(readPolicy({ perRequest: '1 USD', [sum]: '1 USD' }).units, ['USD'])
  })

  test('counts an asset in its currency, whatever its scale', () => {
    const rules = readPolicy({ perRequest: '1 USD', total: '1 USD' })
    const cost = rules.cost(offer)
    assert.deepEqual(cost, { unit: 'USD', amount: 10n ** 16n })
    assert.ok(typeof cost !== 'string' && writeCost(cost) === '0.01 USD')
    const fine = { ...offer, amount: { asset: { ...usdc, scale: 24 }, amount: 1n } }
    refused(rules.cost(fine), /finer than/)
  })

  test('counts bitcoin as one currency, whatever its limits are written in, and tells it in satoshis', () => {
    const asset = { id: 'bip122:0/slip44:0', code: 'BTC', scale: 11 }
    const invoice = { ...offer, amount: { asset, amount: 1_500n } }
    for (const limit of ['1000 SAT', '0.00001 BTC', '1000000 MSAT']) {
      const rules = readPolicy({ perRequest: limit, total: '1 BTC' })
      const cost = rules.cost(invoice, 500n)
      assert.ok(typeof cost !== 'string')
      assert.equal(writeCost(cost), '2 SAT')
      assert.equal(sayCost(cost), '2 SAT with up to 0.5 SAT of fees')
      assert.equal(rules.limit('perRequest', cost.unit), 10n ** 13n)
      const dear = rules.cost({ ...invoice, amount: { asset, amount: 999_501n } }, 500n)
      assert.ok(typeof dear !== 'string')
      const place = { host: 'a', crossed: false }
      assert.match(
        rules.refuses(invoice, dear, place) ?? '',
        /costs 1000\.001 SAT with .* 1000 SAT\./,
      )
      assert.equal(rules.refuses(invoice, cost, place), undefined)
    }
    assert.throws(() => readPolicy({ perRequest: ['1 BTC', '5 SAT'], total: '1 BTC' }), /twice/)
    assert.equal(sayMoney({ asset, amount: 1n }), '0.001 SAT')
    assert.equal(sayMoney(offer.amount), '0.01 USDC')
  })

  test('does not guess which of two limits an asset falls under', () => {
    const rules = readPolicy({
      perRequest: ['1 USD', '1 USDC'],
      total: ['9 USD', '5 USDC'],
    })
    refused(rules.cost(offer), /limits both USD and USDC/)
  })

  test('reports a limit before anything was spent', async () => {
    const rules = readPolicy({ perRequest: '1 USD', perDay: '2 USD', total: '3 USD' })
    assert.deepEqual(await reportSpent(memory(), rules, 0), [
      { limit: 'perDay', scope: '1970-01-01', posted: '0 USD', held: '0 USD', most: '2 USD' },
      { limit: 'total', posted: '0 USD', held: '0 USD', most: '3 USD' },
    ])
  })
})
