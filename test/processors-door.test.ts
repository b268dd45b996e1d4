// Cards over HTTP: npm mppx, unmodified, and programs of the gateway profile pay our door, and our payer pays an mppx server.
// The real SDK charges at the stand-in.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { Receipt } from 'mppx'
import { Fetch, stripe as stripeClient } from 'mppx/client'
import { Mppx, stripe as stripeServer } from 'mppx/server'
import { toll } from '../src/adapters/node.ts'
import type { OpenSeller } from '../src/adapters/seller.ts'
import { createSeller } from '../src/adapters/seller.ts'
import { memory } from '../src/ledger/memory.ts'
import { createPayer, paymentOf } from '../src/payer/payer.ts'
import { bearer } from '../src/protocols/bearer/index.ts'
import { mpp } from '../src/protocols/mpp/index.ts'
import { paypal } from '../src/rails/paypal/index.ts'
import { sharedTokens, stripe, stripeCrypto } from '../src/rails/stripe/index.ts'
import type { PayPalStandIn, StripeStandIn } from '../src/sandbox/processors/index.ts'
import { startPayPal, startStripe } from '../src/sandbox/processors/index.ts'
import { listen } from './interop/peers.ts'
import type { Peer } from './interop/peers.ts'
import { balanced, said, sdkOf, SECRET } from './processors-stage.ts'

let cards: StripeStandIn
let orders: PayPalStandIn
let seller: OpenSeller
let shop: Peer
const ledger = memory()
const closing: (() => Promise<unknown>)[] = []

async function serve(listener: RequestListener): Promise<Peer> {
  const peer = await listen(createServer(listener).listen(0, '127.0.0.1'))
  closing.push(() => peer.close())
  return peer
}

before(async () => {
  cards = await startStripe()
  orders = await startPayPal()
  const { clientId, clientSecret, url } = orders
  const account = { client: sdkOf(cards), mode: 'test' } as const
  const rails = [
    stripe({ ...account, profile: 'profile_test' }),
    stripeCrypto(account),
    paypal({ clientId, clientSecret, url, mode: 'sandbox', vaultSecret: SECRET }),
  ]
  seller = await createSeller({
    secret: SECRET,
    rails,
    protocols: [mpp({ parts: rails }), bearer({ parts: rails })],
    ledger,
  })
  const routes = { 'GET /paid': '1.00 USD', 'GET /cheap': '0.10 USD' }
  shop = await serve(toll(seller, routes, (_, response) => void response.end('{"ok":true}')))
})
after(async () => {
  await Promise.all(closing.map((close) => close()))
  await seller?.close()
  await Promise.all([cards?.close(), orders?.close()])
})

/** The reference client, whose card issues tokens of so many cents. */
function referenceClient(): typeof fetch {
  const method = stripeClient.charge({
    paymentMethod: 'pm_card_visa',
    createToken: async ({ amount, networkId }) => {
      assert.equal(networkId, 'profile_test')
      return cards.state.grant(Number(amount))
    },
  })
  return Fetch.from({ methods: [method] }) as typeof fetch
}

interface Payment {
  readonly gateway: string
  readonly payment_intent: string
  readonly details: Readonly<Record<string, unknown>>
}

async function asked(path: string): Promise<readonly Payment[]> {
  const answer = await fetch(shop.url + path)
  assert.equal(answer.status, 402)
  const body = (await answer.json()) as { readonly payments?: readonly Payment[] }
  return body.payments ?? []
}

async function show(intent: string, proof: string, path = '/paid'): Promise<Response> {
  return fetch(shop.url + path, {
    headers: {
      'x-payment-intent': intent,
      'x-payment-proof': proof,
      'x-payment-timestamp': `${Math.floor(Date.now() / 1000)}`,
    },
  })
}

