// What processors tell: every attack on it beside the honest event. The stand-ins sign as Stripe and PayPal do.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Stripe } from 'stripe'
import type { Answered, Asked, Ledger, Rail, Service, Shop } from '../src/core/ports.ts'
import { createHandClock } from '../src/gate/fixture.test.ts'
import { memory } from '../src/ledger/memory.ts'
import type { News as PayPalNews } from '../src/rails/paypal/index.ts'
import { paypal, paypalWebhook } from '../src/rails/paypal/index.ts'
import type { News } from '../src/rails/stripe/index.ts'
import { EVENT_BYTES_MAX, stripe, stripeWebhook } from '../src/rails/stripe/index.ts'
import { certify } from '../src/sandbox/processors/certificate.ts'
import type { PayPalStandIn, StripeStandIn } from '../src/sandbox/processors/index.ts'
import { startPayPal, startStripe } from '../src/sandbox/processors/index.ts'
import {
  ask,
  balanced,
  loseAnswers,
  offerOf,
  openNode,
  said,
  sdkOf,
  serve,
} from './processors-stage.ts'

const clock = createHandClock()
let cards: StripeStandIn
let orders: PayPalStandIn
before(async () => {
  cards = await startStripe({ clock })
  orders = await startPayPal({ clock })
})
after(() => Promise.all([cards.close(), orders.close()]))

/** What the door would hand to the service. */
async function post(
  service: Service,
  body: string,
  fields: Record<string, string>,
  method = 'POST',
): Promise<number> {
  const asked: Asked = {
    method,
    target: service.paths[0] ?? '',
    fields: new Headers(fields),
    text: async (bytesMax) => (Buffer.byteLength(body) > bytesMax ? undefined : body),
  }
  // These services sell nothing.
  const answered = (await service.answer(asked, {} as Shop)) as Answered
  return answered.status
}

