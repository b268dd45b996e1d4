import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import { describe, test } from 'node:test'
import { systemChance } from '../../core/chance.ts'
import type { Grant } from '../../core/credential.ts'
import type { Resource } from '../../core/resource.ts'
import { l402 } from '../../protocols/l402/http.ts'
import { writeToken } from './codec.ts'
import { ok, one, vectors, why } from './fixture.test.ts'
import { createRootKeys, writeIdentifier } from './identifier.ts'
import { addThirdParty, bind, mint, narrow } from './macaroon.ts'
import { createMacaroons, OFFER_CHARS_MAX } from './macaroons.ts'
import { createMacaroonMint, hashIn } from './mint.ts'

const secret = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const clock = { now: () => 1_000_000, sleep: () => Promise.resolve() }
const macaroons = createMacaroons({ secrets: [secret], dialect: { service: 'api' } })
const tokens = createMacaroonMint(macaroons, clock)
const id = 'ab'.repeat(32)
const paymentHash = Buffer.from(id, 'hex')
const identifier = { paymentHash, tokenId: systemChance(32) }
const grant: Grant = { id, rights: { paths: ['/a/*'], methods: ['GET'], expiresAt: 1_001_000 } }
const resource: Resource = {
  realm: 'r',
  method: 'GET',
  authority: 'a.test',
  path: '/a/b',
  query: '',
  url: 'https://a.test/a/b',
}
const added = (token: string, ...conditions: readonly string[]): string =>
  writeToken([ok(narrow(one(token), conditions))])

describe('a macaroon for a grant', () => {
  test('comes back as the grant', () => {
    assert.deepEqual(tokens.check(tokens.mint(grant)), grant)
    assert.deepEqual(tokens.check(tokens.mint({ id, rights: {} })), { id, rights: {} })
  })

  test('is the same for the same grant, and counts its limits at the same place', () => {
    const counted: Grant = { id, rights: { uses: [{ scope: '', most: 5 }] } }
    const token = tokens.mint(counted)
    assert.equal(tokens.mint(counted), token)
    const found = tokens.check(token)
    assert.ok(typeof found === 'object')
    assert.match(found.rights.uses?.[0]?.scope ?? '', /^[\w-]{22}$/)
    assert.throws(() => tokens.mint(found), /counted elsewhere/, 'it would be counted anew')
  })

  test('can be narrowed, and is good until its end', () => {
    const token = tokens.mint(grant)
    const narrower = tokens.check(added(token, 'expires=1000', 'api_capabilities=read'))
    assert.match(why(narrower), /expired/)
    const found = tokens.check(added(token, 'expires=1001', 'api_capabilities=read'))
    assert.deepEqual(found, { id, rights: { ...grant.rights, capabilities: ['read'] } })
    const late = createMacaroonMint(macaroons, { ...clock, now: () => 1_001_000 })
    assert.match(why(late.check(token)), /expired/)
  })

  test('of another kind is left alone, and a changed one refused', () => {
    for (const text of ['', 'tk_abc', 'a.b.c', 'eyJhbGciOiJub25lIn0..'])
      assert.equal(tokens.check(text), undefined)
    const token = tokens.mint(grant)
    assert.match(why(tokens.check(`${token}A`)), /\.$/)
    assert.match(why(tokens.check(`Ag${token.slice(3)}`)), /\.$/)
    const other = createMacaroonMint(createMacaroons({ secrets: [secret.toLowerCase()] }))
    assert.match(why(other.check(token)), /signature/)
  })

  test('is not minted for what is no account', () => {
    for (const one of ['', 'ab', id.toUpperCase()])
      assert.throws(() => tokens.mint({ id: one, rights: {} }), RangeError)
  })
})

