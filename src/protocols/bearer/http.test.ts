import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { Message, Mint } from '../../core/ports.ts'
import { createOpaques } from '../../tokens/opaque/index.ts'
import { oauth } from '../oauth/index.ts'
import {
  EXPIRES_AT,
  NOW,
  buyer,
  cardOffer,
  cardPart,
  chainOffer,
  challengeOf,
  clock,
  credential,
  fieldsOf,
  offers,
  proof,
  read,
  refusal,
  resource,
  seller,
} from './fixture.test.ts'
import { bearer } from './http.ts'
import { INTENT_CHARS_MAX } from './intent.ts'
import type { Part } from './part.ts'
import { PROOF_CHARS_MAX } from './part.ts'
import { PAYMENT_URL_CHARS_MAX } from './seller.ts'
import { TIMESTAMP_WINDOW_MS } from './timestamp.ts'

const stamp = new Date(NOW).toISOString()
const asked = (list: readonly Offer[]): Message => seller.writeChallenge(challengeOf(list))

/** What a body says, as it comes over the wire. */
function bodyOf(message: Message): JsonObject {
  assert.ok(message.body)
  return JSON.parse(JSON.stringify(message.body)) as JsonObject
}

/** The buyer's offers of what the seller asks for. */
function offered(message: Message): readonly Offer[] {
  const challenge = buyer.readChallenge(
    { status: 402, fields: fieldsOf(message.fields), body: bodyOf(message) },
    resource,
  )
  assert.ok(challenge)
  assert.equal(challenge.unreadable, undefined)
  return challenge.offers
}

function paid(offer: Offer, by: unknown = proof): Record<string, string> {
  return Object.fromEntries(buyer.writeCredential({ offer, proof: by }).fields)
}

describe('a 402 of the gateway profile', () => {
  test('says gateway, price, address, time and wallet on its head', () => {
    assert.deepEqual(asked([chainOffer()]).fields, [
      [
        'WWW-Authenticate',
        'Bearer realm="payment_gateway", gateway="blockchain", amount="0.001", currency="USD", payment_url="https://api.test/a", expires_in="300", wallet_required="true"',
      ],
    ])
  })

  test('says the same in its body, with what the price is made of and how to pay', () => {
    const { payments, ...said } = bodyOf(asked([chainOffer()]))
    assert.deepEqual(said, {
      status: 402,
      reason: 'payment_required',
      cost: {
        amount: '0.001',
        currency: 'USD',
        breakdown: [{ what: 'request', quantity: '1', unit: 'request', amount: '0.001 USD' }],
      },
      gateway: 'blockchain',
      amount: '0.001',
      currency: 'USD',
      payment_url: 'https://api.test/a',
      expires_in: 300,
      wallet_required: true,
    })
    const [payment] = payments as readonly JsonObject[]
    assert.ok(payment)
    assert.match(JSON.stringify(payment['payment_intent']), /^"offer_[\w-]+"$/)
    assert.equal((payment['details'] as JsonObject)['scheme'], 'exact')
  })

  test('says what the route says that its price is made of', () => {
    const breakdown = [
      { what: 'tokens', quantity: '1200', unit: 'token', amount: '0.0009 USD' },
      { what: 'base', quantity: '1', unit: 'request', amount: '0.0001 USD' },
    ]
    const message = seller.writeChallenge(challengeOf([chainOffer()], { breakdown }))
    assert.deepEqual((bodyOf(message)['cost'] as JsonObject)['breakdown'], breakdown)
  })

  test('is hybrid where card and chain take the same price', () => {
    const both = asked([chainOffer('0.50 USD'), cardOffer(50n)])
    const { gateway, amount, wallet_required, payments, payment_url } = bodyOf(both)
    assert.deepEqual([gateway, amount, wallet_required], ['hybrid', '0.5', false])
    assert.equal(payment_url, 'https://pay.test/now')
    assert.equal((payments as readonly unknown[]).length, 2)
    assert.equal(bodyOf(asked([cardOffer(50n)]))['gateway'], 'stripe')
  })

  test('tells one price where they differ, and lists the ways of the others', () => {
    const { gateway, amount, payments } = bodyOf(asked([chainOffer('0.01 USD'), cardOffer(50n)]))
    assert.deepEqual([gateway, amount], ['blockchain', '0.01'])
    const said = (payments as readonly JsonObject[]).map((one) => [one['gateway'], one['amount']])
    assert.deepEqual(said, [
      ['blockchain', '0.01'],
      ['stripe', '0.5'],
    ])
  })

  test('is exact to the last digit', () => {
    for (const [price, text] of [
      ['0.000001 USD', '0.000001'],
      ['1 USD', '1'],
      ['90071992547409.93 USD', '90071992547409.93'],
      ['123456789012345678.000001 USD', '123456789012345678.000001'],
    ] as const)
      assert.equal(bodyOf(asked([chainOffer(price)]))['amount'], text)
  })

  test('is silent where nothing is offered that it has a word for', () => {
    assert.deepEqual(asked([]), { fields: [] })
    assert.deepEqual(asked([{ ...chainOffer(), rail: 'other' }]), { fields: [] })
  })

  test('keeps an address that is too long for a head out of it', () => {
    const url = `https://api.test/${'a'.repeat(PAYMENT_URL_CHARS_MAX)}`
    const challenge = challengeOf([chainOffer()], { resource: { ...resource, url } })
    const message = seller.writeChallenge(challenge)
    assert.doesNotMatch(message.fields[0]?.[1] ?? '', /payment_url/)
    assert.equal(bodyOf(message)['payment_url'], url)
  })
})

