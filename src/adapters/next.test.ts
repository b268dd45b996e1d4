import { createAdaptorServer } from '@hono/node-server'
import type { Server } from 'node:http'
import { adapterSuite } from '../testing/adapter-suite.ts'
import { gate, serve } from './fixture.test.ts'
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
