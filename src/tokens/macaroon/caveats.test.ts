import { toJsonSchema } from '@valibot/to-json-schema'
import { Ajv2020 } from 'ajv/dist/2020.js'
import assert from 'node:assert/strict'
import { Buffer } from 'node:buffer'
import { describe, test } from 'node:test'
import type { Reading } from './caveats.ts'
import { CaveatsSchema, LIMITS_MAX, readCaveats } from './caveats.ts'
import { ok, why } from './fixture.test.ts'

const preimage = 'ab'.repeat(32)

const read = (
  texts: readonly (string | Uint8Array)[],
  dialect = { service: 'svc', others: ['other'] },
): Reading | string =>
  readCaveats(
    texts.map((text, i) => ({ bytes: Buffer.from(text), scope: () => `at ${i}` })),
    dialect,
  )

describe('caveats', () => {
  test('leave what all of them leave', () => {
    assert.deepEqual(ok(read([])), { rights: {} })
    const said = [
      'path=/a/*,/b',
      'method=GET,POST',
      'path=/a/b/*',
      'expires=9',
      'expires=5',
      'method=GET',
    ]
    const rights = { paths: ['/a/b/*'], methods: ['GET'], expiresAt: 5000 }
    assert.deepEqual(ok(read(said)).rights, rights)
    assert.deepEqual(ok(read(said.toReversed())).rights, rights)
  })

  test('that a holder adds can only take away', () => {
    const narrow = ok(read(['path=/a', 'expires=5', 'services=svc:0'])).rights
    const wider = ['path=/*', 'expires=9', 'services=svc:9,other:9']
    assert.deepEqual(ok(read(['path=/a', 'expires=5', 'services=svc:0', ...wider])).rights, narrow)
  })

  test('that limit are counted each at its own place', () => {
    assert.deepEqual(ok(read(['uses=1000', 'tenant=t', 'uses=5'])).rights.uses, [
      { scope: 'at 0', most: 1000 },
      { scope: 'at 2', most: 5 },
    ])
  })

  test('that limit are bounded in number', () => {
    const texts = ['uses=5', 'budget=1 USD', 'rate=1/s']
    const many = Array.from({ length: LIMITS_MAX }, (_, i) => texts[i % 3] ?? '')
    ok(read([...many, 'tenant=t']))
    assert.match(why(read([...many, 'uses=5'])), /16 limits/)
  })

  test('of other sellers’ software are understood for the service that they name', () => {
    const said = ['services=svc:0', 'svc_capabilities=add,subtract', 'svc_valid_until=1700000000']
    assert.deepEqual(ok(read(said)).rights, {
      services: [{ name: 'svc', tier: 0 }],
      capabilities: ['add', 'subtract'],
      expiresAt: 1_700_000_000_000,
    })
    assert.deepEqual(ok(read(['other_valid_until=1'])).rights, {}, 'it speaks to another service')
    for (const foreign of [
      'who_valid_until=1',
      '_valid_until=1',
      'SVC_valid_until=1',
      'valid_until=1',
      'svc_valid_until=',
      'svc_valid_until=x',
      'other_valid_until=x',
      'svc_monthly_volume_sats=5',
    ])
      assert.equal(typeof read([foreign]), 'string', foreign)
    assert.equal(
      typeof readCaveats([{ bytes: Buffer.from('undefined_valid_until=1'), scope: () => '' }]),
      'string',
    )
  })

  test('may hold the preimage that clients put there, and one only', () => {
    assert.deepEqual(ok(read([`preimage=${preimage}`])), { rights: {}, preimage })
    const twice = [`preimage=${preimage}`, `preimage=${preimage.toUpperCase()}`]
    assert.equal(ok(read(twice)).preimage, preimage)
    const wrong = [
      [`preimage=${preimage}`, `preimage=${'cd'.repeat(32)}`],
      ['preimage=ab'],
      [`preimage=${preimage}0`],
      [`preimage=${'xy'.repeat(32)}`],
      [`Preimage=${preimage}`],
    ]
    for (const said of wrong) assert.equal(typeof read(said), 'string')
  })

  test('that are not in the table are refused, whoever wrote them', () => {
    ok(read(['method=GET']))
    const strange = [
      'method',
      'method=',
      '=GET',
      'METHOD=GET',
      'method =GET',
      'method= GET',
      ' method=GET',
      'method=GET\n',
      'method=GET\0',
      'ip=127.0.0.1',
      'RequestMethod = GET',
      'time-before 2030',
      'expires = 5',
      `tenant=${'x'.repeat(600)}`,
    ]
    for (const text of strange) assert.equal(typeof read([text]), 'string', text)
    const bytes = [
      Buffer.of(0xff, 0xfe),
      Buffer.from('tenant=é'),
      Buffer.from('tenant=\u212a'),
      Buffer.concat([Buffer.from('tenant=a'), Buffer.of(0xc3)]),
    ]
    for (const text of bytes) assert.equal(typeof read([text]), 'string')
    assert.equal(typeof read(['method=GET', 'ip=1', 'method=GET']), 'string')
  })
})

describe('the published schema of caveats', () => {
  const schema = toJsonSchema(CaveatsSchema, { target: 'draft-2020-12', typeMode: 'output' })
  const valid = new Ajv2020({ strict: false }).compile(schema as object)

  test('takes what is read, and not the nearest other text', () => {
    const good = [
      'services=svc:0',
      'capability=add',
      'path=/a/*',
      'method=GET',
      'origin=https://a.test',
      'payer=k',
      'tenant=t',
      'expires=5',
      'uses=5',
      'budget=1.5 USD',
      'rate=10/m',
      `preimage=${preimage}`,
      'svc_valid_until=5',
      'svc_capabilities=add',
    ]
    for (const text of good) {
      ok(read([text]))
      assert.ok(valid([text]), text)
    }
    for (const text of [
      'path=a',
      'method=get',
      'expires=0',
      'budget=1USD',
      'colour=red',
      'rate=1',
      '',
    ])
      assert.ok(!valid([text]), text)
    assert.ok(valid([]))
    assert.ok(!valid(Array.from({ length: 33 }, () => 'uses=5')))
  })

  test('has a sentence for each condition', () => {
    const sentences = JSON.stringify(schema).match(/"description":"[^"]*\."/g)
    assert.equal(sentences?.length, 16)
  })
})
