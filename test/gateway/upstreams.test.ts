// Servers that are not ours behind a gateway: what they say must come through byte for byte when it is paid. Answers are
// compared as they stand on the wire; what the gateway adds is named.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createAdaptorServer } from '@hono/node-server'
import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'
import { WebSocket, WebSocketServer } from 'ws'
import { freePort } from '../ports.ts'
import { createPurse } from './buyer.ts'
import { openStage, startGateway } from './stage.ts'
import type { Running, Stage } from './stage.ts'

const NGINX = '/usr/sbin/nginx'

let stage: Stage
let purse: Awaited<ReturnType<typeof createPurse>>
before(async () => {
  stage = await openStage()
  purse = await createPurse(stage.chain)
})
after(async () => {
  await stage?.close()
})

/** An answer as it stands on the wire. */
interface Wire {
  readonly first: string
  readonly fields: readonly string[]
  readonly body: Buffer
}

/** Asks over a connection of its own, to its end. */
async function ask(
  origin: string,
  path: string,
  fields: Record<string, string> = {},
  method = 'GET',
) {
  const { hostname, port, host } = new URL(origin)
  const socket = connect(Number(port), hostname)
  const lines = Object.entries({ Host: host, ...fields, Connection: 'close' })
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  socket.write(`${method} ${path} HTTP/1.1\r\n${head}\r\n`)
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  return readWire(Buffer.concat(chunks))
}

function readWire(bytes: Buffer): Wire {
  const end = bytes.indexOf('\r\n\r\n')
  const [first = '', ...fields] = bytes.toString('latin1', 0, end).split('\r\n')
  const body = bytes.subarray(end + 4)
  const chunked = fields.some((line) => /^transfer-encoding: chunked$/i.test(line))
  return { first, fields, body: chunked ? unchunked(body) : body }
}

function unchunked(bytes: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; ;) {
    const line = bytes.indexOf('\r\n', at)
    const length = Number.parseInt(bytes.toString('latin1', at, line), 16)
    if (!(length > 0)) return Buffer.concat(parts)
    parts.push(bytes.subarray(line + 2, line + 2 + length))
    at = line + 4 + length
  }
}

/** What the gateway may add to an answer, and what belongs to one connection. */
const added =
  /^(?:connection|keep-alive|date|transfer-encoding|cache-control|vary|payment-response|x-payment-response|access-control-[a-z-]+):/i

function assertSame(through: Wire, plain: Wire, what: string): void {
  const own = ({ fields }: Wire): readonly string[] => fields.filter((line) => !added.test(line))
  assert.equal(through.first, plain.first, what)
  assert.deepEqual(own(through), own(plain), what)
  assert.ok(through.body.equals(plain.body), `${what}: the bodies differ`)
}

