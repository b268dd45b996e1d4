import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { give, isWorking, ownerUntil, take } from './owner.ts'

test('in this process, whoever took a purchase works on it until he gives it back', () => {
  const owner = ownerUntil(0)
  assert.equal(take('purchase/a'), true)
  assert.equal(take('purchase/a'), false)
  assert.equal(isWorking('purchase/a', owner, 1e15), true)
  give('purchase/a')
  assert.equal(isWorking('purchase/a', owner, 0), false)
})

test('another process is believed for its lease, and one that is gone is not', () => {
  const other = { ...ownerUntil(1000), run: 'another' }
  assert.equal(isWorking('purchase/b', other, 999), true)
  assert.equal(isWorking('purchase/b', other, 1000), false)
  const { pid } = spawnSync(process.execPath, ['--version'])
  assert.equal(isWorking('purchase/b', { ...other, pid }, 0), false)
  const elsewhere = { ...other, pid, host: 'another.example' }
  assert.equal(isWorking('purchase/b', elsewhere, 999), true)
  assert.equal(isWorking('purchase/b', elsewhere, 1000), false)
})
