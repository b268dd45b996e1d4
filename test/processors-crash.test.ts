// Each payment is lived many times. In each life the process dies at another of its calls, to the processor or to the books,
// before it is done or when its answer is on its way; nothing that it asks after that is ever answered. Then another process
// starts on the same books, and the buyer asks again with the same proof.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { readPrice } from '../src/core/money.ts'
import type { Offer } from '../src/core/offer.ts'
import type { Ask, Gate, Ledger, Rail } from '../src/core/ports.ts'
import { createHandClock } from '../src/gate/fixture.test.ts'
import { memory } from '../src/ledger/memory.ts'
import { paypal } from '../src/rails/paypal/index.ts'
import type { StripeClient } from '../src/rails/stripe/index.ts'
import { stripe } from '../src/rails/stripe/index.ts'
import type { PayPalStandIn, StripeStandIn } from '../src/sandbox/processors/index.ts'
import { startPayPal, startStripe } from '../src/sandbox/processors/index.ts'
import { ask, balanced, offerOf, openNode, said, sdkOf, SECRET, serve } from './processors-stage.ts'

const clock = createHandClock()
let cards: StripeStandIn
let orders: PayPalStandIn
before(async () => {
  cards = await startStripe({ clock })
  orders = await startPayPal({ clock })
})
after(() => Promise.all([cards.close(), orders.close()]))

/** Longer than a claim without anything written ahead stands. */
const LEASE_MS = 106_000
/** More calls than any of these lives has. */
const CALLS_MAX = 60

/** The life of a process. */
interface Life {
  /** Does it, unless the process dies first or is dead. */
  call<T>(work: () => Promise<T>): Promise<T>
  readonly died: Promise<'died'>
}

function createLife(dieAt: number, isDone: boolean): Life {
  const { promise: died, resolve } = Promise.withResolvers<'died'>()
  let calls = 0
  let isDead = false
  return {
    died,
    async call(work) {
      if (isDead) return new Promise(() => {})
      if (++calls !== dieAt) return work()
      if (isDone) await work()
      isDead = true
      resolve('died')
      return new Promise(() => {})
    },
  }
}

const immortal = (): Life => createLife(Infinity, false)

function mortal(ledger: Ledger, life: Life): Ledger {
  return new Proxy(ledger, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      return (...given: unknown[]) =>
        life.call(async () => (await Reflect.apply(value, target, given)) as unknown)
    },
  })
}

function cardRail(life: Life): Rail {
  const sdk = sdkOf(cards)
  const client: StripeClient = {
    rawRequest: (...given) => life.call(() => sdk.rawRequest(...given)),
  }
  return stripe({ client, mode: 'test', profile: 'profile_test', clock })
}

function paypalRail(life: Life): Rail {
  const { url, clientId, clientSecret } = orders
  return paypal({
    clientId,
    clientSecret,
    mode: 'sandbox',
    url,
    vaultSecret: SECRET,
    clock,
    fetch: (...given) => life.call(() => fetch(...given)),
  })
}

/** One way to pay. */
interface Way {
  readonly name: string
  readonly railOf: (life: Life) => Rail
  /** What the buyer shows, once he has done his part. */
  readonly proofFor: (rail: Rail, offer: Offer) => Promise<unknown>
  /** What moved at the processor so far, less what went back, in cents. */
  readonly moved: () => bigint
}

const movedByCard = (): bigint =>
  [...cards.state.charges.values()].reduce(
    (sum, { amount, amount_refunded: back }) => sum + BigInt(amount - back),
    0n,
  )
const movedByPayPal = (): bigint =>
  [...orders.state.captures.values()].reduce(
    (sum, { refunded }) => sum + BigInt(100 - refunded),
    0n,
  )

