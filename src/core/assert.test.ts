import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Bug, assert as hold } from './assert.ts'

test('what cannot be so is a bug with its sentence, and what is so passes', () => {
  hold(true, 'it is so')
  for (const nothing of [false, undefined, null, 0, ''])
    assert.throws(() => hold(nothing, 'it is not so'), { name: 'Bug', message: 'it is not so' })
  assert.ok(new Bug('x') instanceof Error)
})
