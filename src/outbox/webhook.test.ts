// Real receivers on loopback, each attack beside the honest delivery.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { afterEach, before, beforeEach, describe, test } from 'node:test'
import { systemClock } from '../core/clock.ts'
import { memory } from '../ledger/memory.ts'
import { createFeed } from './feed.ts'
import type { Told } from './feed.ts'
import { createReceiver, SECRET, sell } from './fixture.test.ts'
import type { Receiver } from './fixture.test.ts'
import { ANSWER_BYTES_MAX } from './post.ts'
import type { Delivery, Sink } from './sink.ts'
import { webhook } from './webhook.ts'
import type { WebhookSettings } from './webhook.ts'

const until = { deadlineAt: Infinity, signal: new AbortController().signal }
let told: readonly Told[]
let receiver: Receiver
const open: Sink[] = []
before(async () => {
  const ledger = memory()
  for (let i = 0; i < 5; i++) await sell(ledger, `k${i}`)
  told = (await createFeed({ ledger, source: 's' }).read(0, 1_000)).told
})
beforeEach(async () => {
  receiver = await createReceiver(0, false)
})
afterEach(async () => {
  for (const sink of open.splice(0)) await sink.close()
  await receiver.close()
})

function hook(rest: Partial<WebhookSettings> = {}): Sink {
  const basic = { name: 'hook', url: receiver.url, secrets: SECRET, isPrivateAllowed: true }
  const sink = webhook({ ...basic, timeoutMs: 5_000, ...rest })
  open.push(sink)
  return sink
}

function deliver(
  rest: Partial<WebhookSettings> = {},
  some: readonly Told[] = told,
): Promise<Delivery> {
  return hook(rest).deliver(some, until)
}

const idsOf = (events: readonly { readonly id: string }[]): readonly string[] =>
  events.map(({ id }) => id)
const ids = (): readonly string[] => idsOf(told.map(({ event }) => event))

