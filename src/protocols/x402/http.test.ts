import assert from 'node:assert/strict'
import test, { suite } from 'node:test'
import { inspect } from 'node:util'
import * as fc from 'fast-check'
import type { Credential } from '../../core/credential.ts'
import { isBound } from '../../core/credential.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import { problem, problems } from '../../core/problem.ts'
import type { Code, Problem } from '../../core/problem.ts'
import type { Receipt } from '../../core/receipt.ts'
import {
  EXPIRES_AT,
  challengeWith,
  decode,
  encode,
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
import { x402 } from './http.ts'
import type { Part } from './part.ts'

const seller = x402([method])
const buyer = x402([wallet])
const legacyBuyer = x402([wallet], { versions: [1] })
const seconds = (text: string): { readonly fields: ReturnType<typeof fieldsOf> } => ({
  fields: fieldsOf({ 'PAYMENT-SIGNATURE': text }),
})

function credential(value: Credential | Problem | undefined): Credential & { offer: Offer } {
  assert(value && 'offer' in value, inspect(value))
  assert(isBound(value.offer))
  return { ...value, offer: value.offer }
}

function refusal(value: object | undefined): Problem {
  assert(value && 'code' in value, 'it is refused')
  return value as Problem
}

function only<T>(list: readonly T[]): T {
  assert.equal(list.length, 1)
  return list[0] as T
}

const receipt: Receipt = {
  rail: 'evm',
  network: 'eip155:84532',
  reference: `0x${'ab'.repeat(32)}`,
  payer: vectors.payer,
  payee: vectors.payTo,
  amount: offerFor().amount,
  settledAt: 1_800_000_001_000,
  settled: true,
}

suite('a challenge is written', () => {
  test('as version 2 in the header, with our offer in extra', () => {
    const offer = offerFor()
    const about = { description: 'paid', mimeType: 'application/json' }
    const message = seller.writeChallenge(challengeWith(offer, about))
    const [name, value] = only(message.fields)
    const said = vectors.exactEip3009.paymentRequired
    assert.equal(name, 'PAYMENT-REQUIRED')
    assert.deepEqual(decode(value), {
      ...said,
      accepts: [
        {
          ...said.accepts[0],
          extra: { ...said.accepts[0]?.extra, offerId: offer.id, offerExpiresAt: 1_800_000_300 },
        },
      ],
    })
  })

  test('as version 1 in the body, with all that its clients insist on', () => {
    assert.deepEqual(seller.writeChallenge(challengeWith(offerFor())).body, {
      x402Version: 1,
      error: 'Payment required',
      accepts: [
        {
          scheme: 'exact',
          network: 'base-sepolia',
          maxAmountRequired: '1000',
          resource: resource.url,
          description: '',
          mimeType: '',
          payTo: vectors.payTo,
          maxTimeoutSeconds: 300,
          asset: '0x036CbD53842c5426634e7929541eC2318f3dCF7e',
          extra: { name: 'USDC', version: '2' },
        },
      ],
    })
  })

  test('without version 1 where old clients would choke on the network', () => {
    const offer = { ...offerFor(), network: 'eip155:1' }
    const message = x402([wallet]).writeChallenge(challengeWith(offer))
    assert.equal(message.body, undefined)
    assert.equal(message.fields.length, 1)
  })

  test('as nothing where no rail can be said', () => {
    const offer = { ...offerFor(), rail: 'cards' }
    assert.deepEqual(seller.writeChallenge(challengeWith(offer)), { fields: [] })
  })

  test('in the versions that are asked for, whose fields alone are named', () => {
    const two = x402([method], { versions: [2] })
    const one = x402([method], { versions: [1] })
    assert.equal(two.writeChallenge(challengeWith(offerFor())).body, undefined)
    assert.deepEqual(one.writeChallenge(challengeWith(offerFor())).fields, [])
    assert.deepEqual(two.fields.request, ['PAYMENT-SIGNATURE'])
    assert.deepEqual(one.fields, { request: ['X-PAYMENT'], response: ['X-PAYMENT-RESPONSE'] })
  })

  test('with a word for every problem, and the rail its own', () => {
    for (const code of Object.keys(problems) as Code[]) {
      const message = seller.writeChallenge(
        challengeWith(offerFor(), { problem: problem(code, 'No.') }),
      )
      const error = message.body?.['error']
      assert(typeof error === 'string')
      assert.match(error, /^[\w ]+$/)
    }
    const spent = problem('payment-spent', 'No.', { reason: 'nonce-used' })
    const { body } = seller.writeChallenge(challengeWith(offerFor(), { problem: spent }))
    assert.equal(body?.['error'], 'invalid_exact_evm_nonce_already_used')
    const odd = problem('payment-spent', 'No.', { reason: 'constructor' })
    const other = seller.writeChallenge(challengeWith(offerFor(), { problem: odd }))
    assert.equal(other.body?.['error'], 'duplicate_settlement')
  })

  test('after a failed settlement with the failure in both response fields', () => {
    const why = problem('settlement-failed', 'No.', { reason: 'transaction-failed' })
    const { fields } = seller.writeChallenge(challengeWith(offerFor(), { problem: why }))
    const failure = {
      success: false,
      errorReason: 'invalid_exact_evm_transaction_failed',
      transaction: '',
    }
    const at = fieldsOf(fields)
    assert.deepEqual(decode(at.get('PAYMENT-RESPONSE')), { ...failure, network: 'eip155:84532' })
    assert.deepEqual(decode(at.get('X-PAYMENT-RESPONSE')), { ...failure, network: 'base-sepolia' })
  })
})

suite('a challenge is read', () => {
  test('from upstream, with the payer’s own request as resource', () => {
    const said = vectors.exactEip3009.paymentRequired
    const mine = { ...resource, url: 'https://api.example.com/paid?mine' }
    const challenge = buyer.readChallenge(
      { status: 402, fields: fieldsOf({ 'PAYMENT-REQUIRED': encode(said) }) },
      mine,
    )
    const offer = only(challenge?.offers ?? [])
    assert.equal(offer.amount.amount, 1000n)
    assert.equal(offer.payee, vectors.payTo)
    assert.equal(offer.resource, mine)
    assert.equal(offer.id, '')
    assert.equal(offer.expiresAt, Number.MAX_SAFE_INTEGER)
    assert.equal(challenge?.problem.code, 'payment-required')
    assert.equal(challenge?.description, 'paid')
    assert.deepEqual(challenge?.unreadable, [])
  })

  for (const [name, { paymentRequired }] of Object.entries(exchanges).slice(1))
    test(`of ${name} as an offer that is not known here`, () => {
      const fields = fieldsOf({ 'PAYMENT-REQUIRED': encode(paymentRequired) })
      const challenge = buyer.readChallenge({ status: 402, fields }, resource)
      assert.deepEqual(challenge?.offers, [])
      assert.match(only(challenge?.unreadable ?? []).why, /^[A-Z"].*\.$/)
    })

  test('from upstream’s own server, extensions and all', () => {
    const fields = fieldsOf(vectors.serverUnpaid.headers)
    const challenge = buyer.readChallenge({ status: 402, fields }, resource)
    const offer = only(challenge?.offers ?? [])
    const payload = decode(only(buyer.writeCredential({ offer, proof }).fields)[1])
    assert.deepEqual(payload['extensions'], vectors.serverUnpaid.decoded.extensions)
    assert.deepEqual(payload['resource'], vectors.serverUnpaid.decoded.resource)
    assert.deepEqual(payload['accepted'], vectors.serverUnpaid.decoded.accepts[0])
  })

  test('from the body in version 1, by the name that version 1 has for the network', () => {
    const { body } = seller.writeChallenge(challengeWith(offerFor()))
    for (const reader of [buyer, legacyBuyer]) {
      const challenge = reader.readChallenge({ status: 402, fields: fieldsOf({}), body }, resource)
      assert.equal(only(challenge?.offers ?? []).network, 'eip155:84532')
    }
  })

  test('with good offers beside odd ones', () => {
    const [good] = vectors.exactEip3009.paymentRequired.accepts
    const accepts = [
      null,
      { ...good, amount: '-5' },
      good,
      { ...good, network: 'eip155:5' },
      { ...good, asset: vectors.payer },
    ]
    const fields = fieldsOf({ 'PAYMENT-REQUIRED': encode({ x402Version: 2, accepts }) })
    const challenge = buyer.readChallenge({ status: 402, fields }, resource)
    assert.equal(challenge?.offers.length, 1)
    assert.equal(challenge?.unreadable?.length, 4)
  })

  test('not out of a 402 of another kind', () => {
    for (const body of [undefined, null, [], 'no', {}, { error: 'quota' }, { x402Version: 3 }])
      assert.equal(
        buyer.readChallenge({ status: 402, fields: fieldsOf({}), body }, resource),
        undefined,
      )
  })

  test('with what a seller says of a pending settlement, which is no reason to pay again', () => {
    const said = { ...vectors.exactEip3009.paymentRequired, error: 'settlement_pending' }
    const fields = fieldsOf({ 'PAYMENT-REQUIRED': encode(said) })
    const challenge = buyer.readChallenge({ status: 402, fields }, resource)
    assert.equal(challenge?.problem.code, 'payment-unknown')
  })
})

suite('a credential', () => {
  test('of upstream’s client for a foreign offer is written with the same content', () => {
    const { paymentRequired, payload } = vectors.exactEip3009
    const fields = fieldsOf({ 'PAYMENT-REQUIRED': encode(paymentRequired) })
    const challenge = buyer.readChallenge({ status: 402, fields }, resource)
    const message = buyer.writeCredential({ offer: only(challenge?.offers ?? []), proof })
    const [name, value] = only(message.fields)
    assert.equal(name, 'PAYMENT-SIGNATURE')
    const lower = (v: unknown): string => JSON.stringify(v).toLowerCase()
    const said = decode(value)
    assert.deepEqual(said['accepted'], payload.accepted)
    assert.deepEqual(said['resource'], payload.resource)
    // The rail writes addresses in lower case; the signature is the same.
    assert.equal(
      lower(said['payload']),
      lower({ signature: payload.payload.signature, authorization: payload.payload.authorization }),
    )
  })

  test('echoes members that nobody here knows', () => {
    const [entry] = vectors.exactEip3009.paymentRequired.accepts
    const accepted = { ...entry, odd: [1, { deep: null }], extra: { ...entry?.extra, more: '…' } }
    const said = { x402Version: 2, accepts: [accepted], resource: { url: 'x', odd: 1 } }
    const fields = fieldsOf({ 'PAYMENT-REQUIRED': encode(said) })
    const offer = only(buyer.readChallenge({ status: 402, fields }, resource)?.offers ?? [])
    const stored = JSON.parse(JSON.stringify(offer.echo)) as unknown
    const [, value] = only(
      buyer.writeCredential({ offer: { ...offer, echo: stored }, proof }).fields,
    )
    assert.equal(JSON.stringify(decode(value)['accepted']), JSON.stringify(accepted))
    assert.deepEqual(decode(value)['resource'], said.resource)
    assert.equal('extensions' in decode(value), false)
  })

  test('comes back as the offer that was made, and the gate’s check agrees', () => {
    const offer = offerFor()
    const challenge = buyer.readChallenge(
      received(seller.writeChallenge(challengeWith(offer))),
      resource,
    )
    const message = buyer.writeCredential({ offer: only(challenge?.offers ?? []), proof })
    const found = credential(seller.readCredential(fieldsOf(message.fields), resource))
    assert.deepEqual(found.offer, offer)
    assert.deepEqual(found.proof, proof)
    assert.equal(offers.check(found.offer, resource, EXPIRES_AT - 1), undefined)
    const other = { ...resource, path: '/dear' }
    const elsewhere = credential(seller.readCredential(fieldsOf(message.fields), other))
    assert.equal(offers.check(elsewhere.offer, other, 0)?.code, 'offer-foreign')
  })

  test('can be written for an offer that was kept and not read', () => {
    const message = buyer.writeCredential({ offer: offerFor(), proof })
    const found = credential(seller.readCredential(fieldsOf(message.fields), resource))
    assert.equal(offers.check(found.offer, resource, 0), undefined)
  })

  test('with another price, payee or end is not our offer any more', () => {
    const [, value] = only(buyer.writeCredential({ offer: offerFor(), proof }).fields)
    const said = decode(value) as { accepted: JsonObject & { extra: JsonObject } }
    const changes: readonly JsonObject[] = [
      { amount: '999' },
      { payTo: vectors.payer },
      { maxTimeoutSeconds: 301 },
      { extra: { ...said.accepted.extra, offerExpiresAt: 1_800_000_301 } },
      { extra: { ...said.accepted.extra, offerId: 'A'.repeat(32) } },
    ]
    for (const change of changes) {
      const text = encode({ ...said, accepted: { ...said.accepted, ...change } })
      const found = credential(seller.readCredential(seconds(text).fields, resource))
      assert.equal(offers.check(found.offer, resource, 0)?.code, 'offer-foreign')
    }
  })

  test('may carry more in extra than we said', () => {
    const [, value] = only(buyer.writeCredential({ offer: offerFor(), proof }).fields)
    const said = decode(value) as { accepted: JsonObject & { extra: JsonObject } }
    const accepted = { ...said.accepted, extra: { ...said.accepted.extra, recentBlockhash: 'x' } }
    const found = credential(
      seller.readCredential(seconds(encode({ ...said, accepted })).fields, resource),
    )
    assert.equal(offers.check(found.offer, resource, 0), undefined)
  })

  test('that names no offer of ours is foreign', () => {
    const found = seller.readCredential(
      seconds(vectors.exactEip3009.paymentSignatureHeader).fields,
      resource,
    )
    assert.equal(refusal(found).code, 'offer-foreign')
    assert.match(refusal(found).detail, /offerId/)
  })

  for (const [name, { paymentSignatureHeader }] of Object.entries(exchanges).slice(1))
    test(`of ${name} is of a kind that is not taken`, () => {
      const found = seller.readCredential(seconds(paymentSignatureHeader).fields, resource)
      assert.equal(refusal(found).code, 'credential-unsupported')
    })

  test('of version 1 tells rail and network, whatever its clients call the network', () => {
    const { authorization, signature } = vectors.exactEip3009.payload.payload
    const payload = { authorization, signature }
    const said = { x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload }
    const found = seller.readCredential(fieldsOf({ 'X-PAYMENT': encode(said) }), resource)
    assert.deepEqual(found, { offer: { rail: 'evm', network: 'eip155:84532' }, proof })
    const upto = encode({ ...said, scheme: 'upto' })
    const refused = seller.readCredential(fieldsOf({ 'X-PAYMENT': upto }), resource)
    assert.equal(refusal(refused).code, 'credential-unsupported')
  })

  test('of version 1 is written with the network’s old name, and read back', () => {
    const message = seller.writeChallenge(challengeWith(offerFor()))
    const challenge = legacyBuyer.readChallenge(received(message), resource)
    const written = legacyBuyer.writeCredential({ offer: only(challenge?.offers ?? []), proof })
    const [name, value] = only(written.fields)
    assert.equal(name, 'X-PAYMENT')
    assert.equal(decode(value)['network'], 'base-sepolia')
    const found = seller.readCredential(fieldsOf(written.fields), resource)
    assert.deepEqual(found, { offer: { rail: 'evm', network: 'eip155:84532' }, proof })
  })

  test('of version 1 goes to the rail that knows its network, whichever comes first', () => {
    const form = wallet.forms.x402
    assert(form)
    const on = (rail: string, network: string): Part => ({
      forms: { x402: { ...form, rail, networks: [network] } },
    })
    const two = x402([on('first', 'eip155:8453'), on('second', 'eip155:84532')])
    const { payload } = vectors.exactEip3009.payload
    const read = (network: string): object | undefined => {
      const said = { x402Version: 1, scheme: 'exact', network, payload }
      return two.readCredential(fieldsOf({ 'X-PAYMENT': encode(said) }), resource)
    }
    assert.deepEqual(read('base'), { offer: { rail: 'first', network: 'eip155:8453' }, proof })
    const second = { offer: { rail: 'second', network: 'eip155:84532' }, proof }
    assert.deepEqual(read('base-sepolia'), second)
    assert.equal(refusal(read('polygon')).code, 'credential-unsupported')
  })

  test('is absent where no field of ours is', () => {
    const fields = fieldsOf({ authorization: 'Payment abc' })
    assert.equal(seller.readCredential(fields, resource), undefined)
  })

  test('of a version that is not spoken is told so', () => {
    const two = x402([method], { versions: [2] })
    const found = two.readCredential(fieldsOf({ 'X-PAYMENT': 'e30=' }), resource)
    assert.equal(refusal(found).code, 'credential-unsupported')
  })
})

suite('extensions', () => {
  const extensions = { bazaar: { info: { input: { type: 'http', method: 'GET' }, tags: ['a'] } } }
  const selling = x402([method], { extensions })

  function echoed(change: (told: JsonObject) => unknown): object | undefined {
    const message = selling.writeChallenge(challengeWith(offerFor()))
    const challenge = buyer.readChallenge(received(message), resource)
    const offer = only(challenge?.offers ?? [])
    const [, value] = only(buyer.writeCredential({ offer, proof }).fields)
    const said = decode(value)
    const text = encode({ ...said, extensions: change(said['extensions'] as JsonObject) })
    return selling.readCredential(seconds(text).fields, resource)
  }

  test('come back unchanged, enlarged, or not at all', () => {
    const more = { bazaar: { info: { ...extensions.bazaar.info, id: 'mine' } }, own: { info: 1 } }
    for (const change of [
      (told: JsonObject) => told,
      () => undefined,
      () => null,
      () => ({}),
      () => more,
    ])
      assert(credential(echoed(change)))
  })

  test('that come back otherwise are refused with x402’s own word', () => {
    const { info } = extensions.bazaar
    const wrong = [
      { bazaar: {} },
      { bazaar: null },
      { bazaar: { info: { ...info, tags: ['b'] } } },
      { bazaar: { info: { ...info, input: { type: 'http' } } } },
    ]
    for (const value of wrong) {
      const why = refusal(echoed(() => value))
      assert.equal(why.reason, 'extension_echo_mismatch')
      const { body } = selling.writeChallenge(challengeWith(offerFor(), { problem: why }))
      assert.equal(body?.['error'], 'extension_echo_mismatch')
    }
  })
})

suite('a receipt', () => {
  const settled = (said: object, version: 1 | 2 = 2): Receipt | Problem | undefined => {
    const name = version === 2 ? 'PAYMENT-RESPONSE' : 'X-PAYMENT-RESPONSE'
    const echo = version === 1 && { echo: { version: 1, scheme: 'exact', network: 'base-sepolia' } }
    const fields = fieldsOf({ [name]: encode(said) })
    return buyer.readReceipt({ status: 200, fields }, { ...offerFor(), ...echo })
  }

  test('is written for both versions and read back whole', () => {
    const { fields } = seller.writeReceipt(receipt)
    assert.deepEqual(
      fields.map(([name]) => name),
      ['PAYMENT-RESPONSE', 'X-PAYMENT-RESPONSE'],
    )
    const message = { status: 200, fields: fieldsOf(fields) }
    assert.deepEqual(buyer.readReceipt(message, offerFor()), receipt)
    const legacy = { ...offerFor(), echo: { version: 1, scheme: 'exact', network: 'base-sepolia' } }
    assert.deepEqual(buyer.readReceipt(message, legacy), { ...receipt, settledAt: 0 })
  })

  test('of a deferred settlement names no transaction', () => {
    const { fields } = seller.writeReceipt({ ...receipt, settled: false })
    assert.equal(decode(fieldsOf(fields).get('PAYMENT-RESPONSE'))['transaction'], '')
    const found = buyer.readReceipt({ status: 200, fields: fieldsOf(fields) }, offerFor())
    assert.deepEqual(found, { ...receipt, settled: false, reference: '' })
  })

  test('of upstream is read', () => {
    const fields = fieldsOf({ 'PAYMENT-RESPONSE': vectors.settleResponseHeader })
    const found = buyer.readReceipt({ status: 200, fields }, offerFor())
    assert(found && 'reference' in found, inspect(found))
    assert.match(found.reference, /^0x(?:ab){32}$/)
  })

  test('is absent where no field is', () => {
    assert.equal(buyer.readReceipt({ status: 200, fields: fieldsOf({}) }, offerFor()), undefined)
  })

  test('that does not fit the offer proves nothing', () => {
    const good = { success: true, transaction: '0xab', network: 'eip155:84532', amount: '1000' }
    assert('reference' in (settled(good) ?? {}))
    const bad = [
      { ...good, network: 'eip155:1' },
      { ...good, amount: '1001' },
      { ...good, amount: '1' },
      { ...good, amount: 1000 },
      { ...good, transaction: null },
      { ...good, success: 'true' },
      {},
    ]
    for (const said of bad) assert.equal(refusal(settled(said)).code, 'payment-unknown')
    const old = { success: true, transaction: '0xab', network: 'base-sepolia', amount: {} }
    assert('reference' in (settled(old, 1) ?? {}))
    assert.equal(refusal(settled({ ...old, network: 'base' }, 1)).code, 'payment-unknown')
  })

  test('of a failure is a problem, and what is not known is never a reason to pay again', () => {
    const failed = (errorReason: unknown): Code =>
      refusal(settled({ success: false, transaction: '', network: 'eip155:84532', errorReason }))
        .code
    assert.equal(failed('invalid_exact_evm_insufficient_balance'), 'funds-insufficient')
    assert.equal(failed('invalid_exact_evm_nonce_already_used'), 'payment-spent')
    assert.equal(failed('invalid_exact_evm_payload_authorization_valid_before'), 'proof-expired')
    for (const word of [
      'settlement_pending',
      'fetch failed',
      undefined,
      null,
      '',
      'x'.repeat(4000),
    ])
      assert.equal(failed(word), 'payment-unknown')
  })
})

test('what a seller writes, a buyer reads, for any terms', () => {
  const arbitrary = fc.record({
    amount: fc.bigInt({ min: 1n, max: 2n ** 256n - 1n }),
    seconds: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
    expires: fc.integer({ min: 0, max: 4_000_000_000 }),
    description: fc.string({ maxLength: 100, unit: 'grapheme' }),
  })
  fc.assert(
    fc.property(arbitrary, ({ amount, seconds, expires, description }) => {
      const base = offerFor()
      const terms = { ...base, amount: { ...base.amount, amount }, timeoutMs: seconds * 1000 }
      const offer = offers.bind(terms, resource, expires * 1000)
      const message = received(seller.writeChallenge(challengeWith(offer, { description })))
      const found = only(buyer.readChallenge(message, resource)?.offers ?? [])
      const { echo, ...rest } = found
      assert.deepEqual(rest, offer)
      const back = buyer.writeCredential({ offer: { ...rest, echo }, proof })
      const paid = credential(seller.readCredential(fieldsOf(back.fields), resource))
      assert.deepEqual(paid, { offer, proof })
      const first = legacyBuyer.readChallenge(message, resource)?.offers[0]
      assert.equal(first?.amount.amount, amount)
    }),
    { numRuns: 100 },
  )
})
