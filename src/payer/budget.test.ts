// What a policy lets through, at each limit and one beyond it, and under which accounts it is counted.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Asset } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import { memory } from '../ledger/memory.ts'
import { explain, legsOf, reportSpent } from './budget.ts'
import { points, usdc } from './fakes.test.ts'
import type { Place, Policy, Rules } from './policy.ts'
import { readPolicy } from './policy.ts'

const day = Date.UTC(2026, 10, 20, 23, 59, 59, 999)
const here: Place = { host: 'api.example', crossed: false }
const wide: Policy = { perRequest: '1 USD', total: '9 USD' }

describe('one payment', () => {
  test('may cost what perRequest says, and not the smallest part more', () => {
    const rules = readPolicy({ perRequest: '0.000000000000000005 USD', total: '1 USD' })
    const cost = { unit: 'USD', amount: 5n }
    assert.equal(rules.refuses(offer(), cost, here), undefined)
    assert.match(
      rules.refuses(offer(), { ...cost, amount: 6n }, here) ?? '',
      /^It costs 0\.000000000000000006 USD, and perRequest allows 0\.000000000000000005 USD\.$/,
    )
    assert.match(rules.refuses(offer(), { ...cost, unit: 'EUR' }, here) ?? '', /allows 0 EUR/)
  })

  test('is of something, is a charge, and has time to be valid in', () => {
    assert.equal(why(wide, {}), undefined)
    for (const amount of [0n, -1n])
      assert.match(why(wide, { amount: { asset: usdc, amount } }) ?? '', /not more than zero/)
    assert.equal(why(wide, { amount: { asset: usdc, amount: 1n } }), undefined)
    assert.match(why(wide, { intent: 'upto' }) ?? '', /kind "upto" is not made, only a charge/)
    for (const timeoutMs of [0, -1, Number.NaN])
      assert.match(why(wide, { timeoutMs }) ?? '', /no time to be valid in/)
    assert.equal(why(wide, { timeoutMs: 1 }), undefined)
  })

  const lists: Record<string, readonly [Policy, Partial<Offer>, RegExp]> = {
    network: [{ ...wide, networks: ['Toy:1'] }, { network: 'toy:2' }, /list the network toy:2/],
    payee: [{ ...wide, payees: ['SELLER'] }, { payee: 'thief' }, /list the payee thief/],
    'asset by its id': [
      { ...wide, assets: ['TOY:USDC'] },
      { amount: { asset: { ...usdc, id: 'toy:else' }, amount: 1n } },
      /list the asset USDC \(toy:else\)/,
    ],
    'asset by its code': [
      { ...wide, assets: ['usdc'] },
      { amount: { asset: { ...usdc, code: 'FAKE' }, amount: 1n } },
      /list the asset FAKE/,
    ],
  }
  for (const [name, [policy, other, sentence]] of Object.entries(lists))
    test(`goes to a listed ${name} in any case, and to no other`, () => {
      const shouted = { ...usdc, id: 'Toy:Usdc', code: 'Usdc' }
      for (const said of [{}, { network: 'TOY:1', amount: { asset: shouted, amount: 1n } }])
        assert.equal(why(policy, said), undefined)
      assert.match(why(policy, other) ?? '', sentence)
      assert.equal(why(wide, other), undefined)
    })

  test('goes to a listed host, and across a redirect to no other', () => {
    const listing = { ...wide, hosts: ['API.example'] }
    assert.equal(why(listing, {}, { host: 'api.EXAMPLE', crossed: false }), undefined)
    assert.equal(why(listing, {}, { host: 'api.example', crossed: true }), undefined)
    assert.match(why(listing, {}, { host: 'b.example', crossed: false }) ?? '', /host b\.example/)
    assert.equal(why(wide, {}, { host: 'b.example', crossed: false }), undefined)
    assert.match(
      why(wide, {}, { host: 'b.example', crossed: true }) ?? '',
      /A redirect from another origin led to b\.example/,
    )
  })

  test('stays payable for ten minutes if the policy does not say, and for a second at least', () => {
    assert.equal(readPolicy(wide).validityMaxMs, 600_000)
    assert.equal(readPolicy({ ...wide, validityMaxMs: 1000 }).validityMaxMs, 1000)
    for (const validityMaxMs of [999, 1000.5, Number.NaN, Infinity, -1000])
      assert.throws(() => readPolicy({ ...wide, validityMaxMs }), /at least 1000\.$/)
  })

  test('is looked for outside only if the policy asks for it', () => {
    assert.equal(readPolicy(wide).checkReceipts, false)
    assert.equal(readPolicy({ ...wide, checkReceipts: true }).checkReceipts, true)
  })
})