describe('a webhook', () => {
  test('delivers one event after the other, signed, over one connection', async () => {
    const ports = new Set<number | undefined>()
    const kinds = new Set<string | undefined>()
    receiver.answer = ({ socket, headers }, response) => {
      ports.add(socket.remotePort)
      kinds.add(headers['content-type'])
      response.writeHead(204).end()
    }
    assert.deepEqual(await deliver(), { taken: told.length })
    assert.deepEqual(
      receiver.taken,
      told.map(({ event }) => event),
    )
    assert.equal(ports.size, 1)
    assert.deepEqual([...kinds], ['application/cloudevents+json'])
  })

  test('delivers batches in the same order, and finds the one that is refused', async () => {
    assert.deepEqual(await deliver({ eventsMax: 4 }), { taken: told.length })
    assert.equal(receiver.requests(), 3)
    assert.deepEqual(idsOf(receiver.taken), ids())
    receiver.came.length = 0
    receiver.answer = (_, response, events) =>
      void response.writeHead(events.some(({ id }) => id === ids()[5]) ? 422 : 200).end()
    const { taken, trouble } = await deliver({ eventsMax: 4 })
    assert.deepEqual([taken, trouble?.kind, trouble?.why], [5, 'refused', 'it answered 422'])
  })

  test('begins nothing after its deadline or when it is told to stop', async () => {
    const sink = hook()
    assert.deepEqual(await sink.deliver(told, { ...until, deadlineAt: 0 }), { taken: 0 })
    const stopping = new AbortController()
    receiver.answer = (_, response) => {
      if (receiver.came.length === 3) stopping.abort()
      response.writeHead(200).end()
    }
    assert.deepEqual(await sink.deliver(told, { ...until, signal: stopping.signal }), { taken: 3 })
  })

  for (const [status, kind] of [
    [200, undefined],
    [202, undefined],
    [301, 'down'],
    [307, 'down'],
    [400, 'refused'],
    [401, 'down'],
    [404, 'down'],
    [409, 'refused'],
    [410, 'gone'],
    [413, 'refused'],
    [422, 'refused'],
    [429, 'down'],
    [500, 'down'],
    [503, 'down'],
  ] as const)
    test(`takes ${status} for ${kind ?? 'success'}`, async () => {
      receiver.answer = (_, response) => {
        response.writeHead(status, status < 400 && status > 299 ? { location: receiver.url } : {})
        response.end()
      }
      const { taken, trouble } = await deliver({}, told.slice(0, 1))
      assert.deepEqual([taken, trouble?.kind], [kind === undefined ? 1 : 0, kind])
      // A redirect is not followed, nor anything else asked.
      assert.equal(receiver.requests(), 1)
    })

  test('hears how long to wait, in seconds and as a date, and nothing else', async () => {
    const said: Readonly<Record<string, number | undefined>> = {
      '7': 7_000,
      'Fri, 02 Oct 2096 07:06:40 GMT': 1_000_000,
      'Thu, 01 Jan 1970 00:00:00 GMT': 0,
      soon: undefined,
      '': undefined,
    }
    const clock = { ...systemClock, now: () => 3_999_999_000_000 }
    const tolerant = await createReceiver()
    for (const [text, ms] of Object.entries(said)) {
      tolerant.answer = (_, response) => void response.writeHead(503, { 'retry-after': text }).end()
      const { trouble } = await deliver({ url: tolerant.url, clock }, told.slice(0, 1))
      assert.equal(trouble?.kind, 'down')
      assert.equal(trouble.retryAfterMs, ms, text)
    }
    await tolerant.close()
  })

  test('takes a success with a body that never ends for one, and reads no more than its limit', async () => {
    let written = 0
    receiver.answer = (_, response) => {
      response.writeHead(200)
      const more = (): void => {
        if (response.destroyed) return
        written += 16_384
        response.write('x'.repeat(16_384), () => setImmediate(more))
      }
      more()
    }
    assert.deepEqual(await deliver({}, told.slice(0, 2)), { taken: 2 })
    assert.ok(written < 200 * ANSWER_BYTES_MAX)
  })

  test('waits no longer than its time, for a head and for a body', async () => {
    receiver.answer = () => {}
    const late = await deliver({ timeoutMs: 200 }, told.slice(0, 1))
    assert.deepEqual([late.taken, late.trouble?.why], [0, 'no answer in time'])
    receiver.answer = (_, response) => response.writeHead(200).flushHeaders()
    assert.deepEqual(await deliver({ timeoutMs: 200 }, told.slice(0, 1)), { taken: 1 })
  })

  test('does not mind that a kept connection has died', async () => {
    const sink = hook()
    let sockets = 0
    const server = createServer((socket) => {
      sockets++
      let isFirst = true
      socket.on('error', () => {})
      socket.on('data', () => {
        if (!isFirst) socket.destroy()
        isFirst = false
        if (!socket.destroyed)
          socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n')
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    assert.deepEqual(await deliver({ url }, told.slice(0, 3)), { taken: 3 })
    assert.equal(sockets, 3)
    server.close()
    await sink.close()
  })

  test('tells no address, no answer and no secret of what went wrong', async () => {
    const { port } = receiver
    receiver.answer = (_, response) => void response.writeHead(500, 'SECRET-REASON').end('SECRET')
    const answered = await deliver()
    await receiver.close()
    const refused = await deliver()
    receiver = await createReceiver()
    assert.equal(refused.trouble?.why, 'no answer (ECONNREFUSED)')
    for (const { trouble } of [answered, refused])
      assert.doesNotMatch(JSON.stringify(trouble), new RegExp(`SECRET|${port}|127`))
  })
})

describe('an address that is not on the internet', () => {
  const inner = [
    'https://127.0.0.1/',
    'https://127.1/',
    'https://0x7f000001/',
    'https://2130706433/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[fe80::1]/',
    'https://[fd00::1]/',
    'https://10.0.0.1/',
    'https://172.16.0.1/',
    'https://192.168.1.1/',
    'https://169.254.169.254/latest/meta-data/',
    'https://100.64.0.1/',
    'https://0.0.0.0/',
  ]
  for (const url of inner)
    test(`is refused: ${url}`, async () => {
      const { taken, trouble } = await deliver({ url, isPrivateAllowed: false })
      assert.deepEqual([taken, trouble?.why], [0, 'its address is not on the internet'])
    })

  test('is refused behind a name, also beside one that is, and taken where it is allowed', async () => {
    const url = receiver.url.replace('127.0.0.1', 'receiver.test')
    const secure = url.replace('http:', 'https:')
    for (const addresses of [['127.0.0.1'], ['93.184.216.34', '127.0.0.1'], ['::1']]) {
      const resolve = async () => addresses
      const { trouble } = await deliver({ url: secure, isPrivateAllowed: false, resolve })
      assert.equal(trouble?.why, 'its address is not on the internet')
    }
    assert.equal(receiver.requests(), 0)
    const resolve = async () => ['127.0.0.1']
    assert.deepEqual(await deliver({ url, resolve }), { taken: told.length })
  })

  test('is not reached by a name that means another one at the second look', async () => {
    const [, honest = ''] = /:(\d+)\//.exec(receiver.url) ?? []
    const trapped: unknown[] = []
    const trap = createServer((socket) => trapped.push(socket.destroy()))
    trap.listen(Number(honest), '127.0.0.2')
    await once(trap, 'listening')
    let looks = 0
    const resolve = async () => (++looks === 1 ? ['127.0.0.1'] : ['127.0.0.2'])
    const url = receiver.url.replace('127.0.0.1', 'rebind.test')
    // What was looked at is what is connected to, so that there is nothing to change between the two.
    assert.deepEqual(await deliver({ url, resolve }), { taken: told.length })
    assert.deepEqual([looks, trapped], [1, []])
    // A new connection is looked at anew.
    const secure = { url: url.replace('http:', 'https:'), isPrivateAllowed: false, resolve }
    assert.equal((await deliver(secure)).trouble?.why, 'its address is not on the internet')
    assert.deepEqual([looks, trapped], [2, []])
    trap.close()
  })
})

describe('the settings of a webhook', () => {
  test('are refused when they are not right, without the address', () => {
    const wrong: readonly Partial<WebhookSettings>[] = [
      { url: 'SECRET' },
      { url: 'http://SECRET.example/', isPrivateAllowed: false },
      { url: 'ftp://SECRET.example/' },
      { url: 'https://SECRET:SECRET@example/' },
      { secrets: 'SECRET' },
      { eventsMax: 0 },
      { eventsMax: 101 },
      { timeoutMs: 30_001 },
      { timeoutMs: 0 },
    ]
    for (const rest of wrong)
      assert.throws(
        () => hook(rest),
        (error: unknown) => error instanceof RangeError && !error.message.includes('SECRET'),
      )
    hook({ url: 'https://shop.example/hook', isPrivateAllowed: false })
  })
})
