import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import { exact } from './exact.ts'
import type { Details, Words } from './forms.ts'
import { createForms, x402Reasons } from './forms.ts'
import { networks, resolveNetwork } from './networks.ts'

const payTo = '0x209693Bc6afc0C5328bA36FaF03C514EF312287C'
const method = exact({ network: 'base-sepolia', payTo })
const { x402 } = createForms({ networks, payTo })
const [terms] = method.quote(readPrice('0.01 USD'))
assert(terms)
const words = x402.writeDetails(terms)

// The payload of the x402 client 2.27 for fixed inputs.
const payload = {
  signature: `0x${'Ab'.repeat(65)}`,
  authorization: {
    from: '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266',
    to: payTo,
    value: '1000',
    validAfter: '0',
    validBefore: '1800000300',
    nonce: `0x${'0A'.repeat(32)}`,
  },
}

test('terms are said as x402 says them', () => {
  assert.deepEqual(words, {
    scheme: 'exact',
    network: 'eip155:84532',
    legacyNetwork: 'base-sepolia',
    amount: '10000',
    asset: '0x036CbD53842c5426634e7929541eC2318f3dCF7e',
    payTo,
    maxTimeoutSeconds: 300,
    extra: { name: 'USDC', version: '2' },
  })
})

test('our own terms are read back the same to the last letter, whatever the echo adds or re-cases', () => {
  const echoes: readonly Words[] = [
    words,
    JSON.parse(JSON.stringify(words)) as Words,
    { ...words, network: 'base-sepolia' },
    { ...words, asset: words.asset.toLowerCase() },
    { ...words, payTo: words.payTo.toLowerCase() },
    { ...words, extra: { ...words.extra, id: 'x', more: { deep: true } } },
    { ...words, extra: { ...words.extra, assetTransferMethod: 'eip3009' } },
  ]
  for (const echo of echoes) assert.deepEqual(x402.readDetails(echo), terms)
})

test('terms of any price survive writing and reading', () => {
  const prices = fc.record({ amount: fc.bigInt({ min: 1n, max: 10n ** 30n }) })
  fc.assert(
    fc.property(prices, ({ amount }) => {
      const [quoted] = method.quote({ currency: 'USD', amount, scale: 6 })
      assert(quoted)
      assert.deepEqual(x402.readDetails(x402.writeDetails(quoted)), quoted)
    }),
    { numRuns: 50 },
  )
})

test('terms that are not ours are refused with a sentence', () => {
  const wrong: Record<string, Partial<Record<keyof Words, unknown>>> = {
    scheme: { scheme: 'upto' },
    network: { network: 'eip155:5' },
    'no asset': { asset: '0x00000000000000000000000000000000deadbeef' },
    'asset of another chain': { asset: '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913' },
    name: { extra: { name: 'USD Coin', version: '2' } },
    'no domain': { extra: {} },
    permit2: { extra: { name: 'USDC', version: '2', assetTransferMethod: 'permit2' } },
    'negative amount': { amount: '-1' },
    'amount with a point': { amount: '1.0' },
    'amount in hex': { amount: '0x10' },
    'amount above uint256': { amount: (2n ** 256n).toString() },
    'long amount': { amount: '1'.repeat(1_000) },
    payee: { payTo: 'alice.eth' },
    timeout: { maxTimeoutSeconds: 0 },
    'timeout of parts': { maxTimeoutSeconds: 1.5 },
    'extra missing': { extra: null },
  }
  for (const [name, change] of Object.entries(wrong)) {
    const read = x402.readDetails({ ...words, ...change } as Words)
    assert.equal(typeof read, 'string', name)
    assert.match(JSON.stringify(read), /^".*\."$/, name)
  }
})

test('a quote is empty where the token cannot take the price', () => {
  assert.deepEqual(method.quote(readPrice('0.01 EUR')), [])
  assert.deepEqual(method.quote(readPrice('0.0000001 USD')), [])
  assert.deepEqual(method.quote(readPrice('0 USD')), [])
  assert.equal(method.quote(readPrice('0.000001 USDC'))[0]?.amount.amount, 1n)
})