describe('a payment', () => {
  test('names its offer, and the seller finds all of it again', async () => {
    const mine = chainOffer()
    const [offer] = offered(asked([mine]))
    assert.ok(offer)
    const found = credential(await read(paid(offer)))
    assert.deepEqual(found, { offer: mine, proof })
  })

  test('of a card names the offer too, and the processor’s id proves it', async () => {
    const mine = cardOffer(50n)
    const [offer] = offered(asked([mine]))
    assert.ok(offer)
    const found = credential(await read(paid(offer, { id: 'pi_123' })))
    assert.deepEqual(found, { offer: mine, proof: { id: 'pi_123' } })
  })

  test('that names only the processor’s id is found by quoting', async () => {
    const unbound = { offer: { rail: 'card', network: 'card' }, proof: { id: 'pi_123' } }
    for (const fields of [
      { 'X-Payment-Intent': 'pi_123' },
      { 'X-Payment-Intent': 'order-7', 'X-Payment-Proof': 'pi_123' },
      { 'X-Payment-Proof': 'pi_123' },
    ])
      assert.deepEqual(await read({ ...fields, 'X-Payment-Timestamp': stamp }), unbound)
  })

  test('that could have been made in two ways must say in which', async () => {
    const again: Part = { forms: { bearer: { ...cardPart.forms.bearer!, networks: ['other'] } } }
    const two = bearer({ parts: [cardPart, again], clock })
    const fields = { 'X-Payment-Proof': 'pi_123', 'X-Payment-Timestamp': stamp }
    assert.equal(refusal(await read(fields, two)).code, 'credential-unsupported')
    const named = { ...fields, ...paid(offered(asked([cardOffer(50n)]))[0]!, { id: 'pi_123' }) }
    credential(await read(named, two))
  })

  test('of another request, or changed in any letter, is not ours', async () => {
    const mine = chainOffer()
    const [offer] = offered(asked([mine]))
    assert.ok(offer)
    const honest = paid(offer)
    const ours = async (
      fields: Record<string, string>,
      where = resource,
    ): Promise<Offer | undefined> => {
      const found = await read(fields)
      if (!found || 'code' in found) return undefined
      const one = found.offer as Offer
      return offers.check(one, where, NOW) === undefined ? one : undefined
    }
    assert.deepEqual(await ours(honest), mine)
    assert.equal(await ours(honest, { ...resource, path: '/b' }), undefined)
    const intent = honest['X-Payment-Intent'] ?? ''
    let refused = 0
    for (let i = 'offer_'.length; i < intent.length; i++) {
      const other = intent[i] === 'A' ? 'B' : 'A'
      const changed = intent.slice(0, i) + other + intent.slice(i + 1)
      const found = await ours({ ...honest, 'X-Payment-Intent': changed })
      // An address in another case is the same address.
      if (found) assert.deepEqual(found, mine, `letter ${i}`)
      else refused++
    }
    assert.ok(refused > 300)
  })

  test('is shown at a moment that is now, within the window, in either way of writing it', async () => {
    const [offer] = offered(asked([chainOffer()]))
    assert.ok(offer)
    const at = async (said: string | undefined) => {
      const { 'X-Payment-Timestamp': _, ...fields } = paid(offer)
      return await read(said === undefined ? fields : { ...fields, 'X-Payment-Timestamp': said })
    }
    for (const ms of [0, -TIMESTAMP_WINDOW_MS, TIMESTAMP_WINDOW_MS]) {
      const moment = new Date(NOW + ms)
      credential(await at(moment.toISOString()))
      credential(await at(`${moment.getTime() / 1000}`))
      credential(await at(moment.toISOString().replace('Z', '+00:00')))
    }
    for (const ms of [-TIMESTAMP_WINDOW_MS - 1000, TIMESTAMP_WINDOW_MS + 1000, -31_536_000_000])
      assert.equal(
        refusal(await at(new Date(NOW + ms).toISOString())).code,
        'proof-expired',
        `${ms}`,
      )
    for (const said of [
      undefined,
      '',
      'now',
      `${NOW}`,
      '1e9',
      '-1800000000',
      '2027-01-15',
      '2027-02-30T08:00:00Z',
      '2027-13-01T08:00:00Z',
      '2027-01-15T25:00:00Z',
      '2027-01-15T08:00:00',
      `${stamp}, ${stamp}`,
      '٣'.repeat(10),
    ])
      if (said === undefined || /^[ -~]*$/.test(said))
        assert.equal(refusal(await at(said)).code, 'credential-malformed', said)
  })

  test('that cannot be read is refused with a sentence', async () => {
    const [offer] = offered(asked([chainOffer()]))
    assert.ok(offer)
    const honest = paid(offer)
    const intent = (said: unknown): string =>
      `offer_${Buffer.from(JSON.stringify(said)).toString('base64url')}`
    credential(await read(honest))
    for (const changed of [
      { 'X-Payment-Proof': '' },
      { 'X-Payment-Proof': 'nonsense' },
      { 'X-Payment-Proof': 'pi_123' },
      { 'X-Payment-Proof': `${honest['X-Payment-Proof']}, ${honest['X-Payment-Proof']}` },
      { 'X-Payment-Proof': 'A'.repeat(PROOF_CHARS_MAX + 1) },
      { 'X-Payment-Intent': 'A'.repeat(INTENT_CHARS_MAX + 1) },
      { 'X-Payment-Intent': 'offer_' },
      { 'X-Payment-Intent': 'offer_!!!' },
      { 'X-Payment-Intent': intent(null) },
      { 'X-Payment-Intent': intent(['id', 1e99, 'blockchain', true, {}]) },
      { 'X-Payment-Intent': intent(['', 1, 'blockchain', true, {}]) },
      { 'X-Payment-Intent': intent(['id', 1, 'hybrid', true, {}]) },
      { 'X-Payment-Intent': intent(['id', 1, 'blockchain', true, {}]) },
      { 'X-Payment-Intent': intent(['id', 1, '__proto__', true, {}]) },
    ]) {
      const said = refusal(await read({ ...honest, ...changed }))
      assert.equal(said.code, 'credential-malformed', JSON.stringify(changed).slice(0, 90))
      assert.match(said.detail, /\.$/)
    }
  })

  test('that is named after its offer wants each offer to be one of its kind', () => {
    assert.equal(seller.distinct, undefined)
    const named: Part = { forms: { bearer: { ...cardPart.forms.bearer!, distinct: true } } }
    assert.equal(bearer({ parts: [named], clock }).distinct, true)
  })

  test('is none where its fields are not there, whatever Authorization holds', async () => {
    for (const fields of [
      {},
      { 'X-Payment-Timestamp': stamp },
      { Authorization: 'Bearer realm="payment_gateway"' },
      { Authorization: 'Bearer the-application-own-token', 'X-Payment-Timestamp': stamp },
    ])
      assert.equal(await read(fields), undefined)
  })

  test('that is invalid or has expired is answered 403', () => {
    assert.deepEqual(
      Object.entries(seller.statuses ?? {}).filter(([, status]) => status !== 403),
      [],
    )
    for (const code of ['proof-invalid', 'proof-expired', 'offer-expired'] as const)
      assert.equal(seller.statuses?.[code], 403)
    assert.equal(seller.statuses?.['payment-required'], undefined)
  })
})

