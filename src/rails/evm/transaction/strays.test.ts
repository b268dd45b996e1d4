// Money that came late, short or in excess: it stands in the books, where the operator sees it, and goes back on order.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { readAttention } from '../../../admin/attention.ts'
import { PaymentError } from '../../../core/problem.ts'
import { createReconciler } from '../../../reconcile/reconciler.ts'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import type { World } from './fixture.test.ts'
import { NETWORK, PRICE, account, held, holds, openWorld, said } from './fixture.test.ts'

let chain: Chain
let w: World
const seller = account()
before(async () => {
  chain = await startChain({ slotsInAnEpoch: 2 })
  await chain.fundEther(seller.address, 10n ** 19n)
  w = await openWorld(
    () => ({ payTo: seller.address, refundSigner: seller, compare: true }),
    chain,
    seller,
  )
})
after(async () => {
  await w?.stop()
  await chain?.stop()
})

/** Where what came and bought nothing stands. */
const suspense = (finding: string): string =>
  `suspense/evm-transaction/${NETWORK}/${seller.address}/${finding}`

async function refund(key: string): Promise<bigint> {
  const outcome = await w.gate.refund({ key, idempotencyKey: 'back' })
  assert.equal(outcome.kind, 'refunded')
  const again = await w.gate.refund({ key, idempotencyKey: 'again' })
  assert(again.kind === 'denied')
  assert.equal(again.code, 'amount-exceeded')
  assert(outcome.kind === 'refunded')
  return outcome.amount.amount
}

