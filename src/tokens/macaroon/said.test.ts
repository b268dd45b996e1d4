import assert from 'node:assert/strict'
import { test } from 'node:test'
import { writeToken } from './codec.ts'
import { mint, narrow } from './macaroon.ts'
import { saidIn } from './said.ts'

const bare = mint({ rootKey: new Uint8Array(32), id: Buffer.alloc(66) })

test('a holder can tell services, the earliest end, and whether it is for one request', () => {
  const told = (...conditions: readonly string[]) => {
    const narrowed = narrow(bare, conditions)
    assert.ok(typeof narrowed !== 'string')
    return saidIn(writeToken([narrowed]))
  }
  assert.deepEqual(told(), {})
  assert.deepEqual(told('offer=x'), { single: true })
  assert.deepEqual(told('offer=x', 'services=a:0,b:2'), { services: ['a', 'b'] })
  assert.deepEqual(told('services=a:0', 'a_valid_until=1800000000', 'expires=1700000000'), {
    services: ['a'],
    expiresAt: 1_700_000_000_000,
  })
  assert.deepEqual(told('services=a', 'valid_until=1800000000'), {
    services: ['a'],
    expiresAt: 1_800_000_000_000,
  })
  assert.deepEqual(told('path=/*', 'offer=x'), {})
  for (const none of ['', 'eyJhbGciOiJFUzI1NiJ9.e30.x', 'Ag==', 'x'.repeat(99_999)])
    assert.equal(saidIn(none), undefined)
})
