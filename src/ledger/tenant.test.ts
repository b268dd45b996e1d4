import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import { clear } from '../books/clear.ts'
import { createInbox } from '../core/inbox.ts'
import { canonical } from '../core/json.ts'
import type { Ledger, Row, Transfer } from '../core/ports.ts'
import type { CloudEvent } from '../outbox/cloud-event.ts'
import { createCursor } from '../outbox/cursor.ts'
import { createReconciler } from '../reconcile/reconciler.ts'
import { createHandClock, ledgerSuite } from '../testing/ledger-suite.ts'
import { memory } from './memory.ts'
import { tenantLedger } from './tenant.ts'

// A tenant's books are books, whatever others do beside them.
for (const name of ['acme', undefined])
  ledgerSuite(`books of ${name ?? 'no tenant'} among others`, async () => {
    const clock = createHandClock()
    const shared = memory({ clock })
    const mine = tenantLedger(shared, name)
    const journal: Ledger['journal'] = async (after, limit) => {
      const rows = chained(await mine.journal(0, after + limit))
      return rows.slice(after)
    }
    return { ledger: { ...mine, journal }, clock, close: () => shared.close() }
  })

/** Hashes are made of what the shared books hold: these are made of what the tenant sees. */
function chained(rows: readonly Row[]): readonly Row[] {
  let before = '0'.repeat(64)
  return rows.map(({ sequence, at, key, type, data }) => {
    const row = { sequence, at, key, type, data }
    before = createHash('sha256').update(before).update(canonical(row)).digest('hex')
    return { ...row, hash: before }
  })
}

function transfer(key: string, change: Partial<Transfer> = {}): Transfer {
  return {
    ...{ key, purpose: 'GET /a', asset: 'coin', amount: 5n, note: { kind: 'sale' } },
    legs: [{ debit: 'world/evm/net/payee', credit: 'sales/GET /a' }],
    leaseUntilAt: Date.now() + 60_000,
    ...change,
  }
}

/** Two tenants, and whoever is none, in one ledger. */
function shop() {
  const shared = memory()
  const [acme, bolt] = [tenantLedger(shared, 'acme'), tenantLedger(shared, 'bolt')]
  return { shared, acme, bolt, main: tenantLedger(shared) }
}

