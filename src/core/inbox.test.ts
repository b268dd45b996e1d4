import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createHandClock } from '../gate/fixture.test.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { INBOX_LEASE_MS, createInbox } from './inbox.ts'

function world() {
  const clock = createHandClock()
  const ledger = memory({ clock })
  return { clock, ledger, open: (name = 'shop') => createInbox(ledger, clock, name) }
}

describe('an inbox', () => {
  test('deals with each event once, in every process and under every name for itself', async () => {
    const { open, ledger } = world()
    let runs = 0
    const work = async (): Promise<void> => void runs++
    assert.equal(await open().take('evt_1', work), 'done')
    assert.equal(await open().take('evt_1', work), 'repeated')
    assert.equal(await open().take('evt_2', work), 'done')
    assert.equal(await open('other').take('evt_1', work), 'done')
    assert.equal(runs, 3)
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  })

  test('takes what failed as if it came for the first time', async () => {
    const { open } = world()
    await assert.rejects(
      open().take('evt', () => Promise.reject(new Error('Not now.'))),
      /Not now/,
    )
    assert.equal(await open().take('evt', async () => {}), 'done')
    assert.equal(await open().take('evt', async () => assert.fail('again')), 'repeated')
  })

  test('lets one process at it, and another when that one is dead', async () => {
    const { open, clock } = world()
    const { promise, resolve } = Promise.withResolvers<void>()
    const slow = open().take('evt', () => promise)
    assert.equal(await open().take('evt', async () => {}), 'busy')
    clock.pass(INBOX_LEASE_MS)
    assert.equal(await open().take('evt', async () => {}), 'done')
    resolve()
    await slow
    assert.equal(await open().take('evt', async () => assert.fail('again')), 'repeated')
  })
})
