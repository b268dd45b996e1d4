import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { JsonObject } from '../../core/json.ts'
import type { Terms } from '../../core/offer.ts'
import type { Form } from '../../core/ports.ts'
import { problem } from '../../core/problem.ts'
import type { Problem } from '../../core/problem.ts'
import {
  NOW,
  atOnce,
  challengeOf,
  credential,
  evmOffer,
  frames,
  lightningOffer,
  offers,
  parts,
  preimage,
  receiptOf,
  resource,
} from './fixture.test.ts'
import type { Words } from './part.ts'
import { capabilityOf, mppRpc, rpcCodes } from './rpc.ts'

const asset = { id: 'usd', code: 'USD', scale: 2 }
/** The method that the recorded frames are in. */
const demo: Form<unknown, unknown, Words> = {
  rail: 'demo',
  networks: ['demo'],
  writeDetails: ({ amount }) => ({
    method: 'demo',
    intent: 'charge',
    request: { amount: amount.amount.toString(), currency: 'usd' },
  }),
  readDetails({ method, request }) {
    const amount = request?.['amount']
    if (method !== 'demo' || typeof amount !== 'string') return 'It is not the demo.'
    const terms: Terms = {
      ...{ rail: 'demo', network: 'demo', intent: 'charge', payee: 'us', timeoutMs: 0 },
      amount: { asset, amount: BigInt(amount) },
      details: {},
    }
    return terms
  },
  writeProof: (proof) => ({ payload: proof as JsonObject }),
  readProof: (said) => (said as { payload: unknown }).payload,
  reasons: {},
}
const seller = mppRpc({ parts })
const demos = mppRpc({ parts: [{ forms: { mpp: demo } }] })
const at = { ...resource, authority: 'mcp.example.com' }
const required = problem('payment-required', 'Pay.')

interface Frame extends JsonObject {
  readonly params: { readonly _meta: JsonObject }
  readonly error: JsonObject & { readonly code: number; readonly data: JsonObject }
}
const frame = (name: string): Frame => frames[name] as unknown as Frame

describe('what npm mppx has recorded of JSON-RPC', () => {
  test('the challenge is read, and answered with the same credential', () => {
    const challenge = demos.readChallenge(frame('mcpChallenge'), at)
    assert.equal(challenge?.unreadable, undefined)
    const [offer] = challenge?.offers ?? []
    assert.ok(offer)
    assert.equal(offer.amount.amount, 10n)
    const meta = demos.writeCredential({ offer, proof: { proof: 'ok' } })
    assert.deepEqual(meta, frame('mcpRequest').params['_meta'])
  })

  test('the paid call is read, and so is its receipt', () => {
    const call = frame('mcpRequest')
    const { offer, proof } = credential(atOnce(demos.readCredential(call, at)))
    assert.deepEqual(proof, { proof: 'ok' })
    const receipt = demos.readReceipt(frame('mcpResult'), offer)
    assert.ok(receipt && 'reference' in receipt && receipt.reference === 'ref-1')
    const { params: _, ...rest } = call
    const outside = { ...rest, params: {}, _meta: call.params['_meta'] }
    assert.deepEqual(credential(atOnce(demos.readCredential(outside, at))).offer, offer)
  })

  test('refusals have the codes and the members of theirs', () => {
    const foul = demos.readCredential(
      { params: { _meta: { 'org.paymentauth/credential': { nope: 1 } } } },
      at,
    ) as Problem
    const ours = {
      mcpChallenge: required,
      mcpVerificationFailed: problem('proof-invalid', 'It does not hold.'),
      mcpMalformed: foul,
    }
    for (const [name, why] of Object.entries(ours)) {
      const { error } = frame(name)
      const said = seller.writeError(why, challengeOf([evmOffer()]))
      assert.equal(said.code, error.code, name)
      assert.deepEqual(Object.keys(said.data).toSorted(), Object.keys(error.data).toSorted())
      const type = (data: JsonObject): unknown => (data['problem'] as JsonObject)['type']
      assert.equal(type(said.data), type(error.data))
    }
  })
})