describe('a token with an offer', () => {
  const said = 'id0;1700000000;a=b c'
  const token = macaroons.mint(identifier, [`offer=${said}`, 'method=GET'])

  test('carries it, and can be narrowed', () => {
    const checked = ok(macaroons.check(token))
    assert.equal(checked.offer, said)
    assert.deepEqual(checked.rights, { methods: ['GET'] })
    const preimage = 'cd'.repeat(32)
    const narrower = ok(macaroons.check(added(token, 'path=/a', `preimage=${preimage}`)))
    assert.equal(narrower.offer, said)
    assert.equal(narrower.preimage, preimage)
    assert.deepEqual(narrower.rights, { methods: ['GET'], paths: ['/a'] })
    assert.equal(ok(macaroons.check(macaroons.mint(identifier, ['method=GET']))).offer, undefined)
  })

  test('is no grant without its payment', () => {
    assert.match(why(tokens.check(token)), /preimage/)
    assert.match(why(tokens.check(added(token, `preimage=${'cd'.repeat(32)}`))), /preimage/)
  })

  test('has one, in its first place', () => {
    const wrong = [
      ['method=GET', `offer=${said}`],
      [`offer=${said}`, `offer=${said}`],
      [`offer=${said}`, 'method=GET', 'offer=other'],
    ]
    for (const conditions of wrong)
      assert.throws(() => macaroons.mint(identifier, conditions), RangeError)
    assert.equal(typeof macaroons.check(added(token, 'offer=other')), 'string')
    assert.equal(typeof macaroons.check(added(token, `offer=${said}`)), 'string')
  })

  test('cannot be made of one without, not even of one without conditions', () => {
    const bare = macaroons.mint(identifier, [])
    assert.equal(ok(macaroons.check(bare)).offer, undefined)
    assert.match(why(macaroons.check(added(bare, `offer=${said}`))), /signature/)
    assert.match(why(macaroons.check(added(bare, 'method=GET', `offer=${said}`))), /condition/)
    const forged = mint({
      rootKey: createRootKeys([secret]).newest(writeIdentifier(identifier)),
      id: writeIdentifier(identifier),
    })
    ok(macaroons.check(writeToken([forged])))
    const offering = writeToken([ok(narrow(forged, [`offer=${said}`]))])
    assert.match(why(macaroons.check(offering)), /signature/)
  })

  test('cannot lose it, nor have it changed', () => {
    const keys = createRootKeys([secret], 'macaroon-offer')
    const whole = writeIdentifier(identifier)
    const stripped = mint({ rootKey: keys.newest(whole), id: whole })
    assert.match(why(macaroons.check(writeToken([stripped]))), /signature/)
    const bytes = Buffer.from(token, 'base64')
    const at = bytes.indexOf('id0;')
    assert.ok(at > 0)
    for (let i = at; i < at + said.length; i++) {
      const flipped = Buffer.from(bytes)
      flipped[i] = (flipped[i] ?? 0) ^ 1
      assert.match(why(macaroons.check(flipped.toString('base64'))), /\.$/)
    }
  })

  test('does not get it from a third party', () => {
    const party = { location: '', id: Buffer.from('who'), rootKey: Buffer.from('shared') }
    const bare = one(macaroons.mint(identifier, []))
    const root = ok(addThirdParty(bare, party, systemChance))
    const honest = bind(root, ok(narrow(mint(party), ['method=GET'])))
    ok(macaroons.check(writeToken([root, honest])))
    const offering = bind(root, ok(narrow(mint(party), [`offer=${said}`])))
    assert.match(why(macaroons.check(writeToken([root, offering]))), /condition/)
  })

  test('is not minted with one that cannot be carried', () => {
    macaroons.mint(identifier, [`offer=${'x'.repeat(OFFER_CHARS_MAX)}`])
    for (const text of ['', 'é', 'a\nb', 'x'.repeat(OFFER_CHARS_MAX + 1)])
      assert.throws(() => macaroons.mint(identifier, [`offer=${text}`]), RangeError)
  })
})

test('L402 takes these macaroons as they are', async () => {
  const protocol = l402({ parts: [], mint: macaroons, hashIn })
  const read = (token: string) =>
    protocol.readCredential(new Headers({ Authorization: `L402 ${token}:` }), resource)
  assert.deepEqual(await read(tokens.mint(grant)), { grant })
  const offering = await read(macaroons.mint(identifier, ['offer=id0;1700000000;terms']))
  assert.ok(offering && 'code' in offering, 'no rail here reads its terms')
})

describe('the payment hash in a token of anybody', () => {
  test('is read where there is one', () => {
    assert.equal(hashIn(tokens.mint(grant)), id)
    const made = vectors.filter(({ Id }) => Id.length === 132)
    assert.ok(made.length > 0)
    for (const vector of made) assert.equal(hashIn(vector.V1), Id(vector.Id))
    for (const text of ['', 'garbage', 'AgEA', 'a.b.c']) assert.equal(hashIn(text), undefined)
  })

  function Id(hex: string): string {
    return hex.slice(4, 68)
  }
})
