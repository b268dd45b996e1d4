import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import test, { suite } from 'node:test'
import { Ajv2020 } from 'ajv/dist/2020.js'
import type { ValidateFunction } from 'ajv/dist/2020.js'
import { differences, writeSchemas } from '../../../scripts/schemas.ts'
import { challengeWith, decode, exchanges, method, offerFor, vectors } from './fixture.test.ts'
import { x402 } from './http.ts'
import { ACCEPTS_MAX, HEADER_CHARS_MAX, headers, messages, read } from './wire.ts'

// What the code reads with and what is published in schemas/ must say the same: every case goes through both.

const folder = join(import.meta.dirname, '../../../schemas')
const ajv = new Ajv2020({ strict: false })
for (const text of writeSchemas().values()) ajv.addSchema(JSON.parse(text) as object)

function published(name: string): ValidateFunction {
  const found = ajv.getSchema(`urn:tolsey:schema:x402:${name.replaceAll('/', ':')}`)
  assert(found, name)
  return found
}

function takes(name: string, value: unknown): boolean {
  const schema = messages[name]
  assert(schema, name)
  const ours = read(schema, value).ok
  assert.equal(published(name)(value), ours, `${name}: ${JSON.stringify(value).slice(0, 500)}`)
  return ours
}

test('the schemas in the folder are the ones that the code reads with', async () => {
  assert.deepEqual(await differences(folder), [])
})

test('the README of the folder names every schema', async () => {
  const readme = await readFile(join(folder, 'README.md'), 'utf8')
  for (const path of writeSchemas().keys()) assert(readme.includes(path), path)
})

const [accepts] = vectors.exactEip3009.paymentRequired.accepts
const legacy = x402([method]).writeChallenge(challengeWith(offerFor())).body

const item = {
  resource: 'https://api.example.com/paid',
  type: 'http',
  x402Version: 2,
  accepts: [accepts],
  lastUpdated: '2027-01-15T08:00:00Z',
}

/** An honest message of every kind: all exchanges of the vectors, and what the reference shows. */
const honest: Readonly<Record<string, readonly object[]>> = {
  'v2/payment-required': [
    ...Object.values(exchanges).map(({ paymentRequired }) => paymentRequired),
    vectors.serverUnpaid.decoded,
  ],
  'v2/payment-requirements': accepts ? [accepts] : [],
  'v2/payment-payload': Object.values(exchanges).map(({ payload }) => payload),
  'v2/settle-response': [
    decode(vectors.settleResponseHeader),
    { success: false, errorReason: 'x', transaction: '', network: 'eip155:1' },
  ],
  'v2/verify-response': [
    { isValid: true, payer: '0x00' },
    { isValid: false, invalidReason: 'x' },
  ],
  'v2/facilitator-request': [
    {
      x402Version: 2,
      paymentPayload: vectors.exactEip3009.payload,
      paymentRequirements: accepts,
    },
  ],
  'v2/supported-response': [
    { kinds: [{ x402Version: 2, scheme: 'exact', network: 'eip155:84532', extra: {} }] },
    { kinds: [], extensions: ['bazaar'], signers: { 'eip155:*': ['0x00'] } },
  ],
  'v2/discovery-item': [item],
  'v2/discovery-resources': [
    { x402Version: 2, items: [item], pagination: { limit: 20, offset: 0, total: 1 } },
  ],
  'v2/discovery-search': [
    { x402Version: 2, resources: [item], partialResults: false, pagination: null },
    { x402Version: 2, resources: [], pagination: { limit: 10, cursor: 'x' } },
  ],
  'v1/payment-required': [{ ...legacy, type: 'about:blank', status: 402 }],
  'v1/payment-requirements': legacy?.['accepts'] as object[],
  'v1/payment-payload': [
    { x402Version: 1, scheme: 'exact', network: 'base', payload: vectors.exactEip3009.payload },
  ],
  'v1/settle-response': [{ success: true, transaction: '0x', network: 'base', payer: '0x00' }],
}

