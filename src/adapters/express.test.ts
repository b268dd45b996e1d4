import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import express from 'express'
import type { Event } from '../core/event.ts'
import type { Gate } from '../core/ports.ts'
import { adapterSuite } from '../testing/adapter-suite.ts'
import { toll } from './express.ts'
import { gate, serve } from './fixture.test.ts'

adapterSuite('Express', {
  gate,
  start({ seller, routes, work }) {
    const app = express()
    // Express tells the errors of handlers on stderr otherwise.
    app.set('env', 'test')
    app.use(toll(seller, routes))
    app.use((request, response) => work.node(request, response))
    return serve(app)
  },
})

describe('Express body parsers', () => {
  const pass = { kind: 'pass', key: 'k', finish: async () => ({ kind: 'serve' }), delivered() {} }
  const gate = { admit: async () => pass } as unknown as Gate
  const protocol = {
    name: 'fake',
    fields: { request: ['Fake-Payment'], response: [] },
    readCredential: () => ({ offer: { rail: 'r', network: 'n' } }),
  } as never
  const events: Event[] = []
  const observe = (event: Event) => events.push(event)
  const seller = { gate, protocols: [protocol], realm: 'shop', observe }
  const sold = toll(seller, { 'POST /v1/echo': '0.01 USD' })
  const echo: express.RequestHandler = (request, response) => void response.json(request.body)
  const send = async (origin: string, body: string) =>
    await fetch(`${origin}/v1/echo`, {
      method: 'POST',
      body,
      headers: { 'fake-payment': 'x', 'content-type': 'application/json' },
    })

  test('behind the toll they find the body as it came, also under a prefix', async (t) => {
    const router = express
      .Router()
      .use(sold, express.json({ limit: '2mb' }))
      .post('/echo', echo)
    const { origin, close } = await serve(express().use('/v1', router))
    t.after(close)
    for (const text of ['{"n":1}', JSON.stringify({ n: 'x'.repeat(500_000) })])
      assert.equal(await (await send(origin, text)).text(), text)
  })

  test('before the toll they are a mistake, of which the operator is told', async (t) => {
    const { origin, close } = await serve(
      express().use(express.json(), sold).post('/v1/echo', echo),
    )
    t.after(close)
    assert.equal((await send(origin, '{"n":1}')).status, 500)
    const fault = events.find(({ type }) => type === 'fault')
    assert.ok(fault?.type === 'fault' && fault.error instanceof Error)
    assert.match(fault.error.message, /Put the toll before body parsers/)
  })
})