describe('a call', () => {
  test('is paid for by what its refusal asks for', () => {
    for (const offer of [evmOffer(), lightningOffer()]) {
      const error = seller.writeError(required, challengeOf([offer]))
      const message = JSON.parse(JSON.stringify({ id: 1, error })) as JsonObject
      const [read] = seller.readChallenge(message, resource)?.offers ?? []
      assert.deepEqual({ ...read, echo: undefined }, { ...offer, echo: undefined })
      if (offer.rail !== 'lightning') continue
      const meta = seller.writeCredential({ offer: { ...offer, ...read }, proof: { preimage } })
      const again = credential(atOnce(seller.readCredential({ params: { _meta: meta } }, resource)))
      assert.equal(offers.check(again.offer, resource, NOW), undefined)
      assert.ok(offers.check(again.offer, { ...resource, path: '/b' }, NOW))
    }
  })

  test('is refused with a code that says whether a payment helps', () => {
    const code = (why: Problem): number => seller.writeError(why).code
    assert.equal(code(required), rpcCodes.required)
    assert.equal(code(problem('offer-expired', '.')), rpcCodes.refused)
    assert.equal(code(problem('credential-malformed', '.')), rpcCodes.malformed)
    for (const passing of ['payment-in-flight', 'payment-unknown', 'internal'] as const)
      assert.equal(code(problem(passing, '.')), rpcCodes.internal)
  })

  test('has a receipt that names its challenge, and none for what is on its way', () => {
    const offer = evmOffer()
    const meta = seller.writeReceipt(receiptOf(offer), offer)
    const read = seller.readReceipt({ result: { _meta: meta } }, offer)
    assert.ok(read && 'reference' in read && read.reference === '0xab')
    assert.deepEqual(seller.writeReceipt(receiptOf(offer, { settled: false }), offer), {})
    assert.ok('code' in (seller.readReceipt({ _meta: meta }, evmOffer(resource, 'x')) ?? {}))
    assert.equal(seller.readReceipt({ result: {} }, offer), undefined)
  })

  test('that asks in a result is read as one that asks in an error', () => {
    const { data } = frame('mcpChallenge').error
    const result = { _meta: { 'org.paymentauth/payment-required': data } }
    assert.equal(demos.readChallenge({ result }, at)?.offers.length, 1)
    const { challenges } = data
    const spoilt = { ...data, challenges: [{}, 5, ...(challenges as readonly JsonObject[])] }
    const found = demos.readChallenge({ error: { code: -32_043, data: spoilt } }, at)
    assert.deepEqual([found?.offers.length, found?.unreadable?.length], [1, 2])
    assert.equal(demos.readChallenge({ error: { code: -32_000, data } }, at), undefined)
  })

  test('of any shape is read without a fault', () => {
    fc.assert(
      fc.property(fc.object(), fc.jsonValue(), (message, said) => {
        const meta = { 'org.paymentauth/credential': said, 'org.paymentauth/receipt': said }
        for (const one of [
          message,
          { ...message, _meta: meta },
          { params: { _meta: meta }, result: { _meta: meta } },
        ]) {
          const read = atOnce(seller.readCredential(one as JsonObject, resource))
          assert.ok(read === undefined || 'code' in read)
          seller.readReceipt(one as JsonObject, evmOffer())
          const error = { code: -32_042, data: { challenges: [said] } }
          seller.readChallenge({ ...one, error } as JsonObject, resource)
        }
      }),
      { numRuns: 300 },
    )
  })
})

test('what is taken is told as a capability', () => {
  const offer = { amount: '1', intent: 'charge' }
  const list = [
    { ...offer, method: 'evm' },
    { ...offer, method: 'evm' },
    { ...offer, method: 'a' },
  ]
  const methods = { evm: { intents: ['charge'] }, a: { intents: ['charge'] } }
  assert.deepEqual(capabilityOf(list), { payment: { methods } })
})
