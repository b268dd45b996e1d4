import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readAuth } from '../../core/auth.ts'
import type { Challenge } from '../../core/challenge.ts'
import type { Offer } from '../../core/offer.ts'
import type { Rights } from '../../core/rights.ts'
import { narrow, readToken, writeToken } from '../../tokens/macaroon/index.ts'
import {
  asked,
  buyer,
  challengeOf,
  coffee,
  coffeeHash,
  credential,
  donation,
  EXPIRES_AT,
  fieldsOf,
  hashOf,
  macaroons,
  offerFor,
  offers,
  NOW,
  otherPreimage,
  parts,
  preimage,
  refusal,
  resource,
  seller,
  shown,
  tokenOf,
} from './fixture.test.ts'
import { INVOICE_CHARS_MAX, l402, TOKEN_CHARS_MAX } from './http.ts'

const plan = { name: 'ten', rights: { services: [{ name: 'ten', tier: 0 }] } }

function narrowed(token: string, ...conditions: readonly string[]): string {
  const read = readToken(token)
  assert.ok(typeof read !== 'string')
  const made = narrow(read[0]!, conditions)
  assert.ok(typeof made !== 'string')
  return writeToken([made])
}

describe('a challenge', () => {
  /** How clients in use look for their words: the reference says which. */
  const clients: Readonly<Record<string, RegExp>> = {
    aperture: /(?:LSAT|L402) macaroon="(.*?)", invoice="(.*?)"/,
    lnget: /^L402 .*macaroon="([^"]+)".*invoice="([^"]+)"/,
    L402sdk: /^L402 .*macaroon="([^"]+)".*invoice="(ln(?:bc|tb)[^"]+)"/,
    'npm l402': /^L402.*macaroon="([\w|+/=-]+)".*invoice="([\w|]+)"/,
    'the specification': /^L402 .*invoice="([^"]+)".*version="0", token="([^"]+)"/,
  }

  test('is one line in a form that every client reads', () => {
    const [field = '', ...others] = asked()
    assert.deepEqual(others, [])
    const token = tokenOf()
    for (const [name, pattern] of Object.entries(clients)) {
      const found = pattern.exec(field)
      assert.deepEqual(new Set(found?.slice(1)), new Set([token, coffee]), name)
    }
    assert.equal(
      field,
      `L402 macaroon="${token}", invoice="${coffee}", version="0", token="${token}"`,
    )
  })

  test('names the payment in its token, and carries no right that must be paid for first', () => {
    const found = macaroons.check(tokenOf())
    assert.ok(typeof found === 'object')
    assert.equal(Buffer.from(found.identifier.paymentHash).toString('hex'), hashOf(preimage))
    assert.deepEqual(found.rights, {})
  })

  test('for a plan says its rights, each once', () => {
    const rights: Rights = { ...plan.rights, methods: ['GET'], paths: ['/a/*'] }
    const read = readToken(tokenOf({}, { name: 'ten', rights }))
    assert.ok(typeof read !== 'string')
    const [offer = '', ...caveats] = read[0]!.caveats.map(({ id }) => Buffer.from(id).toString())
    assert.match(offer, /^offer=/)
    assert.deepEqual(caveats, ['services=ten:0', 'path=/a/*', 'method=GET'])
  })

  test('says that a payment is held, after all that others read', () => {
    assert.match(asked({ salt: 'salt' })[0] ?? '', /token="[^"]+", hold="1"$/)
    assert.doesNotMatch(asked()[0] ?? '', /hold/)
  })

  test('has one line for each offer on Lightning, and none for those of other rails', () => {
    const { invoice: _, ...unissued } = offerFor()
    const said = seller.writeChallenge(
      challengeOf([
        offerFor({ rail: 'evm' }),
        offerFor(),
        offerFor({ preimage: otherPreimage }),
        unissued,
        { ...offerFor(), network: 'bip122:other' },
      ]),
    )
    assert.equal(said.fields.length, 2)
    assert.equal(said.body, undefined)
  })

  test('is not made by whoever has no mint', () => {
    assert.deepEqual(buyer.writeChallenge(challengeOf([offerFor()])), { fields: [] })
  })

  test('is the same for the same offer, so that it can be told again', () => {
    assert.equal(tokenOf(), tokenOf())
    assert.notEqual(tokenOf(), tokenOf({ preimage: otherPreimage }))
  })
})

