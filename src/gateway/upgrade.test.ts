// WebSockets through a gateway: paid at the upgrade, and never for nothing. The upstream speaks by hand.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { stage } from './fixture.test.ts'

const UPGRADED =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n'

/** An upstream that says this to a request, and what it was sent. */
async function upstream(t: TestContext, say: (socket: Socket, head: string) => void) {
  const heads: string[] = []
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => undefined)
    socket.once('data', (data) => {
      heads.push(data.toString('latin1'))
      say(socket, data.toString('latin1'))
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, heads, sockets }
}

/** Asks for an upgrade, and gives what came until the connection or the head has ended. */
async function ask(t: TestContext, port: number, fields: readonly string[] = [], path = '/ws') {
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.on('error', () => undefined)
  const common = ['Host: x', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Key: k']
  socket.write(`GET ${path} HTTP/1.1\r\n${[...common, ...fields].join('\r\n')}\r\n\r\n`)
  let text = ''
  while (!text.includes('\r\n\r\n')) {
    const [data] = (await Promise.race([
      once(socket, 'data'),
      once(socket, 'close').then(() => []),
    ])) as [Buffer?]
    if (!data) break
    text += data.toString('latin1')
  }
  return { socket, text, status: Number(text.split(' ')[1]) }
}

const routes = { 'GET /ws': { sale: '0.01 USD' }, 'GET /free': { sale: 'free' } } as const

describe('an upgrade', () => {
  test('is told the price, and the upstream is not asked', async (t) => {
    const behind = await upstream(t, (socket) => socket.write(UPGRADED))
    const gateway = await stage(t, { upstreams: { one: { url: behind.url } }, routes })
    const { status, text } = await ask(t, gateway.port)
    assert.equal(status, 402)
    assert.match(text, /\r\nVary: Pay, Authorization\r\n/)
    assert.equal((await ask(t, gateway.port, [], '/elsewhere')).status, 404)
    assert.equal((await ask(t, gateway.port, [], '//ws')).status, 400)
    assert.equal(behind.heads.length, 0)
  })

  test('that is paid is settled when the upstream agrees, and both may speak', async (t) => {
    const behind = await upstream(t, (socket) => {
      socket.write(`${UPGRADED}first`)
      socket.on('data', (data) => socket.write(`echo ${data.toString()}`))
    })
    const gateway = await stage(t, { upstreams: { one: { url: behind.url } }, routes })
    const { socket, text, status } = await ask(t, gateway.port, ['Pay: one', 'Tolsey-Payer: me'])
    assert.equal(status, 101)
    assert.match(text, /\r\nSec-WebSocket-Accept: x\r\n/i)
    assert.match(text, /\r\nPaid: one\r\n/)
    assert.deepEqual([...gateway.money.spent], ['one'])
    if (!text.endsWith('first')) assert.equal(String((await once(socket, 'data'))[0]), 'first')
    socket.write('hi')
    assert.equal(String((await once(socket, 'data'))[0]), 'echo hi')
    assert.match(behind.heads[0] ?? '', /sec-websocket-key: k/i)
    assert.doesNotMatch(behind.heads[0] ?? '', /pay|tolsey/i)
    const [upper] = behind.sockets
    socket.destroy()
    if (upper && !upper.destroyed) await once(upper, 'close')
    const again = await ask(t, gateway.port, ['Pay: one'])
    assert.equal(again.status, 410)
  })

  test('that the upstream declines is not charged, and its answer comes through', async (t) => {
    const behind = await upstream(t, (socket) =>
      socket.write('HTTP/1.1 403 No\r\nContent-Length: 4\r\nX-Why: age\r\n\r\nnope'),
    )
    const gateway = await stage(t, { upstreams: { one: { url: behind.url } }, routes })
    const { status, text, socket } = await ask(t, gateway.port, ['Pay: one'])
    assert.equal(status, 403)
    assert.match(text, /X-Why: age/)
    let rest = text
    socket.on('data', (data) => (rest += data.toString()))
    await once(socket, 'end')
    assert.match(rest, /nope$/)
    assert.deepEqual([...gateway.money.spent, ...gateway.money.held], [])
  })

  test('that the upstream serves as a plain request is charged like one', async (t) => {
    const behind = await upstream(t, (socket) =>
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ngoods'),
    )
    const gateway = await stage(t, { upstreams: { one: { url: behind.url } }, routes })
    assert.equal((await ask(t, gateway.port)).status, 402)
    const { status } = await ask(t, gateway.port, ['Pay: one'])
    assert.equal(status, 200)
    assert.deepEqual([...gateway.money.spent], ['one'])
  })

  test('that the upstream does not answer is 502, is not charged, and may come again', async (t) => {
    let dead = true
    const behind = await upstream(t, (socket) => (dead ? socket.destroy() : socket.write(UPGRADED)))
    const gateway = await stage(t, { upstreams: { one: { url: behind.url } }, routes })
    assert.equal((await ask(t, gateway.port, ['Pay: one'])).status, 502)
    assert.deepEqual([...gateway.money.spent, ...gateway.money.held], [])
    dead = false
    assert.equal((await ask(t, gateway.port, ['Pay: one'])).status, 101)
  })

  test('whose payer has left is not charged, and the payment is good again', async (t) => {
    const asked = Promise.withResolvers<Socket>()
    const behind = await upstream(t, (socket) => asked.resolve(socket))
    const gateway = await stage(t, { upstreams: { one: { url: behind.url } }, routes })
    const leaving = connect(gateway.port, '127.0.0.1').on('error', () => undefined)
    leaving.write(
      'GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nPay: one\r\n\r\n',
    )
    const upper = await asked.promise
    leaving.destroy()
    await once(upper, 'close')
    while (gateway.money.held.size > 0) await new Promise((done) => setImmediate(done))
    assert.deepEqual([...gateway.money.spent], [])
  })

  test('is free where the route is', async (t) => {
    const behind = await upstream(t, (socket) => socket.write(UPGRADED))
    const gateway = await stage(t, { upstreams: { one: { url: behind.url } }, routes })
    assert.equal((await ask(t, gateway.port, [], '/free')).status, 101)
    assert.deepEqual([...gateway.money.spent], [])
  })

  test('to anything but a WebSocket is not made, and costs what the request costs', async (t) => {
    const behind = await upstream(t, (socket) =>
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ngoods'),
    )
    const gateway = await stage(t, { upstreams: { one: { url: behind.url } }, routes })
    const offer = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk'
    for (const pay of ['', '\r\nPay: one']) {
      const socket = connect(gateway.port, '127.0.0.1').on('error', () => undefined)
      t.after(() => socket.destroy())
      socket.write(`GET /ws HTTP/1.1\r\nHost: x\r\n${offer}${pay}\r\n\r\n`)
      const [data] = (await once(socket, 'data')) as [Buffer]
      // Machines before Node 24.9 cannot ignore it.
      assert.match(data.toString(), pay ? /^HTTP\/1\.1 (?:200|501) / : /^HTTP\/1\.1 (?:402|501) /)
      assert.doesNotMatch(data.toString(), /websocket/i)
    }
  })
})
