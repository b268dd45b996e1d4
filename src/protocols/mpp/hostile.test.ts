// Whatever stands in a field is read without a fault, in bounded time, and beside it what is honest is still found.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { quoted } from '../../core/auth.ts'
import { readAccept } from './accept.ts'
import {
  asked,
  buyer,
  credential,
  decoded,
  encoded,
  evmOffer,
  fieldsOf,
  found,
  purse,
  resource,
  seller,
  shown,
} from './fixture.test.ts'
import { CHALLENGES_MAX, FIELD_CHARS_MAX, readChallenges, readCredentials } from './fields.ts'

/** Reading takes far less; what grows with the square of its input takes minutes. */
const SLOW_MS = 2_000

const offer = evmOffer()
const [line = ''] = asked([offer])
const [read] = found([line])?.offers ?? []
assert.ok(read)
const proof = await purse.pay(read as Parameters<typeof purse.pay>[0], 60_000)
const [[, authorization] = ['', '']] = buyer.writeCredential({ offer: read, proof }).fields

const words = fc
  .array(
    fc.constantFrom(
      ...['Payment', 'payment', ' ', ',', '"', '\\', '=', ';', '\t', '*/*', 'q=0', 'id', 'realm'],
      ...['request', 'e30', 'method="evm"', 'intent="charge"', 'Bearer', line, authorization],
    ),
  )
  .map((list) => list.join(''))
const text = fc.oneof(fc.string({ maxLength: 200 }), words)

function raw(value: string): { get(): string } {
  return { get: () => value }
}

describe('any text', () => {
  test('in any field is read without a fault', () => {
    fc.assert(
      fc.property(text, fc.jsonValue(), (field, body) => {
        const fields = raw(field)
        const challenge = buyer.readChallenge({ status: 402, fields, body }, resource)
        assert.ok(
          (challenge?.offers.length ?? 0) + (challenge?.unreadable?.length ?? 0) <= CHALLENGES_MAX,
        )
        const shown = seller.readCredential(fields, resource)
        assert.ok(shown === undefined || typeof shown === 'object')
        const receipt = buyer.readReceipt({ status: 200, fields }, offer)
        assert.ok(receipt === undefined || typeof receipt === 'object')
        readAccept(field)?.q('evm', 'charge')
      }),
      { numRuns: 1_000 },
    )
  })

  test('quoted beside an honest challenge does not take it away', () => {
    fc.assert(
      fc.property(text, (field) => {
        const other = `Other x=${quoted(field)}`
        assert.equal(found([line, other])?.offers.length, 1)
        assert.equal(found([other, line])?.offers.length, 1)
      }),
      { numRuns: 300 },
    )
  })

  test('as a JSON credential is read without a fault, and never into a payment', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const said = shown(encoded(value))
        assert.ok(said && 'code' in said)
      }),
      { numRuns: 500 },
    )
  })

  test('in the place of one member of a good credential is refused or means the same', () => {
    const good = decoded(authorization.slice('Payment '.length)) as {
      readonly challenge: Readonly<Record<string, unknown>>
      readonly payload: Readonly<Record<string, unknown>>
    }
    credential(shown(authorization))
    const places = [
      ...Object.keys(good.challenge).map((name) => ['challenge', name] as const),
      ...Object.keys(good.payload).map((name) => ['payload', name] as const),
    ]
    fc.assert(
      fc.property(fc.constantFrom(...places), fc.jsonValue(), ([part, name], value) => {
        const changed = { ...good, [part]: { ...good[part], [name]: value } }
        const said = shown(encoded(changed))
        assert.ok(said)
        if ('code' in said) return
        assert.ok(name === 'validAfter' || name === 'validBefore' || name === 'id', name)
      }),
      { numRuns: 500 },
    )
  })
})

test('long fields take no long time', () => {
  const long = FIELD_CHARS_MAX - 10
  const began = performance.now()
  for (const unit of ['"', '\\"', 'a=', ',', 'Payment ', 'Payment a="', 'a=" ', ' =', 'a ', '="\\'])
    for (const head of ['', 'Payment ', 'Payment id="', 'Payment a=']) {
      const field = head + unit.repeat(Math.floor((long - head.length) / unit.length))
      readChallenges(field)
      readCredentials(field)
      seller.readCredential(raw(field), resource)
      readAccept(field)
    }
  assert.ok(performance.now() - began < SLOW_MS)
  assert.deepEqual(readChallenges(`${line}, ${'x'.repeat(FIELD_CHARS_MAX)}`), [])
  assert.equal(readChallenges(line).length, 1)
})

test('deep JSON is no way to a stack that is too small', () => {
  const deep = `${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`
  const said = shown(`Payment ${Buffer.from(deep).toString('base64url')}`)
  assert.ok(said && 'code' in said && said.reason === 'malformed-credential')
  const pollute = '{"__proto__":{"challenge":{}},"challenge":{},"payload":{}}'
  const read = shown(`Payment ${Buffer.from(pollute).toString('base64url')}`)
  assert.ok(read && 'code' in read)
})

test('more challenges than a page of them are not looked at', () => {
  const many = Array.from({ length: 200 }, () => line)
  const challenge = buyer.readChallenge(
    { status: 402, fields: fieldsOf({ 'WWW-Authenticate': many.slice(0, 60).join(', ') }) },
    resource,
  )
  assert.equal(challenge?.offers.length, CHALLENGES_MAX)
})
