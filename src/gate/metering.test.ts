// Requests that are priced by measure: over books in memory and over SQLite. Rails and clock stand by hand.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { Grant } from '../core/credential.ts'
import { readPrice, writePrice } from '../core/money.ts'
import type { Meter } from '../core/plan.ts'
import type { Clock, Ledger, Pass, Sale } from '../core/ports.ts'
import { ACCOUNT_FRESH_MS } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { verifyBooks } from '../ledger/verify.ts'
import type { Shop } from './fixture.test.ts'
import {
  ask,
  createHandClock,
  createShop,
  narrowed,
  passed,
  plan,
  planned,
} from './fixture.test.ts'
import { SETTLE_MS, WORK_MS } from './gate.ts'

const purse = plan('purse', { balance: readPrice('1 USD') })

function metered(unit: string, most?: string): Sale {
  const measure = { unit: readPrice(unit), ...(most !== undefined && { most: readPrice(most) }) }
  return planned(purse, { measure })
}

/** A request that is let in, and its meter by texts. */
interface Running {
  readonly pass: Pass
  take(price: string, what?: string): Promise<boolean>
  add(price: string, what?: string): Promise<boolean>
  used(): string
}

async function run(shop: Shop, sale: Sale, grant: Grant): Promise<Running> {
  const pass = passed(await shop.gate.admit(ask(sale, { grant })))
  const meter: Meter = pass.meter ?? assert.fail('There is no meter.')
  return {
    pass,
    take: (price, what) => meter.take(readPrice(price), what),
    add: (price, what) => meter.add(readPrice(price), what),
    used: () => writePrice(meter.used),
  }
}

async function end({ pass }: Running, success = true): Promise<void> {
  assert.equal((await pass.finish(success)).kind, 'serve')
  await pass.ended?.()
}

interface World {
  readonly shop: Shop
  readonly ledger: Ledger
  readonly left: (grant: Grant) => Promise<string>
}

const books: Readonly<Record<string, (file: string, clock: Clock) => Promise<Ledger>>> = {
  memory: async (_, clock) => memory({ clock }),
  SQLite: async (file, clock) => await sqlite({ file, clock }),
}

