import assert from 'node:assert/strict'
import test, { suite } from 'node:test'
import * as fc from 'fast-check'
import { isBound } from '../../core/credential.ts'
import type { Json } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { Problem } from '../../core/problem.ts'
import type { Details } from '../../rails/evm/forms.ts'
import type { Proof } from '../../rails/evm/proof.ts'
import {
  challengeWith,
  decode,
  encode,
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
import { ACCEPTS_MAX, HEADER_CHARS_MAX, MEMBERS_MAX } from './wire.ts'

// What strangers may send: every bad value stands beside the honest one that it was made of.

const seller = x402([method])
const buyer = x402([wallet])
const honest = payment()
const said = decode(honest)

function payment(): string {
  const message = buyer.writeCredential({ offer: offerFor(), proof })
  const value = message.fields[0]?.[1]
  assert(value)
  return value
}

function read(fields: Readonly<Record<string, string>>): ReturnType<typeof seller.readCredential> {
  return seller.readCredential(fieldsOf(fields), resource)
}

/** Whether it was read as a payment of our own offer. */
function isOurs(value: ReturnType<typeof read>): boolean {
  return (
    value !== undefined &&
    'offer' in value &&
    isBound(value.offer) &&
    offers.check(value.offer, resource, 0) === undefined
  )
}

function isMalformed(value: ReturnType<typeof read>): Problem {
  assert(value && 'code' in value, 'it is refused')
  assert.equal(value.code, 'credential-malformed')
  assert.match(value.detail, /^PAYMENT-SIGNATURE cannot be read\. .+\.$|^".+\.$|^The .+\.$/)
  return value
}

const base64 = (text: string): string => Buffer.from(text).toString('base64')

suite('a seller is sent', () => {
  test('an honest payment, and takes it', () =>
    assert(isOurs(read({ 'PAYMENT-SIGNATURE': honest }))))

  test('two payments in fields of one name (WEB-10)', () => {
    const why = isMalformed(read({ 'PAYMENT-SIGNATURE': `${honest}, ${honest}` }))
    assert.match(why.detail, /more than once/)
  })

  test('a payment of each version (WEB-11): version 2 is read, whatever stands in the other', () => {
    const legacy = encode({ x402Version: 1, scheme: 'exact', network: 'base-sepolia', payload: {} })
    assert(isOurs(read({ 'PAYMENT-SIGNATURE': honest, 'X-PAYMENT': legacy })))
    isMalformed(read({ 'PAYMENT-SIGNATURE': 'no', 'X-PAYMENT': legacy }))
    const others = { authorization: 'Payment abc, L402 a:b' }
    assert(isOurs(read({ ...others, 'PAYMENT-SIGNATURE': honest })))
  })

  const deep = `{"x402Version":2,"a":${'['.repeat(5000)}${']'.repeat(5000)}}`
  const values: readonly (readonly [string, string])[] = [
    ['an alphabet of another kind', honest.replaceAll(/[A-Z]/g, '-')],
    [
      'base64url without padding',
      Buffer.from(JSON.stringify({ ...said, a: '~~~???' })).toString('base64url'),
    ],
    ['one megabyte (WEB-22)', 'A'.repeat(1_048_576)],
    ['a value that is one group too long', 'A'.repeat(HEADER_CHARS_MAX + 4)],
    ['brackets 5,000 deep (WEB-22)', base64(deep)],
    ['text that is not UTF-8', Buffer.from([0x7b, 0xff, 0x7d]).toString('base64')],
    ['text that is not JSON', base64('{"x402Version":2')],
    ['nothing but null (WEB-23)', base64('null')],
    ['a list (WEB-23)', base64('[]')],
    ['a number', base64('2')],
    ['an empty object', base64('{}')],
    ['version 99 (WEB-23)', encode({ ...said, x402Version: 99 })],
    ['version 1 in version 2’s field', encode({ ...said, x402Version: 1 })],
    ['accepted: null (WEB-23)', encode({ ...said, accepted: null })],
    ['accepted: a list', encode({ ...said, accepted: [said['accepted']] })],
    ['no payload', encode({ ...said, payload: undefined })],
    ['payload: null', encode({ ...said, payload: null })],
    ['extensions: a list', encode({ ...said, extensions: [] })],
    ['__proto__ (WEB-23)', base64(JSON.stringify(said).replace('{', '{"__proto__":{"x":1},'))],
    [
      '__proto__ inside',
      base64(JSON.stringify(said).replace('"extra":{', '"extra":{"__proto__":{},')),
    ],
    ['an authorization without its value', encode({ ...said, payload: { signature: '0x00' } })],
    [
      'too many members',
      encode({
        ...said,
        payload: Object.fromEntries(
          Array.from({ length: MEMBERS_MAX + 1 }, (_, i) => [`k${i}`, i]),
        ),
      }),
    ],
  ]
  for (const [name, value] of values)
    test(name, () => {
      isMalformed(read({ 'PAYMENT-SIGNATURE': value }))
      assert.equal(Object.hasOwn(Object.prototype, 'x'), false)
    })

  test('an amount that is not one', () => {
    for (const amount of ['-5', '1e3', '0x10', '', ' 1', '1.0', '٣', '9'.repeat(79), 1000, null]) {
      const accepted = { ...(said['accepted'] as object), amount }
      isMalformed(read({ 'PAYMENT-SIGNATURE': encode({ ...said, accepted }) }))
    }
  })

  test('the same payment in other words (RPL-04), which is one spend and one key', () => {
    const { authorization, signature } = said[
      'payload'
    ] as typeof vectors.exactEip3009.payload.payload
    const shout = (hex: string): string => `0x${hex.slice(2).toUpperCase()}`
    const loud = {
      ...authorization,
      from: shout(authorization.from),
      nonce: shout(authorization.nonce),
    }
    const twins = [
      encode({ ...said, payload: { signature, authorization } }),
      encode(Object.fromEntries(Object.entries(said).toReversed())),
      base64(JSON.stringify(said, undefined, 2)),
      encode({ ...said, payload: { authorization: loud, signature: shout(signature), more: 1 } }),
    ]
    const keys = [honest, ...twins].map((value) => {
      const found = read({ 'PAYMENT-SIGNATURE': value })
      assert(isOurs(found))
      assert(found && 'offer' in found)
      return method.identify(offerFor() as Offer<Details>, found.proof as Proof).key
    })
    assert.equal(new Set(keys).size, 1)
  })

  test('anything at all, and never throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.base64String(), fc.json().map(base64)), (value) => {
        read({ 'PAYMENT-SIGNATURE': clean(value) })
        read({ 'X-PAYMENT': clean(value) })
      }),
    )
  })

  test('an honest payment with one member changed, and never throws nor takes it for more', () => {
    fc.assert(
      fc.property(pathIn(said), fc.jsonValue(), (path, value) => {
        const changed = change(said as Json, path, value as Json)
        const found = read({ 'PAYMENT-SIGNATURE': encode(changed) })
        assert(found)
        // Only what the offer says and the rail reads may matter; the rest is the payer's.
        if (isOurs(found) && 'offer' in found && isBound(found.offer))
          assert.deepEqual(found.offer, offerFor())
      }),
      { numRuns: 300 },
    )
  })
})

