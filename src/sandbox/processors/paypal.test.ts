// The stand-in for PayPal by itself: mistakes must fail at it, as they would there.
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import type { JsonObject } from '../../core/json.ts'
import { createHandClock } from '../../gate/fixture.test.ts'
import { certify } from './certificate.ts'
import type { PayPalStandIn } from './index.ts'
import { startPayPal } from './index.ts'

const clock = createHandClock()
let standIn: PayPalStandIn
let token = ''
before(async () => {
  standIn = await startPayPal({ clock })
  const basic = Buffer.from(`${standIn.clientId}:${standIn.clientSecret}`).toString('base64')
  const answer = await fetch(`${standIn.url}/v1/oauth2/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  })
  token = ((await answer.json()) as { access_token: string }).access_token
})
after(() => standIn.close())

async function ask(
  method: string,
  path: string,
  json?: unknown,
  fields: Record<string, string> = {},
): Promise<{ readonly status: number; readonly body: JsonObject; readonly issue: unknown }> {
  const answer = await fetch(standIn.url + path, {
    method,
    headers: { authorization: `Bearer ${token}`, ...fields },
    ...(json !== undefined && { body: JSON.stringify(json) }),
  })
  const body = JSON.parse((await answer.text()) || '{}') as JsonObject & {
    readonly details?: readonly { readonly issue: string }[]
  }
  return { status: answer.status, body, issue: body.details?.[0]?.issue ?? body['name'] }
}

function orderOver(value: string, rest: JsonObject = {}): JsonObject {
  const unit = { custom_id: 'mark', amount: { currency_code: 'USD', value } }
  return { intent: 'CAPTURE', purchase_units: [unit], payment_source: { paypal: {} }, ...rest }
}

async function made(): Promise<string> {
  const { id } = (await ask('POST', '/v2/checkout/orders', orderOver('1.00'))).body
  return typeof id === 'string' ? id : assert.fail('an order')
}

describe('the stand-in for PayPal', () => {
  test('refuses keys, paths and members that are none', async () => {
    assert.equal(
      (await ask('GET', '/v2/checkout/orders/X', undefined, { authorization: 'Bearer no' })).status,
      401,
    )
    assert.equal((await ask('POST', '/v2/checkout/order', {})).status, 404)
    assert.equal(
      (await ask('POST', '/v2/checkout/orders', orderOver('1.00', { intnt: 'x' }))).issue,
      'INVALID_REQUEST',
    )
    assert.equal(
      (await ask('POST', '/v2/checkout/orders', orderOver('1.005'))).issue,
      'DECIMAL_PRECISION',
    )
    assert.equal(
      (await ask('POST', '/v2/checkout/orders', orderOver('1.00', { purchase_units: [] }))).status,
      400,
    )
    assert.equal((await ask('POST', '/v2/checkout/orders', orderOver('1.00'))).status, 201)
    const wrong = await fetch(`${standIn.url}/v1/oauth2/token`, {
      method: 'POST',
      body: 'grant_type=client_credentials',
    })
    assert.equal(wrong.status, 401)
  })

  test('captures what was approved, once', async () => {
    const order = await made()
    const path = `/v2/checkout/orders/${order}/capture`
    assert.equal((await ask('POST', path, {})).issue, 'ORDER_NOT_APPROVED')
    const page = await fetch(`${standIn.url}/checkoutnow?token=${order}`)
    assert.match(await page.text(), /<form method="post">/)
    assert.equal(
      (await fetch(`${standIn.url}/checkoutnow?token=${order}`, { method: 'POST' })).status,
      200,
    )
    const key = { 'paypal-request-id': 'capture-1' }
    const first = await ask('POST', path, {}, key)
    assert.deepEqual([first.status, first.body['status']], [201, 'COMPLETED'])
    const again = await ask('POST', path, {}, key)
    assert.deepEqual([again.status, again.body], [200, first.body])
    assert.equal(
      (await ask('POST', path, {}, { 'paypal-request-id': 'capture-2' })).issue,
      'ORDER_ALREADY_CAPTURED',
    )
    assert.equal(
      [...standIn.state.captures.values()].filter((one) => one.order === order).length,
      1,
    )
  })

  test('forgets orders that nobody pays, and keeps those that were paid', async () => {
    const paid = await made()
    standIn.state.approve(paid)
    await ask('POST', `/v2/checkout/orders/${paid}/capture`, {})
    const unpaid = await made()
    clock.pass(10_801_000)
    assert.equal((await ask('GET', `/v2/checkout/orders/${unpaid}`)).status, 404)
    assert.equal((await ask('GET', `/v2/checkout/orders/${paid}`)).status, 200)
  })

  test('gives back until the sum is reached', async () => {
    const order = await made()
    standIn.state.approve(order)
    await ask('POST', `/v2/checkout/orders/${order}/capture`, {})
    const capture = standIn.state.orders.get(order)?.capture?.id
    const path = `/v2/payments/captures/${capture}/refund`
    const part = { amount: { currency_code: 'USD', value: '0.40' } }
    assert.equal((await ask('POST', path, part)).status, 201)
    const much = { amount: { currency_code: 'USD', value: '0.61' } }
    assert.equal((await ask('POST', path, much)).issue, 'REFUND_AMOUNT_EXCEEDED')
    assert.equal((await ask('POST', path, {})).status, 201)
    assert.equal((await ask('POST', path, {})).issue, 'CAPTURE_FULLY_REFUNDED')
  })
})

test('a certificate of the stand-in is one, and is signed by whom it says', () => {
  const time = { fromAt: 1_700_000_000_000, untilAt: 1_900_000_000_000 }
  const authority = certify({ name: 'Authority', isAuthority: true, ...time })
  const made = new X509Certificate(certify({ name: 'host.test', by: authority, ...time }).pem)
  const root = new X509Certificate(authority.pem)
  assert.deepEqual([root.ca, made.ca], [true, false])
  assert.ok(made.checkIssued(root) && made.verify(root.publicKey) && root.verify(root.publicKey))
  assert.equal(made.checkHost('host.test'), 'host.test')
  assert.equal(made.checkHost('other.test'), undefined)
  assert.equal(Date.parse(made.validFrom), time.fromAt)
  assert.equal(Date.parse(made.validTo), time.untilAt)
})
