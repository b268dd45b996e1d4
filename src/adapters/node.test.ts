import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request as requestOf } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { describe, test } from 'node:test'
import { adapterSuite } from '../testing/adapter-suite.ts'
import { gate, serve } from './fixture.test.ts'
import { toll } from './node.ts'
import type { Gate } from '../core/ports.ts'
import { problem } from '../core/problem.ts'

adapterSuite('node:http', {
  gate,
  start: ({ seller, routes, work }) => serve(toll(seller, routes, work.node)),
})

describe('a payer that asks before it uploads', () => {
  const refusing = {
    challenge: () => ({ kind: 'refused', problem: problem('payment-required', 'Pay first.') }),
  } as unknown as Gate
  const seller = { gate: refusing, protocols: [], realm: 'shop' }
  const routes = {
    'POST /open': { price: '0.01 USD', body: 'free' },
    'POST /bound': '0.01 USD',
    'POST /free': 'free',
  } as const

  for (const [path, welcome, status] of [
    ['/open', false, 402],
    ['/bound', true, 402],
    ['/free', true, 200],
  ] as const)
    test(`${path}: ${welcome ? 'is bidden welcome' : 'hears the price first'}`, async (t) => {
      const sold = toll(seller, routes, (request, response) => void request.resume().pipe(response))
      const server = createServer(sold).on('checkContinue', sold.checkContinue)
      const { origin, close } = await serve(server)
      t.after(close)
      const headers = { expect: '100-continue', 'content-length': '5' }
      const request = requestOf(`${origin}${path}`, { method: 'POST', headers, agent: false })
      let welcomed = false
      request.on('continue', () => {
        welcomed = true
        request.end('hello')
      })
      request.flushHeaders()
      const [response] = (await once(request, 'response')) as [IncomingMessage]
      assert.deepEqual([response.statusCode, welcomed], [status, welcome])
      response.resume()
      request.destroy()
    })
})
