import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { canonical } from '../core/json.ts'
import type { Clock, Held, Ledger, Row, Transfer } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'

/** A clock that stands still until it is moved. */
export interface HandClock extends Clock {
  /** Moves the clock on. Sleepers wake when their time has come. */
  advance(ms: number): void
}

/** A store under test: empty, and telling the time by `clock`. */
export interface Subject {
  readonly ledger: Ledger
  readonly clock: HandClock
  /** Closes the ledger and opens the same books again; left out by a store that survives nothing. */
  readonly reopen?: () => Promise<Ledger>
  /** Closes what is open and removes the books. */
  readonly close: () => Promise<void>
}

/** A clock that stands still until it is moved. */
export function createHandClock(startsAt: number = Date.UTC(2030, 0, 1)): HandClock {
  let now = startsAt
  const sleepers = new Set<() => void>()
  return {
    now: () => now,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        const wakesAt = now + ms
        const wake = (): void => {
          if (now < wakesAt && !signal?.aborted) return
          sleepers.delete(wake)
          resolve()
        }
        sleepers.add(wake)
        signal?.addEventListener('abort', wake, { once: true })
        wake()
      }),
    advance(ms) {
      now += ms
      for (const wake of sleepers) wake()
    },
  }
}

/** How long the transfers of this suite are leased. */
const LEASE_MS = 1000

/** More than an unsigned 64-bit integer holds, in 18 decimals still a small sum. */
const LARGE = 2n ** 200n + 1n