describe('nginx behind a gateway', { skip: !existsSync(NGINX) && `${NGINX} is not there` }, () => {
  let gateway: Running
  let plain: string
  let nginx: ReturnType<typeof spawn>
  const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) % 256))

  before(async () => {
    const root = join(stage.directory, 'nginx')
    await mkdir(join(root, 'files'), { recursive: true })
    await writeFile(join(root, 'files', 'data.bin'), bytes)
    await writeFile(join(root, 'files', 'page.html'), '<p>'.repeat(2_000))
    const port = await freePort()
    const config = join(root, 'nginx.conf')
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    await writeFile(
      config,
      `daemon off; master_process off; pid ${root}/pid; error_log ${root}/error.log;
      events {}
      http {
        access_log off; default_type application/octet-stream;
        ${temporary.map((name) => `${name}_temp_path ${root}/${name};`).join(' ')}
        gzip on; types { text/html html; } gzip_min_length 100;
        server { listen 127.0.0.1:${port}; root ${root}/files; }
      }`,
    )
    nginx = spawn(NGINX, ['-c', config, '-p', root, '-e', join(root, 'error.log')], {
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    plain = `http://127.0.0.1:${port}`
    while (
      !(await fetch(plain).then(
        () => true,
        () => false,
      ))
    )
      assert.equal(nginx.exitCode, null)
    gateway = await startGateway(
      stage,
      `upstreams: { files: "${plain}" }\nroutes: { "GET /*": 0.01 USD }\n`,
    )
  })
  after(async () => {
    await gateway?.stop()
    nginx?.kill('SIGKILL')
  })

  async function paid(path: string, fields: Record<string, string> = {}): Promise<Wire> {
    const payment = await purse(gateway.origin + path)
    return await ask(gateway.origin, path, { ...fields, ...payment })
  }

  for (const [what, path, fields, status] of [
    ['a whole file', '/data.bin', {}, 200],
    ['a range', '/data.bin', { Range: 'bytes=1000-1999' }, 206],
    ['the end of a file', '/data.bin', { Range: 'bytes=-17' }, 206],
    ['a range that is not there', '/data.bin', { Range: 'bytes=900000-' }, 416],
    ['a compressed page', '/page.html', { 'Accept-Encoding': 'gzip' }, 200],
    ['a file that is not there', '/nothing', {}, 404],
  ] as const)
    test(`${what} comes as without it`, async () => {
      const [through, direct] = [await paid(path, fields), await ask(plain, path, fields)]
      assert.match(direct.first, new RegExp(`^HTTP/1.1 ${status} `))
      assertSame(through, direct, what)
      const receipt = through.fields.some((line) => /^payment-response:/i.test(line))
      assert.equal(receipt, status < 300)
    })

  test('several ranges come as without it, but for the boundary that nginx makes anew', async () => {
    const fields = { Range: 'bytes=0-9,100-199' }
    const [through, direct] = [
      await paid('/data.bin', fields),
      await ask(plain, '/data.bin', fields),
    ]
    assert.match(direct.first, /206/)
    const [a, b] = [through, direct].map(({ body }) => body.toString('latin1'))
    const cut = (text = ''): string => text.replaceAll(/--\d{20}/g, '--')
    assert.equal(cut(a), cut(b))
  })

  test('what has not changed is not charged, and says so as without it', async () => {
    const etag = (await ask(plain, '/data.bin')).fields.find((line) => /^etag:/i.test(line))
    const fields = { 'If-None-Match': etag?.slice(6) ?? '' }
    const [through, direct] = [
      await paid('/data.bin', fields),
      await ask(plain, '/data.bin', fields),
    ]
    assert.match(direct.first, /304/)
    assertSame(through, direct, '304')
    assert.ok(!through.fields.some((line) => /^payment-response:/i.test(line)))
  })
})

