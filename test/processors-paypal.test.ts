// PayPal through the whole gate, with a stand-in for it. Nothing here asks PayPal.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { readPrice } from '../src/core/money.ts'
import type { Offer } from '../src/core/offer.ts'
import type { Log, Rail, Step } from '../src/core/ports.ts'
import { createHandClock } from '../src/gate/fixture.test.ts'
import { memory } from '../src/ledger/memory.ts'
import type { PayPalRail, PayPalSettings, Proof } from '../src/rails/paypal/index.ts'
import { paypal } from '../src/rails/paypal/index.ts'
import type { PayPalStandIn } from '../src/sandbox/processors/index.ts'
import { startPayPal } from '../src/sandbox/processors/index.ts'
import { ask, balanced, offerOf, openNode, said, SECRET, serve } from './processors-stage.ts'

const clock = createHandClock()
let standIn: PayPalStandIn
before(async () => {
  standIn = await startPayPal({ clock })
})
after(() => standIn.close())

function railOf(change: Partial<PayPalSettings> = {}): PayPalRail {
  const { clientId, clientSecret, url } = standIn
  return paypal({
    clientId,
    clientSecret,
    url,
    mode: 'sandbox',
    vaultSecret: SECRET,
    clock,
    ...change,
  })
}

function shop(change: Partial<PayPalSettings> = {}) {
  const ledger = memory({ clock })
  const rail: Rail = railOf(change)
  return { ledger, rail, gate: openNode([rail], ledger, clock) }
}

async function begin(rail: Rail, offer: Offer): Promise<Proof & { readonly kind: 'order' }> {
  const begun = (await rail.begin?.(offer)) ?? assert.fail('begun')
  assert.match(said(begun, 'approve_url'), /\/checkoutnow\?token=/)
  return { kind: 'order', order: said(begun, 'order') }
}

async function handleOf(): Promise<string> {
  const { vault = assert.fail('a vault') } = railOf()
  const { setup, approveUrl } = await vault.begin('http://shop.test/back', 'http://shop.test/back')
  await assert.rejects(vault.keep(setup), { code: 'misconfigured' })
  assert.equal((await fetch(approveUrl, { method: 'POST' })).status, 200)
  return vault.keep(setup)
}

