import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { fromBase64, toBase64 } from './base64.ts'
import type { Json } from './json.ts'
import { JSON_DEPTH_MAX, canonical, isObject, readJson } from './json.ts'

describe("a stranger's JSON", () => {
  test('is read up to its limits and not beyond', () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
    assert.deepEqual(readJson('{"a":[1]}', 9), { a: [1] })
    assert.equal(readJson('{"a":[1]}', 8), undefined)
    assert.ok(readJson(nested(JSON_DEPTH_MAX), 1_000))
    assert.equal(readJson(nested(JSON_DEPTH_MAX + 1), 1_000), undefined)
    assert.equal(readJson(nested(100_000), 1e6), undefined)
    // Brackets in a string are no depth, an escaped quote ends none.
    assert.deepEqual(readJson(`["${'['.repeat(99)}\\""]`, 1_000), [`${'['.repeat(99)}"`])
  })

  test('may nest 32 deep, whatever stands between the brackets, and may be as broad as it likes', () => {
    const deep: readonly ((depth: number) => string)[] = [
      (depth) => '['.repeat(depth) + ']'.repeat(depth),
      (depth) => `${'[0,'.repeat(depth)}0${']'.repeat(depth)}`,
      (depth) => `${'{"a":'.repeat(depth)}0${'}'.repeat(depth)}`,
      // Strings of each length before the depth: their ends must be seen.
      ...['', 'a', 'ab', ']', '\\\\', '\\"', '#', '{'].map(
        (text) => (depth: number) => `["${text}",${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}]`,
      ),
    ]
    for (const nested of deep) {
      assert.notEqual(readJson(nested(32), 1_000), undefined, nested(32))
      assert.equal(readJson(nested(33), 1_000), undefined, nested(33))
    }
    for (const broad of ['[]', '{}', '"\\"[[{"'])
      assert.ok(readJson(`[${Array.from({ length: 99 }, () => broad).join()}]`, 1_000), broad)
  })

  test('may be written with escapes', () => {
    assert.deepEqual(readJson('{"a":["\\u00e9"]}', 100), { a: ['é'] })
    assert.deepEqual(readJson('{"a":"__proto__"}', 100), { a: '__proto__' })
  })

  test('is an object when it is neither null nor a list nor plain', () => {
    assert.deepEqual([{}, { a: 1 }, null, [], 'x', 1, true, undefined, isObject].map(isObject), [
      true,
      true,
      false,
      false,
      false,
      false,
      false,
      false,
      false,
    ])
  })

  test('never changes a prototype', () => {
    for (const text of [
      '{"__proto__":{"x":1}}',
      '[{"a":{"__proto__":null}}]',
      '{"\\u005f_proto__":1}',
    ])
      assert.equal(readJson(text, 100), undefined)
    assert.deepEqual(readJson('{"proto":1}', 100), { proto: 1 })
  })

  test('that is none is undefined, whatever it is', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        readJson(text, 100)
      }),
    )
    assert.equal(readJson('', 100), undefined)
    assert.equal(readJson('{', 100), undefined)
  })
})

test('canonical JSON is the same for the same value, and other for another', () => {
  assert.equal(
    canonical({ b: [1, null], a: { d: 'x', c: true } }),
    '{"a":{"c":true,"d":"x"},"b":[1,null]}',
  )
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const json = JSON.parse(JSON.stringify(value)) as Json
      assert.deepEqual(JSON.parse(canonical(json)), json)
    }),
  )
})

describe('base64', () => {
  test('carries any text and comes back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1 }), (text) => {
        assert.equal(fromBase64(toBase64(text)), text)
      }),
    )
  })

  test('of another alphabet, without padding, or of bytes that are no text is refused', () => {
    assert.equal(fromBase64('aGk='), 'hi')
    for (const text of ['', 'aGk', 'aGk==', '_w==', 'a b=', 'aGk=, aGk=', '/w==', 'aGk=\n'])
      assert.equal(fromBase64(text), undefined, text)
  })
})
