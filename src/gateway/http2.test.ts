// A gateway with a certificate speaks HTTP/2 to payers; the rules are the same.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createSecureServer, connect } from 'node:http2'
import type { ClientHttp2Session, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import { request as requestSecurely } from 'node:https'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { CERTIFICATE, KEY, stage, upstream } from './fixture.test.ts'

const tls = { cert: CERTIFICATE, key: KEY }

function open(t: TestContext, url: string): ClientHttp2Session {
  const session = connect(url, { ca: CERTIFICATE })
  session.on('error', () => undefined)
  t.after(() => session.destroy())
  return session
}

async function ask(session: ClientHttp2Session, head: OutgoingHttpHeaders, body?: string) {
  const stream = session.request(head, { endStream: body === undefined })
  if (body !== undefined) stream.end(body)
  const trailers = Promise.withResolvers<IncomingHttpHeaders>()
  stream.on('trailers', trailers.resolve)
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders]
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) text += String(chunk)
  return { status: headers[':status'], headers, text, trailers: trailers.promise }
}

describe('over HTTP/2', () => {
  test('an answer is sold, with its trailers and all cookies of the request in one field', async (t) => {
    const url = await upstream(t, (request, response) => {
      response.writeHead(200, { trailer: 'x-sum' })
      response.write(`${request.headers.cookie} ${String(request.headers['x-forwarded-proto'])}`)
      response.addTrailers({ 'x-sum': '1' })
      response.end()
    })
    const routes = { 'GET /a': { sale: '0.01 USD' } } as const
    const gateway = await stage(t, { upstreams: { one: { url } }, routes, listen: { tls } })
    const session = open(t, gateway.url)
    assert.equal((await ask(session, { ':path': '/a' })).status, 402)
    const said = await ask(session, { ':path': '/a', pay: 'one', cookie: ['a=1', 'b=2'] })
    assert.deepEqual([said.status, said.text], [200, 'a=1; b=2 https'])
    assert.equal(said.headers['paid'], 'one')
    assert.equal(said.headers['cache-control'], 'private, no-store')
    assert.equal((await said.trailers)['x-sum'], '1')
    assert.deepEqual([...gateway.money.spent], ['one'])
  })

  test('a payment is bound to a body that does not tell its length', async (t) => {
    const url = await upstream(t, (request, response) => void request.pipe(response))
    const routes = { 'POST /a': { sale: '0.01 USD' } } as const
    const gateway = await stage(t, { upstreams: { one: { url } }, routes, listen: { tls } })
    const session = open(t, gateway.url)
    const head = { ':path': '/a', ':method': 'POST' }
    const said = await ask(session, { ...head, pay: 'one' }, 'hello')
    assert.deepEqual([said.status, said.text], [200, 'hello'])
    const none = await ask(session, { ...head, pay: 'two' })
    assert.deepEqual([none.status, none.text], [200, ''])
    const [bound, free] = gateway.money.asks.map(({ resource }) => resource.digest)
    assert.match(bound ?? '', /^sha-256=/)
    assert.equal(free, undefined)
  })

  test('payers of HTTP/1.1 are served at the same place', async (t) => {
    const url = await upstream(t, (_, response) => void response.end('fine'))
    const routes = { 'GET /a': { sale: 'free' } } as const
    const gateway = await stage(t, { upstreams: { one: { url } }, routes, listen: { tls } })
    const request = requestSecurely(`${gateway.url}/a`, { ca: CERTIFICATE, agent: false }).end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    assert.deepEqual([response.statusCode, response.httpVersion], [200, '1.1'])
    response.resume()
  })

  test('a stream that is cut ends the work, and others of the connection go on', async (t) => {
    const ended = Promise.withResolvers<void>()
    const url = await upstream(t, (request, response) => {
      if (request.url === '/b') response.end('b')
      else {
        response.once('close', () => ended.resolve())
        response.writeHead(200).write('a')
      }
    })
    const routes = { 'GET /*': { sale: 'free' } } as const
    const gateway = await stage(t, { upstreams: { one: { url } }, routes, listen: { tls } })
    const session = open(t, gateway.url)
    const stream = session.request({ ':path': '/a' })
    await once(stream, 'data')
    stream.close(8)
    await ended.promise
    assert.equal((await ask(session, { ':path': '/b' })).text, 'b')
  })

  test('an upstream is spoken to so where it can, and the answer is the same', async (t) => {
    const server = createSecureServer(tls, (request, response) => {
      response.writeHead(200, { 'x-version': request.httpVersion })
      request.pipe(response)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const sessions = new Set<{ destroy(): void }>()
    server.on('session', (session) => sessions.add(session))
    t.after(() => {
      for (const session of sessions) session.destroy()
      server.close()
    })
    const url = `https://localhost:${(server.address() as AddressInfo).port}`
    const routes = { 'POST /a': { sale: '0.01 USD' } } as const
    const upstreams = { one: { url, ca: CERTIFICATE, http2: true } }
    const gateway = await stage(t, { upstreams, routes, listen: { tls } })
    const session = open(t, gateway.url)
    const head = { ':path': '/a', ':method': 'POST', pay: 'one' }
    const said = await ask(session, head, 'hello')
    assert.deepEqual([said.status, said.headers['x-version'], said.text], [200, '2.0', 'hello'])
  })
})
