// What only work that writes to a response of node:http can do to its head.
import assert from 'node:assert/strict'
import { createServer as createHttp2, connect } from 'node:http2'
import type { Http2ServerResponse } from 'node:http2'
import { createServer } from 'node:http'
import type { ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { serve } from './fixture.test.ts'
import { addToHead } from './head.ts'
import type { Open } from './http.ts'

function openOf(): Open & { delivered: () => void; times: number } {
  return {
    kind: 'go',
    times: 0,
    plain: ['Cache-Control', 'private, no-store', 'Vary', 'Pay'],
    fields: (said) => [
      ['Cache-Control', 'private, no-store'],
      // Like ours, a second time it says nothing twice.
      ['Vary', [...new Set([said.get('vary') ?? [], 'Pay'].flat())].join(', ')],
    ],
    delivered() {
      this.times++
    },
  }
}

type Work = (response: ServerResponse, replace: () => void) => void

async function ask(t: TestContext, work: Work) {
  const open = openOf()
  const { origin, close } = await serve(
    createServer((_, response) => {
      const answer = { status: 500, head: ['Cache-Control', 'no-store'], body: 'sorry' }
      const head = addToHead(response, open)
      work(response, () => head.replace(answer))
    }),
  )
  t.after(close)
  const said = await fetch(origin)
  return { said, text: await said.text(), open }
}

const open = 'public, max-age=60'

const ways: Readonly<Record<string, Work>> = {
  'end alone': (r) => r.end('x'),
  'write and end': (r) => void (r.write('x'), r.end()),
  flushHeaders: (r) => void (r.flushHeaders(), r.end('x')),
  'writeHead alone': (r) => r.writeHead(200).end('x'),
  'writeHead with a message': (r) => r.writeHead(200, 'Fine').end('x'),
  'writeHead with an object': (r) => r.writeHead(200, { 'cache-control': open }).end('x'),
  'writeHead with a message and an object': (r) =>
    r.writeHead(200, 'Fine', { 'CACHE-CONTROL': open }).end('x'),
  'writeHead with a flat list': (r) =>
    r.writeHead(200, ['Cache-Control', open, 'Cache-Control', 'public']).end('x'),
  'writeHead with pairs': (r) =>
    r.writeHead(200, [['Cache-Control', open]] as unknown as string[]).end('x'),
  'writeHeader, its old name': (r) => {
    const old = Reflect.get(r, 'writeHeader') as ServerResponse['writeHead']
    Reflect.apply(old, r, [200, { 'cache-control': open }])
    r.end('x')
  },
  setHeader: (r) => r.setHeader('Cache-Control', open).end('x'),
  appendHeader: (r) => r.appendHeader('Cache-Control', open).end('x'),
  setHeaders: (r) => r.setHeaders(new Map([['Cache-Control', open]])).end('x'),
  'a status that is none, and then one that is': (r) => {
    assert.throws(() => r.writeHead(99), RangeError)
    r.writeHead(200, { 'cache-control': open }).end('x')
  },
  'a field that cannot be written, and then one that can': (r) => {
    assert.throws(() => r.writeHead(200, { 'cache-control': 'a\nb' }), TypeError)
    r.writeHead(200, { 'cache-control': open }).end('x')
  },
  'a message that cannot be written, and then one that can': (r) => {
    assert.throws(() => r.writeHead(200, 'a\nb'), TypeError)
    r.writeHead(200, 'Fine', { 'cache-control': open }).end('x')
  },
  'a hint before it': (r) => {
    r.writeProcessing()
    r.writeHead(200, { 'cache-control': open }).end('x')
  },
}

void describe('no way of writing a head leaves out what is added', () => {
  for (const [name, work] of Object.entries(ways))
    void test(name, async (t) => {
      const { said, text, open } = await ask(t, work)
      assert.deepEqual([said.status, text, open.times], [200, 'x', 1])
      assert.equal(said.headers.get('cache-control'), 'private, no-store')
      assert.equal(said.headers.get('vary'), 'Pay')
    })
})

void test('what the work says beside it stays', async (t) => {
  const { said } = await ask(t, (response) => {
    response.setHeader('Vary', 'Accept')
    response.writeHead(201, 'Made', { etag: '"1"', 'set-cookie': ['a=1', 'b=2'] }).end()
  })
  assert.deepEqual([said.status, said.statusText], [201, 'Made'])
  assert.equal(said.headers.get('vary'), 'Accept, Pay')
  assert.equal(said.headers.get('etag'), '"1"')
  assert.deepEqual(said.headers.getSetCookie(), ['a=1', 'b=2'])
})

void test('a second head is the mistake that it is natively', async (t) => {
  const { said } = await ask(t, (response) => {
    response.writeHead(200)
    assert.throws(() => response.writeHead(200), { code: 'ERR_HTTP_HEADERS_SENT' })
    assert.throws(() => response.setHeader('a', 'b'), { code: 'ERR_HTTP_HEADERS_SENT' })
    response.end()
  })
  assert.equal(said.status, 200)
})

void test('an answer in its place has none of the work, and tells no delivery', async (t) => {
  const { said, text, open } = await ask(t, (response, replace) => {
    response.setHeader('x-of-the-work', 'yes')
    response.statusMessage = 'Fine'
    replace()
  })
  assert.deepEqual([said.status, text, open.times], [500, 'sorry', 0])
  assert.equal(said.statusText, 'Internal Server Error')
  assert.equal(said.headers.get('x-of-the-work'), null)
  assert.equal(said.headers.get('cache-control'), 'no-store')
})

void test('nothing takes the place of what has left', async (t) => {
  const { said, text } = await ask(t, (response, replace) => {
    response.write('x')
    replace()
    response.end('y')
  })
  assert.deepEqual([said.status, text], [200, 'xy'])
})

void describe('over HTTP/2', () => {
  const over: Readonly<Record<string, (response: Http2ServerResponse) => unknown>> = {
    'end alone': (r) => r.end('x'),
    write: (r) => (r.write('x'), r.end()),
    'writeHead with an object': (r) => r.writeHead(200, { 'cache-control': open }).end('x'),
    setHeader: (r) => (r.setHeader('cache-control', open), r.end('x')),
    'writeHead with a list': (r) => r.writeHead(200, ['cache-control', open]).end('x'),
  }
  for (const [name, work] of Object.entries(over))
    void test(name, async (t) => {
      const server = createHttp2((_, response) => {
        addToHead(response as unknown as ServerResponse, openOf())
        work(response)
      })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
      t.after(() => {
        session.destroy()
        server.close()
      })
      const stream = session.request({ ':path': '/' })
      const [head] = (await once(stream, 'response')) as [Record<string, unknown>]
      let text = ''
      for await (const chunk of stream.setEncoding('utf8')) text += String(chunk)
      assert.equal(text, 'x')
      assert.equal(head['cache-control'], 'private, no-store')
      assert.equal(head['vary'], 'Pay')
    })
})
