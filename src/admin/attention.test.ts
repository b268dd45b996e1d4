import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JsonObject } from '../core/json.ts'
import type { Ledger } from '../core/ports.ts'
import {
  createHandClock,
  createShop,
  ask,
  offerOf,
  passed,
  priced,
  START,
} from '../gate/fixture.test.ts'
import { memory } from '../ledger/memory.ts'
import { advice, OPEN_MS, readAttention, readBalances, readLimits } from './attention.ts'

const coin = (): { code: string; scale: number } => ({ code: 'COIN', scale: 6 })

async function book(ledger: Ledger, debit: string, credit: string, amount: bigint): Promise<void> {
  const key = `${debit} ${credit}`
  await ledger.transfer({
    ...{ key, purpose: 'test', asset: 'test:coin', amount, legs: [{ debit, credit }] },
    ...{ leaseUntilAt: START + 1, note: {} },
  })
  await ledger.post(key)
}

test('differences and losses are items until they are made good, each with what to do', async () => {
  const ledger = memory({ clock: createHandClock() })
  assert.deepEqual(await readAttention(ledger, START, coin), { items: [], count: 0, underWay: 0 })
  await book(ledger, 'world/test/net/me', 'suspense/test/net/me', 5n)
  await book(ledger, 'world/missing/test/net/me', 'world/test/net/me', 7n)
  await book(ledger, 'world/losses/sales/GET /a', 'world/test/net/me', 9n)
  const { items, count } = await readAttention(ledger, START, coin)
  assert.equal(count, 3)
  const said = (items as readonly JsonObject[]).map((item) => [
    item['kind'],
    (item['amount'] as JsonObject)['amount'],
    item['advice'],
  ])
  const found = new Map(said.map(([kind, ...rest]) => [kind, rest]))
  assert.deepEqual(found.get('loss'), ['-0.000009', advice.loss])
  assert.deepEqual(found.get('missing'), ['-0.000007', advice.missing])
  assert.deepEqual(found.get('suspense'), ['0.000005', advice.suspense])
  await book(ledger, 'suspense/test/net/me', 'sales/GET /a', 5n)
  assert.equal((await readAttention(ledger, START, coin))['count'], 2)
})

test('work that is done is under way; what takes too long is an item', async () => {
  const clock = createHandClock()
  const ledger = memory({ clock })
  const never = Promise.withResolvers<never>()
  const shop = createShop(ledger, clock, {
    async settle(_, __, ___, log) {
      await log.write({ type: 'prepared', data: {} })
      return await never.promise
    },
  })
  const to = ask(priced('0.10 USD', { workMs: OPEN_MS * 3 }))
  const offer = await offerOf(shop.gate, to)
  const pass = passed(await shop.gate.admit({ ...to, credential: { offer, proof: 'a' } }))
  const now = await readAttention(ledger, clock.now(), coin)
  assert.deepEqual([now['count'], now['underWay']], [0, 1])
  void pass.finish(true)
  await new Promise((done) => setImmediate(done))
  const later = await readAttention(ledger, clock.now() + OPEN_MS + 1, coin)
  assert.deepEqual([later['count'], later['underWay']], [1, 0])
})

test('balances are summed by class, and limits are those that are used', async () => {
  const ledger = memory({ clock: createHandClock() })
  await book(ledger, 'world/test/net/me', 'sales/GET /a', 5n)
  await book(ledger, 'world/test/net/me', 'sales/GET /b', 6n)
  await book(ledger, 'world/limits', 'limits/day', 2n)
  const { classes } = await readBalances(ledger, coin)
  const [first = {}] = classes as readonly JsonObject[]
  assert.equal(first['kind'], 'income')
  assert.equal((first['sums'] as readonly JsonObject[])[0]?.['amount'], '0.000011')
  const { used, count } = await readLimits(ledger, {}, coin)
  assert.equal(count, 1)
  assert.equal((used as readonly JsonObject[])[0]?.['account'], 'limits/day')
})
