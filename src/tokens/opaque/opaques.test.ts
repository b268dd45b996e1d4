import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import { describe, test } from 'node:test'
import { readGrant, writeGrant } from '../../core/grants.ts'
import type { Grant } from '../../core/credential.ts'
import { createOpaques } from './opaques.ts'

const old = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const young = 'Qe8Rt2Yu6Io0Pa4Sd9Fg3Hj7Kl1Zx5Cv'
const clock = { now: () => 1_000_000, sleep: () => Promise.resolve() }
const opaques = createOpaques({ secrets: [old], clock })
const grant: Grant = {
  id: 'ab'.repeat(32),
  rights: {
    services: [{ name: 'api', tier: 1 }],
    paths: ['/a/*'],
    methods: ['GET'],
    expiresAt: 1_001_000,
    uses: [{ scope: 'one', most: 7 }],
    payerKeys: ['jkt:k'],
  },
}

/** The sentence of what must be refused. */
function why(value: unknown): string {
  assert.ok(typeof value === 'string')
  return value
}

describe('an opaque token', () => {
  test('comes back as the grant that it was made for', () => {
    assert.deepEqual(opaques.check(opaques.mint(grant)), grant)
    const bare = { id: grant.id, rights: {} }
    assert.deepEqual(opaques.check(opaques.mint(bare)), bare)
  })

  test('is another each time, and tells nothing', () => {
    const [a, b] = [opaques.mint(grant), opaques.mint(grant)]
    assert.notEqual(a, b)
    assert.match(a, /^tk_[\w-]+$/)
    const bytes = Buffer.from(a.slice(3), 'base64url')
    assert.equal(bytes.indexOf(Buffer.from(grant.id, 'hex')), -1)
    assert.equal(bytes.indexOf('api'), -1)
  })

  test('with any single bit flipped is refused', () => {
    const token = opaques.mint(grant)
    assert.deepEqual(opaques.check(token), grant)
    let flips = 0
    for (let at = 0; at < token.length; at++)
      for (let bit = 0; bit < 8; bit++, flips++) {
        const bytes = Buffer.from(token, 'latin1')
        bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
        assert.notEqual(typeof opaques.check(bytes.toString('latin1')), 'object', `${at}.${bit}`)
      }
    assert.equal(flips, token.length * 8)
  })

  test('with any single bit of its bytes flipped is refused with a sentence', () => {
    const bytes = Buffer.from(opaques.mint(grant).slice(3), 'base64url')
    for (let at = 0; at < bytes.length; at++)
      for (let bit = 0; bit < 8; bit++) {
        const flipped = Buffer.from(bytes)
        flipped[at] = (flipped[at] ?? 0) ^ (1 << bit)
        assert.match(why(opaques.check(`tk_${flipped.toString('base64url')}`)), /\.$/)
      }
  })

  test('is good until its end, and not afterwards', () => {
    const at = (now: number) =>
      createOpaques({ secrets: [old], clock: { ...clock, now: () => now } })
    const token = opaques.mint(grant)
    assert.deepEqual(at(1_000_999).check(token), grant)
    assert.match(why(at(1_001_000).check(token)), /expired/)
  })

  test('is good while its secret is, and not afterwards', () => {
    const during = createOpaques({ secrets: [young, old], clock })
    const after = createOpaques({ secrets: [young], clock })
    const token = opaques.mint(grant)
    assert.deepEqual(during.check(token), grant)
    assert.match(why(after.check(token)), /made by another/)
    assert.deepEqual(after.check(during.mint(grant)), grant)
    assert.equal(typeof opaques.check(during.mint(grant)), 'string')
  })

  test('of another form is left alone or refused', () => {
    const token = opaques.mint(grant)
    for (const text of ['', 'a.b.c', 'TK_abc', token.slice(3), ` ${token}`])
      assert.equal(opaques.check(text), undefined)
    for (const text of ['tk_', 'tk_A', `${token}A`, `${token}=`, token.slice(0, -1)])
      assert.match(why(opaques.check(text)), /\.$/)
    assert.match(why(opaques.check(`tk_${'A'.repeat(9_000)}`)), /\.$/)
  })

  test('cannot be put together from two', () => {
    const a = Buffer.from(opaques.mint(grant).slice(3), 'base64url')
    const b = Buffer.from(opaques.mint(grant).slice(3), 'base64url')
    const spliced = Buffer.concat([a.subarray(0, 16), b.subarray(16)]).toString('base64url')
    assert.match(why(opaques.check(`tk_${spliced}`)), /\.$/)
  })

  test('is not minted with what would not be read back', () => {
    const wrong: readonly Grant[] = [
      { id: 'ab', rights: {} },
      { id: grant.id, rights: { paths: [] } },
    ]
    for (const one of wrong) assert.throws(() => opaques.mint(one), RangeError)
    assert.throws(() => createOpaques({ secrets: [] }), RangeError)
    assert.throws(() => createOpaques({ secrets: ['short'] }), RangeError)
  })

  test('does not carry what a request proves', () => {
    assert.deepEqual(opaques.check(opaques.mint({ ...grant, payerKey: 'jkt:k' })), grant)
    assert.deepEqual(readGrant(grant.id, writeGrant(grant)), grant)
  })
})
