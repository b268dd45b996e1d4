// What the rail keeps in the books: the highest voucher is found in few questions, whoever kept it.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { systemClock } from '../../../core/clock.ts'
import { memory } from '../../../ledger/memory.ts'
import { LAST_MAX, createBooks } from './books.ts'
import { UINT128_MAX } from './voucher.ts'

const channel = `0x${'ab'.repeat(32)}` as const
const network = 'eip155:1'
const signature = `0x${'11'.repeat(65)}`

test('the highest voucher and the lowest that is enough are found, in any order of keeping', async () => {
  const sums = fc.array(fc.bigInt({ min: 0n, max: UINT128_MAX }), { minLength: 1, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(sums, fc.bigInt({ min: 0n, max: UINT128_MAX }), async (kept, wanted) => {
      const ledger = memory()
      const [one, other] = [0, 1].map(() => createBooks(ledger, systemClock, network))
      assert.ok(one && other)
      for (const [i, cumulative] of kept.entries()) {
        await (i % 2 === 0 ? one : other).keep(channel, { cumulative, signature })
        const most = kept.slice(0, i + 1).reduce((a, b) => (a > b ? a : b))
        assert.equal((await one.best(channel))?.cumulative, most)
      }
      const enough = kept.filter((sum) => sum >= wanted).toSorted((a, b) => (a < b ? -1 : 1))
      assert.equal((await other.atLeast(channel, wanted))?.cumulative, enough[0])
      await ledger.close()
    }),
    { numRuns: 60 },
  )
})

test('among ten thousand vouchers the highest is found in some thirty questions, and then in one', async () => {
  const ledger = memory()
  let questions = 0
  const counting = new Proxy(ledger, {
    get(books, name) {
      if (name === 'under' || name === 'find') questions++
      const verb: unknown = Reflect.get(books, name)
      return typeof verb === 'function' ? verb.bind(books) : verb
    },
  })
  const books = createBooks(ledger, systemClock, network)
  for (let i = 1n; i <= 10_000n; i++) await books.keep(channel, { cumulative: i * 100n, signature })
  const fresh = createBooks(counting, systemClock, network)
  assert.equal((await fresh.best(channel))?.cumulative, 1_000_000n)
  assert.ok(questions > 0 && questions <= 50, `${questions} questions`)
  questions = 0
  assert.equal((await fresh.best(channel))?.cumulative, 1_000_000n)
  assert.ok(questions <= 2, `${questions} questions`)
  await ledger.close()
})

test('last words are few, and the end is fixed by the first', async () => {
  const ledger = memory()
  const books = createBooks(ledger, systemClock, network)
  for (let i = 0; i < LAST_MAX; i++)
    assert.ok(await books.keepLast(channel, { cumulative: BigInt(i), signature }))
  assert.equal(await books.keepLast(channel, { cumulative: 1_000n, signature }), false)
  assert.ok(await books.keepLast(channel, { cumulative: BigInt(LAST_MAX - 1), signature }))
  assert.equal((await books.last(channel))?.cumulative, BigInt(LAST_MAX - 1))
  assert.equal(await books.published(channel), -1n)
  const both = [7n, 9n].map((cumulative) => books.fixEnd(channel, { cumulative, signature }))
  const [first, second] = await Promise.all(both)
  assert.deepEqual(first, second)
  assert.equal(await books.published(channel), first?.cumulative)
  assert.ok(await books.giveBack(channel, 'a', 3n, 5n))
  assert.ok(await books.giveBack(channel, 'a', 3n, 5n))
  assert.equal(await books.giveBack(channel, 'b', 3n, 5n), false)
  assert.ok(await books.giveBack(channel, 'b', 2n, 5n))
  await ledger.close()
})

test('what was begun to be collected is gone on with from the lowest, also behind a higher one', async () => {
  const ledger = memory()
  const books = createBooks(ledger, systemClock, network)
  const [low, high] = [await books.sending(channel, 'collect', 5n), 9n]
  assert.equal((await books.unsent(channel))?.sum, 5n)
  const other = await books.sending(channel, 'collect', high)
  assert.equal((await books.unsent(channel))?.sum, 5n)
  await books.sent(other)
  assert.equal((await books.unsent(channel))?.sum, 5n)
  await books.sent(low)
  assert.equal(await books.unsent(channel), undefined)
  await books.sending(channel, 'collect', 12n)
  assert.equal((await books.unsent(channel))?.sum, 12n)
  assert.equal(await books.published(channel), 12n)
  await ledger.close()
})

test('a channel whose maker died before it was listed is found by whoever reads on, however late it is told again', async () => {
  let now = systemClock.now()
  const clock = { ...systemClock, now: () => now }
  const ledger = memory({ clock })
  const of = (id: string) => ({
    channel: `0x${id.repeat(32)}` as const,
    ...{ payer: `0x${'11'.repeat(20)}` as const, signer: `0x${'11'.repeat(20)}` as const },
    ...{ token: `0x${'22'.repeat(20)}` as const, minVoucherDelta: 1n },
  })
  const mortal = new Proxy(ledger, {
    get(books, name) {
      const verb: unknown = Reflect.get(books, name)
      if (typeof verb !== 'function') return verb
      return async (...args: unknown[]) => {
        const [said] = args
        const key = typeof said === 'object' && said && 'key' in said ? String(said.key) : ''
        if (name === 'transfer' && key.includes('/list/')) throw new Error('died')
        return (await verb.apply(books, args)) as unknown
      }
    },
  })
  await assert.rejects(createBooks(mortal, clock, network).remember(of('ab')), /died/)
  now += 3_600_000
  const books = createBooks(ledger, clock, network)
  await books.remember(of('cd'))
  const { channels, next } = await books.list('')
  assert.deepEqual(channels, [of('cd').channel])
  for (let i = 0; i < 2; i++) await books.remember(of('ab'))
  const more = await books.list(books.earlier(next))
  assert.deepEqual(more.channels.toSorted(), [of('ab').channel, of('cd').channel])
  await ledger.close()
})
