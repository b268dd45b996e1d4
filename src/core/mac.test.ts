import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { checkSecret, createMac } from './mac.ts'

const old = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const young = 'Qe8Rt2Yu6Io0Pa4Sd9Fg3Hj7Kl1Zx5Cv'

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest()

describe('a MAC', () => {
  test('is HMAC-SHA256 (RFC 2104) of the text’s digest under the purpose’s key, as the library makes it', () => {
    const key = sha256(`tolsey/offers/${old}`)
    const mac = createMac([old], 'offers')
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const whole = createHmac('sha256', key).update(sha256(text)).digest('base64url')
        assert.equal(mac.sign(text), whole.slice(0, 32))
      }),
    )
  })

  test('is believed under each listed key, wherever it stands, and under no other', () => {
    const signed = createMac([old], 'offers').sign('x')
    for (const secrets of [[old], [old, young], [young, old], [young, old, `${young}2`]])
      assert.ok(createMac(secrets, 'offers').verify('x', signed), secrets.join())
    assert.equal(createMac([young], 'offers').verify('x', signed), false)
    assert.equal(createMac([old, young], 'offers').verify('y', signed), false)
  })

  test('is made under one to eight secrets', () => {
    const secrets = Array.from({ length: 9 }, (_, i) => old + i)
    assert.equal(createMac(secrets.slice(0, 8), 'offers').sign('x').length, 32)
    assert.throws(() => createMac(secrets, 'offers'), /between one and 8 secrets/)
    assert.throws(() => createMac([], 'offers'), /between one and 8 secrets/)
  })
})

describe('a secret', () => {
  test('that is not there is said to be missing, not short', () => {
    for (const none of ['', undefined as unknown as string])
      assert.throws(() => checkSecret(none), /^RangeError: There is no secret\. Make one with/)
  })

  test('has 32 bytes or more, counted as bytes', () => {
    const letters = 'abcdefghijklmnopqrstuvwxyz123456'
    assert.equal(checkSecret(letters), letters)
    assert.throws(() => checkSecret(letters.slice(1)), /shorter than 32 bytes/)
    assert.equal(checkSecret(`é${letters.slice(2)}`), `é${letters.slice(2)}`)
  })

  test('that holds a sample in any case is refused', () => {
    assert.throws(() => checkSecret(`${old}ChangeMe`), /sample or too easily guessed/)
    assert.equal(checkSecret(`${old}Change`), `${old}Change`)
  })

  test('has ten different characters or more', () => {
    assert.equal(checkSecret('abcdefghij'.repeat(4)), 'abcdefghij'.repeat(4))
    assert.throws(() => checkSecret('abcdefghi'.repeat(4)), /too easily guessed/)
  })
})