describe('events of Stripe', () => {
  function listen(ledger: Ledger = memory({ clock }), client = loseAnswers(sdkOf(cards))) {
    const told: News[] = []
    const service = stripeWebhook({
      client,
      mode: 'test',
      secrets: cards.webhookSecret,
      ledger,
      clock,
      told: (news) => void told.push(news),
    })
    return { told, service, ledger, client }
  }

  async function paid(): Promise<{
    readonly id: string
    readonly body: string
    readonly type: string
  }> {
    const rail: Rail = stripe({ client: sdkOf(cards), mode: 'test', clock })
    const gate = openNode([rail], memory({ clock }), clock)
    const begun = await rail.begin?.(await offerOf(gate, ask('1.00 USD')))
    const id = said(begun, 'payment_intent')
    await sdkOf(cards).paymentIntents.confirm(id, { payment_method: 'pm_card_visa' })
    return cards.events.at(-1) ?? assert.fail('an event')
  }

  test('are told once each, also after a restart, with what holds now', async () => {
    const { told, service, ledger } = listen()
    const { id, body } = await paid()
    assert.equal(await post(service, body, { 'stripe-signature': cards.sign(body) }), 200)
    assert.deepEqual(
      told.map(({ id: of, type, state }) => [of, type, state]),
      [[id, 'payment_intent.succeeded', 'paid']],
    )
    assert.match(told[0]?.key ?? '', /^stripe\/test\/pi_/)
    // Replayed inside of its window: taken for what it is, and nothing is told.
    assert.equal(await post(service, body, { 'stripe-signature': cards.sign(body) }), 200)
    const restarted = listen(ledger)
    assert.equal(await post(restarted.service, body, { 'stripe-signature': cards.sign(body) }), 200)
    assert.equal(told.length + restarted.told.length, 1)
    await balanced(ledger)
  })

  test('the SDK signs and checks the same way', async () => {
    const { service, told } = listen()
    const { body } = await paid()
    const header = Stripe.webhooks.generateTestHeaderString({
      payload: body,
      secret: cards.webhookSecret,
      timestamp: Math.floor(clock.now() / 1000),
    })
    assert.equal(await post(service, body, { 'stripe-signature': header }), 200)
    assert.equal(told.length, 1)
    const { id } = Stripe.webhooks.constructEvent(
      body,
      cards.sign(body, { at: Date.now() }),
      cards.webhookSecret,
    )
    assert.equal(id, told[0]?.id)
  })

  test('that are tampered with, re-serialised, signed by others, old or unsigned are refused', async () => {
    const { told, service } = listen()
    const { body } = await paid()
    const good = cards.sign(body)
    const old = cards.sign(body, { at: clock.now() - 301_000 })
    const early = cards.sign(body, { at: clock.now() + 301_000 })
    const foreign = cards.sign(body, { secret: 'whsec_somebody_elses' })
    const attacks: readonly (readonly [what: string, body: string, signature: string])[] = [
      ['tampered with', body.replace('"amount":100', '"amount":900'), good],
      ['re-serialised', JSON.stringify(JSON.parse(body), null, 1), good],
      ['signed by others', body, foreign],
      ['old', body, old],
      ['from the future', body, early],
      ['unsigned', body, ''],
      ['of another scheme', body, good.replace('v1=', 'v0=')],
      [
        'with the time changed',
        body,
        good.replace(/t=\d+/, `t=${Math.floor(clock.now() / 1000) + 1}`),
      ],
      ['with too long a signature', body, `${good},${'v1=0,'.repeat(500)}`],
      ['cut', body.slice(0, -1), good],
    ]
    for (const [what, said, signature] of attacks) {
      assert.notEqual(`${said} ${signature}`, `${body} ${good}`, what)
      assert.equal(await post(service, said, { 'stripe-signature': signature }), 400, what)
    }
    const long = 'x'.repeat(EVENT_BYTES_MAX + 1)
    assert.equal(await post(service, long, { 'stripe-signature': cards.sign(long) }), 413)
    assert.equal(await post(service, body, { 'stripe-signature': good }, 'GET'), 405)
    assert.equal(told.length, 0)
    assert.equal(await post(service, body, { 'stripe-signature': good }), 200)
    assert.equal(told.length, 1)
  })

  test('of the other kind of money are refused', async () => {
    const { service } = listen()
    const { body } = await paid()
    const live = body.replaceAll('"livemode":false', '"livemode":true')
    assert.equal(await post(service, live, { 'stripe-signature': cards.sign(live) }), 400)
  })

  test('a secret that is being changed still holds', async () => {
    const { body } = await paid()
    const told: News[] = []
    const service = stripeWebhook({
      client: sdkOf(cards),
      mode: 'test',
      secrets: ['whsec_the_new_one', cards.webhookSecret],
      ledger: memory({ clock }),
      clock,
      told: (news) => void told.push(news),
    })
    assert.equal(await post(service, body, { 'stripe-signature': cards.sign(body) }), 200)
    assert.equal(told.length, 1)
  })

  test('that come out of order all tell what holds now', async () => {
    const { told, service } = listen()
    const from = cards.events.length
    const { body } = await paid()
    const intent = JSON.parse(body).data.object.id as string
    await sdkOf(cards).refunds.create({ payment_intent: intent })
    const events = cards.events.slice(from).toReversed()
    assert.ok(events.length >= 4)
    for (const { body: one } of events)
      assert.equal(await post(service, one, { 'stripe-signature': cards.sign(one) }), 200)
    assert.deepEqual(new Set(told.map(({ state }) => state)), new Set(['returned']))
    assert.equal(told.length, events.length)
  })

  test('of which the object cannot be read, or that nobody can deal with, come again', async () => {
    const { told, service, client } = listen()
    const { body } = await paid()
    const headers = { 'stripe-signature': cards.sign(body) }
    client.lose('GET /v1/payment_intents')
    await assert.rejects(post(service, body, headers), { code: 'rail-unavailable' })
    assert.equal(await post(service, body, headers), 200)
    assert.equal(told.length, 1)
    let tries = 0
    const failing = stripeWebhook({
      client,
      mode: 'test',
      secrets: cards.webhookSecret,
      ledger: memory({ clock }),
      clock,
      async told() {
        if (++tries === 1) throw new Error('Not now.')
      },
    })
    await assert.rejects(post(failing, body, headers), /Not now/)
    assert.equal(await post(failing, body, headers), 200)
    assert.equal(await post(failing, body, headers), 200)
    assert.equal(tries, 2)
  })
})