const ways: readonly Way[] = [
  {
    name: 'a shared payment token',
    railOf: cardRail,
    proofFor: async () => ({ kind: 'token', token: cards.state.grant(1000) }),
    moved: movedByCard,
  },
  {
    name: 'a PaymentIntent',
    railOf: cardRail,
    async proofFor(rail, offer) {
      const begun = await rail.begin?.(offer)
      const id = said(begun, 'payment_intent')
      await sdkOf(cards).rawRequest('POST', `/v1/payment_intents/${id}/confirm`, {
        payment_method: 'pm_card_visa',
      })
      return { kind: 'intent', intent: id }
    },
    moved: movedByCard,
  },
  {
    name: 'an order of PayPal',
    railOf: paypalRail,
    async proofFor(rail, offer) {
      const begun = await rail.begin?.(offer)
      const id = said(begun, 'order')
      orders.state.approve(id)
      return { kind: 'order', order: id }
    },
    moved: movedByPayPal,
  },
  {
    name: 'a payment method kept at PayPal',
    railOf: paypalRail,
    async proofFor() {
      const { vault } = paypal({ ...orders, mode: 'sandbox', vaultSecret: SECRET, clock })
      const setup = await vault?.begin('http://shop.test', 'http://shop.test')
      orders.state.approve(setup?.setup ?? '')
      return { kind: 'vault', handle: await vault?.keep(setup?.setup ?? '') }
    },
    moved: movedByPayPal,
  },
]

/** The buyer asks with the same proof until he has what he paid for. */
async function insist(
  gate: Gate,
  to: Ask,
  credential: { offer: Offer; proof: unknown },
): Promise<string> {
  for (let i = 0; ; i++) {
    const { outcome } = await serve(gate, to, credential)
    if (i === 3 || outcome === 'serve' || outcome === 'payment-delivered') return outcome
    clock.pass(LEASE_MS / 4)
    await gate.recover()
  }
}

const moments = [
  ['before', false],
  ['after', true],
] as const

for (const way of ways)
  describe(way.name, () => {
    for (const [word, isDone] of moments)
      test(`is charged once and served, though the process dies ${word} any of its calls`, async () => {
        let deaths = 0
        for (let dieAt = 1; dieAt < CALLS_MAX; dieAt++) {
          const ledger = memory({ clock })
          const life = createLife(dieAt, isDone)
          const to = ask('1.00 USD')
          const second = openNode([way.railOf(immortal())], ledger, clock)
          const offer = await offerOf(second, to)
          const before = way.moved()
          const credential = { offer, proof: await way.proofFor(way.railOf(immortal()), offer) }
          const first = openNode([way.railOf(life)], mortal(ledger, life), clock)
          const run = serve(first, to, credential).then(({ outcome }) => outcome)
          const said = await Promise.race([run, life.died])
          if (said === 'died') {
            deaths++
            clock.pass(LEASE_MS)
            await second.recover()
            const outcome = await insist(second, to, credential)
            assert.equal(outcome, 'serve', `${way.name}, dead ${word} call ${dieAt}: ${outcome}`)
          } else assert.equal(said, 'serve')
          assert.equal(way.moved() - before, 100n, `${way.name}, dead ${word} call ${dieAt}`)
          const [earned] = await ledger.balances('sales/GET /a')
          assert.equal(earned?.posted, 100n)
          await balanced(ledger)
          if (said !== 'died') {
            assert.ok(deaths >= 4, `${deaths} deaths`)
            return
          }
        }
        assert.fail('It never lived to its end.')
      })

    test('goes back once, though the process dies at any call of the refund', async () => {
      for (const [word, isDone] of moments)
        for (let dieAt = 1; ; dieAt++) {
          assert.ok(dieAt < CALLS_MAX, 'It never lived to its end.')
          const ledger = memory({ clock })
          const second = openNode([way.railOf(immortal())], ledger, clock)
          const to = ask('1.00 USD')
          const offer = await offerOf(second, to)
          const before = way.moved()
          const proof = await way.proofFor(way.railOf(immortal()), offer)
          const { key = '' } = await serve(second, to, { offer, proof })
          const life = createLife(dieAt, isDone)
          const first = openNode([way.railOf(life)], mortal(ledger, life), clock)
          const order = { key, idempotencyKey: 'back', amount: readPrice('0.40 USD') }
          const run = first.refund(order).then(({ kind }) => kind)
          const said = await Promise.race([run, life.died])
          clock.pass(600_000)
          await second.recover()
          const done = await second.refund(order)
          assert.equal(done.kind, 'refunded', `${way.name}, dead ${word} call ${dieAt}`)
          assert.equal(way.moved() - before, 60n, `${way.name}, dead ${word} call ${dieAt}`)
          await balanced(ledger)
          if (said !== 'died') break
        }
    })
  })
