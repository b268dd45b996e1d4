import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { AUTHORIZATION_CHARS_MAX, readAuthorization } from './authorization.ts'

describe('an Authorization field', () => {
  test('shows one token, in any case and beside other schemes', () => {
    const bearer = { scheme: 'Bearer', token: 'abc.d-e_f~g+h/i==' }
    for (const field of [
      'Bearer abc.d-e_f~g+h/i==',
      'bearer abc.d-e_f~g+h/i==',
      'BEARER   abc.d-e_f~g+h/i==  ',
      'Basic dXNlcjpw, Bearer abc.d-e_f~g+h/i==',
      'Bearer abc.d-e_f~g+h/i==, L402 AgE,AgF:0011',
      ' , ,Bearer abc.d-e_f~g+h/i==,',
      'Signature keyId="a, Bearer x", Bearer abc.d-e_f~g+h/i==',
      String.raw`Digest realm="a\", Bearer y", Bearer abc.d-e_f~g+h/i==`,
    ])
      assert.deepEqual(readAuthorization(field), bearer, field)
    assert.deepEqual(readAuthorization('dpop a'), { scheme: 'DPoP', token: 'a' })
  })

  test('without a scheme of ours is left alone', () => {
    for (const field of [
      undefined,
      null,
      '',
      ',',
      'Basic dXNlcjpw',
      'L402 AgE:0011',
      'Bearerabc',
      'Bearers abc',
      'Digest username="Bearer abc"',
      'Signature keyId="a, Bearer x"',
      'Signature keyId="never closed, Bearer x',
      `Basic ${'a'.repeat(AUTHORIZATION_CHARS_MAX)}, Bearer a`,
    ])
      assert.equal(readAuthorization(field), undefined, String(field))
  })

  test('that cannot be meant is refused with a sentence', () => {
    for (const field of [
      'Bearer',
      'Bearer ',
      'Bearer a b',
      'Bearer "a"',
      'Bearer a=b',
      'Bearer token="a"',
      'Bearer \u00e9',
      'Bearer a, Bearer a',
      'Bearer a, DPoP b',
      'Bearer, Bearer a',
      `Bearer ${'a'.repeat(AUTHORIZATION_CHARS_MAX)}`,
    ])
      assert.equal(typeof readAuthorization(field), 'string', field)
  })

  test('is read in a time that its length alone decides', () => {
    const hostile = String.raw`\"`.repeat(AUTHORIZATION_CHARS_MAX / 2)
    assert.equal(readAuthorization(`"${hostile.slice(1)}`), undefined)
  })
})