test('a proof is read into one form, however it is cased, and written again', () => {
  const proof = x402.readProof({ ...payload, extra: 1 })
  assert(typeof proof === 'object')
  assert.equal(proof.nonce, `0x${'0a'.repeat(32)}`)
  assert.equal(proof.from, payload.authorization.from.toLowerCase())
  assert.equal(proof.value, 1000n)
  assert.deepEqual(x402.readProof(x402.writeProof(proof)), proof)
  const offer = { ...terms, id: '' } as Offer<Details>
  assert.equal(
    method.identify(offer, proof).key,
    `eip155:84532/erc20:0x036cbd53842c5426634e7929541ec2318f3dcf7e/${proof.from}/${proof.nonce}`,
  )
})

test('what is not a proof is refused with a sentence', () => {
  const a = payload.authorization
  const wrong: Record<string, unknown> = {
    null: null,
    list: [],
    text: 'x',
    empty: {},
    permit2: { signature: payload.signature, permit2Authorization: {} },
    'no signature': { authorization: a },
    'odd digits': { ...payload, signature: '0xabc' },
    'no digits': { ...payload, signature: '0x' },
    'long signature': { ...payload, signature: `0x${'00'.repeat(8193)}` },
    'text value': { ...payload, authorization: { ...a, value: 'abc' } },
    'number value': { ...payload, authorization: { ...a, value: 1000 } },
    'negative value': { ...payload, authorization: { ...a, value: '-1' } },
    'large value': { ...payload, authorization: { ...a, value: (2n ** 256n).toString() } },
    'short nonce': { ...payload, authorization: { ...a, nonce: '0x00' } },
    'no from': { ...payload, authorization: { ...a, from: undefined } },
  }
  for (const [name, said] of Object.entries(wrong)) {
    const read = x402.readProof(said)
    assert.equal(typeof read, 'string', name)
    assert.match(JSON.stringify(read), /^".*\."$/, name)
  }
})

test('no bytes that a stranger may send make the reader throw', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (said) => {
      assert(['string', 'object'].includes(typeof x402.readProof(said)))
      assert.equal(typeof x402.readDetails(said as unknown as Words), 'string')
    }),
  )
})

test('every reason has a word in x402', () => {
  for (const word of Object.values(x402Reasons)) assert.match(word, /^[a-z0-9_]+$/)
})

test('any other EVM chain comes by configuration', () => {
  const token = {
    address: '0x1111111111111111111111111111111111111111',
    code: 'USDX',
    scale: 18,
    currency: 'USD',
    name: 'Dollar X',
    version: '1',
  } as const
  const settings = { network: 'eip155:31337', assets: [token], legacyNetwork: 'local' }
  const other = exact({ ...settings, payTo, timeoutMs: 60_000 })
  const [quoted] = other.quote(readPrice('0.01 USD'))
  assert(quoted)
  assert.equal(quoted.network, 'eip155:31337')
  assert.equal(quoted.amount.amount, 10n ** 16n)
  const form = other.forms['x402']
  assert(form)
  assert.deepEqual(form.readDetails(form.writeDetails(quoted)), quoted)
  assert.throws(() => resolveNetwork({ network: 'eip155:31337' }), /Name at least one/)
  assert.throws(() => resolveNetwork({ network: 'solana' }), /not an EVM chain/)
})

test('an account that cannot earn is refused when it is configured', () => {
  const zero = `0x${'0'.repeat(40)}`
  assert.throws(() => exact({ network: 'base', payTo: zero }), /zero address/)
  assert.throws(() => exact({ network: 'base', payTo: 'me' }), /not an address/)
  const usdc = '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913'
  assert.throws(() => exact({ network: 'base', payTo: usdc }), /the token itself/)
})
