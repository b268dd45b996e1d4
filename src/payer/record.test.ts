import assert from 'node:assert/strict'
import { hostname } from 'node:os'
import { describe, test } from 'node:test'
import type { JsonObject } from '../core/json.ts'
import type { Offer } from '../core/offer.ts'
import type { Held, Step } from '../core/ports.ts'
import { usdc } from './fakes.test.ts'
import { give, isLent, isOurs, isWorking, lend, ownerUntil, take } from './owner.ts'
import { readStanding, writeAdopted, writeSigned } from './record.ts'

const maker = { host: 'h', pid: 1, run: 'r', bornAt: 1, leaseUntilAt: 10 }
const heir = { host: 'h', pid: 2, run: 's', bornAt: 1, leaseUntilAt: 20 }
const resource = { realm: '', method: 'GET', authority: '', path: '', query: '', url: '' }
const offer: Offer = {
  id: '',
  rail: 'toy',
  network: 'toy:1',
  intent: 'charge',
  amount: { asset: usdc, amount: 10_000n },
  payee: 'seller',
  timeoutMs: 1000,
  details: {},
  resource,
  expiresAt: 1,
}

describe('the steps of a purchase', () => {
  const signed = { protocol: 'toy', offer, proof: { nonce: 1 }, expiresAt: 5 }
  const adopted = (after: number): Step => writeAdopted(heir, after)
  const served: Step = { type: 'receipt', data: {} }
  const released = (refused: boolean): Step => ({ type: 'released', data: { refused } })
  const no = { refused: false, paid: false, receiving: false }
  const yes = { refused: false, paid: true, receiving: true }

  const lives: Record<string, readonly [readonly Step[], object]> = {
    'nothing yet': [[], { ...no, owner: maker }],
    'signed, with all that is needed to send it again': [
      [writeSigned(signed)],
      { ...no, owner: maker, signed },
    ],
    'adopted by another': [[adopted(0)], { ...no, owner: { ...heir, after: 0 } }],
    'adopted by two at once: the first has it': [
      [adopted(0), writeAdopted({ ...heir, run: 't' }, 0)],
      { ...no, owner: { ...heir, after: 0 } },
    ],
    'adopted by one who did not see that it was served': [
      [served, adopted(0)],
      { ...yes, owner: maker },
    ],
    'given up, and of no use': [[released(true)], { ...no, refused: true }],
    'given up, and good for another try': [[released(false)], no],
    'given up, and of no use to an heir either': [
      [released(true), adopted(1)],
      { ...no, refused: true, owner: { ...heir, after: 1 } },
    ],
    'something else, which lends nothing': [
      [{ type: 'other', data: { leaseUntilAt: 99 } }],
      { ...no, owner: maker },
    ],
    'given up twice: the last word counts': [[released(true), adopted(1), released(false)], no],
    'served, for as long as its body may take': [
      [{ type: 'receipt', data: { leaseUntilAt: 99 } }],
      { ...yes, owner: { ...maker, leaseUntilAt: 99 } },
    ],
    'served by a seller of whom no lease is told': [[served], { ...yes, owner: maker }],
    'served to nobody': [[released(false), served], yes],
    'served, and something else besides': [
      [served, { type: 'other', data: {} }],
      { ...yes, owner: maker },
    ],
    'served, and adopted by another who has nothing of it': [
      [served, adopted(1)],
      { ...yes, receiving: false, owner: { ...heir, after: 1 } },
    ],
    'served, and given up': [[served, released(false)], { ...yes, receiving: false }],
  }
  for (const [name, [steps, standing]] of Object.entries(lives))
    test(`tell: ${name}`, () => {
      assert.deepEqual(readStanding(held(steps)), standing)
    })

  test('that nobody of ours wrote are a bug', () => {
    const wrong: readonly JsonObject[] = [
      { protocol: 1 },
      { proof: undefined as never },
      { expiresAt: '5' },
    ]
    for (const one of wrong) {
      const { type, data } = writeSigned(signed)
      assert.throws(() => readStanding(held([{ type, data: { ...data, ...one } }])), {
        name: 'Bug',
      })
    }
  })
})

describe('an owner', () => {
  test('is this process on this machine until its lease ends, and only this run of it', () => {
    const { run, bornAt, ...owner } = ownerUntil(7)
    assert.deepEqual(owner, { host: hostname(), pid: process.pid, leaseUntilAt: 7 })
    assert.match(run, /^[0-9a-f]{32}$/)
    assert.ok(bornAt > 0 && bornAt <= Date.now())
    assert.equal(isOurs({ ...owner, bornAt, run }), true)
    assert.equal(isOurs({ ...owner, bornAt, run: `${run}0` }), false)
  })

  test('who lends a purchase works on it until then, and lends nothing that he does not have', () => {
    const owner = ownerUntil(0)
    lend('purchase/lent', 100)
    assert.equal(isLent('purchase/lent'), false)
    assert.equal(isWorking('purchase/lent', owner, 0), false)
    assert.ok(take('purchase/lent'))
    assert.equal(isLent('purchase/lent'), false)
    lend('purchase/lent', 100)
    assert.equal(isLent('purchase/lent'), true)
    assert.equal(isWorking('purchase/lent', owner, 99), true)
    assert.equal(isWorking('purchase/lent', owner, 100), false)
    give('purchase/lent')
    assert.equal(isLent('purchase/lent'), false)
    assert.ok(take('purchase/lent'))
    give('purchase/lent')
  })

  test('who is another process of another user is there all the same', () => {
    // The first process always is, and only root may signal it.
    const first = { ...ownerUntil(1000), run: 'another', pid: 1 }
    assert.equal(isWorking('purchase/c', first, 999), true)
  })
})

function held(steps: readonly Step[]): Held {
  const legs = [{ debit: 'world/budget', credit: 'spent/total/USD' }]
  const transfer = { key: 'purchase/a', purpose: 'p', asset: 'USD', amount: 1n, legs }
  const state = { state: 'pending', posted: 0n, madeAt: 0, claim: 1 } as const
  return { ...transfer, ...state, leaseUntilAt: 10, note: { owner: maker }, steps }
}