describe('the unit of a limit', () => {
  const cost = (policy: Policy, asset: Asset): unknown =>
    readPolicy(policy).cost(offer({ amount: { asset, amount: 1n } }))

  test('is the currency or the code of the asset, whichever the policy names', () => {
    assert.deepEqual(cost(wide, usdc), { unit: 'USD', amount: 10n ** 12n })
    const coded = { perRequest: '1 USDC', total: '1 USDC' }
    assert.deepEqual(cost(coded, usdc), { unit: 'USDC', amount: 10n ** 12n })
    assert.equal(cost(wide, points), 'No limit of the policy covers PTS.')
    // A currency that is called like its own code is one unit, not two.
    assert.deepEqual(cost(wide, { ...usdc, code: 'USD' }), { unit: 'USD', amount: 10n ** 12n })
  })

  test('is told in the order of perRequest, each with its own limits', () => {
    const rules = readPolicy({
      perRequest: ['2 PTS', '1 USD'],
      total: ['4 USD', '9 PTS'],
      perDay: '3 USD',
    })
    assert.deepEqual(rules.units, ['PTS', 'USD'])
    const units = 10n ** 18n
    assert.deepEqual(
      (['perRequest', 'perDay', 'perHost', 'total'] as const).map((sum) => rules.limit(sum, 'USD')),
      [units, 3n * units, undefined, 4n * units],
    )
    assert.equal(rules.limit('perDay', 'PTS'), undefined)
  })
})

describe('a payment is counted', () => {
  const cost = { unit: 'USD', amount: 1n }

  test('for its host, its day in UTC and in all, under the ceilings that there are', () => {
    const rules = readPolicy({ perRequest: '1 USD', perDay: '2 USD' })
    const debit = 'world/budget'
    assert.deepEqual(legsOf(rules, cost, 'api.example:8443', day), [
      { debit, credit: 'spent/host/api.example:8443/USD' },
      { debit, credit: 'spent/day/2026-11-20/USD', ceiling: 2n * 10n ** 18n },
      { debit, credit: 'spent/total/USD' },
    ])
    assert.equal(legsOf(rules, cost, 'h', day + 1)[1]?.credit, 'spent/day/2026-11-21/USD')
  })

  test('and what goes over a limit is told with the limit', () => {
    const rules = readPolicy({ ...wide, perDay: '2 USD', perHost: '3 USD' })
    const told = (name: string): string => explain(rules, name, cost)
    const start = 'Paying 0.000000000000000001 USD would go over'
    assert.equal(
      told('spent/day/2026-11-20/USD'),
      `${start} perDay, which is 2 USD for 2026-11-20.`,
    )
    assert.equal(
      told('spent/host/a.example/USD'),
      `${start} perHost, which is 3 USD for a.example.`,
    )
    assert.equal(told('spent/total/USD'), `${start} total, which is 9 USD.`)
    assert.equal(told('something/else'), `${start} total, which is 9 USD.`)
    assert.equal(told('spent/total/EUR'), `${start} total, which is 0 EUR.`)
  })

  test('and reported for today, for every host and in all, whoever else writes into the same books', async () => {
    const rules = readPolicy({
      perRequest: ['1 USD', '1 EUR'],
      perHost: '5 USD',
      total: ['9 USD', '2 EUR'],
    })
    const ledger = memory()
    const buy = async (key: string, host: string, at: number): Promise<void> => {
      const legs = legsOf(rules, cost, host, at)
      const rest = { purpose: key, leaseUntilAt: Number.MAX_SAFE_INTEGER, note: {} }
      await ledger.transfer({ key, asset: 'USD', amount: 10n ** 17n, legs, ...rest })
    }
    await buy('a', 'a.example', day)
    await buy('b', 'b.example', day)
    await buy('c', 'a.example', day - 86_400_000)
    await ledger.post('a')
    const others = ['sales/x', 'spent', 'spent/odd/x/USD', 'else/day/2026-11-20/USD']
    for (const credit of others)
      await ledger.transfer({
        key: credit,
        purpose: 'p',
        asset: 'USD',
        amount: 1n,
        legs: [{ debit: 'world/x', credit }],
        leaseUntilAt: 0,
        note: {},
      })
    assert.deepEqual(await reportSpent(ledger, rules, day), [
      { limit: 'perDay', scope: '2026-11-20', posted: '0.1 USD', held: '0.1 USD' },
      { limit: 'perHost', scope: 'a.example', posted: '0.1 USD', held: '0.1 USD', most: '5 USD' },
      { limit: 'perHost', scope: 'b.example', posted: '0 USD', held: '0.1 USD', most: '5 USD' },
      { limit: 'total', posted: '0 EUR', held: '0 EUR', most: '2 EUR' },
      { limit: 'total', posted: '0.1 USD', held: '0.2 USD', most: '9 USD' },
    ])
  })
})

function offer(rest: Partial<Offer> = {}): Offer {
  const resource = { realm: '', method: 'GET', authority: '', path: '', query: '', url: '' }
  return {
    id: '',
    rail: 'toy',
    network: 'toy:1',
    intent: 'charge',
    amount: { asset: usdc, amount: 10_000n },
    payee: 'Seller',
    timeoutMs: 1000,
    details: {},
    resource,
    expiresAt: 1,
    ...rest,
  }
}

function why(policy: Policy, rest: Partial<Offer>, place: Place = here): string | undefined {
  const rules: Rules = readPolicy(policy)
  return rules.refuses(offer(rest), { unit: 'USD', amount: 1n }, place)
}