suite('a buyer is sent', () => {
  const offer = offerFor()
  const told = received(seller.writeChallenge(challengeWith(offer)))
  const required = decode(told.fields.get('PAYMENT-REQUIRED'))
  const ask = (value: string, body?: unknown): ReturnType<typeof buyer.readChallenge> =>
    buyer.readChallenge(
      {
        status: 402,
        fields: fieldsOf({ 'PAYMENT-REQUIRED': value }),
        ...(body !== undefined && { body }),
      },
      resource,
    )

  test('an honest challenge, and reads the offer', () =>
    assert.equal(ask(encode(required))?.offers.length, 1))

  test('a spoilt header, and says so', () => {
    for (const value of [
      '%%%',
      'A'.repeat(1_048_576),
      base64('null'),
      encode({ x402Version: 2 }),
    ]) {
      const challenge = ask(value)
      assert.deepEqual(challenge?.offers, [])
      assert.match(challenge?.unreadable?.[0]?.why ?? '', /^.+\.$/)
      assert(JSON.stringify(challenge).length < 2000)
    }
  })

  test('a spoilt header and a whole body, and reads the body', () =>
    assert.equal(ask('%%%', told.body)?.offers.length, 1))

  test('a million offers, and reads none of them (WEB-22)', () => {
    const accepts = Array.from({ length: 1_000_000 }, () => null)
    const body = { x402Version: 1, accepts }
    const challenge = buyer.readChallenge({ status: 402, fields: fieldsOf({}), body }, resource)
    assert.deepEqual(challenge?.offers, [])
    assert.equal(challenge?.unreadable?.length, 1)
    const most = { ...required, accepts: Array.from({ length: ACCEPTS_MAX + 1 }, () => ({})) }
    assert.deepEqual(ask(encode(most))?.offers, [])
  })

  test('times and ids of the wrong kind, and takes them for none', () => {
    const [entry] = required['accepts'] as { extra: object }[]
    assert(entry)
    for (const wrong of [-1, 1.5, 1e300, '1800000300', null, {}]) {
      const extra = { ...entry.extra, offerExpiresAt: wrong, offerId: wrong }
      const text = encode({ ...required, accepts: [{ ...entry, extra }] })
      const found = ask(text)?.offers[0]
      assert.equal(found?.expiresAt, Number.MAX_SAFE_INTEGER)
      assert.equal(found?.id, typeof wrong === 'string' ? wrong : '')
    }
  })

  test('escape sequences in names, and lets none through', () => {
    const [entry] = required['accepts'] as object[]
    const accepts = [{ ...entry, network: 'eip155:\u001b[2J', scheme: 'exact\n' }]
    const why = ask(encode({ ...required, accepts }))?.unreadable?.[0]?.why
    assert.match(why ?? '', /^[ -~]+$/)
  })

  test('anything at all, and never throws', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string(), (value, text) => {
        ask(encode(value))
        ask(clean(text), value)
        const fields = fieldsOf({ 'PAYMENT-RESPONSE': encode(value) })
        buyer.readReceipt({ status: 200, fields }, offer)
      }),
    )
  })

  test('an honest challenge or receipt with one member changed, and never throws', () => {
    const receipt = decode(vectors.settleResponseHeader)
    fc.assert(
      fc.property(pathIn(required), pathIn(receipt), fc.jsonValue(), (first, second, value) => {
        const challenge = ask(encode(change(required as Json, first, value as Json)))
        for (const found of challenge?.offers ?? [])
          assert.equal(buyer.writeCredential({ offer: found, proof }).fields.length, 1)
        const fields = fieldsOf({
          'PAYMENT-RESPONSE': encode(change(receipt as Json, second, value as Json)),
        })
        assert(buyer.readReceipt({ status: 200, fields }, offer))
      }),
      { numRuns: 300 },
    )
  })
})

/** What a header can hold at all. */
function clean(text: string): string {
  return text.replaceAll(/[^ -~]/g, '').trim()
}

/** Any path to a member of the value. */
function pathIn(value: unknown): fc.Arbitrary<readonly string[]> {
  return fc.constantFrom(...paths(value))
}

function paths(value: unknown): readonly (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, member]) => [
    [key],
    ...paths(member).map((rest) => [key, ...rest]),
  ])
}

function change(value: Json, [key, ...rest]: readonly string[], to: Json): Json {
  if (key === undefined) return to
  if (Array.isArray(value))
    return value.map((member: Json, i) => (String(i) === key ? change(member, rest, to) : member))
  const object = value as Readonly<Record<string, Json>>
  return { ...object, [key]: change(object[key] ?? null, rest, to) }
}