describe('a token', () => {
  const mint = createOpaques({ secrets: ['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'] })
  const shop = bearer({ parts: [], mints: [mint], clock })
  const grant = { id: 'ab'.repeat(32), rights: {} }
  const show = async (proof: string, by = shop) =>
    await read({ 'X-Payment-Proof': proof, 'X-Payment-Timestamp': stamp }, by)

  test('of ours is a proof, whichever mint made it', async () => {
    const token = mint.mint(grant)
    assert.deepEqual(credential(await show(token)), { grant })
    const later: Mint = { ...mint, check: async (text) => mint.check(text) }
    const none: Mint = { ...mint, check: async () => undefined }
    assert.deepEqual(
      credential(await show(token, bearer({ parts: [], mints: [none, later], clock }))),
      { grant },
    )
    assert.equal(refusal(await show(`${token}A`)).code, 'token-invalid')
    assert.equal(refusal(await show('nonsense')).code, 'credential-malformed')
  })

  test('that belongs to a key is not one', async () => {
    const token = mint.mint({ ...grant, rights: { payerKeys: [`jkt:${'A'.repeat(43)}`] } })
    assert.equal(refusal(await show(token)).code, 'token-invalid')
  })

  test('in Authorization is read by OAuth and not here, and in the proof here and not there', async () => {
    const token = mint.mint(grant)
    const both = [shop, oauth({ mints: [mint] })]
    const readers = async (fields: Readonly<Record<string, string>>) =>
      await Promise.all(both.map(async (protocol) => (await read(fields, protocol)) !== undefined))
    assert.deepEqual(await readers({ Authorization: `Bearer ${token}` }), [false, true])
    const fields = { 'X-Payment-Proof': token, 'X-Payment-Timestamp': stamp }
    assert.deepEqual(await readers(fields), [true, false])
  })
})