describe('an order', () => {
  test('that a person has approved is captured when the work is done, once', async () => {
    const { gate, rail, ledger } = shop()
    await rail.open()
    const to = ask('1.50 USD')
    const offer = await offerOf(gate, to)
    const proof = await begin(rail, offer)
    const early = await serve(gate, to, { offer, proof })
    assert.deepEqual(early, { outcome: 'payment-in-flight', reason: 'order-unapproved' })
    standIn.state.approve(proof.order)
    const failed = await gate.admit({ ...to, credential: { offer, proof } })
    assert.ok(failed.kind === 'pass')
    await failed.finish(false)
    assert.equal(standIn.state.orders.get(proof.order)?.status, 'APPROVED')
    const first = await serve(gate, to, { offer, proof })
    assert.equal(first.outcome, 'serve')
    assert.equal(first.key, `paypal/sandbox/${proof.order}`)
    assert.equal(standIn.state.captures.get(first.reference ?? '')?.status, 'COMPLETED')
    assert.equal((await serve(gate, to, { offer, proof })).outcome, 'payment-delivered')
    await balanced(ledger)
  })

  test('buys nothing else, nothing dearer, and nothing on another node again', async () => {
    const { gate, rail, ledger } = shop()
    const to = ask('1.00 USD')
    const offer = await offerOf(gate, to)
    const proof = await begin(rail, offer)
    standIn.state.approve(proof.order)
    const there = ask('1.00 USD', '/b')
    const elsewhere = await serve(gate, there, { offer: await offerOf(gate, there), proof })
    assert.equal(elsewhere.reason, 'order-foreign')
    const dear = ask('1.01 USD')
    const short = await serve(gate, dear, { offer: await offerOf(gate, dear), proof })
    assert.equal(short.reason, 'amount-wrong')
    const other = openNode([railOf()], ledger, clock)
    const outcomes = await Promise.all(
      [gate, other, gate, other].map(
        async (one) => (await serve(one, to, { offer, proof })).outcome,
      ),
    )
    assert.equal(outcomes.filter((one) => one === 'serve').length, 1, outcomes.join())
    const none: Proof = { kind: 'order', order: 'NOBODYMADETHIS' }
    assert.equal((await serve(gate, to, { offer, proof: none })).reason, 'order-unknown')
  })

  test('whose capture is answered by a lost connection or a 500 is one capture, and served', async () => {
    for (const trouble of ['lost', 'broken', 'hangup', 'down'] as const) {
      const { gate, rail, ledger } = shop()
      const to = ask('1.00 USD')
      const offer = await offerOf(gate, to)
      const proof = await begin(rail, offer)
      standIn.state.approve(proof.order)
      const captures = standIn.state.captures.size
      const path = `/v2/checkout/orders/${proof.order}`
      // The looks that come at once after it are lost too.
      standIn.fail({ trouble, path, method: 'POST' })
      assert.ok(
        ['serve', 'payment-unknown'].includes((await serve(gate, to, { offer, proof })).outcome),
      )
      const again = await serve(gate, to, { offer, proof })
      assert.ok(
        ['serve', 'payment-delivered'].includes(again.outcome),
        `${trouble} ${again.outcome}`,
      )
      assert.equal(standIn.state.captures.size - captures, 1, trouble)
      await balanced(ledger)
    }
  })

  test('that is declined or pending is not served; once it is decided, it is', async () => {
    const { gate, rail, ledger } = shop()
    const to = ask('1.00 USD')
    const offer = await offerOf(gate, to)
    const bad = await begin(rail, offer)
    standIn.state.approve(bad.order, 'DECLINED')
    const declined = await serve(gate, to, { offer, proof: bad })
    assert.deepEqual(declined, { outcome: 'settlement-failed', reason: 'payment-declined' })
    const slow = await begin(rail, await offerOf(gate, to))
    standIn.state.approve(slow.order, 'PENDING')
    assert.equal((await serve(gate, to, { offer, proof: slow })).outcome, 'payment-unknown')
    assert.equal((await serve(gate, to, { offer, proof: slow })).outcome, 'payment-unknown')
    standIn.state.decide(standIn.state.orders.get(slow.order)?.capture?.id ?? '', 'COMPLETED')
    assert.equal((await serve(gate, to, { offer, proof: slow })).outcome, 'serve')
    await balanced(ledger)
  })

  test('that was given back before it bought anything buys nothing', async () => {
    const { gate, rail } = shop()
    const to = ask('1.00 USD')
    const offer = await offerOf(gate, to)
    const proof = await begin(rail, offer)
    standIn.state.approve(proof.order)
    standIn.state.answer('POST', `/v2/checkout/orders/${proof.order}/capture`, {})
    const capture = standIn.state.orders.get(proof.order)?.capture?.id
    standIn.state.answer('POST', `/v2/payments/captures/${capture}/refund`, {})
    const verdict = await rail.verify(offer, proof)
    assert.ok(!verdict.ok && verdict.problem.reason === 'order-returned')
    assert.equal((await serve(gate, to, { offer, proof })).reason, 'order-returned')
  })

  test('is the same one for a page that begins the same offer again', async () => {
    const { gate, rail } = shop()
    const offer = await offerOf(gate, ask('1.00 USD'))
    assert.deepEqual(await begin(rail, offer), await begin(rail, offer))
    const other = await offerOf(gate, ask('1.00 USD'))
    assert.notDeepEqual(await begin(rail, offer), await begin(rail, other))
  })
})

