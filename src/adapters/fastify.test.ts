import assert from 'node:assert/strict'
import { test } from 'node:test'
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

test('Fastify finds the body as it came, on a server and by inject', async (t) => {
  const pass = { kind: 'pass', key: 'k', finish: async () => ({ kind: 'serve' }), delivered() {} }
  const protocol = {
    name: 'fake',
    fields: { request: ['Fake-Payment'], response: [] },
    readCredential: () => ({ offer: { rail: 'r', network: 'n' } }),
  } as never
  const seller = {
    gate: { admit: async () => pass } as never,
    protocols: [protocol],
    realm: 'shop',
  }
  const app = fastify({ forceCloseConnections: true })
  t.after(() => app.close())
  await app.register(toll(seller, { 'POST /echo': '0.01 USD' }))
  app.post('/echo', async ({ body }) => body)
  const origin = await app.listen({ port: 0, host: '127.0.0.1' })
  const payload = JSON.stringify({ n: 'x'.repeat(500_000) })
  const headers = { 'fake-payment': 'x', 'content-type': 'application/json' }
  const served = await fetch(`${origin}/echo`, { method: 'POST', body: payload, headers })
  assert.equal(await served.text(), payload)
  assert.equal(served.headers.get('cache-control'), 'private, no-store')
  assert.equal((await app.inject({ method: 'POST', url: '/echo', payload, headers })).body, payload)
})
