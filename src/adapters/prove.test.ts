import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import type { Gate } from '../core/ports.ts'
import { toll as tollExpress } from './express.ts'
import { toll as tollFastify } from './fastify.ts'
import { toll as tollFetch } from './fetch.ts'
import { toll as tollHono } from './hono.ts'
import { PROBE_FIELD, probe } from './http.ts'
import type { Seller } from './http.ts'
import { toll as tollNode } from './node.ts'
import { prove } from './prove.ts'

/** Nothing is asked of the gate by a probe. */
const seller: Seller = {
  gate: {} as Gate,
  protocols: [],
  realm: 'shop',
  origin: 'https://shop.test',
}
const routes = {
  'GET /v1/x/:id': '0.01 USD',
  'POST /v1/y': '0.01 USD',
  '/z/*': '0.01 USD',
  'GET /f': 'free',
}

describe('the self-probe', () => {
  test('passes where every paid route is behind the toll, and runs no handler', async () => {
    let runs = 0
    const run = (): void => void runs++
    const app = express()
    app.use(tollExpress(seller, routes))
    app.all('/{*any}', (_request, response) => {
      run()
      response.end()
    })
    const hono = new Hono().use(tollHono(seller, routes)).all('*', (context) => {
      run()
      return context.text('')
    })
    const fetch = tollFetch(seller, routes, () => {
      run()
      return new Response()
    })
    for (const target of [app, hono, { fetch }, tollNode(seller, routes, run)])
      await prove(target, routes)
    assert.equal(runs, 0)
  })

  test('finds a handler that stands before the toll', async () => {
    const app = express()
    app.post('/v1/y', (_request, response) => void response.end('free of charge'))
    app.use(tollExpress(seller, routes))
    await assert.rejects(
      prove(app, routes),
      /Not behind the toll: "POST \/v1\/y" \(answered 200\)\. /,
    )
    const hono = new Hono()
      .get('/v1/x/:id', (context) => context.text(''))
      .use(tollHono(seller, routes))
    await assert.rejects(prove(hono, routes), /"GET \/v1\/x\/:id" \(answered 200\)/)
  })

  test('under a prefix, keys are whole paths', async () => {
    const mount = (keys: Record<string, string>) => {
      const router = express.Router()
      router.use(tollExpress(seller, keys))
      router.get('/x', (_request, response) => void response.end())
      return express().use('/v1', router)
    }
    const [right, wrong] = [{ 'GET /v1/x': '0.01 USD' }, { 'GET /x': '0.01 USD' }]
    await prove(mount(right), right)
    await assert.rejects(prove(mount(wrong), wrong), /"GET \/x" \(answered 404\).*with the prefix/)
    const hono = (keys: Record<string, string>) =>
      new Hono().route(
        '/v1',
        new Hono().use(tollHono(seller, keys)).get('/x', (c) => c.text('')),
      )
    await prove(hono(right), right)
    await assert.rejects(prove(hono(wrong), wrong), /"GET \/x"/)
  })

  test('Fastify proves itself when it gets ready', async () => {
    const before = fastify()
    before.register(async (child) => {
      await child.register(tollFastify(seller, routes))
    })
    before.get('/v1/x/:id', async () => 'free of charge')
    const ready = async () => await before.ready()
    await assert.rejects(ready, /Not behind the toll: "GET \/v1\/x\/:id" \(answered 200\)/)
    const after = fastify()
    await after.register(tollFastify(seller, routes))
    after.register(
      async (child) => {
        child.get('/x/:id', async () => 'paid')
      },
      { prefix: '/v1' },
    )
    await after.ready()
    await Promise.all([before.close(), after.close()])
  })

  test('nobody else can make a probe', async () => {
    const fetch = tollFetch(
      seller,
      { 'GET /f': 'free', 'GET /p': '1 USD' },
      () => new Response('free'),
    )
    const ask = async (headers: Record<string, string>) =>
      (await fetch(new Request('https://shop.test/p', { headers }))).headers.get(PROBE_FIELD)
    assert.equal(await ask({ [PROBE_FIELD]: 'guess' }), null)
    assert.equal(await ask({ [PROBE_FIELD]: probe.answer }), null)
    assert.equal(await ask({ [PROBE_FIELD]: probe.question }), probe.answer)
  })
})