/** What every ledger must do. Call it at the top of a test file; it defines tests of `node:test`. */
export function ledgerSuite(name: string, make: () => Promise<Subject>): void {
  const prove = (
    what: string,
    proof: (subject: Subject, context: TestContext) => Promise<void>,
  ): void => {
    void test(what, async (context) => {
      const subject = await make()
      try {
        await proof(subject, context)
      } finally {
        await subject.close()
      }
    })
  }

  void describe(`${name} is a ledger`, { concurrency: 4 }, () => {
    prove('holds money, then posts it', async ({ ledger, clock }) => {
      const sale = charge(clock, { amount: LARGE })
      const { claim } = await made(ledger, sale)
      assert.deepEqual(await standing(ledger, 'sales'), [0n, LARGE])
      assert.deepEqual(await standing(ledger, 'world/chain'), [0n, -LARGE])
      assert.equal(await ledger.post('a'), 'posted')
      assert.deepEqual(await standing(ledger, 'sales'), [LARGE, 0n])
      assert.deepEqual(await standing(ledger, 'world/chain'), [-LARGE, 0n])
      const madeAt = clock.now()
      const held: Held = { ...sale, state: 'posted', posted: LARGE, steps: [], madeAt, claim }
      assert.deepEqual(await ledger.find('a'), held)
    })

    prove('posts less than was held, and releases the rest', async ({ ledger, clock }) => {
      await ledger.transfer(charge(clock, { amount: 10n }))
      assert.equal(
        await ledger.post('a', 3n, { type: 'settled', data: { reference: '0x1' } }),
        'posted',
      )
      assert.deepEqual(await standing(ledger, 'sales'), [3n, 0n])
      const held = await ledger.find('a')
      assert.equal(held?.posted, 3n)
      assert.deepEqual(held.steps, [{ type: 'settled', data: { reference: '0x1' } }])
    })

    prove('never posts more than was held', async ({ ledger, clock }) => {
      await ledger.transfer(charge(clock, { amount: 10n }))
      await assert.rejects(ledger.post('a', 11n), { name: 'Bug' })
      await assert.rejects(ledger.post('a', -1n), { name: 'Bug' })
      assert.deepEqual(await standing(ledger, 'sales'), [0n, 10n])
      assert.equal(await ledger.post('a', 10n), 'posted')
    })

    prove('releases what is voided, once', async ({ ledger, clock }) => {
      await ledger.transfer(charge(clock))
      assert.equal(await ledger.void('a', 'settlement-failed'), 'voided')
      assert.equal(await ledger.void('a', 'settlement-failed'), 'replayed')
      assert.equal(await ledger.post('a'), 'voided')
      assert.deepEqual(await ledger.balances(), [])
      assert.equal((await ledger.find('a'))?.state, 'voided')
    })

    prove('fences off a maker whose claim is another’s by now', async ({ ledger, clock }) => {
      const { claim: early } = await made(ledger, charge(clock))
      clock.advance(LEASE_MS)
      const { claim: late } = await made(ledger, charge(clock))
      await assert.rejects(ledger.step('a', { type: 'prepared', data: {} }, early), {
        code: 'payment-in-flight',
      })
      assert.equal(await ledger.post('a', undefined, undefined, early), 'lost')
      assert.equal(await ledger.void('a', 'internal', early), 'lost')
      assert.deepEqual((await ledger.find('a'))?.steps, [])
      await ledger.step('a', { type: 'prepared', data: {} }, late)
      assert.equal(await ledger.post('a', undefined, undefined, late), 'posted')
    })

    prove(
      'lets a claim expire only after its lease, unprepared, and by its own number',
      async (s) => {
        const { ledger, clock } = s
        const { claim } = await made(ledger, charge(clock))
        assert.equal(await ledger.expire('a', claim), false)
        clock.advance(LEASE_MS)
        assert.equal(await ledger.expire('a', claim + 1), false)
        assert.equal(await ledger.expire('b', claim), false)
        assert.equal(await ledger.expire('a', claim), true)
        assert.equal(await ledger.expire('a', claim), false)
        const again = await made(ledger, charge(clock))
        await ledger.step('a', { type: 'prepared', data: {} }, again.claim)
        clock.advance(LEASE_MS)
        assert.equal(await ledger.expire('a', again.claim), false)
        assert.equal((await ledger.find('a'))?.state, 'pending')
      },
    )

    prove('neither posts nor voids what is posted or absent', async ({ ledger, clock }) => {
      await ledger.transfer(charge(clock))
      await ledger.post('a', 4n)
      const rows = await ledger.journal(0, 10)
      assert.equal(await ledger.post('a', 5n, { type: 'settled', data: {} }), 'replayed')
      assert.equal(await ledger.void('a', 'internal'), 'posted')
      assert.equal(await ledger.post('b'), 'absent')
      assert.equal(await ledger.void('b', 'internal'), 'absent')
      assert.equal(await ledger.find('b'), undefined)
      assert.deepEqual(await ledger.journal(0, 10), rows)
    })

    prove('tells the same claim from a foreign one', async ({ ledger, clock }) => {
      await ledger.transfer(charge(clock))
      const held = await ledger.find('a')
      const replay = charge(clock, { note: { other: 1 }, leaseUntilAt: clock.now() + 9 })
      assert.deepEqual(await ledger.transfer(replay), { outcome: 'replayed', held })
      const foreign: readonly Partial<Transfer>[] = [
        { purpose: 'GET /b' },
        { amount: 11n },
        { asset: 'eur' },
        { legs: [{ debit: 'world/chain', credit: 'others' }] },
        { legs: [...replay.legs, { debit: 'world/chain', credit: 'fees' }] },
      ]
      for (const other of foreign)
        assert.deepEqual(await ledger.transfer(charge(clock, other)), { outcome: 'foreign', held })
      await ledger.post('a')
      assert.equal((await ledger.transfer(charge(clock))).outcome, 'replayed')
      assert.equal((await ledger.transfer(charge(clock, { purpose: 'GET /b' }))).outcome, 'foreign')
    })

    prove('lets one of many claims on a key through', async ({ ledger, clock }) => {
      const claims = Array.from({ length: 50 }, async () => ledger.transfer(charge(clock)))
      const outcomes = (await Promise.all(claims)).map(({ outcome }) => outcome)
      assert.equal(outcomes.filter((one) => one === 'made').length, 1)
      assert.equal(outcomes.filter((one) => one === 'replayed').length, 49)
    })

    prove('lets a voided key be made again, for anything', async ({ ledger, clock }) => {
      await ledger.transfer(charge(clock))
      await ledger.step('a', { type: 'broadcast', data: {} })
      await ledger.void('a', 'settlement-failed')
      clock.advance(5)
      const again = charge(clock, { purpose: 'GET /b', amount: 7n })
      const { claim } = await made(ledger, again)
      assert.deepEqual(await ledger.find('a'), {
        ...again,
        state: 'pending',
        posted: 0n,
        steps: [],
        madeAt: clock.now(),
        claim,
      })
      assert.deepEqual(await standing(ledger, 'sales'), [0n, 7n])
    })

    prove(
      'frees a claim whose lease ran out with nothing written ahead',
      async ({ ledger, clock }) => {
        await ledger.transfer(charge(clock))
        clock.advance(LEASE_MS - 1)
        assert.equal((await ledger.transfer(charge(clock))).outcome, 'replayed')
        clock.advance(1)
        assert.equal((await ledger.transfer(charge(clock, { purpose: 'GET /b' }))).outcome, 'made')
        assert.equal((await ledger.transfer(charge(clock))).outcome, 'foreign')
        const rows = await ledger.journal(0, 10)
        assert.deepEqual(
          rows.map(({ type, data }) => [type, data['reason']]),
          [
            ['made', undefined],
            ['voided', 'lease-expired'],
            ['made', undefined],
          ],
        )
      },
    )

    prove('never frees a claim with a step, however old', async ({ ledger, clock }) => {
      await ledger.transfer(charge(clock))
      await ledger.step('a', { type: 'prepared', data: { bytes: '0xff' } })
      clock.advance(1000 * LEASE_MS)
      assert.equal((await ledger.transfer(charge(clock))).outcome, 'replayed')
      assert.equal((await ledger.transfer(charge(clock, { purpose: 'GET /b' }))).outcome, 'foreign')
      assert.equal(await ledger.post('a'), 'posted')
    })

    prove('appends steps to the pending and the posted only', async ({ ledger, clock }) => {
      const lost = (error: unknown): boolean => error instanceof PaymentError && !error.retryable
      await assert.rejects(ledger.step('a', { type: 'prepared', data: {} }), lost)
      await ledger.transfer(charge(clock))
      await ledger.step('a', {
        type: 'prepared',
        data: { bytes: '0xff', deep: [{ b: 1, a: null }] },
      })
      await ledger.post('a')
      await ledger.step('a', { type: 'delivered', data: {} })
      assert.deepEqual((await ledger.find('a'))?.steps, [
        { type: 'prepared', data: { bytes: '0xff', deep: [{ b: 1, a: null }] } },
        { type: 'delivered', data: {} },
      ])
      await ledger.transfer(charge(clock, { key: 'b' }))
      await ledger.void('b', 'internal')
      await assert.rejects(ledger.step('b', { type: 'prepared', data: {} }), lost)
    })

    prove('lets no account but the world be overdrawn', async ({ ledger, clock }) => {
      const spend = (key: string, amount: bigint): Transfer =>
        charge(clock, { key, amount, legs: [{ debit: 'purse', credit: 'sales' }] })
      const short = { outcome: 'insufficient', account: 'purse' }
      assert.deepEqual(await ledger.transfer(spend('a', 1n)), short)
      await ledger.transfer(
        charge(clock, { key: 'in', legs: [{ debit: 'world/x', credit: 'purse' }] }),
      )
      // What is only on its way in cannot be spent.
      assert.deepEqual(await ledger.transfer(spend('a', 1n)), short)
      await ledger.post('in')
      assert.deepEqual(await ledger.transfer(spend('a', 11n)), short)
      assert.equal((await ledger.transfer(spend('a', 6n))).outcome, 'made')
      assert.deepEqual(await ledger.transfer(spend('b', 5n)), short)
      assert.equal((await ledger.transfer(spend('b', 4n))).outcome, 'made')
      await ledger.void('a', 'internal')
      assert.equal((await ledger.transfer(spend('c', 6n))).outcome, 'made')
      assert.equal((await ledger.transfer(spend('d', 0n))).outcome, 'made')
    })

    prove('keeps ceilings, what is pending counted', async ({ ledger, clock }) => {
      const spend = (key: string, amount: bigint, ceiling: bigint): Transfer =>
        charge(clock, { key, amount, legs: [{ debit: 'world/x', credit: 'day', ceiling }] })
      const above = { outcome: 'insufficient', account: 'day' }
      assert.deepEqual(await ledger.transfer(spend('a', 11n, 10n)), above)
      assert.equal((await ledger.transfer(spend('a', 6n, 10n))).outcome, 'made')
      assert.deepEqual(await ledger.transfer(spend('b', 5n, 10n)), above)
      assert.equal((await ledger.transfer(spend('b', 4n, 10n))).outcome, 'made')
      await ledger.post('a', 1n)
      assert.equal((await ledger.transfer(spend('c', 5n, 10n))).outcome, 'made')
      assert.deepEqual(await ledger.transfer(spend('d', 1n, 10n)), above)
      assert.equal((await ledger.transfer(spend('d', 1n, 11n))).outcome, 'made')
      assert.equal((await ledger.transfer(spend('d', 1n, 5n))).outcome, 'replayed')
    })

    prove('moves all legs or none', async ({ ledger, clock }) => {
      const legs = [
        { debit: 'world/x', credit: 'a-day', ceiling: 100n },
        { debit: 'world/x', credit: 'a-host', ceiling: 9n },
      ]
      assert.deepEqual(await ledger.transfer(charge(clock, { legs })), {
        outcome: 'insufficient',
        account: 'a-host',
      })
      assert.deepEqual(await ledger.balances(), [])
      assert.equal(await ledger.find('a'), undefined)
      assert.deepEqual(await ledger.journal(0, 10), [])
      await ledger.transfer(charge(clock, { legs, amount: 9n }))
      await ledger.post('a', 8n)
      assert.deepEqual(await standing(ledger, 'world/x'), [-16n, 0n])
    })

    prove('counts every leg of one transfer', async ({ ledger, clock }) => {
      const twice = [
        { debit: 'world/x', credit: 'day', ceiling: 19n },
        { debit: 'world/y', credit: 'day', ceiling: 19n },
      ]
      assert.equal((await ledger.transfer(charge(clock, { legs: twice }))).outcome, 'insufficient')
      assert.equal(
        (await ledger.transfer(charge(clock, { legs: twice, amount: 9n }))).outcome,
        'made',
      )
      const through = [
        { debit: 'world/x', credit: 'purse' },
        { debit: 'purse', credit: 'sales' },
      ]
      assert.deepEqual(await ledger.transfer(charge(clock, { key: 'b', legs: through })), {
        outcome: 'insufficient',
        account: 'purse',
      })
    })

    prove('keeps assets apart', async ({ ledger, clock }) => {
      await ledger.transfer(charge(clock, { legs: [{ debit: 'world/x', credit: 'purse' }] }))
      await ledger.post('a')
      const spend = charge(clock, { key: 'b', legs: [{ debit: 'purse', credit: 'sales' }] })
      assert.equal((await ledger.transfer({ ...spend, asset: 'eur' })).outcome, 'insufficient')
      assert.equal((await ledger.transfer(spend)).outcome, 'made')
    })

    prove('lists the pending, oldest first', async ({ ledger, clock }) => {
      for (const key of ['c', 'a', 'b', 'd']) await ledger.transfer(charge(clock, { key }))
      await ledger.post('a')
      await ledger.step('c', { type: 'prepared', data: {} })
      await ledger.void('c', 'internal')
      await ledger.transfer(charge(clock, { key: 'c' }))
      const pending = await ledger.pending()
      assert.deepEqual(
        pending.map(({ key }) => key),
        ['b', 'd', 'c'],
      )
      assert.deepEqual(pending[2], await ledger.find('c'))
    })

    prove('finds transfers by how their keys begin, in order, in pieces', async (subject) => {
      const { ledger, clock } = subject
      for (const key of ['draw/b/2', 'draw/a/2', 'draw/a/10', 'draw/a', 'draw/aa/1', 'other'])
        await ledger.transfer(charge(clock, { key }))
      await ledger.void('draw/a/2', 'work-failed')
      const keys = async (prefix: string, after = '', limit = 10): Promise<readonly string[]> =>
        (await ledger.under(prefix, after, limit)).map(({ key, state }) => `${key} ${state}`)
      assert.deepEqual(await keys('draw/a/'), ['draw/a/10 pending', 'draw/a/2 voided'])
      assert.deepEqual(await keys('draw/a/', 'draw/a/10'), ['draw/a/2 voided'])
      assert.deepEqual(await keys('draw/a/', '', 1), ['draw/a/10 pending'])
      assert.deepEqual(await keys('draw/c'), [])
      assert.equal((await keys('d')).length, 5)
    })

    prove('tells the balances of one account', async ({ ledger, clock }) => {
      await ledger.transfer(charge(clock))
      const legs = [{ debit: 'world/chain', credit: 'other' }]
      await ledger.transfer(charge(clock, { key: 'b', asset: 'eur', amount: 3n, legs }))
      const other = { account: 'other', asset: 'eur', posted: 0n, pending: 3n }
      assert.deepEqual(await ledger.balances('other'), [other])
      assert.deepEqual(await ledger.balances('nobody'), [])
      assert.equal((await ledger.balances()).length, 4)
    })

    prove('chains its journal from 64 zeros', async ({ ledger, clock }) => {
      await ledger.transfer(charge(clock, { note: { z: 1, a: 'é', 10: [true], 9: null } }))
      clock.advance(3)
      await ledger.post('a', 4n, { type: 'settled', data: { b: 2, a: 1 } })
      await ledger.transfer(charge(clock, { key: 'b', legs: [leg({ ceiling: 99n })] }))
      await ledger.void('b', 'internal')
      const rows = await ledger.journal(0, 10)
      assert.deepEqual(
        rows.map(({ sequence, key, type }) => [sequence, key, type]),
        [
          [1, 'a', 'made'],
          [2, 'a', 'posted'],
          [3, 'a', 'settled'],
          [4, 'b', 'made'],
          [5, 'b', 'voided'],
        ],
      )
      assert.deepEqual(rows[1]?.data, { amount: '4' })
      assert.deepEqual(rows[3]?.data['legs'], [
        { debit: 'world/chain', credit: 'sales', ceiling: '99' },
      ])
      rows.reduce(checkHash, '0'.repeat(64))
      assert.deepEqual(await ledger.journal(2, 2), rows.slice(2, 4))
      assert.deepEqual(await ledger.journal(5, 2), [])
    })

    prove('gives away nothing that can be changed', async ({ ledger, clock }) => {
      const note = { list: ['a'] }
      await ledger.transfer(charge(clock, { note }))
      note.list.push('b')
      const held = await ledger.find('a')
      assert.deepEqual(held?.note, { list: ['a'] })
    })

    prove('takes what cannot be for a bug, and harms nobody else', async ({ ledger, clock }) => {
      const wrong: readonly Partial<Transfer>[] = [
        { key: '' },
        { key: 'a\nb' },
        { key: '\ud800' },
        { amount: -1n },
        { amount: 2n ** 256n },
        { legs: [] },
        { legs: [{ debit: 'sales', credit: 'sales' }] },
        { leaseUntilAt: Number.NaN },
      ]
      const honest = ledger.transfer(charge(clock))
      for (const one of wrong)
        await assert.rejects(ledger.transfer(charge(clock, one)), { name: 'Bug' })
      await honest
      await assert.rejects(ledger.step('a', { type: 'posted', data: {} }), { name: 'Bug' })
      assert.equal((await ledger.journal(0, 10)).length, 1)
    })

    prove('is closed for good', async ({ ledger, clock }) => {
      await ledger.transfer(charge(clock))
      await ledger.close()
      const closed = { name: 'PaymentError', code: 'store-unavailable' }
      await assert.rejects(ledger.transfer(charge(clock, { key: 'b' })), closed)
      await assert.rejects(ledger.find('a'), closed)
      await ledger.close()
    })

    prove('has the same books after it was opened again', async ({ ledger, clock, reopen }, t) => {
      if (!reopen) return t.skip('This store survives nothing.')
      await ledger.transfer(charge(clock, { amount: LARGE }))
      await ledger.step('a', { type: 'prepared', data: {} })
      await ledger.post('a', LARGE - 1n)
      await ledger.transfer(charge(clock, { key: 'b' }))
      const read = (of: Ledger): Promise<unknown> =>
        Promise.all([of.find('a'), of.pending(), of.balances(), of.journal(0, 10)])
      const before = await read(ledger)
      const again = await reopen()
      assert.deepEqual(await read(again), before)
      assert.equal((await again.transfer(charge(clock, { key: 'b' }))).outcome, 'replayed')
    })
  })
}

function charge(clock: Clock, rest: Partial<Transfer> = {}): Transfer {
  const leaseUntilAt = clock.now() + LEASE_MS
  const base = { key: 'a', purpose: 'GET /a', asset: 'usd', amount: 10n, legs: [leg()] }
  return { ...base, leaseUntilAt, note: { request: 'r1' }, ...rest }
}

function leg(rest: { readonly ceiling?: bigint } = {}): Transfer['legs'][number] {
  return { debit: 'world/chain', credit: 'sales', ...rest }
}

/** What is posted and pending on an account, in all assets of this suite. */
async function made(ledger: Ledger, given: Transfer): Promise<{ readonly claim: number }> {
  const claim = await ledger.transfer(given)
  assert.ok(claim.outcome === 'made')
  return claim
}

async function standing(ledger: Ledger, account: string): Promise<readonly [bigint, bigint]> {
  const balances = (await ledger.balances()).filter((one) => one.account === account)
  assert.equal(balances.length, 1)
  return [balances[0]?.posted ?? 0n, balances[0]?.pending ?? 0n]
}

function checkHash(before: string, { hash, ...row }: Row): string {
  const text = before + canonical(row)
  assert.equal(hash, createHash('sha256').update(text).digest('hex'))
  return hash
}
