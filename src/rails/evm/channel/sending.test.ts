// How often one call is sent: as often as it takes until it is in a block, and no more often than it may be refused there.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Step } from '../../../core/ports.ts'
import type { Hex } from '../hex.ts'
import type { Sent } from '../lane.ts'
import type { Prepared } from '../steps.ts'
import { ahead } from '../steps.ts'
import type { Landed } from './sending.ts'
import { createSend } from './sending.ts'

/** What becomes of a call that was written ahead so often, when the last of it can land no more; and how often it was sent anew. */
async function sentAfter(numbers: readonly number[]): Promise<[landed: Landed, anew: number]> {
  const steps: Step[] = []
  const log = { read: async () => steps, write: async (step: Step) => void steps.push(step) }
  const to: Hex = `0x${'11'.repeat(20)}`
  for (const [i, nonce] of numbers.entries()) {
    const hash: Hex = `0x${i.toString(16).padStart(64, '0')}`
    const price = { fee: 1n, tip: 1n, many: false }
    const prepared: Prepared = {
      sender: to,
      to,
      data: '0x',
      gas: 1,
      raw: '0x',
      hash,
      nonce,
      ...price,
    }
    await ahead(log, 'sweep')(prepared)
  }
  let anew = 0
  const mined = { ok: true, hash: `0x${'ff'.repeat(32)}`, logs: [] }
  const send = createSend({
    lane: {
      again: async (): Promise<Sent> => ({ state: 'displaced' }),
      async send(): Promise<Sent> {
        anew++
        return { state: 'sent', flight: {} as never }
      },
    } as never,
    reader: { mined: async () => undefined, minedAll: async () => [] } as never,
    flights: { wait: async () => mined } as never,
    waitMs: 1,
  })
  return [await send({ to, data: '0x', gas: 1, kind: 'sweep' }, log), anew]
}

test('what was made dearer ten times under one number is sent anew when another transaction has that number', async () => {
  const [landed, anew] = await sentAfter(Array.from({ length: 10 }, () => 7))
  assert.ok(landed && 'ok' in landed && landed.ok)
  assert.equal(anew, 1)
  // What had as many numbers is left.
  const [left, none] = await sentAfter(Array.from({ length: 10 }, (_, i) => i))
  assert.deepEqual([left, none], [undefined, 0])
})
