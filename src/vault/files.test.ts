import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { files, SWEEP_MS } from './files.ts'

async function open(t: TestContext, bytesMax = 1_000) {
  const directory = join(await mkdtemp(join(tmpdir(), 'vault-')), 'kept')
  t.after(() => rm(join(directory, '..'), { recursive: true, force: true }))
  let time = 1_000
  const clock = { now: () => time, sleep: async () => {} }
  const make = () => files({ directory, bytesMax, clock })
  return { directory, make, vault: make(), pass: (ms: number) => (time += ms) }
}

test('what is kept is there until its time, also for another process', async (t) => {
  const { vault, make, pass, directory } = await open(t)
  assert.equal(await vault.get('a/b:c'), undefined)
  await vault.put('a/b:c', Buffer.from('one'), 5_000)
  await vault.put('a/b:c', Buffer.from('two'), 6_000)
  assert.equal((await make().get('a/b:c'))?.toString(), 'two')
  assert.equal(await vault.get('a'), undefined)
  pass(5_000)
  assert.equal(await vault.get('a/b:c'), undefined)
  assert.equal((await stat(directory)).mode & 0o777, 0o700)
})

test('what is let go of before its time makes room, and all else stays', async (t) => {
  const { vault, directory } = await open(t, 10)
  await vault.put('a', Buffer.alloc(4), 2_000)
  await vault.put('b', Buffer.alloc(4), 2_000)
  await vault.drop?.('a')
  await vault.drop?.('never there')
  assert.equal(await vault.get('a'), undefined)
  assert.equal((await vault.get('b'))?.length, 4)
  await vault.put('c', Buffer.alloc(6), 2_000)
  await assert.rejects(vault.put('d', Buffer.alloc(1), 2_000), { code: 'store-unavailable' })
  assert.equal((await readdir(directory)).length, 2)
})

test('what has had its time makes room, and what has no room is refused', async (t) => {
  const { vault, pass, directory } = await open(t, 10)
  await vault.put('a', Buffer.alloc(8), 2_000)
  await assert.rejects(vault.put('b', Buffer.alloc(8), 2_000), { code: 'store-unavailable' })
  pass(SWEEP_MS)
  await vault.put('b', Buffer.alloc(8), 900_000)
  assert.equal((await readdir(directory)).length, 1)
  assert.equal((await vault.get('b'))?.length, 8)
})
