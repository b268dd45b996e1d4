// Refunds whose blocks vanish: on a real chain that is reorganised, and over a rail that says what it is told to.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { createBuyer, createSender } from '../../test/interop/peers.ts'
import type { Keys } from '../../test/interop/peers.ts'
import { readEntries } from '../books/reader.ts'
import { systemClock } from '../core/clock.ts'
import type { Event } from '../core/event.ts'
import { createMac } from '../core/mac.ts'
import { readPrice } from '../core/money.ts'
import { createOffers } from '../core/offers.ts'
import type { Ask, Gate, Ledger, Settlement } from '../core/ports.ts'
import { ask, createHandClock, createShop, passed, priced } from '../gate/fixture.test.ts'
import { createGate } from '../gate/gate.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { evm } from '../rails/evm/rail.ts'
import { fromPrivateKey } from '../rails/evm/signer.ts'
import { wallet } from '../rails/evm/wallet.ts'
import { startChain } from '../sandbox/chain.ts'
import type { Chain } from '../sandbox/chain.ts'
import { createRefundLooks, REFUND_LOOKS_MS } from './refunds.ts'

describe('a refund over a rail that says what it is told to', () => {
  const clock = createHandClock()
  let says: Settlement
  let calls = 0

  async function shop() {
    const ledger = memory({ clock })
    const refund = (): Promise<Settlement> => {
      calls++
      return Promise.resolve(says)
    }
    says = { state: 'settled', reference: 'first', payer: 'buyer', settledAt: clock.now() }
    const { gate, pay } = createShop(ledger, clock, { refund })
    const to = ask(priced('0.01 USD', { account: 'sales/GET /a' }))
    const pass = passed(await gate.admit({ ...to, credential: await pay('one', to) }))
    await pass.finish(true)
    pass.delivered()
    await gate.refund({ key: 'one', idempotencyKey: 'a' })
    const events: Event[] = []
    const rail = { name: 'test', network: 'net', refund }
    const looks = createRefundLooks({
      ...{ ledger, clock, rails: [rail], observe: (event: Event) => void events.push(event) },
    })
    calls = 0
    return { ledger, gate, looks, events }
  }

  const key = 'one/refund/a'

  test('is looked at again, and again, and then no more', async () => {
    const { ledger, looks, events } = await shop()
    await looks.look()
    assert.equal(calls, 0)
    for (const [i, at] of REFUND_LOOKS_MS.entries()) {
      clock.pass(at - (REFUND_LOOKS_MS[i - 1] ?? 0))
      await looks.look()
      await looks.look()
      assert.equal(calls, i + 1)
    }
    clock.pass(3_600_000)
    await looks.look()
    assert.equal(calls, REFUND_LOOKS_MS.length)
    assert.deepEqual(events, [])
    assert.equal((await ledger.find(key))?.state, 'posted')
  })

  test('that is somewhere else now is told where', async () => {
    const { ledger, gate, looks } = await shop()
    says = { state: 'settled', reference: 'second', payer: 'buyer', settledAt: clock.now() }
    clock.pass(15_000)
    await looks.look()
    assert.equal((await ledger.find(key))?.steps.at(-1)?.data['reference'], 'second')
    const again = await gate.refund({ key: 'one', idempotencyKey: 'a' })
    assert.equal(again.kind === 'refunded' && again.reference, 'second')
  })

  test('that can never be there any more is booked back, told, and may be ordered anew', async () => {
    const { ledger, gate, looks, events } = await shop()
    const problem = { code: 'settlement-failed', detail: 'gone' } as const
    says = { state: 'failed', problem }
    clock.pass(15_000)
    await looks.look()
    assert.deepEqual(
      events.map(({ type }) => type),
      ['undone'],
    )
    const [sales] = await ledger.balances('sales/GET /a')
    assert.equal(sales?.posted, 10_000n)
    const entries: string[] = []
    for await (const { kind, amount } of readEntries(ledger))
      entries.push(`${kind} ${amount.units}`)
    assert.deepEqual(entries, ['sale 10000', 'refund -10000', 'reversal 10000'])
    says = { state: 'settled', reference: 'third', payer: 'buyer', settledAt: clock.now() }
    const anew = await gate.refund({ key: 'one', idempotencyKey: 'b' })
    assert.equal(anew.kind, 'refunded')
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
    clock.pass(15_000)
    calls = 0
    await looks.look()
    assert.equal(calls, 1, 'what was booked back is not looked at')
  })
})

describe('a refund on a chain that is reorganised', () => {
  let aheadMs = 0
  const clock = { ...systemClock, now: () => systemClock.now() + aheadMs }
  let chain: Chain
  let buyer: Keys
  let gate: Gate
  let ledger: Ledger
  let rail: ReturnType<typeof evm>
  before(async () => {
    chain = await startChain()
    const [owner, sender] = [await createSender(chain), await createSender(chain)]
    buyer = await createBuyer(chain, 1_000_000n)
    const { network, rpc } = chain
    rail = evm({
      ...{ network, rpc, payTo: owner.address, signer: sender.privateKey },
      refundSigner: owner.privateKey,
    })
    await rail.open()
    ledger = memory()
    const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
    gate = createGate({ rails: [rail], ledger, offers })
  })
  after(async () => {
    await gate?.close()
    await rail?.close()
    await chain?.stop()
  })

  test('is sent again, the same bytes, and reaches its payer once', async () => {
    const where = { realm: 'shop', method: 'GET', authority: 'api.test', path: '/a', query: '' }
    const to: Ask = {
      resource: { ...where, url: 'http://api.test/a' },
      sale: {
        ...{ prices: [readPrice('0.25 USD')], settle: 'before-response', workMs: 5_000 },
        account: 'sales/GET /a',
      },
      request: 'r',
    }
    const [offer] = (await gate.challenge(to)).challenge?.offers ?? []
    assert.ok(offer)
    const payer = wallet({ signer: fromPrivateKey(buyer.privateKey) })
    const proof = await payer.pay(offer as never, 60_000)
    const pass = passed(await gate.admit({ ...to, credential: { offer, proof } }))
    await pass.finish(true)
    await chain.mine(2)
    const done = await gate.refund({ key: pass.key, idempotencyKey: 'a' })
    assert.equal(done.kind, 'refunded')
    assert.equal(await chain.balanceOf(buyer.address), 1_000_000n)
    await chain.request('anvil_reorg', [1, []])
    assert.equal(await chain.balanceOf(buyer.address), 750_000n)
    const looks = createRefundLooks({ ledger, rails: [rail], clock })
    aheadMs += 20_000
    await looks.look()
    assert.equal(await chain.balanceOf(buyer.address), 1_000_000n)
    aheadMs += 60_000
    await looks.look()
    assert.equal(await chain.balanceOf(buyer.address), 1_000_000n)
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  })
})