describe('a Hono API behind a gateway', () => {
  let gateway: Running
  let plain: string
  let close: () => void
  const left: string[] = []
  const next: { go: PromiseWithResolvers<void> } = { go: Promise.withResolvers() }

  before(async () => {
    const app = new Hono()
      .get('/hello/:name', (c) => c.json({ hello: c.req.param('name'), query: c.req.query() }))
      .post('/echo', async (c) => {
        c.header('x-length', String(c.req.header('content-length')))
        return c.body(await c.req.arrayBuffer())
      })
      .get('/events', (c) =>
        streamSSE(c, async (stream) => {
          stream.onAbort(() => void left.push('events'))
          for (let i = 0; !stream.aborted; i++) {
            await stream.writeSSE({ id: String(i), event: 'tick', data: `n=${i}` })
            await next.go.promise
            next.go = Promise.withResolvers()
          }
        }),
      )
    const server = createAdaptorServer({ fetch: app.fetch }) as ReturnType<
      typeof import('node:http').createServer
    >
    const sockets = new WebSocketServer({ server, path: '/socket' })
    sockets.on('connection', (socket, request) => {
      socket.send(`hello ${request.url}`)
      socket.on('message', (data, binary) => socket.send(data, { binary }))
      socket.on('close', (code) => void left.push(`socket ${code}`))
    })
    const port = await freePort()
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    plain = `http://127.0.0.1:${port}`
    close = () => {
      for (const socket of sockets.clients) socket.terminate()
      server.closeAllConnections()
      server.close()
    }
    gateway = await startGateway(
      stage,
      [
        `upstreams: { api: "${plain}" }`,
        'routes:',
        '  GET /hello/:name: 0.01 USD',
        '  POST /echo: { price: 0.01 USD, body: free }',
        '  GET /events: 0.01 USD',
        '  GET /socket: 0.01 USD',
        '',
      ].join('\n'),
    )
  })
  after(async () => {
    next.go.resolve()
    await gateway?.stop()
    close?.()
  })

  test('JSON comes as without it', async () => {
    const path = '/hello/caf%C3%A9?a=1&a=2&b=%2F'
    const payment = await purse(gateway.origin + path)
    const through = await ask(gateway.origin, path, payment)
    assertSame(through, await ask(plain, path), 'JSON')
    assert.equal(JSON.parse(through.body.toString()).hello, 'café')
  })

  test('an upload in pieces is not held, and comes back as it was', async () => {
    const payment = await purse(`${gateway.origin}/echo`, { method: 'POST' })
    const body = Buffer.alloc(3_000_000, 'abc')
    const response = await fetch(`${gateway.origin}/echo`, {
      method: 'POST',
      headers: payment,
      body: new Blob([body]).stream(),
      duplex: 'half',
    })
    assert.equal(response.status, 200)
    assert.equal(response.headers.get('x-length'), 'undefined')
    assert.ok(Buffer.from(await response.arrayBuffer()).equals(body))
  })

  test('each event of a stream leaves at once, and the end of the payer ends the work', async () => {
    const payment = await purse(`${gateway.origin}/events`)
    const leaving = new AbortController()
    const response = await fetch(`${gateway.origin}/events`, {
      headers: payment,
      signal: leaving.signal,
    })
    assert.match(response.headers.get('content-type') ?? '', /text\/event-stream/)
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    const read = async (): Promise<string> =>
      Buffer.from((await reader.read()).value ?? []).toString()
    assert.equal(await read(), 'event: tick\ndata: n=0\nid: 0\n\n')
    next.go.resolve()
    assert.equal(await read(), 'event: tick\ndata: n=1\nid: 1\n\n')
    leaving.abort()
    while (!left.includes('events')) {
      next.go.resolve()
      await new Promise((done) => setImmediate(done))
    }
  })

  test('a WebSocket is told the price, and lives when it is paid', async () => {
    const url = `${gateway.origin.replace('http', 'ws')}/socket`
    const unpaid = new WebSocket(url)
    const [, refused] = (await once(unpaid, 'unexpected-response')) as [unknown, IncomingMessage]
    assert.equal(refused.statusCode, 402)
    assert.ok(refused.headers['payment-required'])
    unpaid.on('error', () => undefined).terminate()

    const headers = await purse(`${gateway.origin}/socket`)
    const socket = new WebSocket(url, { headers })
    const upgraded = once(socket, 'upgrade') as Promise<[IncomingMessage]>
    const [hello] = (await once(socket, 'message')) as [Buffer]
    assert.equal(hello.toString(), 'hello /socket')
    assert.ok((await upgraded)[0].headers['payment-response'])
    const sent = Buffer.alloc(200_000, 'xyz')
    socket.send(sent)
    const [echo] = (await once(socket, 'message')) as [Buffer]
    assert.ok(echo.equals(sent))
    socket.close(4001)
    const [code] = (await once(socket, 'close')) as [number]
    assert.equal(code, 4001)
    while (!left.includes('socket 4001')) await new Promise((done) => setImmediate(done))

    const again = new WebSocket(url, { headers })
    const [, spent] = (await once(again, 'unexpected-response')) as [unknown, IncomingMessage]
    assert.equal(spent.statusCode, 410)
    again.on('error', () => undefined).terminate()
  })
})
