// Cards and PayPal through the whole gate, with stand-ins for the processors. Nothing here asks Stripe or PayPal.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { memory } from '../src/ledger/memory.ts'
import type { Proof } from '../src/rails/stripe/index.ts'
import { stripe } from '../src/rails/stripe/index.ts'
import type { StripeStandIn } from '../src/sandbox/processors/index.ts'
import { startStripe } from '../src/sandbox/processors/index.ts'
import { ask, balanced, offerOf, openNode, sdkOf, serve } from './processors-stage.ts'
import { cardSuite } from './processors-suite.ts'

let standIn: StripeStandIn
before(async () => {
  standIn = await startStripe()
})
after(() => standIn.close())

cardSuite('the stand-in', () => ({
  name: 'the stand-in',
  profile: 'profile_test',
  client: () => sdkOf(standIn),
  grant: async (cents, card) => standIn.state.grant(cents, card === undefined ? {} : { card }),
  async pay(begun, card = '4242 4242 4242 4242') {
    // As the script of a page does it: with the key for browsers, and the secret of the one intent.
    const { payment_intent: id, client_secret: secret } = begun
    const body = new URLSearchParams({
      key: standIn.publishableKey,
      client_secret: String(secret),
      'payment_method_data[type]': 'card',
      'payment_method_data[card][number]': card,
    })
    const url = `${standIn.url}/v1/payment_intents/${String(id)}/confirm`
    const response = await fetch(url, { method: 'POST', body })
    assert.equal(response.status, 200, await response.text())
  },
}))

describe('an answer that is lost after the charge', () => {
  test('is asked for again by the SDK as it comes, and a replayed answer is no refusal', async () => {
    const ledger = memory()
    const rail = stripe({ client: sdkOf(standIn, 2), mode: 'test', profile: 'profile_test' })
    const gate = openNode([rail], ledger)
    const to = ask('1.00 USD')
    const offer = await offerOf(gate, to)
    const proof: Proof = { kind: 'token', token: standIn.state.grant(500) }
    const charges = standIn.state.charges.size
    const calls = standIn.calls.length
    standIn.fail({ trouble: 'lost', method: 'POST', path: '/v1/payment_intents' })
    const { outcome } = await serve(gate, to, { offer, proof })
    assert.equal(outcome, 'serve')
    const posts = standIn.calls.slice(calls).filter(({ method }) => method === 'POST')
    assert.equal(posts.length, 2)
    assert.equal(standIn.state.charges.size - charges, 1)
    await balanced(ledger)
  })
})
