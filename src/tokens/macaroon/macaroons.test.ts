import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import { describe, test } from 'node:test'
import { systemChance } from '../../core/chance.ts'
import type { Resource } from '../../core/resource.ts'
import { allows } from '../../core/rights.ts'
import { writeToken } from './codec.ts'
import { ok, one, why } from './fixture.test.ts'
import { createRootKeys, writeIdentifier } from './identifier.ts'
import { addThirdParty, bind, mint, narrow } from './macaroon.ts'
import { createMacaroons } from './macaroons.ts'

const old = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const young = 'Qe8Rt2Yu6Io0Pa4Sd9Fg3Hj7Kl1Zx5Cv'
const identifier = { paymentHash: systemChance(32), tokenId: systemChance(32) }
const dialect = { service: 'svc' }
const conditions = ['services=svc:1', 'path=/a/*', 'method=GET', 'svc_valid_until=1700000000']
const macaroons = createMacaroons({ secrets: [old] })
const token = macaroons.mint(identifier, conditions, dialect)

const get = (path: string, method = 'GET'): Resource => ({
  realm: 'r',
  method,
  authority: 'a.test',
  path,
  query: '',
  url: `https://a.test${path}`,
})

describe('a minted token', () => {
  test('comes back with its identifier and its rights', () => {
    const checked = ok(macaroons.check(token, dialect))
    assert.deepEqual(Buffer.from(checked.id), writeIdentifier(identifier))
    assert.deepEqual(Buffer.from(checked.identifier.paymentHash), identifier.paymentHash)
    assert.deepEqual(checked.rights, {
      services: [{ name: 'svc', tier: 1 }],
      paths: ['/a/*'],
      methods: ['GET'],
      expiresAt: 1_700_000_000_000,
    })
  })

  test('that its holder narrows and hands on allows less, and never more', () => {
    const handed = writeToken([
      ok(narrow(one(token), ['path=/a/b', 'method=GET,POST', 'expires=1900000000'])),
    ])
    const whole = ok(macaroons.check(token, dialect)).rights
    const part = ok(macaroons.check(handed, dialect)).rights
    const use = (path: string, method = 'GET') => ({ resource: get(path, method), service: 'svc' })
    assert.deepEqual(
      [use('/a/b'), use('/a/c'), use('/a/b', 'POST')].map((u) => [
        allows(whole, u, 0).ok,
        allows(part, u, 0).ok,
      ]),
      [
        [true, true],
        [true, false],
        [false, false],
      ],
    )
    assert.equal(allows(part, use('/a/b'), 1_700_000_000_000).ok, false)
  })

  test('is good while its secret is, and not afterwards', () => {
    const during = createMacaroons({ secrets: [young, old] })
    const after = createMacaroons({ secrets: [young] })
    ok(during.check(token, dialect))
    assert.match(why(after.check(token, dialect)), /signature/)
    const fresh = during.mint(identifier, conditions, dialect)
    ok(after.check(fresh, dialect))
    assert.match(why(macaroons.check(fresh, dialect)), /signature/)
  })

  test('is not minted with what would not be read back', () => {
    for (const text of ['colour=red', 'path=a', 'svc2_valid_until=1', ''])
      assert.throws(() => macaroons.mint(identifier, [text], dialect), RangeError, text)
    assert.throws(() => macaroons.mint(identifier, Array(33).fill('uses=1'), dialect), RangeError)
  })

  test('may carry its discharges behind it', () => {
    const party = { location: '', id: Buffer.from('who'), rootKey: Buffer.from('shared') }
    const root = ok(addThirdParty(one(token), party, systemChance))
    const discharge = bind(root, ok(narrow(mint(party), ['tenant=t'])))
    assert.deepEqual(ok(macaroons.check(writeToken([root, discharge]), dialect)).rights.tenants, [
      't',
    ])
    assert.equal(typeof macaroons.check(writeToken([root]), dialect), 'string')
    assert.equal(typeof macaroons.check(writeToken([discharge, root]), dialect), 'string')
    assert.equal(typeof macaroons.check(writeToken([one(token), discharge]), dialect), 'string')
  })

  test('of another form is refused', () => {
    const id = Buffer.from('not 66 bytes')
    const foreign = mint({ rootKey: createRootKeys([old]).newest(id), id })
    assert.match(why(macaroons.check(writeToken([foreign]))), /identifier/)
    for (const text of ['', 'garbage', `${token}A`, 'a.b.c'])
      assert.match(why(macaroons.check(text)), /\.$/)
  })

  test('holds the preimage that a client added, and is otherwise unchanged', () => {
    const preimage = 'cd'.repeat(32)
    const added = writeToken([ok(narrow(one(token), [`preimage=${preimage}`]))])
    const { preimage: said, ...rest } = ok(macaroons.check(added, dialect))
    assert.equal(said, preimage)
    assert.deepEqual(rest, ok(macaroons.check(token, dialect)))
  })
})