describe('events of PayPal', () => {
  function listen(ledger: Ledger = memory({ clock }), change = {}) {
    const told: PayPalNews[] = []
    const service = paypalWebhook({
      clientId: orders.clientId,
      clientSecret: orders.clientSecret,
      url: orders.url,
      mode: 'sandbox',
      webhookId: orders.webhookId,
      certificateOrigin: orders.url,
      ca: orders.ca,
      ledger,
      clock,
      told: (news) => void told.push(news),
      ...change,
    })
    return { told, service, ledger }
  }

  async function approved(): Promise<{ readonly id: string; readonly body: string }> {
    const { clientId, clientSecret, url } = orders
    const rail: Rail = paypal({ clientId, clientSecret, url, mode: 'sandbox', clock })
    const gate = openNode([rail], memory({ clock }), clock)
    const to = ask('1.00 USD')
    const offer = await offerOf(gate, to)
    const begun = await rail.begin?.(offer)
    const order = said(begun, 'order')
    orders.state.approve(order)
    const { outcome } = await serve(gate, to, { offer, proof: { kind: 'order', order } })
    assert.equal(outcome, 'serve')
    return orders.events.at(-1) ?? assert.fail('an event')
  }

  test('are told once each, also after a restart, with what holds now', async () => {
    const { told, service, ledger } = listen()
    const { id, body } = await approved()
    assert.equal(await post(service, body, orders.sign(body)), 200)
    assert.deepEqual(
      told.map(({ id: of, type, state }) => [of, type, state]),
      [[id, 'PAYMENT.CAPTURE.COMPLETED', 'paid']],
    )
    assert.match(told[0]?.key ?? '', /^paypal\/sandbox\/[A-Z0-9]{17}$/)
    assert.equal(await post(service, body, orders.sign(body)), 200)
    const restarted = listen(ledger)
    assert.equal(await post(restarted.service, body, orders.sign(body)), 200)
    assert.equal(told.length + restarted.told.length, 1)
  })

  test('that are tampered with, re-serialised, old, or signed for another or by another are refused', async () => {
    const { told, service } = listen()
    const { body } = await approved()
    const good = orders.sign(body)
    const time = { fromAt: clock.now() - 1e9, untilAt: clock.now() + 1e9 }
    const name = 'messageverificationcerts.sandbox.paypal.com'
    const forger = certify({ name, ...time })
    const own = orders.publish('CERT-forged', forger.pem)
    const { host } = new URL(orders.url)
    const at = (address: string): Record<string, string> =>
      orders.sign(body, { address, by: forger })
    const attacks: readonly (readonly [string, string, Record<string, string>])[] = [
      ['tampered with', body.replace('"1.00"', '"9.00"'), good],
      ['re-serialised', JSON.stringify(JSON.parse(body), null, 1), good],
      ['for another webhook', body, orders.sign(body, { webhookId: 'OTHER' })],
      ['old', body, orders.sign(body, { at: clock.now() - 270_001_000 })],
      ['from the future', body, orders.sign(body, { at: clock.now() + 301_000 })],
      ['of another algorithm', body, orders.sign(body, { algorithm: 'SHA1withRSA' })],
      [
        'with another time than was signed',
        body,
        { ...good, 'paypal-transmission-time': new Date(clock.now() - 1000).toISOString() },
      ],
      ['with another id than was signed', body, { ...good, 'paypal-transmission-id': 'OTHER' }],
      ['signed by a certificate of nobody', body, at(own)],
      [
        'from a host that only contains the name',
        body,
        at(`http://${host}.evil.test/v1/notifications/certs/CERT-own`),
      ],
      [
        'from a host that hides behind a user',
        body,
        at(`http://${host}@evil.test/v1/notifications/certs/CERT-own`),
      ],
      ['from another port', body, at('http://127.0.0.1:1/v1/notifications/certs/CERT-own')],
      ['from another folder', body, at(`${orders.url}/v1/other/CERT-own`)],
      [
        'from a folder by a way round',
        body,
        at(`${orders.url}/v1/notifications/certs/../../checkoutnow`),
      ],
      ['by a certificate with a query', body, at(`${own}?x=1`)],
      ['unsigned', body, {}],
    ]
    for (const [what, said, fields] of attacks)
      assert.equal(await post(service, said, fields), 400, what)
    assert.equal(told.length, 0)
    assert.equal(await post(service, body, good), 200)
    assert.equal(told.length, 1)
  })

  test('certificates count that are chained, made out to PayPal and in their time', async () => {
    const { service } = listen()
    const { body } = await approved()
    const time = { fromAt: clock.now() - 1e9, untilAt: clock.now() + 1e9 }
    const name = 'messageverificationcerts.sandbox.paypal.com'
    const authority = certify({ name: 'Another authority', isAuthority: true, ...time })
    const middle = certify({ name: 'Between', isAuthority: true, by: authority, ...time })
    const plain = certify({ name: 'No authority', by: authority, ...time })
    const other = listen(memory({ clock }), { ca: authority.pem })
    const cases = [
      ['chained', certify({ name, by: authority, ...time }), '', 200],
      ['by one between', certify({ name, by: middle, ...time }), middle.pem, 200],
      ['without the one between', certify({ name, by: middle, ...time }), '', 400],
      ['by one that may not', certify({ name, by: plain, ...time }), plain.pem, 400],
      ['to somebody else', certify({ name: 'evil.test', by: authority, ...time }), '', 400],
      [
        'over',
        certify({ name, by: authority, fromAt: clock.now() - 2000, untilAt: clock.now() - 1000 }),
        '',
        400,
      ],
      [
        'not yet',
        certify({ name, by: authority, fromAt: clock.now() + 2000, untilAt: clock.now() + 9000 }),
        '',
        400,
      ],
    ] as const
    for (const [what, by, rest, status] of cases) {
      const address = orders.publish(`CERT-${what.replaceAll(/\W/g, '-')}`, by.pem + rest)
      const said = body.replace(/"WH-\w+"/, `"WH-${what.replaceAll(/\W/g, '-')}"`)
      assert.equal(
        await post(other.service, said, orders.sign(said, { by, address })),
        status,
        what,
      )
    }
    // The stand-in's own authority knows none of these, and they know nothing of it.
    const foreign = orders.publish('CERT-foreign', certify({ name, by: authority, ...time }).pem)
    assert.equal(await post(service, body, orders.sign(body, { address: foreign })), 400)
    assert.equal(await post(service, body, orders.sign(body)), 200)
  })

  test('a certificate that cannot be fetched is asked for when the event comes again', async () => {
    const { service, told } = listen()
    const { body } = await approved()
    orders.fail({ trouble: 'down', path: '/v1/notifications' })
    assert.equal(await post(service, body, orders.sign(body)), 503)
    assert.equal(await post(service, body, orders.sign(body)), 200)
    assert.equal(told.length, 1)
  })

  test('the public authorities are asked where no other is named', async () => {
    const { service } = listen(memory({ clock }), { ca: undefined })
    const { body } = await approved()
    assert.equal(await post(service, body, orders.sign(body)), 400)
  })

  test('of an order that others have made by the same account tell nothing, and are taken', async () => {
    const { told, service } = listen()
    for (const mark of ['shop-17', '', undefined]) {
      const amount = { currency_code: 'USD', value: '1.00' }
      const unit = { amount, ...(mark !== undefined && { custom_id: mark }) }
      const order = { intent: 'CAPTURE', purchase_units: [unit] }
      const made = orders.state.answer('POST', '/v2/checkout/orders', order) as { id: string }
      orders.state.approve(made.id)
      orders.state.answer('POST', `/v2/checkout/orders/${made.id}/capture`, {})
      const { body } = orders.events.at(-1) ?? assert.fail('an event')
      assert.equal(await post(service, body, orders.sign(body)), 200)
    }
    assert.equal(told.length, 0)
    const { body } = await approved()
    assert.equal(await post(service, body, orders.sign(body)), 200)
    assert.equal(told.length, 1)
  })

  test('that come out of order all tell what holds now, refunds too', async () => {
    const { service, told } = listen()
    const from = orders.events.length
    const { body } = await approved()
    const capture = JSON.parse(body).resource.id as string
    orders.state.answer('POST', `/v2/payments/captures/${capture}/refund`, {})
    const events = orders.events.slice(from).toReversed()
    assert.equal(events.length, 3)
    for (const { body: one } of events)
      assert.equal(await post(service, one, orders.sign(one)), 200)
    assert.deepEqual(
      told.map(({ state }) => state),
      ['returned', 'returned', 'returned'],
    )
  })
})
