// What is said and read in MPP: both methods of EVM chains in one challenge, and payloads of strangers.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'
import * as fc from 'fast-check'
import { generatePrivateKey } from 'viem/accounts'
import type { JsonObject } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import { createMac } from '../../../core/mac.ts'
import { readPrice } from '../../../core/money.ts'
import { createOffers } from '../../../core/offers.ts'
import type { Resource } from '../../../core/resource.ts'
import { memory } from '../../../ledger/memory.ts'
import { mpp } from '../../../protocols/mpp/index.ts'
import { exact } from '../exact.ts'
import type { Proof } from './proof.ts'
import { channel } from './rail.ts'
import { ESCROW } from './terms.ts'
import { channelWallet } from './wallet.ts'

const payTo = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8'
const signer = '0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d'
const realm = 'api.example.com'
const resource: Resource = {
  ...{ realm, method: 'GET', authority: realm, path: '/', query: '' },
  url: `https://${realm}/`,
}
const use = { balance: readPrice('5 USD'), unit: readPrice('0.10 USD') }
const rail = channel({ network: 'base', rpc: 'http://node.test/', payTo, signer, ledger: memory() })
const form = rail.forms.mpp
const [terms] = rail.quote(readPrice('5 USD'))
const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))

function request(): JsonObject {
  assert.ok(terms)
  const { request: said } = form.sessions.write(terms, use)
  assert.ok(said)
  return said
}

