import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createKnown } from './known.ts'

test('what was added is known until there is no room', () => {
  const known = createKnown<number>(2)
  assert.equal(known.get('a'), undefined)
  known.add('a', 1)
  known.add('b', 2)
  assert.deepEqual([known.get('a'), known.get('b')], [1, 2])
  known.add('c', 3)
  assert.deepEqual([known.get('a'), known.get('b'), known.get('c')], [undefined, 2, 3])
  assert.equal(known.get('B'), undefined)
})