describe('a payment method that is kept', () => {
  test('is charged for the offer that it is shown with, once', async () => {
    const { gate, ledger } = shop()
    const to = ask('2.00 USD')
    const proof: Proof = { kind: 'vault', handle: await handleOf() }
    const offer = await offerOf(gate, to)
    assert.equal((await serve(gate, to, { offer, proof })).outcome, 'serve')
    assert.equal((await serve(gate, to, { offer, proof })).outcome, 'payment-delivered')
    const next = await offerOf(gate, to)
    assert.equal((await serve(gate, to, { offer: next, proof })).outcome, 'serve')
    const [earned] = await ledger.balances('sales/GET /a')
    assert.equal(earned?.posted, 400n)
    await balanced(ledger)
  })

  test('is not charged by who knows its id alone, nor after the end of the offer', async () => {
    const { gate } = shop()
    const to = ask('2.00 USD')
    const offer = await offerOf(gate, to)
    const handle = await handleOf()
    const forged = handle.replace(/.$/, (sign) => (sign === 'A' ? 'B' : 'A'))
    const other = railOf({ vaultSecret: `${SECRET}other` })
    assert.equal(
      (await serve(gate, to, { offer, proof: { kind: 'vault', handle: forged } })).reason,
      'vault-unknown',
    )
    const stranger = openNode([other], memory({ clock }), clock)
    const elsewhere = await serve(stranger, to, {
      offer: await offerOf(stranger, to),
      proof: { kind: 'vault', handle },
    })
    assert.equal(elsewhere.reason, 'vault-unknown')
    const late = await offerOf(gate, to)
    clock.pass(400_000)
    const proof: Proof = { kind: 'vault', handle }
    assert.equal((await serve(gate, to, { offer: late, proof })).outcome, 'offer-expired')
    assert.equal(
      (await serve(gate, to, { offer: await offerOf(gate, to), proof })).outcome,
      'serve',
    )
  })

  test('whose charge is answered by a lost connection or a 500 is one charge, and served', async () => {
    for (const trouble of ['lost', 'broken', 'hangup', 'down'] as const) {
      const { gate, ledger } = shop()
      const to = ask('1.00 USD')
      const proof: Proof = { kind: 'vault', handle: await handleOf() }
      const offer = await offerOf(gate, to)
      const captures = standIn.state.captures.size
      standIn.fail({ trouble, path: '/v2/checkout/orders', method: 'POST' })
      const first = await serve(gate, to, { offer, proof })
      assert.ok(['serve', 'payment-unknown'].includes(first.outcome), `${trouble} ${first.outcome}`)
      const again = await serve(gate, to, { offer, proof })
      assert.ok(
        ['serve', 'payment-delivered'].includes(again.outcome),
        `${trouble} ${again.outcome}`,
      )
      assert.equal(standIn.state.captures.size - captures, 1, trouble)
      await balanced(ledger)
    }
  })

  test('of which nothing was heard for hours stays open, and is not charged again', async () => {
    const { gate, ledger } = shop()
    const to = ask('1.00 USD')
    const proof: Proof = { kind: 'vault', handle: await handleOf() }
    const offer = await offerOf(gate, to)
    const calls = standIn.calls.length
    const lost = { trouble: 'lost', path: '/v2/checkout/orders', method: 'POST' } as const
    // What is lost on a connection that was kept is asked once more under the same id.
    standIn.fail(lost, lost)
    assert.equal((await serve(gate, to, { offer, proof })).outcome, 'payment-unknown')
    clock.pass(18_001_000)
    await gate.recover()
    assert.equal((await serve(gate, to, { offer, proof })).outcome, 'payment-unknown')
    const posts = standIn.calls.slice(calls).filter(({ path }) => path === '/v2/checkout/orders')
    assert.equal(posts.length, 2)
    await balanced(ledger)
  })
})

