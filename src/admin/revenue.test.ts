import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createHandClock, createShop, ask, priced, serve, START } from '../gate/fixture.test.ts'
import type { Ledger } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { createRevenue } from './revenue.ts'

const DAY_MS = 86_400_000

/** Books that count how many rows were read. */
function counting(ledger: Ledger): { readonly ledger: Ledger; rows(): number } {
  let rows = 0
  return {
    ledger: {
      ...ledger,
      async journal(after, limit) {
        const read = await ledger.journal(after, limit)
        rows += read.length
        return read
      },
    },
    rows: () => rows,
  }
}

test('sums are those of the books, for each day and group, less what went back', async () => {
  const clock = createHandClock()
  const books = counting(memory({ clock }))
  const shop = createShop(books.ledger, clock, {
    refund: async () => ({
      state: 'settled',
      reference: `tx-${clock.now()}`,
      payer: 'buyer',
      settledAt: clock.now(),
    }),
  })
  const sell = async (proof: string, price: string, account: string): Promise<void> => {
    const to = ask(priced(price, { account }))
    assert.equal(await serve(shop.gate, { ...to, credential: await shop.pay(proof, to) }), 'serve')
  }
  await sell('a', '0.10 USD', 'sales/GET /a')
  await sell('b', '0.20 USD', 'sales/GET /b')
  clock.pass(DAY_MS)
  await sell('c', '0.05 USD', 'sales/GET /a')
  const revenue = createRevenue(books.ledger, () => undefined, clock)
  const question = { by: 'route', bucket: 'day', from: START, to: START + 2 * DAY_MS } as const
  const first = await revenue.answer(question)
  const groups = first['groups'] as readonly { group: string; total: string; values: string[] }[]
  assert.deepEqual(
    groups.map(({ group, total }) => [group, total]),
    [
      ['GET /b', '0.2'],
      ['GET /a', '0.15'],
    ],
  )
  assert.deepEqual(groups[1]?.values.slice(0, 2), ['0.1', '0.05'])
  assert.deepEqual([first['total'], first['count'], first['unit']], ['0.35', 3, 'USD'])
  const read = books.rows()

  // What was added up is not read again.
  await shop.gate.refund({ key: 'b', idempotencyKey: 'b' })
  await shop.gate.close()
  const second = await revenue.answer(question)
  assert.deepEqual([second['total'], second['count']], ['0.15', 3])
  assert.ok(books.rows() - read < read, `${books.rows() - read} rows after ${read}`)
  revenue.close()
})

test('books that cannot be read are not taken for empty ones, and no sale is counted twice', async () => {
  const clock = createHandClock()
  const books = memory({ clock })
  const shop = createShop(books, clock)
  const to = ask(priced('0.10 USD'))
  await serve(shop.gate, { ...to, credential: await shop.pay('a', to) })
  let isBroken = false
  const flaky: Ledger = {
    ...books,
    async journal(after, limit) {
      if (isBroken && after > 0) throw new Error('gone')
      return await books.journal(after, limit)
    },
  }
  const revenue = createRevenue(flaky, () => undefined, clock)
  const question = { by: 'rail', bucket: 'hour', from: START, to: START + DAY_MS } as const
  isBroken = true
  await assert.rejects(() => revenue.answer(question), /gone/)
  isBroken = false
  assert.deepEqual((await revenue.answer(question))['total'], '0.1')
  assert.deepEqual((await revenue.answer(question))['total'], '0.1')
  revenue.close()
})
