import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Grant } from './credential.ts'
import { GRANT_CONDITIONS_MAX, GRANT_LIMITS_MAX, readGrant, writeGrant } from './grants.ts'
import type { Rights } from './rights.ts'

const id = 'ab'.repeat(32)
const usd = { currency: 'USD', amount: 5n, scale: 0 }

function back(grant: Grant): Grant {
  const read = readGrant(grant.id, writeGrant(grant))
  if (typeof read === 'string') assert.fail(read)
  return read
}

/** The sentence of what must be refused. */
function why(value: unknown): string {
  assert.ok(typeof value === 'string')
  return value
}

describe('a grant as conditions', () => {
  test('comes back as it was', () => {
    const rights: Rights = {
      services: [{ name: 'api', tier: 1 }],
      paths: ['/a/*'],
      methods: ['GET'],
      expiresAt: 5000,
      payerKeys: ['jkt:k'],
      uses: [{ scope: 'one', most: 7 }],
      budget: [{ scope: 'two', most: usd }],
      rate: [{ scope: 'three', most: { count: 5, windowMs: 10_000 } }],
    }
    assert.deepEqual(back({ id, rights }), { id, rights })
    assert.deepEqual(back({ id, rights: {} }), { id, rights: {} })
  })

  test('counts a limit where it was counted, and one without a place for the grant', () => {
    const rights = { uses: [{ scope: '', most: 7 }] }
    const [first] = back({ id, rights }).rights.uses ?? []
    assert.match(first?.scope ?? '', /^[\w-]{22}$/)
    assert.deepEqual(back({ id, rights }).rights.uses, [first], 'equal grants share it')
    assert.deepEqual(back(back({ id, rights })).rights.uses, [first], 'and so do its heirs')
    const [other] = back({ id: 'cd'.repeat(32), rights }).rights.uses ?? []
    assert.notEqual(other?.scope, first?.scope)
  })

  test('that no condition says is not written', () => {
    writeGrant({ id, rights: { paths: ['/a'] } })
    assert.throws(() => writeGrant({ id, rights: { paths: [] } }), RangeError)
    assert.throws(() => writeGrant({ id: 'AB'.repeat(32), rights: {} }), RangeError)
    assert.throws(() => writeGrant({ id: 'ab', rights: {} }), RangeError)
    assert.throws(() => writeGrant({ id, rights: { uses: [{ scope: 'a b', most: 1 }] } }))
  })

  test('that is not one is refused with a sentence', () => {
    assert.equal(typeof readGrant(id, ['method=GET']), 'object')
    const many = Array.from({ length: GRANT_CONDITIONS_MAX + 1 }, () => 'method=GET')
    const limits = Array.from({ length: GRANT_LIMITS_MAX + 1 }, (_, i) => `s${i}/uses=5`)
    for (const said of [
      undefined,
      'method=GET',
      { 0: 'method=GET' },
      [5],
      ['colour=red'],
      ['a/method=GET'],
      ['a b/uses=5'],
      [`${'a'.repeat(65)}/uses=5`],
      ['uses=0'],
      many,
      limits,
    ])
      assert.match(why(readGrant(id, said)), /\.$/)
    for (const other of [undefined, 5, '', 'ab', `${id}\n`])
      assert.match(why(readGrant(other, [])), /\.$/)
  })
})
