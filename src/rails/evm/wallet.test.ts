import assert from 'node:assert/strict'
import { test } from 'node:test'
import { recoverTypedDataAddress } from 'viem'
import { mnemonicToAccount } from 'viem/accounts'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock } from '../../core/ports.ts'
import { exact } from './exact.ts'
import type { Details } from './forms.ts'
import { networks } from './networks.ts'
import { fromAccount } from './signer.ts'
import { typedData } from './typed-data.ts'
import { VALID_MS_MAX, wallet } from './wallet.ts'
import vectors from '../../protocols/x402/vectors/vectors.json' with { type: 'json' }

const words = 'test test test test test test test test test test test junk'
const payer = mnemonicToAccount(words)
const clock: Clock = { now: () => 1_800_000_000_000, sleep: async () => undefined }
/** The bytes that the x402 client 2.27 was given in place of chance. */
const chance = (bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, k) => ((k + 1) * 7) & 255)
const purse = wallet({ signer: fromAccount(payer), clock, chance })

function offerOf(changes: Partial<Offer<Details>> = {}): Offer<Details> {
  const payTo = mnemonicToAccount(words, { addressIndex: 55 }).address
  const [terms] = exact({ network: 'base-sepolia', payTo }).quote(readPrice('0.001 USD'))
  assert(terms)
  const where = {
    realm: 'x',
    method: 'GET',
    authority: 'x',
    path: '/',
    query: '',
    url: 'https://x/',
  }
  return { ...terms, id: 'x', resource: where, expiresAt: clock.now() + 60_000, ...changes }
}

test('the proof is byte for byte what the x402 client makes of the same inputs', async () => {
  const proof = await purse.pay(offerOf(), 300_000)
  assert.equal(proof.nonce, '0x070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0')
  assert.equal(proof.validBefore, 1_800_000_300n)
  assert.equal(proof.validAfter, 0n)
  assert.equal(proof.value, 1000n)
  assert.equal(purse.expiresAt(proof), 1_800_000_300_000)
  const [, , network] = networks
  const token = network?.tokens[0]
  assert(network && token)
  const { domain, types, primaryType, message } = typedData(token, network.chainId, proof)
  const { signature } = proof
  const signed = { domain, types, primaryType, message, signature }
  assert.equal(await recoverTypedDataAddress(signed), payer.address)
  // ECDSA as wallets do it is deterministic (RFC 6979), so an own signer gives the same bytes.
  assert.equal(signature, vectors.exactEip3009.payload.payload.signature)
})

test('an authorization never lives longer than the limit, whatever is asked', async () => {
  const { validBefore } = await purse.pay(offerOf(), 365 * 86_400_000)
  assert.equal(Number(validBefore) * 1000, clock.now() + VALID_MS_MAX)
})

test('offers that this wallet must not sign are refused with a sentence, and not signed', async () => {
  const honest = offerOf()
  assert.equal(purse.refuses(honest), undefined)
  const { details, amount } = honest
  const wrong: Record<string, Partial<Offer<Details>>> = {
    rail: { rail: 'solana' },
    intent: { intent: 'upto' },
    network: { network: 'eip155:5' },
    token: { details: { ...details, asset: '0x00000000000000000000000000000000deadbeef' } },
    name: { details: { ...details, name: 'USD Coin' } },
    version: { details: { ...details, version: '1' } },
    'zero payee': { payee: `0x${'0'.repeat(40)}` },
    'own payee': { payee: payer.address.toLowerCase() },
    'payee is the token': { payee: details.asset },
    'no payee': { payee: 'bob' },
    nothing: { amount: { ...amount, amount: 0n } },
    'less than nothing': { amount: { ...amount, amount: -1n } },
    'too much': { amount: { ...amount, amount: 2n ** 256n } },
    'another asset': { amount: { ...amount, asset: { ...amount.asset, id: 'x' } } },
    'another scale': { amount: { ...amount, asset: { ...amount.asset, scale: 18 } } },
  }
  for (const [name, change] of Object.entries(wrong)) {
    assert.match(purse.refuses(offerOf(change)) ?? '', /^[A-Z].*\.$/, name)
    await assert.rejects(purse.pay(offerOf(change), 60_000), { code: 'offers-unacceptable' }, name)
  }
})

test('what became of a payment is told only where there is an address to ask', () => {
  assert.equal('outcome' in purse, false)
  const rpc = { 'eip155:84532': 'http://127.0.0.1:1' }
  assert.equal('outcome' in wallet({ signer: fromAccount(payer), rpc }), true)
})
