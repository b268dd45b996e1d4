import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { systemClock } from '../core/clock.ts'
import { memory } from '../ledger/memory.ts'
import { createFeed } from './feed.ts'
import type { Told } from './feed.ts'
import { sell } from './fixture.test.ts'
import { stream } from './stream.ts'

const until = { deadlineAt: Infinity, signal: new AbortController().signal }
let told: readonly Told[]
before(async () => {
  const ledger = memory()
  for (let i = 0; i < 3; i++) await sell(ledger, `k${i}`)
  told = (await createFeed({ ledger, source: 's' }).read(0, 100)).told
})

describe('a stream', () => {
  test('gets one event after the other, under its type and its id', async () => {
    const got: string[] = []
    let flying = 0
    const publisher = {
      async publish(subject: string, bytes: Uint8Array, { id }: { readonly id: string }) {
        assert.equal(++flying, 1)
        await Promise.resolve()
        flying--
        assert.equal(JSON.parse(Buffer.from(bytes).toString()).id, id)
        got.push(`${subject} ${id}`)
      },
    }
    assert.deepEqual(await stream({ name: 'nats', publisher }).deliver(told, until), { taken: 6 })
    assert.deepEqual(
      got,
      told.map(({ event }) => `${event.type} ${event.id}`),
    )
  })

  test('that fails or says nothing gets no later event before the one that it did not take', async () => {
    const now = { ...systemClock, sleep: async () => {} }
    for (const last of [() => Promise.reject(new Error('secret')), () => new Promise(() => {})]) {
      let calls = 0
      const publisher = { publish: () => (++calls === 3 ? last() : Promise.resolve()) }
      const clock = last.toString().includes('reject') ? systemClock : { ...now, sleep: slow }
      const delivery = await stream({ name: 'nats', publisher, clock }).deliver(told, until)
      assert.deepEqual([delivery.taken, delivery.trouble?.kind, calls], [2, 'down', 3])
      assert.doesNotMatch(`${delivery.trouble?.why}`, /secret/)
    }
  })
})

/** Time is up a moment later, whatever it is. */
async function slow(): Promise<void> {
  await new Promise((done) => setTimeout(done, 20))
}
