import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import * as fc from 'fast-check'
import { keccak256, toBytes } from 'viem'
import type { JsonObject } from '../../core/json.ts'
import { readPrice } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import { exact } from './exact.ts'
import type { Details } from './forms.ts'
import { createForms } from './forms.ts'
import { loadNonces, nonceOf } from './mpp-nonce.ts'
import { networks } from './networks.ts'
import { fromPrivateKey } from './signer.ts'
import { wallet } from './wallet.ts'

const payTo = '0x209693Bc6afc0C5328bA36FaF03C514EF312287C'
const method = exact({ network: 'base-sepolia', payTo, timeoutMs: 120_000 })
const { mpp } = createForms({ networks, payTo })
const purse = wallet({ signer: fromPrivateKey(`0x${'01'.repeat(32)}`) })
const theirs = createForms({ networks }).mpp
const [terms] = method.quote(readPrice('0.01 USD'))
assert(terms)
const words = mpp.writeDetails(terms)
const request = words.request as JsonObject & { readonly methodDetails: JsonObject }
const challenge = { id: 'abc.def', realm: 'api.example.com' }

before(loadNonces)

/** A payload for the challenge, as a buyer makes it. */
async function pay(said = challenge): Promise<{ payload: JsonObject; source?: string }> {
  const read = theirs.readDetails({ ...words, ...said })
  assert(typeof read === 'object')
  const offer = { ...read, id: said.id, expiresAt: Date.now() + 60_000 } as Offer<Details>
  return theirs.writeProof(await purse.pay(offer, 60_000)) as never
}

describe('terms', () => {
  test('are said as the draft says them, with a member of ours', () => {
    assert.deepEqual(words, {
      method: 'evm',
      intent: 'charge',
      request: {
        amount: '10000',
        currency: '0x036CbD53842c5426634e7929541eC2318f3dCF7e',
        recipient: payTo,
        methodDetails: {
          chainId: 84_532,
          credentialTypes: ['authorization'],
          decimals: 6,
          permit2Address: '0x000000000022D473030F116dDEE9F6B43aC78BA3',
          maxTimeoutSeconds: 120,
        },
      },
    })
  })

  test('of any price survive writing and reading, in whatever case an echo has them', () => {
    const amounts = fc.bigInt({ min: 1n, max: 10n ** 30n })
    fc.assert(
      fc.property(amounts, fc.boolean(), (amount, isLower) => {
        const [quoted] = method.quote({ currency: 'USD', amount, scale: 6 })
        assert(quoted)
        const text = JSON.stringify(mpp.writeDetails(quoted))
        const echo = isLower ? text.replaceAll(/0x\w+/g, (hex) => hex.toLowerCase()) : text
        assert.deepEqual(mpp.readDetails(JSON.parse(echo)), quoted)
      }),
    )
  })

  test('are read by a payer with the challenge that its proof is named after', () => {
    const read = theirs.readDetails({ ...words, ...challenge })
    assert(typeof read === 'object')
    const { challenge: named, ...details } = read.details
    assert.equal(named, 'abc.defapi.example.com')
    assert.deepEqual({ ...read, details }, terms)
  })

  test('that are not for this rail are refused with a sentence', () => {
    const changed = (more: object): unknown =>
      mpp.readDetails({ ...words, request: { ...request, ...more } })
    const detailed = (more: object): unknown =>
      changed({ methodDetails: { ...request.methodDetails, ...more } })
    assert.equal(typeof changed({}), 'object')
    assert.equal(typeof changed({ description: 'x', externalId: 'y' }), 'object')
    assert.equal(typeof detailed({ credentialTypes: ['hash', 'authorization'] }), 'object')
    for (const bad of [
      mpp.readDetails({ ...words, method: 'tempo' }),
      mpp.readDetails({ ...words, intent: 'session' }),
      mpp.readDetails({ method: 'evm', intent: 'charge' }),
      changed({ amount: '1.5' }),
      changed({ amount: '-1' }),
      changed({ amount: 10_000 }),
      changed({ amount: `${2n ** 256n}` }),
      changed({ currency: payTo }),
      changed({ recipient: 'me' }),
      changed({ methodDetails: undefined }),
      detailed({ chainId: 5 }),
      detailed({ chainId: '84532' }),
      detailed({ chainId: 1e300 }),
      detailed({ credentialTypes: ['hash'] }),
      detailed({ credentialTypes: undefined }),
      detailed({ credentialTypes: 'authorization' }),
      detailed({ splits: [{ recipient: payTo, amount: '1' }] }),
      detailed({ maxTimeoutSeconds: 0 }),
    ])
      assert.equal(typeof bad, 'string', JSON.stringify(bad))
  })
})

describe('a proof', () => {
  test('is named after its challenge, as the draft names it', async () => {
    const { payload } = await pay()
    const nonce = keccak256(toBytes('abc.defapi.example.com'))
    assert.equal(nonceOf('abc.defapi.example.com'), nonce)
    assert.equal(payload['nonce'], nonce)
    const read = mpp.readProof({ ...challenge, payload })
    assert(typeof read === 'object')
    assert.equal(read.nonce, nonce)
    // A payer reads back what it wrote itself.
    assert.deepEqual(theirs.readProof(theirs.writeProof(read)), read)
  })

  test('of another challenge, another payer or another kind is refused', async () => {
    const { payload } = await pay()
    const read = (said: object): unknown => mpp.readProof({ ...challenge, payload, ...said })
    assert.equal(typeof read({}), 'object')
    const from = purse.payer?.(read({}) as never) ?? ''
    const upper = from.toUpperCase().replace('0X', '0x')
    assert.equal(typeof read({ source: `did:pkh:eip155:84532:${upper}` }), 'object')
    for (const bad of [
      { id: 'abc.deg' },
      { realm: 'other.example.com' },
      { id: 'abc.defapi.', realm: 'example.com' },
      { source: `did:pkh:eip155:84532:${payTo}` },
      { source: 'did:web:example.com' },
      { payload: { ...payload, type: 'permit2' } },
      { payload: { ...payload, type: undefined } },
      { payload: { ...payload, nonce: `0x${'00'.repeat(32)}` } },
      { payload: { ...payload, value: '1.0' } },
      { payload: { ...payload, signature: undefined } },
      { payload: 'x' },
      { payload: undefined },
    ])
      // Where id and realm are cut elsewhere their hash is the same: the gate knows the id.
      assert.equal(typeof read(bad), 'id' in bad && 'realm' in bad ? 'object' : 'string')
    for (const odd of [undefined, null, 5, 'x', [], {}])
      assert.equal(typeof mpp.readProof(odd), 'string')
  })
})
