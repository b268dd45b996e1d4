import { createAdaptorServer } from '@hono/node-server'
import assert from 'node:assert/strict'
import type { Server } from 'node:http'
import { test } from 'node:test'
import type { Gate } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import { adapterSuite } from '../testing/adapter-suite.ts'
import { gate, serve } from './fixture.test.ts'
import type { Seller } from './http.ts'
import { toll } from './next.ts'

// Each route has its own handler, as each file has under Next; finding the file is Next's part.
adapterSuite('Next', {
  gate,
  whole: false,
  start({ seller, routes, work }) {
    const files = new Map(
      Object.entries(routes).map(([key, price]) => [
        key.replace(/^\S+ /, ''),
        toll(seller, price, (request: Request, _context: object) => work.fetch(request)),
      ]),
    )
    const fetch = async (request: Request) => {
      const file = files.get(new URL(request.url).pathname)
      if (!file || (request.method !== 'GET' && request.url.endsWith('/free')))
        return new Response(null, { status: 404 })
      return await file(request, {}).catch(() => new Response('failed', { status: 500 }))
    }
    return serve(createAdaptorServer({ fetch }) as Server)
  },
})

/** Nobody pays here. */
const asking: Pick<Gate, 'challenge'> = {
  challenge: () => ({ kind: 'refused', problem: problem('payment-required', 'Pay.') }),
}
const seller: Seller = {
  gate: asking as Gate,
  protocols: [],
  realm: 'shop',
  origin: 'https://shop.test',
}
const sold = (): Response => new Response('sold')
const request = (host: string): Request =>
  new Request('http://localhost:3000/report', { headers: { host } })

test('a seller that is given by a function is opened by the first request, and once', async () => {
  let calls = 0
  const route = toll(() => Promise.resolve((calls++, seller)), '0.01 USD', sold)
  assert.equal(calls, 0)
  assert.equal((await route(request('shop.test'))).status, 402)
  assert.equal((await route(request('shop.test'))).status, 402)
  assert.equal(calls, 1)
})

test('a seller that did not open sells nothing, and the next request tries again', async () => {
  let calls = 0
  const open = (): Promise<Seller> =>
    calls++ ? Promise.resolve(seller) : Promise.reject(new Error('not yet'))
  const route = toll(open, '0.01 USD', sold)
  await assert.rejects(route(request('shop.test')), /not yet/)
  assert.equal((await route(request('shop.test'))).status, 402)
})

test('a price that cannot be meant fails when the file is loaded, opened or not', () => {
  const never = (): never => assert.fail('opened')
  for (const source of [seller, never]) assert.throws(() => toll(source, '0.01', sold), RangeError)
  toll(never, '0.01 USD', sold)
})

test('the shop is known by the name that the payer used, not by that which Next puts in the address', async () => {
  const route = toll(seller, '0.01 USD', sold)
  assert.equal((await route(request('shop.test'))).status, 402)
  assert.equal((await route(request('localhost:3000'))).status, 421)
})
