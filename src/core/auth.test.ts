import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AUTH_CHALLENGES_MAX, AUTH_CHARS_MAX, quoted, readAuth } from './auth.ts'

const plain = (field: string): unknown =>
  readAuth(field).map(({ scheme, params }) => [scheme, Object.fromEntries(params)])

test('challenges are parted by their schemes, also when lines were joined by commas', () => {
  assert.deepEqual(plain('LSAT macaroon="M", invoice="P", L402 macaroon="M",invoice=P'), [
    ['LSAT', { macaroon: 'M', invoice: 'P' }],
    ['L402', { macaroon: 'M', invoice: 'P' }],
  ])
  assert.deepEqual(plain('Payment id="a, b", method="x" , Bearer'), [
    ['Payment', { id: 'a, b', method: 'x' }],
    ['Bearer', {}],
  ])
})

test('unquoted base64 with padding, spaces around =, escapes and a token68 are read', () => {
  assert.deepEqual(plain('L402 token=AgE+/w==, invoice = "a\\"b"'), [
    ['L402', { token: 'AgE+/w==', invoice: 'a"b' }],
  ])
  assert.deepEqual(plain('Negotiate YWJj==, Basic realm="x"'), [
    ['Negotiate', {}],
    ['Basic', { realm: 'x' }],
  ])
})

test('of a repeated parameter the first counts, whatever the case of its name', () => {
  assert.deepEqual(plain('L402 Invoice="first", invoice="second"'), [
    ['L402', { invoice: 'first' }],
  ])
})

test('what cannot be read ends the reading, and nothing is read beyond the limits', () => {
  assert.deepEqual(plain('L402 a="1", "loose"'), [['L402', { a: '1' }]])
  assert.deepEqual(plain('a="1"'), [])
  assert.equal(readAuth('Bearer, '.repeat(AUTH_CHALLENGES_MAX + 5)).length, AUTH_CHALLENGES_MAX)
  assert.deepEqual(readAuth(`L402 a="${'x'.repeat(AUTH_CHARS_MAX)}"`), [])
})

test('a quoted value is read back, and holds no byte that a field must not have', () => {
  assert.deepEqual(plain(`A v=${quoted('a "b" \\ c')}`), [['A', { v: 'a "b" \\ c' }]])
  assert.equal(quoted('a\r\nb'), '"a??b"')
})
