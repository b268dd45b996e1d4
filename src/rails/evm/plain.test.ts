// What is said of a transfer whose number another transaction has, by nodes of which one lags behind.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../core/clock.ts'
import type { Json } from '../../core/json.ts'
import type { Step } from '../../core/ports.ts'
import type { Flights } from './flights.ts'
import type { Hex } from './hex.ts'
import type { Lane } from './lane.ts'
import { createPlain } from './plain.ts'
import { createRpc } from './rpc.ts'
import type { Prepared } from './steps.ts'
import { ahead } from './steps.ts'
import { createReader } from './token.ts'

const sender: Hex = `0x${'11'.repeat(20)}`
const to: Hex = `0x${'22'.repeat(20)}`
const hash: Hex = `0x${'ab'.repeat(32)}`
const price = { fee: 1n, tip: 1n }
const prepared: Prepared = {
  ...{ sender, to, data: '0x', gas: 120_000, value: 5n, raw: '0x02', hash, nonce: 3, many: false },
  ...price,
}

test('a transfer is given up by a node that has seen its number go, and not by one that lags behind it', async () => {
  for (const isBehind of [true, false]) {
    let isCounted = false
    const said = (method: string, isFirst: boolean): Json | undefined => {
      if (method === 'eth_chainId') return '0x1'
      if (method !== 'eth_getTransactionCount')
        return isFirst && isCounted && isBehind ? undefined : null
      isCounted = true
      return isFirst ? '0x4' : '0x3'
    }
    const rpc = createRpc({
      urls: ['http://one.test/', 'http://two.test/'],
      chainId: 1,
      async fetch(input, init) {
        const { id, method } = JSON.parse(textOf(init?.body)) as { id: number; method: string }
        const result = said(method, textOf(input).includes('one'))
        if (result === undefined) throw new Error('broken')
        return Response.json({ jsonrpc: '2.0', id, result })
      },
    })
    const steps: Step[] = []
    const log = { read: async () => steps, write: async (step: Step) => void steps.push(step) }
    await ahead(log, 'refund')(prepared)
    const lane = { address: sender, again: async () => ({ state: 'displaced' }) }
    const transfer = createPlain(
      {
        ...{ rpc, reader: createReader(rpc), clock: systemClock, waitMs: 0 },
        ...{ sender: lane as unknown as Lane, flights: {} as Flights },
      },
      'refund',
    )
    const found = await transfer({ to, amount: 5n }, log)
    assert.equal(found.state, isBehind ? 'unknown' : 'failed')
    rpc.close()
  }
})

/** What is asked of a node, and where. */
function textOf(said: unknown): string {
  return typeof said === 'string' ? said : ''
}