describe('a refund', () => {
  test('goes back in parts and whole, never above what was charged, and once for one order', async () => {
    const { gate, rail, ledger } = shop()
    const to = ask('1.00 USD')
    const offer = await offerOf(gate, to)
    const proof = await begin(rail, offer)
    standIn.state.approve(proof.order)
    const { key = '' } = await serve(gate, to, { offer, proof })
    const part = { key, idempotencyKey: 'part', amount: readPrice('0.40 USD') }
    standIn.fail(
      { trouble: 'lost', path: '/v2/payments', method: 'POST' },
      { trouble: 'lost', path: '/v2/payments', method: 'POST' },
      { trouble: 'down', path: '/v2/payments', method: 'GET' },
    )
    assert.equal((await gate.refund(part)).kind, 'open')
    const done = await gate.refund(part)
    assert.ok(done.kind === 'refunded' && done.amount.amount === 40n)
    assert.deepEqual(await gate.refund(part), done)
    const much = await gate.refund({ key, idempotencyKey: 'much', amount: readPrice('0.61 USD') })
    assert.ok(much.kind === 'denied' && much.code === 'amount-exceeded')
    const rest = await gate.refund({ key, idempotencyKey: 'rest' })
    assert.ok(rest.kind === 'refunded' && rest.amount.amount === 60n)
    assert.equal((await gate.refund({ key, idempotencyKey: 'more' })).kind, 'denied')
    await balanced(ledger)
  })

  test('that is pending is open until it is decided, and counts from the first', async () => {
    for (const [fate, kind] of [
      ['COMPLETED', 'refunded'],
      ['FAILED', 'denied'],
      ['CANCELLED', 'denied'],
    ] as const) {
      const { gate, rail, ledger } = shop()
      const to = ask('1.00 USD')
      const offer = await offerOf(gate, to)
      const proof = await begin(rail, offer)
      standIn.state.approve(proof.order)
      const { key = '', reference = '' } = await serve(gate, to, { offer, proof })
      standIn.state.returns(reference, 'PENDING')
      const from = standIn.state.refunds.size
      const part = { key, idempotencyKey: 'part', amount: readPrice('0.40 USD') }
      assert.equal((await gate.refund(part)).kind, 'open', fate)
      assert.equal((await gate.refund(part)).kind, 'open', fate)
      const more = { key, idempotencyKey: 'more', amount: readPrice('0.61 USD') }
      assert.equal((await gate.refund(more)).kind, 'denied', fate)
      assert.equal(standIn.state.refunds.size - from, 1, fate)
      standIn.state.decideRefund([...standIn.state.refunds.keys()].at(-1) ?? '', fate)
      const done = await gate.refund(part)
      assert.equal(done.kind, kind, fate)
      standIn.state.returns(reference, 'COMPLETED')
      // What did not go back is there for another order.
      const rest = await gate.refund({ key, idempotencyKey: 'rest' })
      assert.ok(rest.kind === 'refunded', fate)
      assert.equal(rest.amount.amount, kind === 'refunded' ? 60n : 100n, fate)
      await balanced(ledger)
    }
  })

  test('that failed leaves its payment as good as one that nobody asked back', async () => {
    for (const [fate, outcome] of [
      ['FAILED', 'serve'],
      ['CANCELLED', 'serve'],
      ['PENDING', 'proof-invalid'],
      ['COMPLETED', 'proof-invalid'],
    ] as const) {
      const { gate, rail, ledger } = shop()
      const to = ask('1.00 USD')
      const offer = await offerOf(gate, to)
      const proof = await begin(rail, offer)
      standIn.state.approve(proof.order)
      standIn.state.answer('POST', `/v2/checkout/orders/${proof.order}/capture`, {})
      const capture = standIn.state.orders.get(proof.order)?.capture?.id ?? ''
      standIn.state.returns(capture, fate)
      standIn.state.answer('POST', `/v2/payments/captures/${capture}/refund`, {})
      assert.equal((await serve(gate, to, { offer, proof })).outcome, outcome, fate)
      await balanced(ledger)
    }
  })

  test('whose id PayPal has forgotten is found, and not sent again', async () => {
    const { gate, rail, ledger } = shop()
    const to = ask('1.00 USD')
    const offer = await offerOf(gate, to)
    const proof = await begin(rail, offer)
    standIn.state.approve(proof.order)
    const { key = '' } = await serve(gate, to, { offer, proof })
    const from = standIn.state.refunds.size
    const order = { key, idempotencyKey: 'part', amount: readPrice('0.40 USD') }
    const lost = { trouble: 'lost', path: '/v2/payments', method: 'POST' } as const
    standIn.fail(lost, lost, { trouble: 'down', path: '/v2/payments', method: 'GET' })
    assert.equal((await gate.refund(order)).kind, 'open')
    clock.pass(90_000_000)
    assert.equal((await gate.refund(order)).kind, 'refunded')
    assert.equal(standIn.state.refunds.size - from, 1)
    await balanced(ledger)
  })

  test('that PayPal refuses, because it went back by hand, fails and leaves the sale as it was', async () => {
    const { gate, rail, ledger } = shop()
    const to = ask('1.00 USD')
    const offer = await offerOf(gate, to)
    const proof = await begin(rail, offer)
    standIn.state.approve(proof.order)
    const { key = '', reference = '' } = await serve(gate, to, { offer, proof })
    standIn.state.answer('POST', `/v2/payments/captures/${reference}/refund`, {})
    const denied = await gate.refund({ key, idempotencyKey: 'one' })
    assert.ok(denied.kind === 'denied' && denied.code === 'failed')
    await balanced(ledger)
  })
})

