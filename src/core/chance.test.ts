import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemChance, uuid } from './chance.ts'

test('a UUID is one of version 4 whatever the bytes, and keeps all others of the 16 (RFC 9562, 5.4)', () => {
  const all = (byte: number) => (bytes: number) => {
    assert.equal(bytes, 16)
    return new Uint8Array(bytes).fill(byte)
  }
  assert.equal(uuid(all(0)), '00000000-0000-4000-8000-000000000000')
  assert.equal(uuid(all(0xff)), 'ffffffff-ffff-4fff-bfff-ffffffffffff')
  assert.equal(uuid(all(0x5a)), '5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a')
})

test('the machine’s chance gives as many bytes as it is asked for, and others each time', () => {
  assert.equal(systemChance(32).length, 32)
  assert.notDeepEqual(systemChance(32), systemChance(32))
  assert.notEqual(uuid(systemChance), uuid(systemChance))
})
