// Servers are sockets on loopback that say what a test wants, byte by byte. Time is a clock that stands until the test moves it.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { AddressInfo, Socket } from 'node:net'
import { createServer } from 'node:net'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'
import type { Clock } from '../core/ports.ts'
import type { HttpClient, HttpClientSettings, HttpQuestion } from './http.ts'
import { HttpFault, LINES_MAX, SOCKETS_MAX, SOCKET_IDLE_MS, createHttpClient } from './http.ts'

const BYTES_MAX = 1_000
const SECRET = 'hunter2-0f9a'

interface Server {
  readonly url: string
  /** All questions as they came, head and body. */
  readonly asked: string[]
  readonly sockets: readonly Socket[]
}

/** A server that says something to each question: its number, counted from one, and the question. */
async function serve(
  t: TestContext,
  say: (socket: Socket, count: number, question: string) => unknown,
): Promise<Server> {
  const asked: string[] = []
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => undefined)
    let bytes = ''
    socket.on('data', (chunk) => {
      bytes += chunk.toString('latin1')
      const head = bytes.indexOf('\r\n\r\n') + 4
      const length = Number(/content-length: (\d+)/i.exec(bytes)?.[1] ?? 0)
      if (head < 4 || bytes.length < head + length) return
      asked.push(Buffer.from(bytes, 'latin1').toString())
      bytes = ''
      say(socket, asked.length, asked.at(-1) ?? '')
    })
  })
  server.listen(0, '127.0.0.1')
  await new Promise((done) => server.once('listening', done))
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    return new Promise((done) => server.close(done))
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/`, asked, sockets }
}

function answer(body: string, status = '200 OK', fields: readonly string[] = []): string {
  const head = [`HTTP/1.1 ${status}`, `Content-Length: ${Buffer.byteLength(body)}`, ...fields]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}

function createClient(t: TestContext, more: Partial<HttpClientSettings> = {}): HttpClient {
  const client = createHttpClient({ timeoutMs: 20_000, bytesMax: BYTES_MAX, ...more })
  t.after(() => client.close())
  return client
}

const get = (url: string, more: Partial<HttpQuestion> = {}): HttpQuestion => ({
  method: 'GET',
  url,
  headers: {},
  ...more,
})
const post = (url: string, more: Partial<HttpQuestion> = {}): HttpQuestion =>
  get(url, { method: 'POST', body: '{}', ...more })

/** Time that stands still; `pass` ends the sleeps that are no longer than that. */
function standing(): Clock & { pass(ms: number): void; readonly asleep: () => readonly number[] } {
  const sleeps = new Map<() => void, number>()
  return {
    now: () => 0,
    sleep(ms, signal) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const wake = (): void => {
        sleeps.delete(wake)
        resolve()
      }
      sleeps.set(wake, ms)
      signal?.addEventListener('abort', wake, { once: true })
      return promise
    },
    pass(ms) {
      for (const [wake, left] of sleeps) if (left <= ms) wake()
    },
    asleep: () => [...sleeps.values()],
  }
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(1)
}

async function fault(work: Promise<unknown>, message?: RegExp): Promise<HttpFault> {
  const error: unknown = await work.then(
    () => assert.fail('there was an answer'),
    (why: unknown) => why,
  )
  assert.ok(error instanceof HttpFault, inspect(error))
  assert.equal(error.cause, undefined)
  if (message) assert.match(error.message, message)
  return error
}

async function linesOf(
  client: HttpClient,
  question: HttpQuestion,
  signal?: AbortSignal,
): Promise<string[]> {
  const stream = await client.open(question, signal)
  const lines: string[] = []
  try {
    for await (const line of stream.lines()) lines.push(line)
  } finally {
    stream.close()
  }
  return lines
}

describe('a question', () => {
  test('arrives as it is, and its answer is read whole, whatever its status', async (t) => {
    const said = ['200 OK', '404 Not Found', '402 Payment Required', '500 Oh', '204 No Content']
    const server = await serve(t, (socket, count) => {
      const status = said[count - 1] ?? ''
      socket.write(status.startsWith('204') ? 'HTTP/1.1 204 Ok\r\n\r\n' : answer('zwölf', status))
    })
    const client = createClient(t)
    const question = post(server.url, { body: '{"ü":1}', headers: { 'x-key': 'k' } })
    for (const status of said)
      assert.deepEqual(await client.ask(question), {
        status: Number(status.slice(0, 3)),
        text: status.startsWith('204') ? '' : 'zwölf',
      })
    const [first = ''] = server.asked
    assert.match(first, /^POST \/ HTTP\/1\.1\r\n/)
    assert.match(first, /\r\nx-key: k\r\n/)
    assert.match(first, /\r\naccept-encoding: identity\r\n/)
    assert.match(first, /\r\ncontent-length: 8\r\n/i)
    assert.ok(first.endsWith('\r\n\r\n{"ü":1}'))
  })

  test('goes over the connection of the one before', async (t) => {
    const server = await serve(t, (socket) => socket.write(answer('yes')))
    const client = createClient(t)
    for (let i = 0; i < 20; i++) await client.ask(post(server.url))
    assert.equal(server.sockets.length, 1)
    await Promise.all(Array.from({ length: 8 }, () => client.ask(post(server.url))))
    assert.equal(server.sockets.length, 8)
    for (let i = 0; i < 20; i++) await client.ask(post(server.url))
    assert.deepEqual([server.sockets.length, server.asked.length], [8, 48])
  })

  test('goes over a new one where the server does not wait', async (t) => {
    const server = await serve(t, (socket, count) =>
      socket.write(
        answer('yes', '200 OK', [count === 1 ? 'Keep-Alive: timeout=1' : 'Connection: close']),
      ),
    )
    const client = createClient(t)
    for (let i = 0; i < 3; i++) await client.ask(post(server.url))
    assert.equal(server.sockets.length, 3)
  })

  test('that finds no free connection waits for its turn, within its own time', async (t) => {
    const clock = standing()
    const server = await serve(t, () => undefined)
    const client = createClient(t, { clock })
    const first = Array.from({ length: SOCKETS_MAX }, () => client.ask(get(server.url)))
    await until(() => server.asked.length === SOCKETS_MAX)
    const late = client.ask(get(server.url, { timeoutMs: 5 }))
    const next = client.ask(get(server.url))
    clock.pass(5)
    await fault(late, /time is up/)
    assert.equal(server.asked.length, SOCKETS_MAX)
    for (const socket of server.sockets) socket.write(answer('yes'))
    await Promise.all(first)
    await until(() => server.asked.length > SOCKETS_MAX)
    for (const socket of server.sockets) if (socket.writable) socket.write(answer('yes'))
    assert.equal((await next).text, 'yes')
    assert.equal(server.asked.length, SOCKETS_MAX + 1)
  })
})

describe('a kept connection that has died', () => {
  /** Answers the first question of each connection that may have one, and cuts what comes next. */
  const cutting =
    (answers: number) =>
    (socket: Socket, count: number): unknown =>
      count <= answers && socket.bytesWritten === 0
        ? socket.write(answer(`${count}`))
        : socket.destroy()

  test('is replaced once for what may be asked twice', async (t) => {
    for (const question of [get, (url: string) => post(url, { repeatable: true })]) {
      const server = await serve(t, cutting(3))
      const client = createClient(t)
      assert.equal((await client.ask(question(server.url))).text, '1')
      assert.equal((await client.ask(question(server.url))).text, '3')
      assert.equal(server.asked.length, 3)
    }
  })

  test('is a fault for what may be done once', async (t) => {
    for (const question of [post, (url: string) => get(url, { repeatable: false })]) {
      const server = await serve(t, cutting(3))
      const client = createClient(t)
      assert.equal((await client.ask(question(server.url))).text, '1')
      assert.equal((await fault(client.ask(question(server.url)))).code, 'ECONNRESET')
      assert.equal(server.asked.length, 2)
      assert.equal((await client.ask(question(server.url))).text, '3')
    }
  })

  test('is not replaced a second time, nor is a new one that dies', async (t) => {
    const server = await serve(t, cutting(1))
    const client = createClient(t)
    assert.equal((await client.ask(get(server.url))).text, '1')
    await fault(client.ask(get(server.url)))
    assert.equal(server.asked.length, 3)
    await fault(client.ask(get(server.url)))
    assert.equal(server.asked.length, 4)
  })

  test('is not replaced when the head of the answer was there', async (t) => {
    const server = await serve(t, (socket, count) =>
      count === 1
        ? socket.write(answer('1'))
        : socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'),
    )
    const client = createClient(t)
    await client.ask(get(server.url))
    await fault(client.ask(get(server.url)))
    assert.equal(server.asked.length, 2)
  })

  test('was closed while nobody asked: nothing is lost', async (t) => {
    const server = await serve(t, (socket, count) => socket.write(answer(`${count}`)))
    const client = createClient(t)
    for (let i = 1; i <= 3; i++) {
      assert.equal((await client.ask(post(server.url))).text, `${i}`)
      const socket = server.sockets.at(-1)
      const closed = new Promise((done) => socket?.once('close', done))
      socket?.end()
      await closed
    }
  })
})

describe('a connection', () => {
  test('on which a second answer came is not used again', async (t) => {
    const server = await serve(t, (socket, count) => {
      socket.write(answer(`real ${count}`) + (count === 1 ? answer('forged') : ''))
      if (count === 2) setImmediate(() => socket.write(answer('forged')))
    })
    const client = createClient(t)
    for (let i = 1; i <= 3; i++) {
      assert.equal((await client.ask(post(server.url))).text, `real ${i}`)
      if (i === 3) continue
      const socket = server.sockets.at(-1)
      await until(() => socket?.destroyed === true)
    }
    assert.equal(server.sockets.length, 3)
  })

  test('that waits longer than an idle one would still has its answer', async (t) => {
    const server = await serve(t, async (socket, count) => {
      if (count > 1) await sleep(SOCKET_IDLE_MS + 300)
      socket.write(answer(`${count}`))
    })
    const client = createClient(t)
    await client.ask(post(server.url))
    assert.equal((await client.ask(post(server.url))).text, '2')
    assert.equal(server.sockets.length, 1)
  })

  test('keeps no process alive', async (t) => {
    const server = await serve(t, (socket) => socket.write(answer('yes')))
    assert.equal(await run(server.url), 'yes 0')
  })

  test('goes through the proxy that the machine was told of', async (t) => {
    const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
    if (major < 24 || (major === 24 && minor < 5)) return t.skip('This Node knows no proxies.')
    const proxy = await serve(t, (socket) => socket.write(answer('by the proxy')))
    const env = { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: proxy.url }
    assert.equal(await run('http://node.example/path', env), 'by the proxy 0')
    assert.match(proxy.asked[0] ?? '', /^GET http:\/\/node\.example\/path HTTP/)
  })
})

/** Asks in a process of its own: what it was told, and how it ended by itself. */
async function run(url: string, env: Record<string, string> = {}): Promise<string> {
  const file = fileURLToPath(new URL('http.ts', import.meta.url))
  const code = `const { createHttpClient } = await import(process.argv[1])
    const client = createHttpClient({ timeoutMs: 10000, bytesMax: 100 })
    console.log((await client.ask({ method: 'GET', url: process.argv[2], headers: {} })).text)`
  const args = ['--no-warnings', '--input-type=module', '-e', code, file, url]
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  const ended = await new Promise((done) => child.once('close', done))
  return `${out.trim()} ${String(ended)}`
}

describe('an answer', () => {
  test('that leads elsewhere is refused, and nobody is asked there', async (t) => {
    const other = await serve(t, (socket) => socket.write(answer('caught')))
    const server = await serve(t, (socket, count) =>
      socket.write(
        answer('', `${[300, 301, 302, 303, 304, 307, 308][count - 1] ?? 200} Away`, [
          `Location: ${other.url}`,
        ]),
      ),
    )
    const client = createClient(t)
    const headers = { authorization: SECRET }
    for (let i = 0; i < 7; i++)
      await fault(client.ask(post(server.url, { headers })), /leads elsewhere/)
    assert.equal((await client.ask(post(server.url, { headers }))).status, 200)
    server.asked.length = 1
    const fetching = createClient(t, { fetch })
    for (let i = 1; i < 4; i++) await fault(fetching.ask(post(server.url, { headers })))
    assert.deepEqual(other.asked, [])
  })

  test('that is compressed is refused: it could be long', async (t) => {
    const server = await serve(t, (socket, count) =>
      socket.write(
        answer('x', '200 OK', [`Content-Encoding: ${count === 1 ? 'gzip' : 'identity'}`]),
      ),
    )
    const client = createClient(t)
    await fault(client.ask(get(server.url)), /compressed/)
    assert.equal((await client.ask(get(server.url))).text, 'x')
  })

  test('may be as long as the limit, and no longer, however it comes', async (t) => {
    const chunked = (body: string): string =>
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
    const long = 'x'.repeat(BYTES_MAX)
    const server = await serve(t, (socket, count) =>
      socket.write(
        [answer(long), chunked(long), answer(`${long}y`), chunked(`${long}y`)][count - 1] ?? '',
      ),
    )
    for (const more of [{}, { fetch }]) {
      server.asked.length = 0
      const client = createClient(t, more)
      for (let i = 0; i < 2; i++) assert.equal((await client.ask(post(server.url))).text, long)
      for (let i = 0; i < 2; i++) await fault(client.ask(post(server.url)), /too long/)
    }
  })

  test('without an end is not read on', async (t) => {
    const server = await serve(t, (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      const more = (): void => void (socket.writable && socket.write('x'.repeat(65_536), more))
      more()
    })
    const client = createClient(t)
    await fault(client.ask(get(server.url)), /too long/)
    await until(() => server.sockets.every(({ destroyed }) => destroyed))
  })

  test('that is no whole answer is a fault at once', async (t) => {
    const bad = [
      'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nab',
      'HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
      `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(100_000)}\r\n\r\n`,
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
      'SSH-2.0-OpenSSH_9.2\r\n',
      '',
    ]
    const server = await serve(t, (socket, count) => socket.end(bad[count - 1] ?? answer('good')))
    const client = createClient(t, { clock: standing() })
    for (const _ of bad) await fault(client.ask(post(server.url)))
    assert.equal((await client.ask(post(server.url))).text, 'good')
    assert.equal(server.asked.length, bad.length + 1)
  })
})

describe('an answer by lines', () => {
  const head = 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n'

  test('is read as it comes, in whatever pieces', async (t) => {
    const server = await serve(t, (socket) => socket.write(head))
    const client = createClient(t)
    const stream = await client.open(get(server.url))
    const lines = stream.lines()
    const [socket] = server.sockets
    assert.equal(stream.status, 200)
    socket?.write('{"a":')
    await sleep(5)
    const bytes = Buffer.from('"ü"}\n\n  \n{"b":2}\r\nlast')
    socket?.write(bytes.subarray(0, 2))
    await sleep(5)
    socket?.write(bytes.subarray(2))
    assert.equal((await lines.next()).value, '{"a":"ü"}')
    assert.equal((await lines.next()).value, '{"b":2}\r')
    socket?.end()
    assert.equal((await lines.next()).value, 'last')
    assert.equal((await lines.next()).done, true)
    stream.close()
  })

  test('has a longest line and a most of them, and no more', async (t) => {
    const long = 'x'.repeat(BYTES_MAX)
    const bodies = [
      `${long}\n${long}`,
      'x\n'.repeat(LINES_MAX),
      `${long}y`,
      '\n'.repeat(LINES_MAX + 1),
    ]
    const server = await serve(t, (socket, count) => socket.end(head + (bodies[count - 1] ?? '')))
    const client = createClient(t)
    assert.deepEqual(await linesOf(client, get(server.url)), [long, long])
    assert.equal((await linesOf(client, get(server.url))).length, LINES_MAX)
    await fault(linesOf(client, get(server.url)), /too long/)
    await fault(linesOf(client, get(server.url)), /too long/)
  })

  test('that is left early is cut', async (t) => {
    const server = await serve(t, (socket) => socket.write(`${head}one\ntwo\n`))
    const client = createClient(t)
    const stream = await client.open(get(server.url))
    for await (const line of stream.lines()) {
      assert.equal(line, 'one')
      break
    }
    stream.close()
    await until(() => server.sockets[0]?.destroyed === true)
    const unread = await client.open(get(server.url))
    unread.close()
    await until(() => server.sockets[1]?.destroyed === true)
  })

  test('that leads elsewhere is refused', async (t) => {
    const server = await serve(t, (socket) => socket.write(answer('x', '307 Away')))
    const client = createClient(t)
    await fault(client.open(get(server.url)), /leads elsewhere/)
  })
})

describe('time', () => {
  const halves: readonly string[] = [
    '',
    'HTTP/1.1 200 OK\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf',
  ]

  test('is up for a server that is silent, at whatever place', async (t) => {
    for (const half of halves) {
      const clock = standing()
      const server = await serve(t, (socket) => socket.write(half))
      const client = createClient(t, { clock, timeoutMs: 1_000 })
      const asked = client.ask(get(server.url))
      await until(() => server.asked.length === 1)
      clock.pass(999)
      await sleep(5)
      clock.pass(1_000)
      await fault(asked, /time is up/)
      await until(() => server.sockets[0]?.destroyed === true)
      assert.deepEqual(clock.asleep(), [])
      assert.equal(server.asked.length, 1)
    }
  })

  test('is the question’s own where it has one', async (t) => {
    const clock = standing()
    const server = await serve(t, () => undefined)
    const client = createClient(t, { clock, timeoutMs: 1_000 })
    const long = client.ask(get(server.url, { timeoutMs: 60_000 }))
    await until(() => server.asked.length === 1)
    clock.pass(1_000)
    await sleep(5)
    server.sockets[0]?.write(answer('late'))
    assert.equal((await long).text, 'late')
  })

  test('is up for lines that stop coming', async (t) => {
    const clock = standing()
    const server = await serve(t, (socket) => socket.write('HTTP/1.1 200 OK\r\n\r\none\n'))
    const client = createClient(t, { clock })
    const stream = await client.open(get(server.url))
    const lines = stream.lines()
    assert.equal((await lines.next()).value, 'one')
    const next = lines.next()
    clock.pass(20_000)
    await fault(next, /time is up/)
    stream.close()
  })

  test('is up for a fetch that heeds no signal', async (t) => {
    const clock = standing()
    const body = new ReadableStream({ start: (to) => to.enqueue(Buffer.from('one\n')) })
    const fetches = [() => new Promise<never>(() => undefined), async () => new Response(body)]
    for (const fetch of fetches) {
      const asked = createClient(t, { clock, fetch }).ask(get('http://node.example/'))
      await sleep(5)
      clock.pass(20_000)
      await fault(asked, /time is up/)
    }
    const unread = new ReadableStream({ start: (to) => to.enqueue(Buffer.from('one\n')) })
    const client = createClient(t, { clock, fetch: async () => new Response(unread) })
    const lines = (await client.open(get('http://node.example/'))).lines()
    assert.equal((await lines.next()).value, 'one')
    const next = lines.next()
    clock.pass(20_000)
    await fault(next, /time is up/)
  })
})

describe('a caller', () => {
  test('that has gone ends its question, and no other', async (t) => {
    const server = await serve(t, (socket, count) => count > 2 && socket.write(answer('yes')))
    const client = createClient(t)
    await fault(client.ask(get(server.url), AbortSignal.abort()), /nobody waits/)
    assert.equal(server.asked.length, 0)
    const caller = new AbortController()
    const gone = client.ask(get(server.url), caller.signal)
    const stays = client.ask(get(server.url))
    await until(() => server.asked.length === 2)
    caller.abort(new Error(SECRET))
    await fault(gone, /nobody waits/)
    await until(() => server.sockets.some(({ destroyed }) => destroyed))
    for (const socket of server.sockets) if (!socket.destroyed) socket.write(answer('still'))
    assert.equal((await stays).text, 'still')
  })

  test('that goes when all is over cuts nothing', async (t) => {
    const server = await serve(t, (socket) => socket.write(answer('yes')))
    const client = createClient(t)
    for (let i = 0; i < 3; i++) {
      const caller = new AbortController()
      await client.ask(get(server.url), caller.signal)
      caller.abort()
    }
    assert.equal(server.sockets.length, 1)
  })

  test('that closes ends all of its questions, and asks no more', async (t) => {
    const server = await serve(t, (socket, count) =>
      socket.write(count === 2 ? 'HTTP/1.1 200 OK\r\n\r\none\n' : ''),
    )
    const client = createClient(t)
    const silent = client.ask(get(server.url))
    await until(() => server.asked.length === 1)
    const stream = await client.open(get(server.url))
    const lines = stream.lines()
    await lines.next()
    const next = lines.next()
    client.close()
    await fault(silent, /nobody waits/)
    await fault(next, /nobody waits/)
    await fault(client.ask(get(server.url)), /nobody waits/)
    await fault(client.open(get(server.url)), /nobody waits/)
    await until(() => server.sockets.every(({ destroyed }) => destroyed))
    assert.equal(server.asked.length, 2)
  })
})

describe('a fault', () => {
  test('tells its code, and neither address, field, body nor what was answered', async (t) => {
    const server = await serve(t, (socket, count) =>
      count === 1
        ? socket.end(
            `HTTP/1.1 307 ${SECRET}\r\nLocation: https://${SECRET}.example\r\n\r\n${SECRET}`,
          )
        : socket.end(`${SECRET}\r\n`),
    )
    const dead = await serve(t, () => undefined)
    const { port } = new URL(dead.url)
    const refused = Object.assign(new Error(`connect to ${SECRET}`), {
      code: 'ECONNREFUSED',
      cause: new Error(SECRET),
    })
    const worse = Object.assign(new TypeError(SECRET), {
      cause: refused,
      code: `${SECRET} no code`,
    })
    const secret = {
      headers: { authorization: `Bearer ${SECRET}` },
      body: SECRET,
    }
    const broken = { ...secret, headers: { authorization: `${SECRET}\n` } }
    const client = createClient(t)
    const throwing = createClient(t, { fetch: () => Promise.reject(worse) })
    const faults = [
      await fault(client.ask(post(`${server.url}${SECRET}`, secret)), /leads elsewhere/),
      await fault(client.ask(post(`${server.url}${SECRET}`, secret))),
      await fault(client.ask(post(`${server.url}${SECRET}`, broken)), /ERR_INVALID_CHAR/),
      await fault(client.ask(post(`http://${SECRET}.invalid:${port}/`, secret))),
      await fault(client.ask(post(`ftp://${SECRET}.example/`, secret))),
      await fault(client.ask(post(`http://${SECRET} example/`, secret))),
      await fault(
        throwing.ask(post(`http://${SECRET}.example/`, secret)),
        /^no answer \(ECONNREFUSED\)$/,
      ),
      await fault(throwing.open(post(`http://${SECRET}.example/`, secret))),
    ]
    for (const error of faults) {
      const told = [
        error.message,
        error.stack,
        error.code,
        JSON.stringify(error),
        inspect(error, { depth: 9, showHidden: true }),
      ]
      assert.ok(!told.join('\n').includes(SECRET), told.join('\n'))
    }
  })
})