suite('every message', () => {
  for (const name of Object.keys(messages))
    test(`${name} is taken when it is honest, and not without what it must have`, () => {
      const values = honest[name] ?? []
      assert(values.length > 0)
      for (const value of values) {
        assert(takes(name, value))
        assert(takes(name, { ...value, aMemberOfTheNextVersion: 1 }))
        for (const key of Object.keys(value)) takes(name, { ...value, [key]: null })
        for (const wrong of [7, {}, [], true, 'x'.repeat(5000)])
          for (const key of Object.keys(value)) takes(name, { ...value, [key]: wrong })
      }
      const [first = {}] = values
      const required = published(name).schema as { readonly required: readonly string[] }
      assert(required.required.length > 0)
      for (const key of required.required) {
        assert(!takes(name, { ...first, [key]: null }))
        assert(!takes(name, Object.fromEntries(Object.entries(first).filter(([k]) => k !== key))))
      }
      for (const other of [null, [], 'x', 1]) assert(!takes(name, other))
    })

  test('tolerates null for what is optional', () => {
    const { payload } = vectors.exactEip3009
    assert(takes('v2/payment-payload', { ...payload, resource: null, extensions: null }))
    assert(takes('v2/payment-requirements', { ...accepts, extra: null }))
  })

  test('has limits', () => {
    const { paymentRequired } = vectors.exactEip3009
    const many = (n: number): object => ({
      ...paymentRequired,
      accepts: Array.from({ length: n }, () => accepts),
    })
    assert(takes('v2/payment-required', many(ACCEPTS_MAX)))
    assert(!takes('v2/payment-required', many(ACCEPTS_MAX + 1)))
    assert(!takes('v2/payment-required', many(0)))
    for (const amount of ['-5', '1.0', '', '0x1', '9'.repeat(79)])
      assert(!takes('v2/payment-requirements', { ...accepts, amount }))
    for (const maxTimeoutSeconds of [0, -1, 1e12])
      assert(!takes('v2/payment-requirements', { ...accepts, maxTimeoutSeconds }))
    for (const network of ['base', ':', 'a:', ':1', 'eip155:1 2'])
      assert(!takes('v2/payment-requirements', { ...accepts, network }))
  })
})

suite('every header', () => {
  const values: Readonly<Record<string, string>> = {
    'PAYMENT-REQUIRED': vectors.serverUnpaid.headers['PAYMENT-REQUIRED'],
    'PAYMENT-SIGNATURE': vectors.exactEip3009.paymentSignatureHeader,
    'PAYMENT-RESPONSE': vectors.settleResponseHeader,
    'X-PAYMENT': 'e30=',
    'X-PAYMENT-RESPONSE': 'e30=',
  }
  for (const field of Object.keys(headers))
    test(`${field} is padded standard base64 within a limit`, () => {
      const good = published(`headers/${field.toLowerCase()}`)
      const value = values[field] ?? ''
      assert(good(value))
      const bad = ['', `${value}=`, `${value}, ${value}`, `-${value.slice(1)}`, value.slice(0, -1)]
      for (const text of [...bad, 'A'.repeat(HEADER_CHARS_MAX + 4)])
        assert(!good(text), text.slice(0, 99))
      const { contentSchema } = good.schema as { readonly contentSchema: { readonly $ref: string } }
      assert(ajv.getSchema(contentSchema.$ref))
    })
})

test('the payload of EVM’s exact is what the vectors have, and nothing less', () => {
  const good = published('evm/exact-payload')
  const { payload } = vectors.exactEip3009.payload
  assert(good(payload))
  assert(good({ ...payload, more: 1 }))
  assert(!good(vectors.exactPermit2.payload.payload))
  assert(!good({ ...payload, signature: '0x0' }))
  assert(!good({ ...payload, authorization: { ...payload.authorization, value: '-1' } }))
})
