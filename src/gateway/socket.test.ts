// WebSockets that are counted while they run, between a library that is not ours and the real gateway and gate.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { Duplex } from 'node:stream'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as after } from 'node:timers/promises'
import { WebSocket, WebSocketServer } from 'ws'
import { TOKENS_PATH } from '../adapters/exchange.ts'
import { createSeller } from '../adapters/seller.ts'
import { SECRET, bearer, createRail, fake, pay } from '../adapters/shop.test.ts'
import { systemChance } from '../core/chance.ts'
import { createHandClock } from '../gate/fixture.test.ts'
import { memory } from '../ledger/memory.ts'
import type { MeterSettings } from '../meters/meters.ts'
import { createSocketMeters } from '../meters/meters.ts'
import { oauth } from '../protocols/oauth/index.ts'
import { createMacaroonMint, createMacaroons } from '../tokens/macaroon/index.ts'
import { stage } from './fixture.test.ts'
import { FRAME_BYTES_MAX, PAYMENT_REQUIRED } from './frames.ts'
import { joinCounted } from './socket.ts'

interface Shop {
  readonly port: number
  readonly token: string
  readonly socket: (path?: string, perMessageDeflate?: boolean) => Promise<WebSocket>
  readonly left: () => Promise<string>
  readonly topUp: () => Promise<void>
  /** What the upstream has heard, and how its connections ended. */
  readonly heard: string[]
  readonly ends: number[]
}