describe('the reference client of MPP', () => {
  test('pays our door by a shared payment token, once for each answer', async () => {
    const from = cards.state.charges.size
    const pay = referenceClient()
    for (const _ of [1, 2]) {
      const answer = await pay(`${shop.url}/paid`)
      assert.equal(answer.status, 200)
      const receipt = Receipt.fromResponse(answer)
      assert.equal(receipt.method, 'stripe')
      assert.equal(cards.state.intents.get(receipt.reference)?.status, 'succeeded')
    }
    assert.equal(cards.state.charges.size - from, 2)
    await balanced(ledger)
  })

  test('is offered no card below what a card is charged', async () => {
    const gateways = (await asked('/cheap')).map(({ gateway }) => gateway)
    assert.deepEqual(gateways.toSorted(), ['paypal', 'stripe-crypto'])
    assert.equal((await asked('/paid')).length, 3)
  })
})

describe('the gateway profile', () => {
  async function paymentBy(gateway: string): Promise<Payment> {
    const found = (await asked('/paid')).find((one) => one.gateway === gateway)
    return found ?? assert.fail(gateway)
  }

  test('takes a shared payment token with the offer that it pays, and none without', async () => {
    const { payment_intent: intent, details } = await paymentBy('stripe')
    assert.equal(details['amount_min'], '50')
    const token = cards.state.grant(100)
    assert.equal((await show('anything', token)).status, 400)
    assert.equal((await show(intent, token)).status, 200)
    assert.equal((await show(intent, token)).status, 410)
  })

  test('takes an order of PayPal, with its offer or by its own id', async () => {
    for (const isBound of [true, false]) {
      const { payment_intent: intent } = await paymentBy('paypal')
      const begun = await beginAt('paypal', intent)
      const order = said(begun, 'order')
      orders.state.approve(order)
      const answer = await show(isBound ? intent : order, order)
      assert.equal(answer.status, 200, await answer.text())
      assert.notEqual((await show(isBound ? intent : order, order)).status, 200)
    }
    await balanced(ledger)
  })

  /** As a page has it begun: the rail is asked for the offer that stands behind the intent. */
  async function beginAt(name: string, intent: string): Promise<Readonly<Record<string, unknown>>> {
    const credential = await bearer({ parts: rails() }).readCredential(
      new Headers({
        'x-payment-intent': intent,
        'x-payment-proof': 'NOORDERYET0',
        'x-payment-timestamp': `${Math.floor(Date.now() / 1000)}`,
      }),
      { ...resourceOf() },
    )
    assert.ok(credential && 'offer' in credential && credential.offer && 'id' in credential.offer)
    const rail = rails().find((one) => one.name === name)
    return (await rail?.begin?.(credential.offer as never)) ?? assert.fail('begun')
  }

  function rails() {
    const { clientId, clientSecret, url } = orders
    return [paypal({ clientId, clientSecret, url, mode: 'sandbox' })]
  }

  function resourceOf() {
    const { host } = new URL(shop.url)
    const where = { method: 'GET', authority: host, path: '/paid', query: '' }
    return { ...where, realm: 'tolsey', url: `${shop.url}/paid` }
  }
})

describe('our payer', () => {
  test('pays the reference server of MPP by a shared payment token', async () => {
    const mppx = Mppx.create({
      realm: '127.0.0.1',
      secretKey: 'fixture-secret-fixture-secret-32b!',
      methods: [
        stripeServer.charge({
          client: sdkOf(cards) as never,
          networkId: 'profile_test',
          paymentMethodTypes: ['card'],
          currency: 'usd',
          decimals: 2,
        }),
      ],
    })
    const handler = mppx.stripe.charge({ amount: '1' })
    const server = await serve((request, response) => {
      void Mppx.toNodeListener(handler as never)(request, response).then(({ status }) => {
        if (status !== 402) response.end('{"ok":true}')
      })
    })
    const orders: unknown[] = []
    const wallet = sharedTokens({
      async issue(order) {
        orders.push(order)
        return cards.state.grant(Number(order.amountMax), { currency: order.currency })
      },
    })
    const payer = createPayer({
      wallets: [wallet],
      protocols: [mpp({ parts: [wallet] })],
      ledger: memory(),
      policy: { perRequest: '2 USD', total: '10 USD' },
    })
    const answer = await payer.fetch(`${server.url}/`)
    assert.equal(answer.status, 200, await answer.text())
    const payment = paymentOf(answer)
    assert.deepEqual([payment?.state, payment?.protocol], ['posted', 'mpp'])
    assert.match(payment?.receipt?.reference ?? '', /^pi_/)
    assert.equal(orders.length, 1)
  })
})
