// What strangers may send to whom we are with processors: nothing of it throws, and nothing of it is believed.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { readSaidOffer } from '../src/core/said-offer.ts'
import { createForm } from '../src/rails/paypal/forms.ts'
import { readOrder } from '../src/rails/paypal/order.ts'
import { createHandles } from '../src/rails/paypal/vault.ts'
import { createBearerForm, createMppForm } from '../src/rails/stripe/forms.ts'
import { readIntent } from '../src/rails/stripe/intent.ts'
import { isSigned } from '../src/rails/stripe/webhook.ts'
import { readForm } from '../src/sandbox/processors/form.ts'
import { SECRET } from './processors-stage.ts'

const runs = { numRuns: 300 }
const json = fc.jsonValue({ maxDepth: 4 })
const object = fc.dictionary(fc.string(), json)

describe('anything', () => {
  test('is no signature of Stripe', () => {
    const parts = fc.array(
      fc.tuple(
        fc.constantFrom('t', 'v1', 'v0', ''),
        fc.oneof(fc.string(), fc.constant('1800000000')),
      ),
    )
    const header = fc.oneof(
      fc.string(),
      parts.map((list) => list.map(([name, value]) => `${name}=${value}`).join(',')),
    )
    fc.assert(
      fc.property(fc.string(), header, (text, said) => {
        assert.equal(isSigned(text, said, [SECRET], 1_800_000_000_000), false)
      }),
      runs,
    )
  })

  test('is no handle of ours', () => {
    const handles = createHandles(SECRET)
    const good = handles.write('paypal', 'abc123')
    const changed = fc
      .tuple(fc.nat(good.length - 1), fc.string({ minLength: 0, maxLength: 3 }))
      .map(([at, by]) => good.slice(0, at) + by + good.slice(at + 1))
      .filter((text) => text !== good)
    fc.assert(
      fc.property(fc.oneof(fc.string(), changed), (text) => {
        assert.equal(handles.read(text), undefined)
      }),
      runs,
    )
    assert.deepEqual(handles.read(good), { source: 'paypal', id: 'abc123' })
  })

  test('is a proof, terms, a payment or an offer only in its own words', () => {
    const bearer = createBearerForm({ networks: ['stripe:test'] })
    const paypal = createForm('paypal:sandbox')
    const mpp = createMppForm()
    fc.assert(
      fc.property(json, object, (value, details) => {
        for (const form of [bearer, paypal, mpp]) {
          const proof = form.readProof(value)
          assert.ok(typeof proof === 'string' || 'kind' in proof)
        }
        assert.equal(
          typeof bearer.readDetails({
            gateway: 'stripe',
            wallet_required: false,
            details,
          } as never),
          'string',
        )
        assert.equal(
          typeof paypal.readDetails({
            gateway: 'paypal',
            wallet_required: false,
            details,
          } as never),
          'string',
        )
        assert.equal(
          typeof mpp.readDetails({
            id: '',
            realm: '',
            method: 'stripe',
            intent: 'charge',
            request: details,
          } as never),
          'string',
        )
        assert.equal(readIntent(details as never), undefined)
        assert.equal(readOrder(details as never), undefined)
        assert.equal(readSaidOffer(value), undefined)
      }),
      runs,
    )
  })

  test('is read as a form, or not at all', () => {
    const name = fc.stringMatching(/^[a-z_[\]]{0,20}$/)
    const form = fc
      .array(fc.tuple(fc.oneof(name, fc.constant('__proto__[x]')), fc.string()))
      .map((list) => new URLSearchParams(list).toString())
    fc.assert(
      fc.property(fc.oneof(fc.string(), form), (text) => {
        readForm(text)
        assert.equal(Reflect.get({}, 'x'), undefined)
      }),
      runs,
    )
  })
})
