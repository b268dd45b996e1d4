// The stand-in for Stripe by itself, by plain HTTP and by the real SDK: mistakes must fail at it, as they would there.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { Stripe } from 'stripe'
import { createHandClock } from '../../gate/fixture.test.ts'
import type { StripeStandIn } from './index.ts'
import { startStripe } from './index.ts'
import { BODY_BYTES_MAX } from './server.ts'
import { KEY_MS } from './stripe.ts'

const clock = createHandClock()
let standIn: StripeStandIn
let sdk: Stripe
before(async () => {
  standIn = await startStripe({ clock })
  const where = { host: '127.0.0.1', port: standIn.port, protocol: 'http' } as const
  sdk = new Stripe(standIn.secretKey, { ...where, telemetry: false, maxNetworkRetries: 0 })
})
after(() => standIn.close())

interface Said {
  readonly status: number
  readonly code: string | undefined
  readonly replayed: string | null
  readonly body: Readonly<Record<string, unknown>>
}

async function ask(
  method: string,
  path: string,
  form: Record<string, string> = {},
  fields: Record<string, string> = {},
): Promise<Said> {
  const answer = await fetch(standIn.url + path, {
    method,
    headers: { authorization: `Bearer ${standIn.secretKey}`, ...fields },
    ...(method === 'POST' && { body: new URLSearchParams(form) }),
  })
  const body = JSON.parse((await answer.text()) || '{}') as Said['body'] & {
    readonly error?: { readonly code?: string; readonly type?: string }
  }
  const replayed = answer.headers.get('idempotent-replayed')
  return { status: answer.status, code: body.error?.code ?? body.error?.type, replayed, body }
}

const preview = { 'stripe-version': '2026-07-29.preview' }
const dollar = { amount: '100', currency: 'usd' }