describe('a challenge of others', () => {
  const token = macaroons.mint(
    { paymentHash: Buffer.from(coffeeHash, 'hex'), tokenId: Buffer.alloc(32, 1) },
    [],
  )
  const read = (field: string, body?: unknown): Challenge | undefined =>
    buyer.readChallenge(
      { status: 402, fields: fieldsOf({ 'WWW-Authenticate': field }), body },
      resource,
    )

  function only(challenge: Challenge | undefined): Offer {
    assert.equal(challenge?.offers.length, 1)
    assert.equal(challenge.unreadable, undefined)
    return challenge.offers[0]!
  }

  test('is read in every form that sellers write', () => {
    for (const field of [
      `L402 macaroon="${token}", invoice="${coffee}"`,
      `L402 version="0", token="${token}", invoice="${coffee}"`,
      `L402 version="0" token="${token}", invoice="${coffee}"`,
      `L402 macaroon="${token}", invoice="${coffee}", version="0", token="${token}"`,
      `L402 macaroon="${token}",invoice="${coffee}"`,
      `L402 invoice=${coffee}, macaroon="${token}"`,
      `l402 macaroon="${token}", invoice="${coffee}"`,
      `LSAT macaroon="${token}", invoice="${coffee}"`,
      `LSAT macaroon="${token}", invoice="${coffee}", L402 macaroon="${token}", invoice="${coffee}"`,
      `Payment id="a", realm="invoice", L402 macaroon="${token}", invoice="${coffee}"`,
      `L402 macaroon="${token}", invoice="${coffee}", Payment id="a", Bearer realm="x"`,
      `Bearer realm="x", L402 macaroon="${token}", invoice="${coffee.toUpperCase()}", extra="1"`,
    ]) {
      const offer = only(read(field))
      assert.equal(offer.amount.amount, 250_000_000n, field)
      assert.deepEqual(offer.details, { hash: coffeeHash })
      assert.equal(offer.resource, resource)
    }
    const body = { invoice: coffee, macaroon: token, price: 250_000 }
    assert.equal(only(read('', body)).amount.amount, 250_000_000n)
  })

  test('is answered under the name that it has', () => {
    for (const [said, name] of [
      ['L402', 'L402'],
      ['l402', 'L402'],
      ['LSAT', 'LSAT'],
      ['lsat', 'LSAT'],
    ]) {
      const offer = only(read(`${said} macaroon="${token}", invoice="${coffee}"`))
      const { fields } = buyer.writeCredential({ offer, proof: { preimage } })
      assert.deepEqual(fields, [['Authorization', `${name} ${token}:${preimage}`]])
    }
    const both = `LSAT macaroon="${token}", invoice="${coffee}", L402 macaroon="${token}", invoice="${coffee}", L402 version="0", token="${token}", invoice="${coffee}"`
    const { fields } = buyer.writeCredential({ offer: only(read(both)), proof: { preimage } })
    assert.match(fields[0]?.[1] ?? '', /^L402 /)
  })

  test('that is held is answered without a preimage', () => {
    const offer = only(read(`L402 macaroon="${token}", invoice="${coffee}", hold="1"`))
    assert.deepEqual(offer.details, { hash: coffeeHash, salt: '' })
    const { fields } = buyer.writeCredential({ offer, proof: {} })
    assert.deepEqual(fields, [['Authorization', `L402 ${token}:`]])
  })

  test('whose token is no macaroon is read too', () => {
    const offer = only(read(`L402 token="eyJhbGciOi.J9_-~", invoice="${coffee}"`))
    assert.deepEqual(offer.details, { hash: coffeeHash })
  })

  test('is not paid where it cannot be meant', () => {
    const other = tokenOf()
    const said = (text: string, bill = coffee): string =>
      `L402 macaroon="${text}", invoice="${bill}"`
    for (const [field, why] of [
      [said(other), /another payment/],
      [said(token, donation), /no amount/],
      [said(token, `${coffee.slice(0, -1)}q`), /./],
      [said(token, 'lnbc1'), /./],
      [said(token, 'a'.repeat(INVOICE_CHARS_MAX + 1)), /invoice is too long/],
      [said('a'.repeat(TOKEN_CHARS_MAX + 1)), /token is too long/],
      [said('a b'), /field/],
      [said('a:b'), /field/],
      [said(''), /field/],
    ] as const) {
      const found = read(field)
      assert.deepEqual(found?.offers, [], field)
      assert.match(found?.unreadable?.[0]?.why ?? '', why, field)
    }
    const evil = read('', { invoice: coffee, token: 'a\r\nHost: evil' })
    assert.deepEqual(evil?.offers, [])
    assert.equal(only(read(said(token))).amount.amount, 250_000_000n)
  })

  test('is read so far as it is not too many', () => {
    const one = `L402 token="${token}", invoice="lnbc1"`
    const found = read(Array.from({ length: 20 }, () => one).join(', '))
    assert.equal(found?.unreadable?.length, 8)
  })

  test('is nothing of ours without a token and an invoice', () => {
    for (const field of ['', 'Bearer realm="x"', 'L402', `L402 macaroon="${token}"`, 'L4022 a="b"'])
      assert.equal(read(field), undefined, field)
    for (const body of [
      undefined,
      null,
      'text',
      [],
      {},
      { invoice: coffee },
      { invoice: 5, token },
    ])
      assert.equal(read('', body), undefined)
  })

  test('by a wallet for other things is unreadable with a sentence', () => {
    const found = l402({ parts: [] }).readChallenge(
      {
        status: 402,
        fields: fieldsOf({ 'WWW-Authenticate': `L402 macaroon="${token}", invoice="${coffee}"` }),
      },
      resource,
    )
    assert.deepEqual(found?.offers, [])
    assert.match(found.unreadable?.[0]?.why ?? '', /Lightning/)
  })
})