async function open(t: TestContext, counts: MeterSettings, unit = '0.05 USD'): Promise<Shop> {
  const heard: string[] = []
  const ends: number[] = []
  const server = createServer()
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: true })
  server.on('upgrade', (request, socket, head) => {
    if (request.url === '/plain') socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ngoods')
    else
      sockets.handleUpgrade(request, socket, head, (one) =>
        sockets.emit('connection', one, request),
      )
  })
  sockets.on('connection', (socket, { url = '' }) => {
    socket.on('error', () => undefined)
    socket.on('close', (code) => ends.push(code))
    socket.on('message', (data, isBinary) => {
      const bytes = data as Buffer
      heard.push(isBinary ? `${bytes.length} bytes` : bytes.toString())
      if (url === '/echo') socket.send(data, { binary: isBinary })
      if (url === '/much') {
        for (let i = 0; i < 64; i++) socket.send(Buffer.alloc(262_144, i))
        socket.close(1000, 'all said')
      }
      if (url === '/pieces') {
        socket.send('one ', { fin: false })
        socket.send('two', { fin: true })
      }
      if (url === '/model') {
        socket.send(JSON.stringify({ type: 'delta', delta: 'x'.repeat(40) }))
        const usage = { input_tokens: 10, output_tokens: 20 }
        socket.send(JSON.stringify({ type: 'response.done', response: { usage } }))
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets.clients) socket.terminate()
    server.closeAllConnections()
    server.close()
  })
  const ledger = memory()
  const mints = [createMacaroonMint(createMacaroons({ secrets: [SECRET] }))]
  const seller = await createSeller({
    secret: SECRET,
    rails: [createRail(new Set())],
    protocols: [fake, oauth({ mints })],
    mints,
    ledger,
    plans: { purse: { price: '1 USD', balance: '1 USD' } },
  })
  t.after(() => seller.close())
  const gateway = await stage(t, {
    upstreams: { one: { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` } },
    routes: { 'GET /*': { sale: { plan: 'purse', meter: { unit } }, counts } },
    seller,
  })
  const post = async (nonce: string, body?: string): Promise<Response> => {
    const path = `${gateway.url}${TOKENS_PATH}/purse`
    const asking = { method: 'POST', ...(body !== undefined && { body }) }
    const asked = await fetch(path, asking)
    const { offers } = (await asked.json()) as { readonly offers: readonly unknown[] }
    return await fetch(path, { ...asking, headers: { 'fake-payment': pay(offers[0], nonce) } })
  }
  const { token } = (await (await post('p')).json()) as { readonly token: string }
  return {
    ...{ port: gateway.port, token, heard, ends },
    async socket(path = '/echo', perMessageDeflate = false) {
      const url = `${gateway.url.replace('http', 'ws')}${path}`
      const socket = new WebSocket(url, { headers: bearer(token), perMessageDeflate })
      t.after(() => socket.terminate())
      await once(socket, 'open')
      return socket
    },
    async left() {
      while ((await ledger.pending()).length > 0) await after(5)
      const said = await fetch(`${gateway.url}${TOKENS_PATH}`, { headers: bearer(token) })
      return ((await said.json()) as { readonly balance: string }).balance
    },
    async topUp() {
      const said = await post('q', JSON.stringify({ topUp: token }))
      assert.equal(said.status, 200, await said.text())
    },
  }
}

/** Says it, and hears the answer. */
async function say(socket: WebSocket, text: string | Buffer): Promise<string> {
  const answered = once(socket, 'message')
  socket.send(text)
  const [data] = (await answered) as [Buffer]
  return data.toString()
}

async function closed(socket: WebSocket): Promise<readonly [code: number, reason: string]> {
  const [code, reason] = (await once(socket, 'close')) as [number, Buffer]
  return [code, reason.toString()]
}

describe('a WebSocket that is paid by the message', () => {
  test('costs each message that passes, both ways, and no control frame', async (t) => {
    const { socket, left } = await open(t, { per: 'event', price: '0.01 USD' })
    const one = await socket()
    assert.equal(await say(one, 'a'), 'a')
    assert.equal(await say(one, 'b'), 'b')
    one.ping()
    await once(one, 'pong')
    one.close(1000, 'bye')
    assert.deepEqual(await closed(one), [1000, 'bye'])
    assert.equal(await left(), '0.96 USD')
  })

  test('counts a message of many fragments once', async (t) => {
    const { socket, left, heard } = await open(t, { per: 'event', price: '0.01 USD' })
    const one = await socket('/pieces')
    const answered = once(one, 'message')
    one.send('a', { fin: false })
    one.send('b', { fin: false })
    one.send('c', { fin: true })
    assert.equal(String(((await answered) as [Buffer])[0]), 'one two')
    assert.deepEqual(heard, ['abc'])
    one.close()
    await closed(one)
    assert.equal(await left(), '0.98 USD')
  })

  test('is stopped where the balance ends: told what to do, closed by a code of its own, and open again after a top-up', async (t) => {
    const { socket, left, topUp, heard, ends } = await open(t, { per: 'event', price: '0.30 USD' })
    const one = await socket()
    assert.equal(await say(one, 'a'), 'a')
    const answered = once(one, 'message')
    const end = closed(one)
    // The third is covered, and its answer is not.
    one.send('b')
    const told = JSON.parse(String(((await answered) as [Buffer])[0])) as Record<string, unknown>
    assert.deepEqual(
      [told['type'], told['code'], told['topUp']],
      ['payment-required', 'token-exhausted', `${TOKENS_PATH}/purse`],
    )
    assert.equal((await end)[0], PAYMENT_REQUIRED)
    assert.deepEqual(heard, ['a', 'b'])
    assert.equal(await left(), '0.1 USD')
    while (ends.length === 0) await after(2)
    assert.deepEqual(ends, [1001])
    await topUp()
    assert.equal(await say(await socket(), 'c'), 'c')
  })

  test('waits for a top-up where the route has a grace, and then goes on', async (t) => {
    const counts: MeterSettings = { per: 'event', price: '0.30 USD', graceMs: 20_000 }
    const { socket, topUp, heard } = await open(t, counts)
    const one = await socket()
    const said: string[] = []
    one.on('message', (data: Buffer) => said.push(data.toString()))
    for (const text of ['a', 'b', 'c']) one.send(text)
    while (!said.some((text) => text.includes('payment-required'))) await after(5)
    const before = heard.length + said.length
    await after(50)
    assert.equal(heard.length + said.length, before, 'nothing passes meanwhile')
    await topUp()
    while (!said.includes('c')) await after(5)
    assert.deepEqual(
      said.filter((text) => text.length === 1),
      ['a', 'b', 'c'],
    )
    assert.ok(said.some((text) => text.includes('payment-resumed')))
    assert.equal(one.readyState, WebSocket.OPEN)
  })

  test('is closed when the grace is over', async (t) => {
    const { socket, left } = await open(t, { per: 'event', price: '0.60 USD', graceMs: 600 })
    const one = await socket()
    one.send('a')
    assert.equal((await closed(one))[0], PAYMENT_REQUIRED)
    assert.equal(await left(), '0.4 USD')
  })

  test('hears all that was said by an upstream that is gone, however slow', async (t) => {
    const { socket, left } = await open(t, { per: 'event', price: '0.01 USD' })
    const one = await socket('/much')
    let count = 0
    one.on('message', () => {
      count++
      one.pause()
      setTimeout(() => one.resume(), 1)
    })
    one.send('all')
    assert.deepEqual(await closed(one), [1000, 'all said'])
    assert.equal(count, 64)
    assert.equal(await left(), '0.35 USD')
  })

  test('settles what was measured when its payer vanishes', async (t) => {
    const { socket, left, ends } = await open(t, { per: 'event', price: '0.01 USD' })
    const one = await socket()
    assert.equal(await say(one, 'a'), 'a')
    one.terminate()
    while (ends.length === 0) await after(2)
    assert.equal(await left(), '0.98 USD')
  })
})

test('bytes are counted by frame, and none of a frame passes that is not covered as a whole', async (t) => {
  const { socket, left, heard } = await open(t, { per: 'byte', price: '0.0001 USD' })
  const one = await socket()
  assert.equal((await say(one, Buffer.alloc(3_000, 1))).length, 3_000)
  assert.equal((await say(one, 'x'.repeat(1_500))).length, 1_500)
  const end = closed(one)
  one.send(Buffer.alloc(1_001))
  assert.equal((await end)[0], PAYMENT_REQUIRED)
  assert.deepEqual(heard, ['3000 bytes', 'x'.repeat(1_500)])
  assert.equal(await left(), '0.1 USD')
})

test('seconds are paid as they begin, also of a connection that is silent', async (t) => {
  const { socket, left } = await open(t, { per: 'second', price: '0.40 USD' }, '0.40 USD')
  const one = await socket()
  const start = performance.now()
  assert.equal((await closed(one))[0], PAYMENT_REQUIRED)
  assert.ok(performance.now() - start > 1_500)
  assert.equal(await left(), '0.2 USD')
})

describe('an upstream that is gone while its payer has not taken all that it said', () => {
  /** A payer that takes nothing, an upstream that takes all, and a clock that is turned by hand. */
  function join(counts: MeterSettings): {
    readonly payer: Duplex
    readonly upstream: Duplex
    readonly taken: string[]
    readonly pass: (seconds: number) => Promise<void>
  } {
    const taken: string[] = []
    const clock = createHandClock()
    const read = (): void => undefined
    const payer = new Duplex({ read, write: () => undefined })
    const upstream = new Duplex({ read, write: (_chunk, _as, done) => done() })
    const take = async (price: string): Promise<boolean> => taken.push(price) > 0
    const meter = { take, add: take, correct: take, used: '' }
    const counter = createSocketMeters(counts)()
    const fault = (where: string): never => assert.fail(where)
    const early = Buffer.alloc(0)
    joinCounted({
      ...{ payer, upstream, early, meter, counter, clock, chance: systemChance, fault },
      plan: undefined,
    })
    const pass = async (seconds: number): Promise<void> => {
      for (let i = 0; i < seconds; i++) {
        await new Promise((resolve) => setImmediate(resolve))
        clock.pass(1_000)
      }
      await new Promise((resolve) => setImmediate(resolve))
    }
    return { payer, upstream, taken, pass }
  }

  test('costs no second more', async () => {
    const { payer, upstream, taken, pass } = join({ per: 'second', price: '0.01 USD' })
    await pass(2)
    assert.equal(taken.length, 3)
    upstream.push(Buffer.from([0x81, 1, 0x61]))
    upstream.push(null)
    await once(upstream, 'end')
    upstream.destroy()
    await pass(20)
    assert.equal(taken.length, 3)
    payer.destroy()
  })

  test('is sent nothing more that its payer would have to pay for', async () => {
    const { payer, upstream, taken, pass } = join({ per: 'event', price: '0.01 USD' })
    const masked = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x61])
    payer.push(masked)
    await pass(1)
    assert.equal(taken.length, 1)
    upstream.destroy()
    await once(upstream, 'close')
    payer.push(masked)
    await pass(1)
    assert.equal(taken.length, 1)
    payer.destroy()
  })
})

test('tokens of a model are read from its messages, uncompressed', async (t) => {
  const price: MeterSettings = { per: 'token', input: '0.001 USD', output: '0.002 USD' }
  const { socket, left } = await open(t, price)
  const one = await socket('/model', true)
  assert.equal(one.extensions, '')
  const said: string[] = []
  one.on('message', (data: Buffer) => said.push(data.toString()))
  one.send('hello')
  while (said.length < 2) await after(2)
  one.close()
  await closed(one)
  // 10 read and 20 written.
  assert.equal(await left(), '0.95 USD')
})

describe('what no client may send', () => {
  /** A connection by hand: what the gateway says to these bytes. */
  async function sends(t: TestContext, { port, token }: Shop, bytes: Buffer): Promise<Buffer> {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined)
    t.after(() => socket.destroy())
    const head = ['GET /echo HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: websocket']
    const key = ['Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==']
    const fields = [...head, ...key, `Authorization: Bearer ${token}`]
    socket.write(`${fields.join('\r\n')}\r\n\r\n`)
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    while (!Buffer.concat(chunks).includes('\r\n\r\n')) await once(socket, 'data')
    chunks.length = 0
    socket.write(bytes)
    await Promise.race([once(socket, 'end'), once(socket, 'close')])
    return Buffer.concat(chunks)
  }

  test('closes the connection by its code, and an honest frame is answered', async (t) => {
    const shop = await open(t, { per: 'event', price: '0.001 USD' })
    const long = Buffer.alloc(10)
    long[0] = 0x82
    long[1] = 0xff
    long.writeBigUInt64BE(BigInt(FRAME_BYTES_MAX) + 1n, 2)
    for (const [what, bytes, code] of [
      ['not masked', Buffer.from([0x81, 1, 97]), 1002],
      ['an unknown kind', Buffer.from([0x83, 0x80, 0, 0, 0, 0]), 1002],
      ['a fragment of nothing', Buffer.from([0x80, 0x80, 0, 0, 0, 0]), 1002],
      ['a ping in pieces', Buffer.from([0x09, 0x80, 0, 0, 0, 0]), 1002],
      ['a long ping', Buffer.from([0x89, 0xfe, 0, 126, 0, 0, 0, 0]), 1002],
      ['a length written long', Buffer.from([0x82, 0xfe, 0, 5, 0, 0, 0, 0]), 1002],
      ['too long', Buffer.concat([long, Buffer.alloc(4)]), 1009],
    ] as const) {
      const said = await sends(t, shop, bytes)
      assert.equal(said[0], 0x88, what)
      assert.equal(said.readUInt16BE(2), code, what)
    }
    assert.deepEqual(shop.heard, [])
    const honest = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 97, 0x88, 0x80, 0, 0, 0, 0])
    const said = await sends(t, shop, honest)
    assert.deepEqual([...said.subarray(0, 3)], [0x81, 1, 97])
  })

  test('a plain answer to a request for a WebSocket is not given away', async (t) => {
    const shop = await open(t, { per: 'event', price: '0.001 USD' })
    const socket = connect(shop.port, '127.0.0.1').on('error', () => undefined)
    t.after(() => socket.destroy())
    socket.write(
      `GET /plain HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer ${shop.token}\r\n\r\n`,
    )
    const [data] = (await once(socket, 'data')) as [Buffer]
    assert.match(data.toString(), /^HTTP\/1\.1 404 [^]*There is no WebSocket here/)
    assert.equal(await shop.left(), '1 USD')
  })
})
