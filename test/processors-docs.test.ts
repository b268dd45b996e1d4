// The programs of docs/stripe.md and docs/paypal.md run here as they stand there, but for the names of the packages, against the
// stand-ins.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Fetch, stripe as stripeClient } from 'mppx/client'
import { paypal } from '../src/rails/paypal/index.ts'
import type { PayPalStandIn, StripeStandIn } from '../src/sandbox/processors/index.ts'
import { startPayPal, startStripe } from '../src/sandbox/processors/index.ts'
import { freePort } from './ports.ts'
import { SECRET } from './processors-stage.ts'
import { openStage, programsIn, readPage } from './programs.ts'
import type { Stage } from './programs.ts'

let stage: Stage
let cards: StripeStandIn
let orders: PayPalStandIn
before(async () => {
  stage = await openStage()
  cards = await startStripe()
  orders = await startPayPal()
})
after(async () => {
  await stage?.close()
  await Promise.all([cards?.close(), orders?.close()])
})

/** Starts the program of a page, and waits until it answers. */
async function run(name: string, env: Readonly<Record<string, string>>): Promise<string> {
  const [code = ''] = programsIn(await readPage(`${name}.md`))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const shop = stage.start(await stage.write(code), { SECRET, PORT: `${port}`, ...env })
  await shop.answers(`${url}/report`, ({ status }) => status === 402)
  return url
}

describe('the program of docs/stripe.md', () => {
  let url: string
  before(async () => {
    url = await run('stripe', {
      STRIPE_KEY: cards.secretKey,
      STRIPE_URL: cards.url,
      PROFILE: 'profile_test',
      HOOK_SECRET: cards.webhookSecret,
    })
  })

  function pay(): typeof fetch {
    const method = stripeClient.charge({
      paymentMethod: 'pm_card_visa',
      createToken: async ({ amount }) => cards.state.grant(Number(amount)),
    })
    return Fetch.from({ methods: [method] }) as typeof fetch
  }

  test('sells a report by card, and a hundred of what is too cheap for one', async () => {
    const from = cards.state.charges.size
    const report = await pay()(`${url}/report`)
    assert.deepEqual([report.status, await report.text()], [200, '{"sky":"clear"}'])
    const weather = await pay()(`${url}/weather`)
    assert.equal(weather.status, 200)
    const token = weather.headers.get('tolsey-token') ?? assert.fail('a token')
    for (const _ of [1, 2]) {
      const fields = {
        'x-payment-proof': token,
        'x-payment-timestamp': `${Math.floor(Date.now() / 1000)}`,
      }
      const again = await fetch(`${url}/weather`, { headers: fields })
      assert.equal(again.status, 200, await again.text())
    }
    assert.deepEqual(
      [...cards.state.charges.values()].slice(from).map(({ amount }) => amount),
      [200, 100],
    )
  })

  test('hears what Stripe tells, and nobody else', async () => {
    const hook = `${url}/.well-known/tolsey/stripe/webhook`
    const statuses = await cards.deliver(hook)
    assert.ok(statuses.length > 0 && statuses.every((status) => status === 200), statuses.join())
    const forged = await fetch(hook, { method: 'POST', body: cards.events[0]?.body ?? '' })
    assert.equal(forged.status, 400)
  })
})

describe('the program of docs/paypal.md', () => {
  test('sells a report for an order that was approved, and by a method that is kept', async () => {
    const { clientId, clientSecret } = orders
    const url = await run('paypal', {
      CLIENT_ID: clientId,
      CLIENT_SECRET: clientSecret,
      PAYPAL_URL: orders.url,
      WEBHOOK_ID: orders.webhookId,
    })
    const { vault } = paypal({
      clientId,
      clientSecret,
      url: orders.url,
      mode: 'sandbox',
      vaultSecret: SECRET,
    })
    const { setup = '' } = (await vault?.begin('http://shop.test', 'http://shop.test')) ?? {}
    orders.state.approve(setup)
    const handle = (await vault?.keep(setup)) ?? ''
    const asked = await fetch(`${url}/report`)
    const { payments } = (await asked.json()) as {
      readonly payments: readonly { readonly payment_intent: string }[]
    }
    const fields = {
      'x-payment-intent': payments[0]?.payment_intent ?? '',
      'x-payment-timestamp': `${Math.floor(Date.now() / 1000)}`,
    }
    const send = (proof: string): Promise<Response> =>
      fetch(`${url}/report`, { headers: { ...fields, 'x-payment-proof': proof } })
    assert.equal((await send(handle.replace(/.{43}$/, 'A'.repeat(43)))).status, 403)
    const answer = await send(handle)
    assert.deepEqual([answer.status, await answer.text()], [200, '{"sky":"clear"}'])
    assert.equal([...orders.state.captures.values()].length, 1)
  })
})
