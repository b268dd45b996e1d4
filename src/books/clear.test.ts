import assert from 'node:assert/strict'
import { beforeEach, describe, test } from 'node:test'
import { createHandClock } from '../gate/fixture.test.ts'
import type { Ledger } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { clear } from './clear.ts'
import type { Cleared, Clearing } from './clear.ts'
import { readEntries } from './reader.ts'
import { entryCells } from './write.ts'

const clock = createHandClock()
const suspense = 'suspense/test/net/seller'
const missing = 'world/missing/test/net/seller'
let ledger: Ledger
beforeEach(async () => {
  ledger = memory({ clock })
  const world = 'world/test/net/seller'
  await book('more', { debit: world, credit: suspense })
  await book('less', { debit: missing, credit: world })
})

async function book(key: string, leg: { debit: string; credit: string }): Promise<void> {
  const lease = { leaseUntilAt: clock.now() + 1_000, note: { kind: 'mismatch' } }
  await ledger.transfer({ key, purpose: 'p', asset: 'coin', amount: 100n, legs: [leg], ...lease })
  await ledger.post(key)
}

const order: Clearing = {
  ...{ from: suspense, to: 'income/gifts', asset: 'coin', amount: 60n },
  ...{ reason: 'a gift of Ann', by: 'bob', idempotencyKey: 'a' },
}

const away = (changes: Partial<Clearing> = {}): Promise<Cleared> =>
  clear({ ledger, clock }, { ...order, ...changes })

async function posted(account: string): Promise<bigint> {
  return (await ledger.balances(account))[0]?.posted ?? 0n
}

describe('what lies in suspense', () => {
  test('is booked where it belongs, with who wanted it and why', async () => {
    assert.deepEqual(await away(), { kind: 'booked', key: 'booking/a', amount: 60n })
    assert.deepEqual([await posted(suspense), await posted('income/gifts')], [40n, 60n])
    const held = await ledger.find('booking/a')
    assert.deepEqual([held?.note['by'], held?.note['reason']], ['bob', 'a gift of Ann'])
    const entries = []
    for await (const entry of readEntries(ledger)) entries.push(entryCells(entry))
    const last = entries.at(-1)
    assert.deepEqual(
      [last?.kind, last?.route, last?.units, last?.remark],
      ['income', 'income/gifts', '60', 'a gift of Ann'],
    )
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  })

  test('goes once for each order, and never more than stands there', async () => {
    const all = await Promise.all([away(), away(), away()])
    assert.deepEqual(new Set(all.map(({ kind }) => kind)), new Set(['booked']))
    assert.equal(await posted(suspense), 40n)
    const other = await away({ amount: 50n })
    assert.equal(other.kind === 'denied' && other.code, 'order-conflict')
    const over = await away({ idempotencyKey: 'b', amount: 41n })
    assert.equal(over.kind === 'denied' && over.code, 'amount-exceeded')
    const { amount: _, ...rest } = order
    const last = await clear({ ledger, clock }, { ...rest, idempotencyKey: 'c' })
    assert.deepEqual(last, { kind: 'booked', key: 'booking/c', amount: 40n })
    assert.equal((await clear({ ledger, clock }, { ...rest, idempotencyKey: 'd' })).kind, 'denied')
  })

  test('that was booked by whoever died before the end is ended by the same order', async () => {
    const dying = { ...ledger, post: () => Promise.reject(new Error('killed')) }
    await assert.rejects(clear({ ledger: dying, clock }, order), /killed/)
    assert.equal(await posted('income/gifts'), 0n)
    assert.deepEqual(await away(), {
      ...{ kind: 'booked', key: 'booking/a', amount: 60n },
    })
    assert.deepEqual([await posted(suspense), await posted('income/gifts')], [40n, 60n])
  })

  test('may be what the owner put in, which is not earned', async () => {
    await away({ to: 'equity/deposits' })
    const kinds: string[] = []
    for await (const entry of readEntries(ledger)) kinds.push(entry.kind)
    assert.deepEqual(kinds, ['mismatch', 'mismatch', 'booking'])
  })
})

describe('what is missing', () => {
  test('is written off, and never more than is missing', async () => {
    const off = { from: missing, to: 'world/written-off/theft' }
    assert.equal((await away({ ...off, amount: 101n })).kind, 'denied')
    assert.equal((await away({ ...off, idempotencyKey: 'b' })).kind, 'booked')
    const over = await away({ ...off, idempotencyKey: 'c' })
    assert.equal(over.kind === 'denied' && over.code, 'amount-exceeded')
    assert.deepEqual([await posted(missing), await posted(off.to)], [-40n, -60n])
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  })
})

test('no other account is emptied, or filled, and nobody stays unnamed', async () => {
  for (const changes of [
    { from: 'sales/GET /a' },
    { from: 'tokens/a' },
    { from: 'world/test/net/seller' },
    { to: 'tokens/mine' },
    { to: 'world/test/net/seller' },
    { to: 'income/' },
    { from: missing },
    { from: missing, to: 'income/gifts' },
    { reason: ' ' },
    { by: '' },
    { amount: 0n },
    { amount: -1n },
    { idempotencyKey: 'a b' },
  ]) {
    const done = await away(changes)
    assert.equal(done.kind === 'denied' && done.code, 'order-invalid', JSON.stringify(done))
  }
  assert.deepEqual([await posted(suspense), await posted(missing)], [100n, -100n])
})
