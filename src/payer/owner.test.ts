import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import type { Owner } from './owner.ts'
import { give, isNear, isWorking, ownerUntil, take } from './owner.ts'

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
  assert.deepEqual([isNear(other), isNear(elsewhere)], [true, false])
})

test('another thread of this process is there; a process that had its number before is not', async () => {
  const code = `import(${JSON.stringify(import.meta.resolve('./owner.ts'))}).then(({ ownerUntil }) =>
    require('node:worker_threads').parentPort.postMessage(ownerUntil(1000)))`
  const worker = new Worker(code, { eval: true })
  const [thread] = (await once(worker, 'message')) as [Owner]
  await worker.terminate()
  const { run, ...same } = ownerUntil(1000)
  assert.deepEqual({ ...thread, run }, { ...same, run })
  assert.notEqual(thread.run, run)
  assert.equal(isWorking('purchase/c', thread, 999), true)
  assert.equal(isWorking('purchase/c', { ...thread, bornAt: thread.bornAt - 1 }, 999), false)
})
