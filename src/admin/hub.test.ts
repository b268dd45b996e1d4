import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:net'
import { test } from 'node:test'
import type { Event } from '../core/event.ts'
import { systemClock } from '../core/clock.ts'
import { createHub, eventJson, LISTENERS_MAX, RING_MAX } from './hub.ts'
import type { Hub } from './hub.ts'
import type { Session } from './login.ts'
import { streamEvents } from './streams.ts'

const session = { expiresAt: Infinity, holds: () => true }

function delivered(key: string): Event {
  return { type: 'delivered', at: 1, key }
}

/** A server that tells what a hub hears, closed with the test. */
async function serve(
  t: { after(end: () => unknown): void },
  hub: Hub,
  lastId?: string,
  login: Session = session,
): Promise<number> {
  const closing = new AbortController()
  const server = createServer((_, response) => {
    void streamEvents(response, hub, systemClock, login, lastId, closing.signal)
  })
  t.after(() => {
    closing.abort()
    server.closeAllConnections()
    server.close()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

test('whoever comes back in time misses nothing, and whoever does not is told how much', () => {
  const hub = createHub()
  for (let i = 1; i <= 5; i++) hub.observe(delivered(`${i}`))
  assert.deepEqual(
    hub.since(3).told.map(({ number }) => number),
    [4, 5],
  )
  assert.equal(hub.since(3).missed, 0)
  for (let i = 6; i <= RING_MAX + 10; i++) hub.observe(delivered(`${i}`))
  const { told, missed } = hub.since(3)
  assert.equal(told.length, RING_MAX)
  assert.equal(missed, 7)
  assert.deepEqual([told[0]?.number, told.at(-1)?.number], [11, RING_MAX + 10])
})

test('strangers who are asked to pay are counted, and push nothing out', () => {
  const hub = createHub()
  hub.observe(delivered('a'))
  for (let i = 0; i < RING_MAX * 2; i++)
    hub.observe({ type: 'challenged', at: 1, url: 'http://a/', code: 'payment-required' })
  assert.equal(hub.since(0).told.length, 1)
  assert.deepEqual(hub.counts(), { challenged: RING_MAX * 2, refused: 0 })
})

test('listeners are bounded, and one that leaves makes room', () => {
  const hub = createHub()
  const leave = Array.from({ length: LISTENERS_MAX }, () => hub.listen(() => undefined))
  assert.equal(
    hub.listen(() => undefined),
    undefined,
  )
  leave[0]?.()
  assert.ok(hub.listen(() => undefined))
})

test('of a fault only where it was is told', () => {
  const error = new Error('http://user:password@node')
  const json = eventJson({ number: 1, event: { type: 'fault', at: 1, where: 'settle', error } })
  assert.deepEqual(json, { number: 1, type: 'fault', at: 1, where: 'settle' })
})

test('an event arrives while it happens, and a stream that is taken up again goes on behind the last', async (t) => {
  const hub = createHub()
  hub.observe(delivered('one'))
  hub.observe(delivered('two'))
  const port = await serve(t, hub, `${hub.epoch}-1`)
  const answer = await fetch(`http://127.0.0.1:${port}/`)
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  const until = async (word: string): Promise<void> => {
    while (!text.includes(word)) text += (await reader?.read())?.value ?? ''
  }
  await until('two')
  assert.ok(!text.includes('one'))
  hub.observe(delivered('three'))
  await until('three')
  assert.match(text, new RegExp(`id: ${hub.epoch}-3\ndata: \\{`))
  await reader?.cancel()
})

test('a hub of before a restart is not taken for this one', async (t) => {
  const hub = createHub()
  hub.observe(delivered('one'))
  const port = await serve(t, hub, `${hub.epoch - 1}-1`)
  const answer = await fetch(`http://127.0.0.1:${port}/`)
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  while (!text.includes('missed')) text += (await reader?.read())?.value ?? ''
  assert.match(text, /event: missed\ndata: \{"missed":1\}/)
  await reader?.cancel()
})

test('a reader that does not read costs a bounded store, and hears what was dropped', async (t) => {
  const hub = createHub()
  const port = await serve(t, hub)
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  socket.pause()
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await systemClock.sleep(50)
  const long = 'x'.repeat(10_000)
  // Far more than sockets hold, told in one go: nothing of it may be waited for.
  for (let i = 0; i < 5_000; i++) hub.observe(delivered(`${i}${long}`))
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => (text = (text + chunk).slice(-200_000)))
  socket.resume()
  while (!/event: missed\ndata: \{"missed":\d{4}/.test(text)) await systemClock.sleep(5)
  hub.observe(delivered('after'))
  while (!text.includes('"after"')) await systemClock.sleep(5)
})

test('who has logged out hears nothing more, and the stream ends', async (t) => {
  const hub = createHub()
  let isIn = true
  const port = await serve(t, hub, undefined, { expiresAt: Infinity, holds: () => isIn })
  const answer = await fetch(`http://127.0.0.1:${port}/`)
  hub.observe(delivered('before'))
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  while (!text.includes('before')) text += (await reader?.read())?.value ?? ''
  isIn = false
  hub.observe(delivered('after'))
  for (let read = await reader?.read(); read && !read.done; read = await reader?.read())
    text += read.value
  assert.ok(!text.includes('after'))
})