describe('the books of a tenant', () => {
  test('hold what it has booked under its own names, and nobody else sees it', async () => {
    const { shared, acme, bolt, main } = shop()
    assert.equal((await acme.transfer(transfer('k'))).outcome, 'made')
    await acme.step('k', { type: 'prepared', data: { a: 1 } })
    assert.equal(await acme.post('k'), 'posted')
    const held = await acme.find('k')
    assert.equal(held?.purpose, 'GET /a')
    assert.deepEqual(held?.legs, [{ debit: 'world/evm/net/payee', credit: 'sales/GET /a' }])
    assert.equal(held?.steps.length, 1)
    assert.deepEqual(
      (await acme.balances()).map(({ account, posted }) => `${account}: ${posted}`).toSorted(),
      ['sales/GET /a: 5', 'world/evm/net/payee: -5'],
    )
    assert.equal((await acme.balances('sales/GET /a'))[0]?.posted, 5n)
    for (const other of [bolt, main]) {
      assert.equal(await other.find('k'), undefined)
      assert.deepEqual(await other.balances(), [])
      assert.deepEqual(await other.balances('sales/GET /a'), [])
      assert.deepEqual(await other.pending(), [])
      assert.deepEqual(await other.under('', '', 10), [])
      const rows = await other.journal(0, 100)
      assert.doesNotMatch(JSON.stringify(rows), /"k"|sale|payee|GET/)
      assert.deepEqual(
        rows.map(({ sequence }) => sequence),
        [1, 2, 3],
      )
    }
    const [made] = await acme.journal(0, 1)
    assert.equal(made?.data['purpose'], 'GET /a')
    assert.match(JSON.stringify(made?.data), /"credit":"sales\/GET \/a"/)
    assert.deepEqual((await shared.balances()).map(({ account }) => account).toSorted(), [
      'tenants/acme/sales/GET /a',
      'world/tenants/acme/evm/net/payee',
    ])
  })

  test('are moved by nobody else: not posted, voided, expired or written to', async () => {
    const { acme, bolt, main } = shop()
    const claim = await acme.transfer(transfer('k', { leaseUntilAt: 0 }))
    assert.ok(claim.outcome === 'made')
    for (const other of [bolt, main]) {
      assert.equal(await other.post('k'), 'absent')
      assert.equal(await other.void('k', 'internal'), 'absent')
      assert.equal(await other.expire('k', claim.claim), false)
      await assert.rejects(other.step('k', { type: 'x', data: {} }), { code: 'payment-in-flight' })
    }
    assert.equal((await acme.find('k'))?.state, 'pending')
    assert.equal(await acme.expire('k', claim.claim), true)
  })

  test('claim a spend once among all of them, and do not say who has it', async () => {
    const { acme, bolt, main } = shop()
    assert.equal((await acme.transfer(transfer('spend'))).outcome, 'made')
    for (const other of [bolt, main]) {
      // The very same transfer, by its own names.
      const claim = await other.transfer(transfer('spend'))
      assert.ok(claim.outcome === 'foreign')
      assert.doesNotMatch(
        JSON.stringify([claim.held.purpose, claim.held.note, claim.held.steps]),
        /GET|sale/,
      )
      assert.deepEqual(claim.held.legs, [])
    }
    assert.equal((await acme.transfer(transfer('spend'))).outcome, 'replayed')
  })

  test('have funds of their own: an account of the same name elsewhere pays nothing here', async () => {
    const { acme, bolt } = shop()
    const deposit = { legs: [{ debit: 'world/plans/p', credit: 'tokens/t' }] }
    await acme.transfer(transfer('in', deposit))
    await acme.post('in')
    const draw = { legs: [{ debit: 'tokens/t', credit: 'drawn/p' }] }
    assert.deepEqual(await bolt.transfer(transfer('out', draw)), {
      outcome: 'insufficient',
      account: 'tokens/t',
    })
    assert.equal((await acme.transfer(transfer('out', draw))).outcome, 'made')
  })

  test('are listed whole, however many others stand between', async () => {
    const { acme, bolt } = shop()
    for (let i = 0; i < 40; i++) {
      const key = `account/${String(i).padStart(3, '0')}`
      await (i % 10 === 0 ? acme : bolt).transfer(transfer(key))
    }
    const first = await acme.under('account/', '', 3)
    assert.deepEqual(
      first.map(({ key }) => key),
      ['account/000', 'account/010', 'account/020'],
    )
    const rest = await acme.under('account/', 'account/020', 3)
    assert.deepEqual(
      rest.map(({ key }) => key),
      ['account/030'],
    )
    assert.equal((await acme.pending()).length, 4)
    assert.equal((await acme.pending('GET /a')).length, 4)
    assert.equal((await acme.pending('GET /b')).length, 0)
  })

  test('a key that was voided may be claimed by another', async () => {
    const { acme, bolt } = shop()
    await acme.transfer(transfer('k'))
    assert.equal(await acme.void('k', 'internal'), 'voided')
    assert.equal((await bolt.transfer(transfer('k'))).outcome, 'made')
    assert.equal(await acme.find('k'), undefined)
    assert.equal(await bolt.post('k'), 'posted')
  })

  test('have a housekeeping of their own: nobody’s sink, round or order stands in the way of another’s', async () => {
    const { acme, bolt, main } = shop()
    const clock = createHandClock()
    for (const ledger of [main, acme, bolt]) {
      const cursor = createCursor(ledger, clock, 'webhook-1')
      const turn = await cursor.take(0, 5)
      assert.ok(turn.kind === 'turn')
      assert.equal(await turn.end(5), true)
      assert.equal(await cursor.read(), 5)
      const event = { id: 'e', type: 't' } as CloudEvent
      await cursor.bury({ sequence: 6, at: 0, event }, 'no')
      assert.deepEqual(
        (await cursor.buried(0, 10)).map(({ sequence }) => sequence),
        [6],
      )
      const holdings = async () => ({
        height: 1,
        list: [],
        includes: async () => new Set<string>(),
      })
      const rails = [{ name: 'evm', network: 'net', holdings }]
      const [round] = await createReconciler({ ledger, clock, rails }).round()
      assert.equal(round?.state, 'looked')
      assert.equal((await ledger.find('reconcile/evm/net/1'))?.key, 'reconcile/evm/net/1')
      const into = [{ debit: 'world/evm/net/payee', credit: 'suspense/evm' }]
      const key = `in ${String(ledger === acme)} ${String(ledger === bolt)}`
      await ledger.transfer(transfer(key, { legs: into }))
      await ledger.post(key)
      const order = {
        from: 'suspense/evm',
        to: 'income/found',
        asset: 'coin',
        reason: 'r',
        by: 'b',
      }
      const booked = await clear({ ledger, clock }, { ...order, idempotencyKey: '1' })
      assert.deepEqual(booked, { kind: 'booked', key: 'booking/1', amount: 5n })
      const inbox = createInbox(ledger, clock, 'stripe/live')
      assert.equal(await inbox.take('evt_1', async () => undefined), 'done')
      assert.equal(await inbox.take('evt_1', async () => undefined), 'repeated')
      assert.equal((await ledger.transfer(transfer('named/0/0'))).outcome, 'made')
      const keys = (await ledger.journal(0, 1_000)).map((row) => row.key)
      assert.ok(keys.includes('booking/1') && !keys.some((one) => one.startsWith('tenants/')))
    }
  })
})
