import assert from 'node:assert/strict'
import test from 'node:test'
import {
  decodePaymentRequiredHeader,
  decodePaymentResponseHeader,
  decodePaymentSignatureHeader,
  encodePaymentRequiredHeader,
  encodePaymentResponseHeader,
  encodePaymentSignatureHeader,
  x402HTTPClient,
} from '@x402/core/http'
import { x402Client } from '@x402/core/client'
import { parsePaymentPayload, parsePaymentRequired } from '@x402/core/schemas'
import { problem } from '../../core/problem.ts'
import type { Proof } from '../../rails/evm/proof.ts'
import type { PaymentPayload, PaymentRequired } from '@x402/core/types'
import { createSigner, decodeXPaymentResponse, wrapFetchWithPayment } from 'x402-fetch'
import {
  challengeWith,
  exchanges,
  fieldsOf,
  method,
  offerFor,
  offers,
  proof,
  received,
  resource,
  vectors,
  wallet,
} from './fixture.test.ts'
import { readHeader, writeHeader } from './header.ts'
import { x402 } from './http.ts'

// Against npm @x402/core 2.27 and x402 1.x: they read what we write, we read what they write.

const seller = x402([method])
const buyer = x402([wallet])
const challenge = seller.writeChallenge(
  challengeWith(offerFor(), { description: 'Wetter in Köln ☂', mimeType: 'application/json' }),
)

test('upstream reads our challenge, and its schemas agree with it', () => {
  const value = fieldsOf(challenge.fields).get('PAYMENT-REQUIRED') ?? ''
  const said = decodePaymentRequiredHeader(value)
  assert.equal(said.resource.description, 'Wetter in Köln ☂')
  assert(parsePaymentRequired(said).success)
  assert.equal(encodePaymentRequiredHeader(said), value)
})

test('upstream’s client finds our offer in the header, and one of version 1 in the body', () => {
  const client = new x402HTTPClient(new x402Client())
  const { fields, body } = received(challenge)
  const two = client.getPaymentRequiredResponse((name) => fields.get(name) ?? null, body)
  assert.equal(two.x402Version, 2)
  const one = client.getPaymentRequiredResponse(() => null, body)
  assert.equal(one.x402Version, 1)
})

test('npm x402-fetch pays our body in version 1, and reads our receipt', async () => {
  const key = `0x${'11'.repeat(32)}` as const
  const signer = await createSigner('base-sepolia', key)
  let paid: ReturnType<typeof seller.readCredential>
  const answer = (_: unknown, init?: RequestInit): Promise<Response> => {
    const headers = new Headers(init?.headers)
    paid = seller.readCredential(headers, resource)
    if (!paid) return Promise.resolve(Response.json(challenge.body, { status: 402 }))
    const { rail, network, amount, payee } = offerFor()
    const receipt = { rail, network, amount, payee, reference: '0xab', payer: vectors.payer }
    const { fields } = seller.writeReceipt({ ...receipt, settledAt: 0, settled: true })
    return Promise.resolve(
      new Response('ok', { headers: fields.map(([k, v]): [string, string] => [k, v]) }),
    )
  }
  const response = await wrapFetchWithPayment(answer, signer)(resource.url, {})
  assert.equal(response.status, 200)
  assert(paid && 'offer' in paid)
  assert.deepEqual(paid.offer, { rail: 'evm', network: 'eip155:84532' })
  assert.equal((paid.proof as Proof).value, 1000n)
  const receipt = decodeXPaymentResponse(response.headers.get('X-PAYMENT-RESPONSE') ?? '')
  assert.deepEqual([receipt.network, receipt.transaction], ['base-sepolia', '0xab'])
})

test('upstream reads our payment, and its schemas agree with it', () => {
  const { fields } = buyer.writeCredential({ offer: offerFor(), proof })
  const value = fields[0]?.[1] ?? ''
  const said = decodePaymentSignatureHeader(value)
  assert(parsePaymentPayload(said).success)
  assert.equal(encodePaymentSignatureHeader(said), value)
})

test('we read a payment that upstream writes for our offer', () => {
  const { fields } = received(challenge)
  const said = decodePaymentRequiredHeader(fields.get('PAYMENT-REQUIRED') ?? '')
  const [accepted] = said.accepts
  assert(accepted)
  const payload: PaymentPayload = {
    x402Version: 2,
    resource: said.resource,
    accepted,
    payload: { ...vectors.exactEip3009.payload.payload },
  }
  const value = encodePaymentSignatureHeader(payload)
  const found = seller.readCredential(fieldsOf({ 'PAYMENT-SIGNATURE': value }), resource)
  assert(found && 'offer' in found && 'id' in found.offer)
  assert.equal(offers.check(found.offer, resource, 0), undefined)
})

test('upstream reads our receipt, of success and of failure', () => {
  const client = new x402HTTPClient(new x402Client())
  const { rail, network, amount, payee } = offerFor()
  const receipt = { rail, network, amount, payee, reference: '0xab', payer: vectors.payer }
  const good = seller.writeReceipt({ ...receipt, settledAt: 1000, settled: true })
  const at = fieldsOf(good.fields)
  const paid = client.parsePaymentResult({
    status: 200,
    getHeader: (name) => at.get(name) ?? null,
    body: {},
  })
  assert.equal(paid.paymentStatus, 'settled')
  const said = decodePaymentResponseHeader(at.get('PAYMENT-RESPONSE') ?? '')
  const { extra, ...rest } = said
  assert.deepEqual(extra, { settledAt: 1 })
  assert.deepEqual(rest, {
    success: true,
    payer: vectors.payer,
    transaction: '0xab',
    network: 'eip155:84532',
    amount: '1000',
  })
  const why = problem('settlement-failed', 'No.')
  const bad = fieldsOf(seller.writeChallenge(challengeWith(offerFor(), { problem: why })).fields)
  const failed = client.parsePaymentResult({
    status: 402,
    getHeader: (name) => bad.get(name) ?? null,
    body: {},
  })
  assert.equal(failed.paymentStatus, 'settle_failed')
})

test('we read a receipt that upstream writes', () => {
  const value = encodePaymentResponseHeader({
    success: true,
    transaction: '0xab',
    network: 'eip155:84532',
    payer: vectors.payer,
  })
  const fields = fieldsOf({ 'PAYMENT-RESPONSE': value })
  const found = buyer.readReceipt({ status: 200, fields }, offerFor())
  assert(found && 'reference' in found)
  assert.equal(found.reference, '0xab')
})

for (const [name, { paymentRequired, payload, paymentSignatureHeader }] of Object.entries(
  exchanges,
))
  test(`the headers of ${name} have the bytes that upstream gives them`, () => {
    const read = readHeader(paymentSignatureHeader)
    assert(read.ok)
    assert.deepEqual(read.value, payload)
    assert.equal(writeHeader(payload), paymentSignatureHeader)
    assert.equal(
      writeHeader(paymentRequired),
      encodePaymentRequiredHeader(paymentRequired as PaymentRequired),
    )
  })
