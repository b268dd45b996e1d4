import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { JsonObject } from '../../core/json.ts'
import { readPrice } from '../../core/money.ts'
import type { Terms } from '../../core/offer.ts'
import vectors from '../../protocols/mpp/vectors/static.json' with { type: 'json' }
import type { BearerWords, Details, MppWords } from './index.ts'
import { createBearerForm, createMppForm, stripe } from './index.ts'

const rail = stripe({
  client: { rawRequest: () => Promise.reject(new Error('Nobody is asked.')) },
  mode: 'test',
  profile: 'profile_mock',
  currencies: ['USD', 'JPY'],
})
const mpp = createMppForm('stripe:test')
const bearer = createBearerForm({ networks: ['stripe:test'], beginPath: '/begin' })

function termsOf(price: string): Terms<Details> {
  return rail.quote(readPrice(price))[0] ?? assert.fail(price)
}

describe('terms in MPP', () => {
  test('are those of the vectors', () => {
    const { challenge } = vectors.cases['stripe-charge'].credential
    const request = JSON.parse(Buffer.from(challenge.request, 'base64url').toString()) as JsonObject
    const words = mpp.writeDetails(termsOf('1 USD'))
    assert.deepEqual(words, { id: '', realm: '', method: 'stripe', intent: 'charge', request })
    assert.deepEqual(mpp.readDetails(words), termsOf('1 USD'))
    const { payload } = vectors.cases['stripe-charge'].credential
    assert.deepEqual(mpp.readProof({ ...challenge, payload }), {
      kind: 'token',
      token: 'spt_mock_123',
    })
    assert.deepEqual(mpp.writeProof({ kind: 'token', token: 'spt_mock_123' }), { payload })
  })

  test('come back as they were, in every currency', () => {
    for (const price of ['0.50 USD', '999999.99 USD', '50 JPY'])
      assert.deepEqual(mpp.readDetails(mpp.writeDetails(termsOf(price))), termsOf(price))
  })

  test('of others are read with care', () => {
    const good = mpp.writeDetails(termsOf('1 USD'))
    const request = good.request
    const bad: readonly MppWords[] = [
      { ...good, method: 'evm' },
      { ...good, intent: 'session' },
      { ...good, request: {} },
      { ...good, request: { ...request, amount: '0' } },
      { ...good, request: { ...request, amount: '-1' } },
      { ...good, request: { ...request, amount: '1.00' } },
      { ...good, request: { ...request, amount: 100 } },
      { ...good, request: { ...request, amount: '1'.repeat(50) } },
      { ...good, request: { ...request, currency: 'dollars' } },
      { ...good, request: { ...request, methodDetails: { paymentMethodTypes: ['card'] } } },
      {
        ...good,
        request: { ...request, methodDetails: { networkId: 'p', paymentMethodTypes: [] } },
      },
      {
        ...good,
        request: {
          ...request,
          methodDetails: { networkId: 'p', paymentMethodTypes: Array(99).fill('card') },
        },
      },
    ]
    for (const words of bad)
      assert.equal(typeof mpp.readDetails(words), 'string', JSON.stringify(words))
    for (const said of [
      undefined,
      {},
      { payload: {} },
      { payload: { spt: 'pi_12345678' } },
      { payload: { spt: 1 } },
      { payload: { spt: `spt_${'x'.repeat(500)}` } },
    ])
      assert.equal(typeof mpp.readProof(said), 'string', JSON.stringify(said))
    assert.equal(typeof mpp.readDetails(good), 'object')
  })
})

describe('terms in the gateway profile', () => {
  test('come back as they were, and tell where to begin and what the least is', () => {
    for (const price of ['0.50 USD', '50 JPY']) {
      const words = bearer.writeDetails(termsOf(price))
      assert.deepEqual(bearer.readDetails(words), termsOf(price))
      assert.deepEqual([words.gateway, words.wallet_required], ['stripe', false])
      assert.equal(words.details['begin'], '/begin')
      assert.equal(words.details['amount_min'], '50')
    }
  })

  test('of another gateway, network or kind are not taken', () => {
    const good = bearer.writeDetails(termsOf('1 USD'))
    const { details } = good
    const bad: readonly BearerWords[] = [
      { ...good, gateway: 'paypal' },
      { ...good, details: { ...details, network: 'stripe:live' } },
      { ...good, details: { ...details, amount: '1e3' } },
      { ...good, details: { ...details, currency: 'XX' } },
      { ...good, details: { ...details, payee: '' } },
      { ...good, details: { ...details, payment_method_types: 'card' } },
    ]
    for (const words of bad)
      assert.equal(typeof bearer.readDetails(words), 'string', JSON.stringify(words))
    assert.equal(typeof bearer.readDetails(good), 'object')
  })

  test('a payment is shown by its id; its secret for browsers is none, and a token needs its offer', () => {
    const at = { timestampMs: 0 }
    const paid = { kind: 'intent', intent: 'pi_12345678' }
    assert.deepEqual(bearer.readProof({ ...at, proof: 'pi_12345678' }), paid)
    assert.deepEqual(bearer.readProof({ ...at, intent: 'pi_12345678' }), paid)
    assert.deepEqual(bearer.readProof({ ...at, intent: 'offer_x', proof: 'pi_12345678' }), paid)
    assert.deepEqual(bearer.readProof({ ...at, intent: 'offer_x', proof: 'spt_1' }), {
      kind: 'token',
      token: 'spt_1',
    })
    for (const said of [
      { ...at, proof: 'spt_1' },
      { ...at, intent: 'spt_1' },
      { ...at, intent: 'anything', proof: 'spt_1' },
      { ...at, proof: 'pi_12345678_secret_abc' },
      { ...at, proof: 'pi_1/../2' },
      { ...at, proof: `pi_${'1'.repeat(500)}` },
      at,
      undefined,
    ])
      assert.equal(typeof bearer.readProof(said), 'string', JSON.stringify(said))
  })
})
