import fastify from 'fastify'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { adapterSuite } from '../testing/adapter-suite.ts'
import type { Shop } from '../testing/adapter-suite.ts'
import { toll } from './fastify.ts'
import { gate } from './fixture.test.ts'

type Handle = (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>

async function start({ seller, routes }: Shop, handle: Handle) {
  const app = fastify({ forceCloseConnections: true })
  await app.register(toll(seller, routes))
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
  app.all('/*', handle)
  return { origin: await app.listen({ port: 0, host: '127.0.0.1' }), close: () => app.close() }
}

adapterSuite('Fastify', {
  gate,
  start: (shop) =>
    start(shop, async ({ raw, url, method, body }, reply) => {
      const sent =
        body === undefined
          ? {}
          : { body: raw as unknown as ReadableStream, duplex: 'half' as const }
      const response = await shop.work.fetch(new Request(`http://shop${url}`, { method, ...sent }))
      return reply.send(response)
    }),
})

adapterSuite('Fastify, answered past its reply', {
  gate,
  start: (shop) =>
    start(shop, async ({ raw }, reply) => {
      if (raw.url !== '/throw') reply.hijack()
      await shop.work.node(raw, reply.raw)
    }),
})