for (const [kind, open] of Object.entries(books))
  describe(`a metered request, over ${kind}`, () => {
    const within = async (work: (world: World) => Promise<void>): Promise<void> => {
      const directory = await mkdtemp(join(tmpdir(), 'metering-'))
      const clock = createHandClock()
      const ledger = await open(join(directory, 'books.sqlite'), clock)
      const shop = createShop(ledger, clock)
      try {
        await work({
          shop,
          ledger,
          async left({ id }) {
            const { balance } = await shop.gate.accounts.left(id)
            return balance ? writePrice(balance) : ''
          },
        })
        assert.deepEqual((await verifyBooks(ledger)).problems, [])
      } finally {
        await ledger.close()
        await rm(directory, { recursive: true })
      }
    }

    test('costs what was counted, to the last decimal, and says for what', () =>
      within(async ({ shop, ledger, left }) => {
        const { grant } = await shop.buy('p', purse)
        const one = await run(shop, metered('0.10 USD', '0.10 USD'), grant)
        assert.equal(await left(grant), '0.9 USD')
        assert.ok(await one.take('0.0000003 USD', 'input'))
        assert.ok(await one.take('0.000000000000000001 USD', 'output'))
        assert.ok(await one.add('0.01 USD', 'input'))
        assert.equal(one.used(), '0.010000300000000001 USD')
        await end(one)
        assert.equal(await left(grant), '0.989999699999999999 USD')
        const rows = await ledger.journal(0, 1_000)
        assert.deepEqual(rows.find(({ type }) => type === 'measured')?.data, {
          input: '0.0100003 USD',
          output: '0.000000000000000001 USD',
        })
        const { entries } = await shop.gate.accounts.statement(grant.id, '', 10)
        assert.deepEqual(
          entries.map(({ type, amount }) => [type, amount]),
          [
            ['bought', '1 USD'],
            ['drawn', '0.010000300000000001 USD'],
          ],
        )
        assert.deepEqual(await ledger.pending(), [])
      }))

    test('costs nothing where the work fails, whatever was counted, or where nothing was', () =>
      within(async ({ shop, left }) => {
        const { grant } = await shop.buy('p', purse)
        const failed = await run(shop, metered('0.01 USD'), grant)
        for (let i = 0; i < 5; i++) assert.ok(await failed.take('0.009 USD'))
        await end(failed, false)
        assert.equal(await left(grant), '1 USD')
        assert.equal(await failed.take('0.01 USD'), false)
        await end(await run(shop, metered('0.01 USD'), grant))
        assert.equal(await left(grant), '1 USD')
      }))

    test('never takes more than the most, nor more than there is', () =>
      within(async ({ shop, left }) => {
        const { grant } = await shop.buy('p', purse)
        const capped = await run(shop, metered('0.02 USD', '0.05 USD'), grant)
        assert.ok(await capped.take('0.03 USD'))
        assert.equal(await capped.take('0.03 USD'), false)
        assert.ok(await capped.take('0.02 USD'))
        assert.equal(await capped.take('0.000001 USD'), false)
        assert.equal(capped.used(), '0.05 USD')
        await end(capped)
        assert.equal(await left(grant), '0.95 USD')

        const afterwards = await run(shop, metered('0.02 USD', '0.05 USD'), grant)
        assert.equal(await afterwards.add('0.30 USD'), false)
        assert.equal(afterwards.used(), '0.05 USD')
        await end(afterwards)
        assert.equal(await left(grant), '0.9 USD')

        const all = await run(shop, metered('0.40 USD'), grant)
        assert.ok(await all.take('0.85 USD'))
        assert.equal(await all.take('0.10 USD'), false)
        assert.equal(await all.add('0.10 USD'), false)
        assert.equal(all.used(), '0.9 USD')
        await end(all)
        assert.equal(await left(grant), '0 USD')
        const entry = await shop.gate.admit(ask(metered('0.40 USD'), { grant }))
        assert.equal(entry.kind === 'refused' && entry.problem.code, 'token-exhausted')
      }))

    test('that was estimated costs what it is found to be, as far as that is covered or not yet charged', () =>
      within(async ({ shop, left }) => {
        const { grant } = await shop.buy('p', purse)
        const correct = async (one: Running, total: string): Promise<boolean | undefined> =>
          one.pass.meter?.correct(readPrice(total))
        const less = await run(shop, metered('0.10 USD'), grant)
        assert.ok(await less.take('0.25 USD'))
        assert.equal(await correct(less, '0.01 USD'), true)
        await end(less)
        assert.equal(await left(grant), '0.99 USD')
        const more = await run(shop, metered('0.10 USD'), grant)
        assert.ok(await more.take('0.01 USD'))
        assert.equal(await correct(more, '0.29 USD'), true)
        await end(more)
        assert.equal(await left(grant), '0.7 USD')
        const charged = await run(shop, metered('0.10 USD'), grant)
        await charged.pass.finish(true)
        for (let i = 0; i < 5; i++) assert.ok(await charged.take('0.05 USD'))
        assert.equal(await correct(charged, '0.01 USD'), true)
        assert.equal(charged.used(), '0.2 USD')
        assert.equal(await correct(charged, '5 USD'), false)
        await charged.pass.ended?.()
        assert.equal(await left(grant), '0 USD')
      }))

    test('of forty at once spends a balance to its end, and no further', () =>
      within(async ({ shop, left }) => {
        const { grant } = await shop.buy('p', purse)
        const running = await Promise.all(
          Array.from({ length: 40 }, () => run(shop, metered('0.01 USD'), grant)),
        )
        const taken = await Promise.all(
          running.map(async (one) => {
            let times = 0
            while (times < 20 && (await one.take('0.005 USD'))) times++
            await end(one)
            return times
          }),
        )
        assert.equal(
          taken.reduce((a, b) => a + b),
          200,
        )
        assert.equal(await left(grant), '0 USD')
      }))

    test('that streams goes on when the buyer tops up, and stops when the token is revoked', () =>
      within(async ({ shop, left }) => {
        const { grant } = await shop.buy('p', purse)
        const stream = await run(shop, metered('0.25 USD'), grant)
        assert.equal((await stream.pass.finish(true)).kind, 'serve')
        for (let i = 0; i < 4; i++) assert.ok(await stream.take('0.25 USD'))
        assert.equal(await stream.take('0.25 USD'), false)
        await shop.buy('q', purse, grant.id)
        assert.ok(await stream.take('0.25 USD'))
        assert.equal(await left(grant), '0.75 USD')
        await shop.gate.accounts.revoke(grant.id)
        shop.clock.pass(ACCOUNT_FRESH_MS)
        assert.equal(await stream.take('0.25 USD'), false)
        await stream.pass.ended?.()
        assert.equal(await left(grant), '0.75 USD')
      }))

    test('of a process that died has paid all but its last portion, which is given back', () =>
      within(async ({ shop, ledger, left }) => {
        const { grant } = await shop.buy('p', purse)
        const stream = await run(shop, metered('0.10 USD'), grant)
        await stream.pass.finish(true)
        for (let i = 0; i < 7; i++) assert.ok(await stream.take('0.05 USD'))
        // Nobody ends it.
        const next = shop.open(ledger)
        shop.clock.pass(WORK_MS + SETTLE_MS + ACCOUNT_FRESH_MS)
        await next.recover()
        assert.equal(await left(grant), '0.7 USD')
        assert.deepEqual(await ledger.pending(), [])
        // The one that was thought dead ends after all: what it measured is charged once.
        await stream.pass.ended?.()
        assert.equal(await left(grant), '0.65 USD')
      }))

    test('stays under what a narrowed token may spend and use', () =>
      within(async ({ shop, left }) => {
        const bought = await shop.buy('p', purse)
        const budget = [{ scope: 'kid', most: readPrice('0.12 USD') }]
        const grant = narrowed(bought, { budget, uses: [{ scope: 'twice', most: 2 }] })
        const one = await run(shop, metered('0.05 USD'), grant)
        assert.ok(await one.take('0.06 USD'))
        assert.equal(await one.take('0.07 USD'), false)
        await end(one)
        await end(await run(shop, metered('0.05 USD'), grant))
        const third = await shop.gate.admit(ask(metered('0.05 USD'), { grant }))
        assert.equal(third.kind === 'refused' && third.problem.code, 'token-exhausted')
        assert.equal(await left(bought.grant), '0.94 USD')
      }))

    test('is for tokens of its plan, and one of another unit is refused', () =>
      within(async ({ shop }) => {
        const other = await shop.buy('p', plan('other', { balance: readPrice('5 USD') }))
        const entry = await shop.gate.admit(ask(metered('0.05 USD'), { grant: other.grant }))
        assert.equal(entry.kind === 'refused' && entry.problem.code, 'token-insufficient')
        const hour = plan('hour')
        const flat = await shop.buy('q', hour)
        const one = await run(shop, { ...metered('0.05 USD'), takes: ['hour'] }, flat.grant)
        assert.ok(await one.take('1000 USD'))
        await end(one)
      }))
  })
