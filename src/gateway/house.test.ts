import { gate, serve } from '../adapters/fixture.test.ts'
import { adapterSuite } from '../testing/adapter-suite.ts'
import type { Shop } from '../testing/adapter-suite.ts'
import { createHouse } from './house.ts'
import { listen } from './server.ts'

/** The shop's work runs in a server of its own, behind the gateway. */
async function start({ seller, routes, work }: Shop) {
  const upstream = await serve((request, response) => {
    work.node(request, response).catch(() => {
      if (response.headersSent) response.destroy()
      else response.writeHead(500).end()
    })
  })
  const house = createHouse({
    seller,
    routes: Object.fromEntries(Object.entries(routes).map(([key, sale]) => [key, { sale }])),
    upstreams: { shop: { url: upstream.origin } },
  })
  const server = await listen({ host: '127.0.0.1', port: 0 }, house)
  return {
    origin: server.url,
    async close() {
      await server.drain(0)
      await house.close()
      await upstream.close()
    },
  }
}

adapterSuite('gateway', { gate, start })
