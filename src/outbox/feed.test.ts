import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readPrice } from '../core/money.ts'
import { SCALE } from '../gate/account.ts'
import { ask, createHandClock, createShop, plan, priced, serve } from '../gate/fixture.test.ts'
import { memory } from '../ledger/memory.ts'
import { createCursor } from './cursor.ts'
import { BALANCE_SCALE, createFeed } from './feed.ts'
import { claim, sell } from './fixture.test.ts'

const source = 'https://shop.example'

describe('the books as events', () => {
  test('tell what a gate sold, drew, opened and voided, with amounts in both writings', async () => {
    const { shop, ledger } = world()
    const to = ask(priced('0.01 USD'))
    const sold = { ...to, credential: await shop.pay('p', to) }
    assert.equal(await serve(shop.gate, sold), 'serve')
    const failing = ask(priced('0.01 USD'))
    const entry = await shop.gate.admit({ ...failing, credential: await shop.pay('q', failing) })
    assert.ok(entry.kind === 'pass')
    await entry.finish(false)
    const { grant } = await shop.buy('r', plan('dollar', { balance: readPrice('1 USD') }))
    assert.equal(await serve(shop.gate, ask(priced('0.25 USD'), { grant })), 'serve')
    await shop.gate.accounts.revoke(grant.id)

    const { told, next, more } = await createFeed({ ledger, source }).read(0, 1_000)
    assert.equal(more, false)
    assert.equal(next, (await ledger.journal(0, 1_000)).length)
    assert.deepEqual(
      told.map(({ event }) => event.type),
      [
        'tolsey.sale.posted',
        'tolsey.sale.delivered',
        'tolsey.sale.voided',
        'tolsey.sale.posted',
        'tolsey.account.opened',
        'tolsey.sale.delivered',
        'tolsey.draw.posted',
        'tolsey.account.revoked',
      ],
    )
    const [first] = told
    const [row] = await ledger.journal((first?.sequence ?? 0) - 1, 1)
    assert.ok(first && row)
    assert.deepEqual(first.event, {
      specversion: '1.0',
      id: `${row.sequence}-${row.hash.slice(0, 16)}`,
      source,
      type: 'tolsey.sale.posted',
      subject: 'buyer',
      time: new Date(row.at).toISOString(),
      datacontenttype: 'application/json',
      sequence: `${row.sequence}`.padStart(16, '0'),
      data: {
        key: 'p',
        request: to.request,
        payer: 'buyer',
        rail: 'test',
        network: 'net',
        payee: 'seller',
        route: 'GET /a',
        reference: 'tx-p',
        settledAt: new Date(row.at).toISOString(),
        amount: { value: '0.01', units: '10000', code: 'COIN', scale: 6, asset: 'test:coin' },
      },
    })
    const drawn = told[6]?.event
    assert.equal(drawn?.subject, grant.id)
    assert.deepEqual(drawn?.data['amount'], {
      value: '0.25',
      units: `${25n * 10n ** 16n}`,
      code: 'USD',
      scale: 18,
      asset: 'USD',
    })
    assert.equal(told[2]?.event.data['reason'], 'work-failed')
    // Read in any other way it is the same.
    const one = await createFeed({ ledger, source }).read(row.sequence - 1, 1)
    assert.deepEqual(one.told, [first])
  })

  test('tell nothing of what rails write ahead, of offers, and of the outbox itself', async () => {
    const ledger = memory()
    await sell(ledger, 'k')
    const turn = await createCursor(ledger, { now: Date.now, sleep: async () => {} }, 'hook').take(
      0,
      1,
    )
    assert.ok(turn.kind === 'turn' && (await turn.end(1)))
    const { told } = await createFeed({ ledger, source }).read(0, 100)
    assert.deepEqual(
      told.map(({ event }) => event.type.slice(12)),
      ['posted', 'delivered'],
    )
    assert.doesNotMatch(JSON.stringify(told), /SECRET/)
    assert.match(JSON.stringify(await ledger.journal(0, 100)), /SECRET-TRANSACTION.*outbox/)
  })

  test('say no more than the key of a making that another has followed', async () => {
    const ledger = memory()
    await claim(ledger, 'k', 'first')
    await ledger.void('k', 'work-failed')
    await claim(ledger, 'k', 'second')
    await ledger.void('k', 'internal')
    const { told } = await createFeed({ ledger, source }).read(0, 100)
    const [first, second] = told.map(({ event }) => event.data)
    assert.deepEqual(first, { key: 'k', reason: 'work-failed' })
    assert.equal(second?.['payer'], 'second')
  })

  test('tell what is done to a sale in the words of the sale, and other kinds when they are named', async () => {
    const ledger = memory()
    await sell(ledger, 'k')
    const refund = {
      purpose: 'refund',
      asset: 'test:coin',
      amount: 4_000n,
      legs: [{ debit: 'sales/GET /a', credit: 'world/refunds' }],
      leaseUntilAt: 0,
    }
    await ledger.transfer({ ...refund, key: 'k/refund', note: { kind: 'refund', of: 'k' } })
    await ledger.post('k/refund')
    await ledger.transfer({ ...refund, key: 'm', note: { kind: 'measure', payer: 7 } })
    await ledger.post('m')
    const own = { measure: { posted: 'tolsey.measure.posted' } }
    const { told } = await createFeed({ ledger, source, tellings: own }).read(0, 100)
    const [, , back, measure] = told.map(({ event }) => event)
    assert.equal(back?.type, 'tolsey.refund.posted')
    assert.equal(back?.subject, 'buyer')
    assert.equal(back?.data['of'], 'k')
    assert.deepEqual(back?.data['amount'], {
      value: '0.004',
      units: '4000',
      code: 'COIN',
      scale: 6,
      asset: 'test:coin',
    })
    // Where nobody says what it is counted in, nobody guesses.
    assert.deepEqual(measure?.data, { key: 'm', amount: { units: '4000', asset: 'test:coin' } })
    assert.equal((await createFeed({ ledger, source }).read(0, 100)).told.length, 3)
  })

  test('count balances as the gate does, and want a source that is a URI', () => {
    assert.equal(BALANCE_SCALE, SCALE)
    const ledger = memory()
    assert.doesNotThrow(() => createFeed({ ledger, source: 'shop/one' }))
    for (const wrong of ['', 'a shop', 'shop\n', 'läden'])
      assert.throws(() => createFeed({ ledger, source: wrong }), RangeError)
  })
})

function world(): { shop: ReturnType<typeof createShop>; ledger: ReturnType<typeof memory> } {
  const clock = createHandClock()
  const ledger = memory({ clock })
  return { shop: createShop(ledger, clock), ledger }
}