describe('a token with its preimage', () => {
  const token = tokenOf()

  test('brings back the offer that it was made for, and the gate knows it again', () => {
    const { offer, proof, grant } = credential(shown(`L402 ${token}:${preimage}`))
    const { invoice: _, ...sold } = offerFor()
    assert.deepEqual(offer, sold)
    assert.deepEqual(proof, { preimage })
    assert.deepEqual(grant, { id: hashOf(preimage), rights: {} })
    assert.equal(offers.check(offer, resource, NOW), undefined)
    assert.equal(offers.check(offer, resource, EXPIRES_AT)?.code, 'offer-expired')
  })

  test('is bound to the request that it was asked for', () => {
    const elsewhere = { ...resource, path: '/b', url: 'https://api.test/b' }
    const { offer } = credential(shown(`L402 ${token}:${preimage}`, elsewhere))
    assert.equal(offers.check(offer, elsewhere, NOW)?.code, 'offer-foreign')
    const here = credential(shown(`L402 ${token}:${preimage}`))
    assert.equal(offers.check(here.offer, resource, NOW), undefined)
  })

  test('is read in every form that clients write', () => {
    const inside = narrowed(token, `preimage=${preimage}`)
    const plain = token.replace(/=+$/, '')
    const forms = [
      `LSAT ${token}:${preimage}`,
      `l402 ${token}:${preimage}`,
      `L402   ${token}:${preimage.toUpperCase()}  `,
      `L402 ${plain}:${preimage}`,
      `L402 ${plain.replaceAll('+', '-').replaceAll('/', '_')}:${preimage}`,
      `LSAT ${token}:${preimage}, L402 ${token}:${preimage}`,
      `LSAT ${token}:${preimage},L402 ${token}:${preimage}`,
      `Bearer abc, L402 ${token}:${preimage}`,
      `L402 ${token}:${preimage}, Bearer abc`,
      `L402 ${tokenOf({ preimage: otherPreimage })},${token}:${preimage}`,
      `L402 bm9uc2Vuc2U=:${preimage}, L402 ${token}:${preimage}`,
      `L402 ${inside}:${preimage}`,
      `L402 ${inside}:`,
    ]
    for (const field of forms) {
      const { grant, proof } = credential(shown(field))
      assert.deepEqual([grant?.id, proof], [hashOf(preimage), { preimage }], field)
    }
  })

  test('narrowed by its holder brings only what is left', () => {
    const less = narrowed(token, 'path=/a', 'method=GET', 'expires=1900000000')
    const { grant } = credential(shown(`L402 ${less}:${preimage}`))
    const rights = { paths: ['/a'], methods: ['GET'], expiresAt: 1_900_000_000_000 }
    assert.deepEqual(grant?.rights, rights)
  })

  test('that is held is read without one', () => {
    const held = tokenOf({ salt: 'c2FsdA' })
    const read = credential(shown(`L402 ${held}:`))
    assert.deepEqual(read.proof, {})
    assert.deepEqual(read.offer.details, { hash: hashOf(preimage), salt: 'c2FsdA' })
    assert.equal(offers.check(read.offer, resource, NOW), undefined)
    assert.deepEqual(credential(shown(`L402 ${held}:${preimage}`)).proof, { preimage })
  })

  test('that was bought elsewhere is a grant and nothing else', () => {
    const bought = macaroons.mint(
      { paymentHash: Buffer.alloc(32, 7), tokenId: Buffer.alloc(32, 8) },
      ['services=ten:0'],
    )
    const grant = { id: '07'.repeat(32), rights: plan.rights }
    assert.deepEqual(shown(`L402 ${bought}:`), { grant })
    assert.deepEqual(shown(`L402 ${bought}:${preimage}`), { grant })
  })

  test('is found at the second look as at the first', () => {
    const field = `L402 ${token}:${preimage}`
    assert.deepEqual(shown(field), shown(field))
    const elsewhere = { ...resource, path: '/c' }
    assert.equal(credential(shown(field, elsewhere)).offer.resource, elsewhere)
  })

  test('is nothing to a payer, and other credentials are nothing to L402', () => {
    const field = fieldsOf({ Authorization: `L402 ${token}:${preimage}` })
    assert.equal(buyer.readCredential(field, resource), undefined)
    assert.equal(seller.readCredential(fieldsOf({}), resource), undefined)
    for (const other of ['Bearer abc', 'Basic dTpw', 'Payment abc', 'L4022 a:b', 'XL402 a:'])
      assert.equal(shown(other), undefined, other)
  })

  test('has no receipt, and nobody signs without a proof', () => {
    assert.deepEqual(seller.writeReceipt({} as never), { fields: [] })
    const said = { status: 200, fields: fieldsOf({}) }
    assert.equal(buyer.readReceipt(said, offerFor()), undefined)
    assert.deepEqual(buyer.writeCredential({ offer: offerFor() }), { fields: [] })
  })

  test('of rails that are not here any more is refused', () => {
    const field = fieldsOf({ Authorization: `L402 ${token}:${preimage}` })
    const moved = l402({ parts: [], mint: macaroons })
    const read = moved.readCredential(field, resource)
    assert.ok(!(read instanceof Promise))
    assert.equal(refusal(read).code, 'proof-invalid')
  })
})