describe('the client', () => {
  test('asks for an access token once, again when it is over, and again when it is refused', async () => {
    const tokens = (): number =>
      standIn.calls.filter(({ path }) => path === '/v1/oauth2/token').length
    const rail = railOf()
    const from = tokens()
    await Promise.all([rail.open(), rail.open(), rail.open()])
    assert.equal(tokens() - from, 1)
    clock.pass(32_400_000)
    await rail.open()
    assert.equal(tokens() - from, 2)
    // Somebody else's asking ends ours at the stand-in.
    await railOf().open()
    await rail.open()
    assert.equal(tokens() - from, 4)
    await rail.close()
  })

  test('a wrong secret is told when the rail is opened', async () => {
    await assert.rejects(railOf({ clientSecret: 'wrong' }).open(), { code: 'misconfigured' })
    await railOf().open()
  })
})

describe('prices', () => {
  test('are quoted in the currencies that are sold in, and as fine as PayPal counts', () => {
    const rail = railOf({ currencies: ['USD', 'JPY', 'HUF'] })
    const quoted = (price: string): bigint | undefined =>
      rail.quote(readPrice(price))[0]?.amount.amount
    assert.equal(quoted('0.01 USD'), 1n)
    assert.equal(quoted('0.001 USD'), undefined)
    assert.equal(quoted('1 EUR'), undefined)
    assert.equal(quoted('50 JPY'), 50n)
    assert.equal(quoted('50.5 JPY'), undefined)
    assert.equal(quoted('100 HUF'), 10_000n)
    assert.equal(quoted('100.50 HUF'), undefined)
    assert.equal(quoted('0 USD'), undefined)
    assert.throws(() => railOf({ currencies: ['XAU'] }), RangeError)
  })

  test('a forint is paid in whole ones', async () => {
    const { gate, rail } = shop({ currencies: ['HUF'] })
    const to = ask('100 HUF')
    const offer = await offerOf(gate, to)
    const proof = await begin(rail, offer)
    standIn.state.approve(proof.order)
    assert.equal(standIn.state.orders.get(proof.order)?.amount.value, '100')
    assert.equal((await serve(gate, to, { offer, proof })).outcome, 'serve')
  })

  test('a forint is given back in whole ones, and nothing is told as sent that was not', async () => {
    const { gate, rail } = shop({ currencies: ['HUF'] })
    const to = ask('100 HUF')
    const offer = await offerOf(gate, to)
    const proof = await begin(rail, offer)
    standIn.state.approve(proof.order)
    const { reference = '' } = await serve(gate, to, { offer, proof })
    const steps: Step[] = []
    const log: Log = { read: async () => steps, write: async (step) => void steps.push(step) }
    const back = (key: string, amount: bigint) =>
      rail.refund?.(offer, '', { ...offer.amount, amount }, key, log, reference)
    assert.equal((await back('part', 150n))?.state, 'failed')
    assert.equal(steps.length, 0)
    assert.equal((await back('whole', 200n))?.state, 'settled')
  })

  test('a charge that is complete and whose capture cannot be read is not called declined', async () => {
    for (const status of ['COMPLETED', 'PAYER_ACTION_REQUIRED']) {
      const rail = railOf({
        async fetch(input, init) {
          const answer = await fetch(input, init)
          if (!JSON.stringify(init?.body ?? '').includes('vault_id')) return answer
          const order = (await answer.json()) as {
            purchase_units: readonly { payments?: unknown }[]
          }
          const units = order.purchase_units.map((unit) => ({ ...unit, payments: {} }))
          return Response.json({ ...order, status, purchase_units: units })
        },
      })
      const gate = openNode([rail], memory({ clock }), clock)
      const to = ask('1.00 USD')
      const offer = await offerOf(gate, to)
      const { outcome } = await serve(gate, to, {
        offer,
        proof: { kind: 'vault', handle: await handleOf() },
      })
      const expected = status === 'COMPLETED' ? 'payment-unknown' : 'settlement-failed'
      assert.equal(outcome, expected)
    }
  })
})