describe('a session of EVM chains', () => {
  test('is asked for as the draft says, and read back as the same terms', () => {
    assert.deepEqual(request(), {
      amount: '100000',
      currency: '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913',
      recipient: payTo,
      suggestedDeposit: '5000000',
      methodDetails: {
        chainId: 8453,
        escrowContract: ESCROW,
        feePayer: true,
        minVoucherDelta: '500',
        maxTimeoutSeconds: 300,
      },
    })
    const words = { method: 'evm', intent: 'session', request: request() }
    assert.deepEqual(form.readDetails(words), terms)
    assert.equal(typeof form.readDetails({ ...words, intent: 'charge' }), 'string')
  })

  test('stands beside single payments of the same method in one challenge', () => {
    const plain = exact({ network: 'base', payTo })
    assert.ok(terms)
    const [charge] = plain.quote(readPrice('5 USD'))
    assert.ok(charge)
    const expiresAt = 1_800_000_000_000
    const both = [
      offers.bind(charge, resource, expiresAt, 'once'),
      offers.bind(terms, resource, expiresAt, 'once'),
    ]
    const protocol = mpp({ parts: [plain, rail] })
    const why = { code: 'payment-required', detail: 'Pay.' } as const
    const plan = { name: 'purse', session: use }
    const said = protocol.writeChallenge({ resource, offers: both, problem: why, plan } as never)
    const lines = said.fields
      .filter(([name]) => name === 'WWW-Authenticate')
      .map(([, line]) => line)
    const intents = lines.join('\n').match(/intent="\w+"/g)
    assert.deepEqual(intents?.toSorted(), ['intent="charge"', 'intent="session"'])
  })

  test('is opened, topped up, used and closed by payloads that are read back as they were written', async () => {
    assert.ok(terms)
    const wallet = channelWallet({ network: 'base', account: generatePrivateKey() })
    const offer = offers.bind(terms, resource, 1_800_000_000_000, 'once')
    const opened = await wallet.pay(offer, 60_000)
    const id = wallet.channels.idOf(opened)
    const read = (payload: JsonObject, source?: string): ReturnType<typeof form.sessions.read> =>
      form.sessions.read(payload, request(), terms, source)
    const open = read(form.sessions.open(opened, ''))
    assert.ok(typeof open === 'object' && 'authorization' in opened)
    assert.deepEqual(open.proof, opened)
    assert.deepEqual(open.session, {
      ...{ act: 'open', id, rail: 'channel', returnTo: opened.authorization.from },
      voucher: opened.opening?.voucher,
    })
    const more = await wallet.channels.topUp(offer, id, 5_000_000n)
    assert.deepEqual(read(form.sessions.topUp(more)), {
      session: { act: 'top-up', id, rail: 'channel' },
      proof: more,
    })
    const voucher = await wallet.channels.sign(offer, id, 7n)
    for (const [action, act] of [
      ['voucher', 'use'],
      ['close', 'close'],
    ] as const)
      assert.deepEqual(read(wallet.show(action, id, voucher)), {
        session: { act, id, rail: 'channel', voucher },
      })
    const payer = opened.authorization.from
    const sent: Proof = { channel: opened.channel, hash: `0x${'ef'.repeat(32)}`, payer }
    const payload = form.sessions.topUp(sent)
    assert.deepEqual(read(payload, `did:pkh:eip155:8453:${payer}`), {
      session: { act: 'top-up', id, rail: 'channel' },
      proof: sent,
    })
    assert.equal(typeof read(payload), 'string')
  })

  test('is not read from payloads with a member that is missing or of another form', async () => {
    assert.ok(terms)
    const wallet = channelWallet({ network: 'base', account: generatePrivateKey() })
    const offer = offers.bind(terms, resource, 1_800_000_000_000, 'once')
    const opened = await wallet.pay(offer, 60_000)
    const id = wallet.channels.idOf(opened)
    const good = [
      form.sessions.open(opened, ''),
      form.sessions.topUp(await wallet.channels.topUp(offer, id, 5n)),
      wallet.show('voucher', id, await wallet.channels.sign(offer, id, 7n)),
    ]
    for (const payload of good) {
      assert.equal(typeof form.sessions.read(payload, request(), terms), 'object')
      for (const name of Object.keys(payload))
        for (const value of [undefined, null, 1, '', '0x', {}, ['x'], '9'.repeat(50)]) {
          const said = form.sessions.read(
            { ...payload, [name]: value } as JsonObject,
            request(),
            terms,
          )
          assert.equal(typeof said, 'string', `${name} ${inspect(value)}`)
        }
    }
    const { authorization } = form.sessions.open(opened, '')
    assert.ok(isObject(authorization))
    for (const name of Object.keys(authorization)) {
      const bad: JsonObject = {
        ...form.sessions.open(opened, ''),
        authorization: { ...authorization, [name]: 'x' },
      }
      assert.equal(typeof form.sessions.read(bad, request(), terms), 'string', name)
    }
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (some) => {
        assert.equal(typeof form.sessions.read(some as JsonObject, {}, terms), 'string')
      }),
    )
  })

  test('is paid by no wallet that does not trust the contract, know the token, or is its payee', async () => {
    assert.ok(terms)
    const account = generatePrivateKey()
    const wallet = channelWallet({ network: 'base', account })
    const offer = offers.bind(terms, resource, 1_800_000_000_000, 'once')
    assert.equal(wallet.refuses(offer), undefined)
    const { details } = offer
    const unpayable: readonly (typeof offer)[] = [
      { ...offer, details: { ...details, escrow: payTo } },
      { ...offer, details: { ...details, token: payTo } },
      { ...offer, network: 'eip155:1' },
      { ...offer, payee: wallet.payer?.({} as Proof) ?? '' },
      { ...offer, payee: `0x${'00'.repeat(20)}` },
      { ...offer, amount: { ...offer.amount, amount: 0n } },
      { ...offer, amount: { ...offer.amount, amount: 2n ** 128n } },
      { ...offer, rail: 'evm' },
    ]
    for (const bad of unpayable) {
      assert.equal(typeof wallet.refuses(bad), 'string')
      await assert.rejects(wallet.pay(bad, 60_000))
      await assert.rejects(wallet.channels.topUp(bad, 'ab'.repeat(32), 1n))
      await assert.rejects(wallet.channels.sign(bad, 'ab'.repeat(32), 1n))
    }
  })

  test('is sold by nobody who cannot collect', () => {
    const settings = { network: 'base', rpc: 'http://node.test/', payTo, signer, ledger: memory() }
    for (const bad of [
      { signer: generatePrivateKey() },
      { payTo: `0x${'00'.repeat(20)}` },
      { escrow: '0x12' },
      { network: 'nowhere' },
      { timeoutMs: 1 },
      { minVoucherDelta: -1n },
    ])
      assert.throws(() => channel({ ...settings, ...bad }), RangeError)
  })
})