test('a challenge can be said shorter, and under its first name, and is the same for a buyer', () => {
  const legacy = l402({ parts, mint: macaroons, legacy: true })
  const lines = legacy.writeChallenge(challengeOf([offerFor({ hash: coffeeHash })])).fields
  const [old = '', whole = ''] = lines.map(([, line]) => line)
  assert.equal(lines.length, 2)
  assert.deepEqual(legacy.stand?.(old), { place: -1, lean: '' })
  const { place, lean = '' } = legacy.stand?.(whole) ?? {}
  assert.equal(place, 0)
  assert.equal(old, lean.replace('L402', 'LSAT'))
  assert.equal(whole.length - lean.length, tokenOf({ hash: coffeeHash }).length + 23)
  for (const [line, scheme] of [
    [old, 'LSAT'],
    [whole, 'L402'],
    [lean, 'L402'],
  ] as const) {
    const fields = fieldsOf({ 'WWW-Authenticate': line })
    const [offer, ...others] = buyer.readChallenge({ status: 402, fields }, resource)?.offers ?? []
    assert.deepEqual(offer?.echo, { token: tokenOf({ hash: coffeeHash }), scheme })
    assert.equal(others.length, 0)
  }
})

test('a field of ours can be read as one among others', () => {
  const [field = ''] = asked()
  const schemes = readAuth(`${field}, Bearer realm="x", Payment id="a"`)
  assert.deepEqual(
    schemes.map(({ scheme }) => scheme),
    ['L402', 'Bearer', 'Payment'],
  )
  assert.equal(parts.length, 1)
})
