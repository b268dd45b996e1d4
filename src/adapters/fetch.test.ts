import { createAdaptorServer } from '@hono/node-server'
import type { Server } from 'node:http'
import { adapterSuite } from '../testing/adapter-suite.ts'
import { toll } from './fetch.ts'
import { gate, serve } from './fixture.test.ts'

adapterSuite('fetch', {
  gate,
  start: ({ seller, routes, work }) =>
    serve(createAdaptorServer({ fetch: quiet(toll(seller, routes, work.fetch)) }) as Server),
})

/** The server tells what a handler throws on stderr; here it only has to become a 500. */
function quiet(handler: (request: Request) => Promise<Response>) {
  return async (request: Request) => {
    try {
      return await handler(request)
    } catch {
      return new Response('failed', { status: 500 })
    }
  }
}
