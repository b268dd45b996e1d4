import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { CHALLENGE_BYTES_MAX, readChallenges, readSigns } from './signs.ts'
import type { Sign } from './signs.ts'

function signsOf(headers: Record<string, string>, body: unknown = ''): readonly Sign[] {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return readSigns({ status: 402, headers: new Headers(headers), text, cut: false })
}

const names = (signs: readonly Sign[]): string[] => signs.map(({ protocol }) => protocol)
const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64')

describe('signs of a protocol', () => {
  test('x402 is recognised in header and body, whichever version', () => {
    const both = signsOf(
      { 'payment-required': base64({ x402Version: 2, accepts: [] }) },
      { x402Version: 1, accepts: [] },
    )
    assert.deepEqual(names(both), ['x402 v2', 'x402 v1'])
    assert.ok(both.every(({ spoken, note }) => spoken === 'x402' && note === undefined))
    const [stray] = signsOf({}, { x402Version: 2, accepts: [] })
    assert.match(stray?.note ?? '', /header PAYMENT-REQUIRED/)
  })

  test('a header that nobody can read is said to be so', () => {
    for (const field of ['%%%', base64([1]), 'x'.repeat(CHALLENGE_BYTES_MAX + 1)])
      assert.match(signsOf({ 'payment-required': field })[0]?.note ?? '', /no buyer can read/)
  })

  test('the schemes of WWW-Authenticate are recognised, folded or not', () => {
    const signs = signsOf({
      'www-authenticate':
        'LSAT macaroon="AGIAJE==", invoice="lnbc10u1pabc", L402 macaroon="AG", invoice="lnbc1pabc",' +
        ' Payment id="1", realm="x", method="tempo", intent="charge", request="' +
        Buffer.from('{"amount":"5","currency":"usd"}').toString('base64url') +
        '", Bearer realm="payment_gateway"',
    })
    assert.deepEqual(names(signs), ['LSAT', 'L402', 'Payment (MPP)', 'Bearer payment_gateway'])
    assert.equal(signs[0]?.note, 'A Lightning invoice over 1000 sat.')
    assert.equal(signs[1]?.note, undefined)
    assert.equal(signs[2]?.note, 'Method tempo, intent charge, 5 of usd.')
    assert.deepEqual(
      signs.map(({ spoken }) => spoken),
      ['l402', 'l402', undefined, undefined],
    )
  })

  test('a login, a word in quotes and plain JSON are no signs', () => {
    assert.deepEqual(
      signsOf({ 'www-authenticate': 'Bearer realm="api", error="Payment L402"' }),
      [],
    )
    assert.deepEqual(signsOf({ 'www-authenticate': 'Basic realm="x"' }, { error: 'pay' }), [])
    assert.deepEqual(signsOf({}, { x402Version: 1 }), [])
  })
})

describe('the list of challenges', () => {
  test('keeps each scheme’s parameters apart', () => {
    assert.deepEqual(
      readChallenges('Negotiate abc==, Basic realm = "a \\"b\\", c" , charset=UTF-8').map(
        ({ name, parameters }) => [name, Object.fromEntries(parameters)],
      ),
      [
        ['negotiate', {}],
        ['basic', { realm: 'a "b", c', charset: 'UTF-8' }],
      ],
    )
  })

  test('garbage ends it, quickly', () => {
    for (const field of ['"', ',,,,', '=x', `Payment ${'a='.repeat(50_000)}`, '\\'.repeat(100_000)])
      assert.ok(readChallenges(field).length <= 33)
    assert.ok(readChallenges('a '.repeat(100_000)).length <= 33)
  })
})
