// The same suite against Stripe's test mode, and a look at PayPal's sandbox: only for whoever asks for it. Give a test key in
// STRIPE_TEST_KEY, our profile in STRIPE_TEST_PROFILE where shared payment tokens are open to the account; for PayPal
// PAYPAL_SANDBOX_ID and PAYPAL_SANDBOX_SECRET.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Stripe } from 'stripe'
import { readPrice } from '../src/core/money.ts'
import type { Rail } from '../src/core/ports.ts'
import { PREVIEW_VERSION } from '../src/rails/stripe/index.ts'
import { paypal } from '../src/rails/paypal/index.ts'
import { ask, offerOf, openNode, said, serve } from './processors-stage.ts'
import { cardSuite } from './processors-suite.ts'

const {
  STRIPE_TEST_KEY: key = '',
  STRIPE_TEST_PROFILE: profile,
  PAYPAL_SANDBOX_ID: clientId = '',
  PAYPAL_SANDBOX_SECRET: clientSecret = '',
} = process.env

if (/^[sr]k_test_/.test(key)) {
  const client = new Stripe(key, { telemetry: false })
  cardSuite('Stripe in its test mode', () => ({
    name: 'Stripe in its test mode',
    ...(profile !== undefined && { profile }),
    client: () => new Stripe(key, { telemetry: false }),
    async grant(cents, card = 'pm_card_visa') {
      const limits = {
        currency: 'usd',
        max_amount: cents,
        expires_at: Math.floor(Date.now() / 1000) + 3_600,
      }
      const path = '/v1/test_helpers/shared_payment/granted_tokens'
      const params = { payment_method: card, usage_limits: limits }
      const made = (await client.rawRequest('POST', path, params, {
        apiVersion: PREVIEW_VERSION,
      })) as { readonly id: string }
      return made.id
    },
    async pay({ payment_intent: id }, card = 'pm_card_visa') {
      await client.paymentIntents.confirm(String(id), { payment_method: card })
    },
  }))
} else
  test('Stripe is not asked: STRIPE_TEST_KEY holds no test key', (t) => {
    t.skip('Give a test key in STRIPE_TEST_KEY to run the suite of cards against Stripe.')
  })

if (clientId !== '' && clientSecret !== '')
  describe('PayPal in its sandbox', () => {
    test('takes our key, makes an order for an offer, and does not capture what nobody approved', async () => {
      const rail: Rail = paypal({ clientId, clientSecret, mode: 'sandbox' })
      await rail.open()
      const gate = openNode([rail])
      const to = ask('1.00 USD')
      assert.equal(rail.quote(readPrice('1.00 USD')).length, 1)
      const offer = await offerOf(gate, to)
      const begun = (await rail.begin?.(offer)) ?? assert.fail('begun')
      assert.deepEqual(await rail.begin?.(offer), begun)
      const proof = { kind: 'order', order: said(begun, 'order') }
      const { outcome } = await serve(gate, to, { offer, proof })
      assert.equal(outcome, 'payment-in-flight')
      await rail.close()
    })
  })
else
  test('PayPal is not asked: PAYPAL_SANDBOX_ID and PAYPAL_SANDBOX_SECRET are not both given', (t) => {
    t.skip('Give both to look at the sandbox of PayPal.')
  })
