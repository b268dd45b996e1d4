// Which of a seller's offers is paid: the policy's order, then the price, then the order of the wallets. Never the seller's.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Challenge } from '../core/challenge.ts'
import type { Asset } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Protocol, Wallet } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import type { Choice, Chooser } from './choose.ts'
import { choose } from './choose.ts'
import { counting, leaping, points, toy, usdc } from './fakes.test.ts'
import { readPolicy } from './policy.ts'

const clock = leaping()
const resource = { realm: '', method: 'GET', authority: '', path: '', query: '', url: '' }
const rules = readPolicy({ perRequest: ['9 USD', '9 PTS'], total: ['99 USD', '99 PTS'] })
const wallet = counting(clock)
const chooser: Chooser = {
  wallets: [wallet],
  rules,
  now: 1000,
  place: { host: 'api.example', crossed: false },
}

describe('the choice', () => {
  test('is the cheapest in each currency, in the order of the policy and not of the seller', () => {
    const offers = [
      priced(points, 3n),
      priced(usdc, 7n),
      priced(usdc, 5n),
      priced(points, 2n),
      priced(usdc, 6n),
    ]
    for (const order of [offers, offers.toReversed()])
      assert.deepEqual(amounts(choose(found(order), chooser)), [5n, 2n])
    const turned = readPolicy({ perRequest: ['9 PTS', '9 USD'], total: ['99 USD', '99 PTS'] })
    assert.deepEqual(amounts(choose(found(offers), { ...chooser, rules: turned })), [2n, 5n])
  })

  test('between equal prices is the first wallet’s, and after that the same whatever the seller’s order', () => {
    const other = counting(clock, { rail: 'other', forms: wallet.forms })
    const offers = [priced(usdc, 5n), { ...priced(usdc, 5n), rail: 'other' }]
    for (const order of [offers, offers.toReversed()]) {
      const first = (wallets: readonly Wallet[]): string | undefined =>
        choose(found(order), { ...chooser, wallets })[0]?.offer.rail
      assert.equal(first([wallet, other]), 'toy')
      assert.equal(first([other, wallet]), 'other')
    }
    const payees = ['b', 'a', 'c'].map((payee) => ({ ...priced(usdc, 5n), payee }))
    for (const order of [payees, payees.toReversed(), payees.toSorted(() => 1)])
      assert.equal(choose(found(order), chooser)[0]?.offer.payee, 'a')
  })

  test('of one wallet that can pay by several protocols is that of the first', () => {
    const [one] = found([priced(usdc, 5n)])
    assert.ok(one)
    const other = { ...one, protocol: { ...one.protocol, name: 'another' } }
    const forms = { ...wallet.forms, another: wallet.forms['toy']! }
    const able = { ...chooser, wallets: [{ ...wallet, forms }] }
    for (const list of [
      [one, other],
      [other, one],
    ])
      assert.equal(choose(list, able)[0]?.protocol, list[0]?.protocol)
  })

  test('is never an offer whose time is over', () => {
    assert.equal(choose(found([{ ...priced(usdc, 5n), expiresAt: 1001 }]), chooser).length, 1)
    for (const expiresAt of [1000, 999])
      assert.match(
        why(found([{ ...priced(usdc, 5n), expiresAt }])),
        /0\.000005 USDC on toy:1: It has expired\.$/,
      )
  })

  test('is paid by the first wallet of the rail that knows the protocol and does not refuse', () => {
    const mute = counting(clock, { forms: {} })
    const picky = counting(clock, { refuses: () => 'Not today.' })
    const offers = found([priced(usdc, 5n)])
    const [choice] = choose(offers, { ...chooser, wallets: [mute, picky, wallet] })
    assert.equal(choice?.wallet, wallet)
    assert.equal(choice.form, wallet.forms['toy'])
    assert.match(why(offers, { ...chooser, wallets: [mute, picky] }), /Not today\./)
    assert.match(why(offers, { ...chooser, wallets: [mute] }), /no wallet for toy over toy\./)
    const stranger: Protocol = { ...toy, name: 'stranger' }
    assert.match(why(found([priced(usdc, 5n)], stranger)), /no wallet for toy over stranger\./)
  })
})

describe('what cannot be paid', () => {
  test('is told with the reason of each offer, once, and of sixteen at most', () => {
    const twice = [priced(usdc, 10_000_000n), priced(usdc, 10_000_000n)]
    assert.equal(
      why(found(twice)),
      'None of the offers can be paid. 10 USDC on toy:1: It costs 10 USD, and perRequest allows 9 USD.',
    )
    const reasons = why(found(many(40))).match(/It costs/g)
    assert.equal(reasons?.length, 16)
    assert.equal(
      why(found([])),
      'The seller asks for a payment and makes no offer. Nothing was paid.',
    )
  })

  test('is looked at up to 64 offers, over all protocols together', () => {
    const good = priced(usdc, 1n)
    assert.equal(choose(found([...many(63), good]), chooser).length, 1)
    assert.match(why(found([...many(64), good])), / Only the first 64 were looked at\.$/)
    assert.doesNotMatch(why(found(many(64))), /Only the first/)
    assert.throws(() => choose([...found(many(64)), ...found([good])], chooser), {
      code: 'offers-unacceptable',
    })
  })

  test('and cannot be read is told too, in the seller’s own words, 64 at most', () => {
    const [one] = found([])
    assert.ok(one)
    const unreadable = [{ why: 'A rail that is not known.', said: {} }]
    const challenge: Challenge = { ...one.challenge, unreadable }
    assert.match(why([{ ...one, challenge }]), /paid\. A rail that is not known\.$/)
    const same = Array.from({ length: 64 }, () => ({ why: 'Same.', said: {} }))
    const late = [...same, { why: 'Late.', said: {} }]
    assert.doesNotMatch(why([{ ...one, challenge: { ...challenge, unreadable: late } }]), /Late/)
    const last = [...same.slice(1), { why: 'Late.', said: {} }]
    assert.match(why([{ ...one, challenge: { ...challenge, unreadable: last } }]), /Late/)
  })
})

/** Offers that cost too much, each for another reason. */
function many(count: number): readonly Offer[] {
  return Array.from({ length: count }, (_, i) => priced(usdc, 10_000_000n + BigInt(i)))
}

function priced(asset: Asset, amount: bigint): Offer {
  const terms = { rail: 'toy', network: 'toy:1', intent: 'charge', payee: 'seller' }
  const rest = { timeoutMs: 1000, details: {}, expiresAt: 2000 }
  return { id: '', resource, ...terms, ...rest, amount: { asset, amount } }
}

function found(
  offers: readonly Offer[],
  protocol: Protocol = toy,
): readonly { readonly protocol: Protocol; readonly challenge: Challenge }[] {
  const why = problem('payment-required', 'Pay first.')
  return [{ protocol, challenge: { resource, offers, problem: why } }]
}

function amounts(choices: readonly Choice[]): readonly bigint[] {
  return choices.map(({ offer }) => offer.amount.amount)
}

function why(offers: Parameters<typeof choose>[0], by: Chooser = chooser): string {
  try {
    choose(offers, by)
  } catch (error) {
    assert.ok(error instanceof Error)
    return error.message
  }
  return assert.fail('an offer was chosen')
}