describe('the stand-in for Stripe', () => {
  test('refuses keys, paths, parameters and versions that are none', async () => {
    const nobody = await ask('GET', '/v1/balance', {}, { authorization: 'Bearer sk_test_other' })
    assert.deepEqual([nobody.status, nobody.code], [401, 'api_key_invalid'])
    assert.equal((await ask('POST', '/v1/chargess')).code, 'url_invalid')
    assert.equal(
      (await ask('POST', '/v1/payment_intents', { ...dollar, ammount: '1' })).code,
      'parameter_unknown',
    )
    assert.equal(
      (await ask('POST', '/v1/payment_intents', { ...dollar, amount: '1.5' })).code,
      'parameter_invalid_integer',
    )
    assert.equal(
      (await ask('POST', '/v1/payment_intents', { ...dollar, currency: 'xau' })).code,
      'invalid_currency',
    )
    assert.equal(
      (await ask('POST', '/v1/payment_intents', { ...dollar, amount: '49' })).code,
      'amount_too_small',
    )
    const token = {
      ...dollar,
      confirm: 'true',
      'payment_method_data[shared_payment_granted_token]': standIn.state.grant(100),
    }
    assert.equal((await ask('POST', '/v1/payment_intents', token)).code, 'parameter_unknown')
    assert.equal(
      (await ask('POST', '/v1/payment_intents', token, preview)).body['status'],
      'succeeded',
    )
    const deep = await ask('POST', '/v1/payment_intents', { 'a[b][c][d][e][f][g]': '1' })
    assert.equal(deep.code, 'parameter_invalid')
    const long = await ask('POST', '/v1/payment_intents', {
      ...dollar,
      description: 'x'.repeat(BODY_BYTES_MAX),
    })
    assert.equal(long.status, 413)
    assert.equal((await ask('GET', '/v1/balance')).body['livemode'], false)
  })

  test('answers the same call under a key as before, and no other call', async () => {
    const key = { 'idempotency-key': 'k1' }
    const first = await ask('POST', '/v1/payment_intents', dollar, key)
    const again = await ask('POST', '/v1/payment_intents', dollar, key)
    assert.equal(first.body['id'], again.body['id'])
    assert.deepEqual([first.replayed, again.replayed], [null, 'true'])
    const other = await ask('POST', '/v1/payment_intents', { ...dollar, amount: '101' }, key)
    assert.deepEqual([other.status, other.code], [400, 'idempotency_error'])
    // What was not valid was never begun: its key is free.
    const free = { 'idempotency-key': 'k2' }
    assert.equal(
      (await ask('POST', '/v1/payment_intents', { ...dollar, amount: '1' }, free)).status,
      400,
    )
    assert.equal((await ask('POST', '/v1/payment_intents', dollar, free)).status, 200)
    clock.pass(KEY_MS)
    const forgotten = await ask('POST', '/v1/payment_intents', dollar, key)
    assert.notEqual(forgotten.body['id'], first.body['id'])
  })

  test('refuses a second call under a key while the first is worked on', async () => {
    const slow = await startStripe({ workMs: 200 })
    const send = (): Promise<Response> =>
      fetch(`${slow.url}/v1/payment_intents`, {
        method: 'POST',
        headers: { authorization: `Bearer ${slow.secretKey}`, 'idempotency-key': 'k' },
        body: new URLSearchParams(dollar),
      })
    const [one, other] = await Promise.all([send(), send()])
    assert.deepEqual(new Set([one.status, other.status]), new Set([200, 409]))
    assert.equal((await send()).headers.get('idempotent-replayed'), 'true')
    await slow.close()
  })

  test('gives a browser what it has the secret of, and nothing else', async () => {
    const { body } = await ask('POST', '/v1/payment_intents', dollar)
    const id = String(body['id'])
    const secret = String(body['client_secret'])
    const browser = { authorization: '' }
    const { publishableKey: key } = standIn
    const card = {
      'payment_method_data[type]': 'card',
      'payment_method_data[card][number]': '4242424242424242',
    }
    const path = `/v1/payment_intents/${id}/confirm`
    assert.equal(
      (await ask('POST', path, { key, client_secret: 'wrong', ...card }, browser)).status,
      404,
    )
    assert.equal(
      (await ask('POST', '/v1/payment_intents', { key, ...dollar }, browser)).status,
      403,
    )
    assert.equal((await ask('GET', `/v1/payment_intents?key=${key}`, {}, browser)).status, 403)
    assert.equal(
      (await ask('POST', '/v1/refunds', { key, payment_intent: id }, browser)).status,
      403,
    )
    assert.equal(
      (await ask('GET', `/v1/payment_intents/${id}?key=${key}`, {}, browser)).status,
      404,
    )
    const bad = { ...card, 'payment_method_data[card][number]': '4000000000000002' }
    assert.equal(
      (await ask('POST', path, { key, client_secret: secret, ...bad }, browser)).code,
      'card_declined',
    )
    const done = await ask('POST', path, { key, client_secret: secret, ...card }, browser)
    assert.equal(done.body['status'], 'succeeded')
    const seen = await ask(
      'GET',
      `/v1/payment_intents/${id}?key=${key}&client_secret=${secret}`,
      {},
      browser,
    )
    assert.equal(seen.body['status'], 'succeeded')
    const preflight = await fetch(standIn.url + path, { method: 'OPTIONS' })
    assert.equal(preflight.headers.get('access-control-allow-origin'), '*')
  })

  test('lets a card that asks its holder wait for him', async () => {
    const made = await sdk.paymentIntents.create({ amount: 100, currency: 'usd' })
    const asked = await sdk.paymentIntents.confirm(made.id, {
      payment_method: 'pm_card_authenticationRequired',
    })
    assert.equal(asked.status, 'requires_action')
    assert.equal((await sdk.paymentIntents.confirm(made.id)).status, 'succeeded')
    await assert.rejects(sdk.paymentIntents.cancel(made.id), {
      code: 'payment_intent_unexpected_state',
    })
  })

  test('gives back until the sum is reached', async () => {
    const { id } = await sdk.paymentIntents.create({
      ...{ amount: 100, currency: 'usd' },
      confirm: true,
      payment_method: 'pm_card_visa',
    })
    assert.equal((await sdk.refunds.create({ payment_intent: id, amount: 40 })).amount, 40)
    await assert.rejects(sdk.refunds.create({ payment_intent: id, amount: 61 }), {
      code: 'amount_too_large',
    })
    assert.equal((await sdk.refunds.create({ payment_intent: id })).amount, 60)
    await assert.rejects(sdk.refunds.create({ payment_intent: id }), {
      code: 'charge_already_refunded',
    })
    assert.equal((await sdk.refunds.list({ payment_intent: id })).data.length, 2)
  })

  test('a token is good for what it was issued for, once', async () => {
    const spend = (token: string, amount = '100'): Promise<Said> =>
      ask(
        'POST',
        '/v1/payment_intents',
        {
          ...dollar,
          amount,
          confirm: 'true',
          'payment_method_data[shared_payment_granted_token]': token,
        },
        preview,
      )
    const token = standIn.state.grant(150)
    assert.equal((await spend(token, '151')).code, 'card_declined')
    assert.equal((await spend(token)).status, 200)
    assert.equal((await spend(token)).code, 'card_declined')
    const issued = await ask(
      'POST',
      '/v1/test_helpers/shared_payment/granted_tokens',
      {
        payment_method: 'pm_card_visa',
        'usage_limits[currency]': 'usd',
        'usage_limits[max_amount]': '100',
        'usage_limits[expires_at]': `${Math.floor(clock.now() / 1000) + 60}`,
      },
      preview,
    )
    assert.equal((await spend(String(issued.body['id']))).status, 200)
    const short = standIn.state.grant(100, { validForMs: 1_000 })
    clock.pass(2_000)
    assert.equal((await spend(short)).code, 'expired_payment_method')
  })

  test('meters leave out what they know', async () => {
    const event = {
      event_name: 'calls',
      identifier: 'one',
      payload: { stripe_customer_id: 'cus_1', value: '3' },
    }
    await sdk.billing.meterEvents.create(event)
    await assert.rejects(sdk.billing.meterEvents.create(event), { code: 'duplicate_meter_event' })
    assert.equal(standIn.state.meterEvents.size, 1)
  })

  test('lists what was made, the newest first, page by page', async () => {
    clock.pass(1_000_000)
    const made: string[] = []
    for (let i = 0; i < 3; i++)
      made.unshift((await sdk.paymentIntents.create({ amount: 100, currency: 'usd' })).id)
    const created = { gte: Math.floor(clock.now() / 1000) }
    const first = await sdk.paymentIntents.list({ created, limit: 2 })
    assert.deepEqual([first.data.map(({ id }) => id), first.has_more], [made.slice(0, 2), true])
    const rest = await sdk.paymentIntents.list({ created, limit: 2, starting_after: made[1] ?? '' })
    assert.deepEqual([rest.data.map(({ id }) => id), rest.has_more], [made.slice(2), false])
    assert.deepEqual((await sdk.paymentIntents.list({ created: { lte: 1 } })).data, [])
  })

  test('fails as it is told to, before and after', async () => {
    const count = (): number => standIn.state.intents.size
    const send = async (key: string): Promise<number | string> =>
      ask('POST', '/v1/payment_intents', dollar, {
        'idempotency-key': key,
        connection: 'close',
      }).then(
        ({ status }) => status,
        () => 'cut',
      )
    const from = count()
    standIn.fail({ trouble: 'down' })
    assert.deepEqual([await send('f1'), count() - from], [503, 0])
    standIn.fail({ trouble: 'hangup', path: '/v1/payment_intents' })
    assert.deepEqual([await send('f2'), count() - from], ['cut', 0])
    standIn.fail({ trouble: 'lost', method: 'POST' })
    assert.deepEqual([await send('f3'), count() - from], ['cut', 1])
    assert.deepEqual([await send('f3'), count() - from], [200, 1])
    standIn.fail({ trouble: 'broken' })
    assert.deepEqual([await send('f4'), count() - from], [500, 2])
    // The 500 is what the key says from then on.
    assert.deepEqual([await send('f4'), count() - from], [500, 2])
  })

  test('delivers its events signed, in the order that is asked for', async () => {
    const got: string[] = []
    const server = createServer((request, response) => {
      let text = ''
      request.on('data', (chunk: Buffer) => (text += chunk.toString()))
      request.on('end', () => {
        const header = String(request.headers['stripe-signature'])
        // Its own clock stands elsewhere than the machine's.
        const event = Stripe.webhooks.constructEvent(text, header, standIn.webhookSecret, 1e12)
        got.push(event.id)
        response.end()
      })
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const events = standIn.events.slice(0, 3).toReversed()
    assert.deepEqual(await standIn.deliver(url, events), [200, 200, 200])
    assert.deepEqual(
      got,
      events.map(({ id }) => id),
    )
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
  })
})
