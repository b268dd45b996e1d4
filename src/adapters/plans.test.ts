import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { PlanSettings } from './plans.ts'
import { PLAN_VALID_MS, readPlans } from './plans.ts'

describe('a plan', () => {
  test('is read with what it does not say', () => {
    const plan = readPlans({ day: { price: ['1 USD', '900 EUR'] } }).get('day')
    assert.equal(plan?.validForMs, PLAN_VALID_MS)
    assert.deepEqual(
      plan?.prices.map(({ currency }) => currency),
      ['USD', 'EUR'],
    )
    assert.deepEqual(plan?.rights, {})
  })

  test('says what narrows its tokens as a token does', () => {
    const rights = ['path=/v1/*', 'method=GET,POST', 'method=GET', 'rate=100/m']
    const plan = readPlans({ a: { price: '1 USD', uses: 9, tier: 'gold', rights } }).get('a')
    assert.deepEqual(plan?.rights, {
      paths: ['/v1/*'],
      methods: ['GET'],
      rate: [{ scope: '', most: { count: 100, windowMs: 60_000 } }],
    })
    assert.deepEqual([plan?.uses, plan?.tier], [9, 'gold'])
  })

  test('that cannot be meant stops the start with a sentence that names it', () => {
    const wrong: readonly (readonly [said: object, why: RegExp])[] = [
      [{}, /no good price/],
      [{ price: '0 USD' }, /no good price/],
      [{ price: 'much' }, /no good price/],
      [{ price: '1 USD', validForMs: 0 }, /validForMs/],
      [{ price: '1 USD', validForMs: 1.5 }, /validForMs/],
      [{ price: '1 USD', uses: 0 }, /uses/],
      [{ price: '1 USD', uses: 1, balance: '1 USD' }, /not by both/],
      [{ price: '1 USD', balance: '0 USD' }, /no good price/],
      [{ price: '1 USD', use: 1 }, /"use" that means nothing/],
      [{ price: '1 USD', rights: ['colour=red'] }, /"colour=red" that no token can say/],
      [{ price: '1 USD', rights: ['path'] }, /"path" that no token can say/],
      [{ price: '1 USD', rights: ['uses=5'] }, /says by itself/],
      [{ price: '1 USD', rights: ['budget=5 USD'] }, /says by itself/],
      [{ price: '1 USD', rights: ['services=b:0'] }, /says by itself/],
      [{ price: '1 USD', rights: ['expires=1900000000'] }, /says by itself/],
      [{ price: '1 USD', rights: ['method=GET', 'method=POST'] }, /nothing is left/],
    ]
    for (const [said, why] of wrong)
      assert.throws(
        () => readPlans({ a: said as PlanSettings }),
        (error) =>
          error instanceof RangeError && error.message.includes('"a"') && why.test(error.message),
        JSON.stringify(said),
      )
    for (const name of ['', 'a b', '-a', 'a/b', 'a'.repeat(65)])
      assert.throws(() => readPlans({ [name]: { price: '1 USD' } }), /needs a name/)
  })
})
