import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import { describe, test } from 'node:test'
import { SECRETS_MAX } from '../../core/mac.ts'
import { ok, vectors } from './fixture.test.ts'
import { createRootKeys, readIdentifier, writeIdentifier } from './identifier.ts'

const old = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const young = 'Qe8Rt2Yu6Io0Pa4Sd9Fg3Hj7Kl1Zx5Cv'

describe('an identifier', () => {
  const bytes = Buffer.from(vectors[0]?.Id ?? '', 'hex')

  test('is version, payment hash and token id', () => {
    const read = ok(readIdentifier(bytes))
    assert.deepEqual(Buffer.from(read.paymentHash), bytes.subarray(2, 34))
    assert.deepEqual(Buffer.from(read.tokenId), bytes.subarray(34))
    assert.deepEqual(writeIdentifier(read), bytes)
  })

  test('of another length or version is refused', () => {
    const later = Buffer.from(bytes)
    later[1] = 1
    const strange = Buffer.from(bytes)
    strange[0] = 1
    const more = Buffer.concat([bytes, Buffer.of(0)])
    for (const other of [later, strange, more, bytes.subarray(1), Buffer.alloc(0)])
      assert.equal(typeof readIdentifier(other), 'string')
  })

  test('that is not one is not written', () => {
    const half = Buffer.alloc(32)
    assert.throws(() => writeIdentifier({ paymentHash: half.subarray(1), tokenId: half }), /Bug/)
    assert.throws(() => writeIdentifier({ paymentHash: half, tokenId: half.subarray(1) }), /Bug/)
  })
})

describe('root keys', () => {
  const id = Buffer.from('id')

  test('come from the newest secret, and from each that is not rotated out', () => {
    const before = createRootKeys([old])
    const during = createRootKeys([young, old])
    const after = createRootKeys([young])
    assert.deepEqual(during.newest(id), after.newest(id))
    assert.deepEqual([...during.every(id)], [after.newest(id), before.newest(id)])
    assert.deepEqual([...after.every(id)], [after.newest(id)])
    assert.notDeepEqual(before.newest(id), after.newest(id))
  })

  test('differ by identifier', () => {
    const keys = createRootKeys([old])
    assert.notDeepEqual(keys.newest(id), keys.newest(Buffer.from('di')))
    assert.equal(keys.newest(id).length, 32)
  })

  test('come from no secret that is missing, short, a sample or one too many', () => {
    const many = Array.from({ length: SECRETS_MAX + 1 }, (_, i) => old + i)
    for (const secrets of [[], ['short'], [''], [old, ''], [`change-me${old}`], many])
      assert.throws(() => createRootKeys(secrets), RangeError)
    assert.ok(createRootKeys(many.slice(1)))
  })
})