describe('money that buys nothing', () => {
  test('one unit less is refused and booked, and goes back to its payer, once', async () => {
    const from = await w.payer(PRICE)
    const offer = await w.offer()
    const transaction = await w.pay(from, PRICE - 1n)
    const proof = { transaction, signature: await w.sign(from, offer, transaction) }
    const shown = await w.show(offer, { ...proof })
    assert.equal(said(shown), 'amount-mismatch amount-short')
    assert.equal(shown.problem?.moved, 'yes')
    assert.equal(shown.challenged, true)
    const key = `${NETWORK}/tx:${transaction}/0`
    assert.ok(shown.problem?.detail.includes(key))
    assert.equal(said(await w.show(offer, { ...proof })), 'amount-mismatch amount-short')
    assert.equal(await holds(w, suspense('short')), PRICE - 1n)
    const stray = await held(w, key)
    assert.equal(stray.note['finding'], 'short')
    assert.equal(stray.note['payer'], from.address.toLowerCase())
    const { items } = await readAttention(w.ledger, w.clock.now(), () => ({
      code: 'USDC',
      scale: 6,
    }))
    assert.ok(JSON.stringify(items).includes(suspense('short')))
    assert.equal(await refund(key), PRICE - 1n)
    assert.equal(await chain.balanceOf(from.address), PRICE)
    assert.equal(await holds(w, suspense('short')), 0n)
    // Nothing that has gone back pays for anything.
    assert.equal(said(await w.show(offer, { ...proof })), 'amount-mismatch amount-short')
    const cheaper = await w.offer({ prices: ['0.005 USD'], path: '/cheap' })
    const signature = await w.sign(from, cheaper, transaction)
    const other = await w.show(
      cheaper,
      { transaction, signature },
      { prices: ['0.005 USD'], path: '/cheap' },
    )
    assert.equal(said(other), 'payment-spent')
    // The honest neighbour.
    const right = await w.offer()
    const whole = await w.pay(from)
    const good = { transaction: whole, signature: await w.sign(from, right, whole) }
    assert.equal(said(await w.show(right, good)), 'served')
  })

  test('what is mined after the offer’s end and its grace is booked as late; within it, it is served', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    await chain.increaseTime(340)
    const inTime = await w.pay(from)
    await w.align()
    const good = { transaction: inTime, signature: await w.sign(from, offer, inTime) }
    assert.equal(said(await w.show(offer, good)), 'served')
    const fresh = await w.offer()
    await chain.increaseTime(500)
    const late = await w.pay(from)
    await w.align()
    const proof = { transaction: late, signature: await w.sign(from, fresh, late) }
    const shown = await w.show(fresh, proof)
    assert.equal(said(shown), 'proof-expired too-late')
    assert.equal(await holds(w, suspense('late')), PRICE)
    assert.equal(await refund(`${NETWORK}/tx:${late}/0`), PRICE)
    assert.equal(await holds(w, suspense('late')), 0n)
  })

  test('a payment in time that is shown after the offer’s end is served', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const transaction = await w.pay(from)
    const proof = { transaction, signature: await w.sign(from, offer, transaction) }
    await chain.increaseTime(3_600)
    await w.align()
    assert.equal(said(await w.show(offer, proof)), 'served')
  })

  test('more than the price is served; the price is earned, and the rest stands apart and can go back', async () => {
    const from = await w.payer()
    const earned = await holds(w, 'sales/GET /a')
    const offer = await w.offer()
    const transaction = await w.pay(from, PRICE + 77n)
    const proof = { transaction, signature: await w.sign(from, offer, transaction) }
    const shown = await w.show(offer, proof)
    assert.equal(said(shown), 'served')
    assert.equal(shown.receipt?.amount.amount, PRICE)
    assert.equal(await holds(w, 'sales/GET /a'), earned + PRICE)
    assert.equal(await holds(w, suspense('excess')), 77n)
    const key = `${NETWORK}/tx:${transaction}/0`
    assert.equal(await refund(`${key}/excess`), 77n)
    assert.equal(await refund(key), PRICE)
    assert.equal(await chain.balanceOf(from.address), 10n ** 9n)
  })

  test('somebody else cannot have a payment booked as a stray', async () => {
    const from = await w.payer()
    const thief = await w.payer()
    const offer = await w.offer()
    const transaction = await w.pay(from)
    const dearer = await w.offer({ prices: ['0.02 USD'], path: '/dear' })
    const wish = { prices: ['0.02 USD'], path: '/dear' }
    for (const proof of [
      { transaction, signature: await w.sign(thief, dearer, transaction) },
      { transaction },
      // A protocol that cannot tell which offer was meant books nothing either.
      { transaction, signature: await w.sign(from, offer, transaction), offer: offer.id },
    ])
      assert.match(said(await w.show(dearer, proof, wish)), /^(?:proof-invalid|amount-mismatch)/)
    assert.equal(await w.ledger.find(`${NETWORK}/tx:${transaction}/0`), undefined)
    const proof = { transaction, signature: await w.sign(from, offer, transaction) }
    assert.equal(said(await w.show(offer, proof)), 'served')
  })

  test('a booking that broke off is ended by whoever comes next, once', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const had = await holds(w, suspense('short'))
    const transaction = await w.pay(from, 3n)
    const proof = { transaction, signature: await w.sign(from, offer, transaction) }
    const key = `${NETWORK}/tx:${transaction}/0`
    const step = w.ledger.step.bind(w.ledger)
    const post = w.ledger.post.bind(w.ledger)
    const full = (): Promise<never> =>
      Promise.reject(new PaymentError('store-unavailable', 'The disk is full.'))
    for (const verb of ['step', 'post'] as const) {
      w.ledger[verb] = full
      const broken = await w.show(offer, { ...proof })
      Object.assign(w.ledger, { step, post })
      assert.equal(said(broken), 'store-unavailable')
      assert.equal((await held(w, key)).state, 'pending')
    }
    assert.equal(said(await w.show(offer, { ...proof })), 'amount-mismatch amount-short')
    assert.equal(await holds(w, suspense('short')), had + 3n)
    assert.equal(await refund(key), 3n)
  })

  test('books and chain agree about all of it', async () => {
    await chain.mine(8)
    await w.align()
    w.skip(20_000)
    await w.gate.recover()
    const reconciler = createReconciler({
      ledger: w.ledger,
      rails: [w.rail],
      clock: w.clock,
      patienceMs: 0,
    })
    const [compared] = await reconciler.round()
    assert.equal(compared?.state, 'looked')
    const there = await chain.balanceOf(seller.address)
    assert.ok(there > 0n)
    assert.equal(await holds(w, `world/evm-transaction/${NETWORK}/${seller.address}`), -there)
    // What nobody has shown yet was paid all the same.
    const from = await w.payer()
    await w.pay(from, 5n)
    await chain.mine(8)
    w.skip(400_000)
    const [next] = await reconciler.round()
    assert.deepEqual(
      next?.bookings.map(({ finding, amount }) => [finding, amount]),
      [['surplus', 5n]],
    )
  })
})