describe('a buyer', () => {
  const heard = (head: string | undefined, body?: unknown) =>
    buyer.readChallenge(
      {
        status: 402,
        fields: fieldsOf(head === undefined ? [] : [['WWW-Authenticate', head]]),
        ...(body !== undefined && { body }),
      },
      resource,
    )

  test('knows the profile by its realm, in head or body, and leaves other Bearers alone', () => {
    assert.equal(heard('Bearer realm="api", resource_metadata="https://api.test/x"'), undefined)
    assert.equal(heard(undefined, { status: 402 }), undefined)
    const message = asked([chainOffer()])
    const [[, head] = ['', '']] = message.fields
    assert.equal(heard(`Bearer realm="api", ${head}`, bodyOf(message))?.offers.length, 1)
    assert.equal(heard(undefined, bodyOf(message))?.offers.length, 1)
  })

  test('has the end of the offer from its seconds', () => {
    const [offer] = offered(asked([chainOffer()]))
    assert.equal(offer?.expiresAt, EXPIRES_AT)
  })

  test('pays no other amount than the one that people are told', () => {
    const body = bodyOf(asked([chainOffer()]))
    const [payment = {}] = body['payments'] as readonly JsonObject[]
    const said = (amount: unknown) =>
      heard(undefined, { ...body, payments: [{ ...payment, amount }] })
    for (const amount of ['0.001', '0.00100', 0.001])
      assert.equal(said(amount)?.offers.length, 1, String(amount))
    for (const amount of ['0.0001', '1e-3', '.001', ' 0.001', -0.001, 0.0010000001, null, 'x'])
      assert.equal(said(amount)?.offers.length, 0, String(amount))
  })

  test('hears why a payment was refused, in words that are known, and no sentence of a stranger', () => {
    const body = bodyOf(asked([chainOffer()]))
    const why = (status: number, said: JsonObject) => {
      const { amount, payments, gateway, payment_url } = body
      const plain = { amount, payments, gateway, payment_url, ...said } as JsonObject
      return buyer.readChallenge({ status, fields: fieldsOf([]), body: plain }, resource)?.problem
    }
    assert.equal(why(403, { code: 'offer-expired' })?.code, 'offer-expired')
    assert.equal(why(403, { reason: 'payment_spent' })?.code, 'payment-spent')
    assert.equal(why(403, { reason: 'toString', detail: 'Call 555!' })?.code, 'proof-invalid')
    assert.equal(why(402, {})?.code, 'payment-required')
    assert.doesNotMatch(why(403, { detail: 'Call 555!' })?.detail ?? '', /555/)
  })

  test('tells why it cannot pay a seller who says only the price', () => {
    const head =
      'Bearer realm="payment_gateway", gateway="paypal", amount="1", currency="USD", payment_url="https://x.test", expires_in="60", wallet_required="false"'
    const challenge = heard(head)
    assert.equal(challenge?.offers.length, 0)
    assert.equal(challenge?.unreadable?.length, 1)
    assert.equal(heard(head.replace('paypal', 'hybrid'))?.unreadable?.length, 1)
  })
})
