import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request as requestOf } from 'node:http'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { fromBase64, toBase64 } from '../core/base64.ts'
import { systemClock } from '../core/clock.ts'
import type { Event, Observe } from '../core/event.ts'
import { isObject, readJson } from '../core/json.ts'
import type { Offer } from '../core/offer.ts'
import type { Ask, Clock, Gate, Pass, Protocol, Rail, Settlement } from '../core/ports.ts'
import { problem } from '../core/problem.ts'

/** The adapter under test, and the gate that it is tested with. */
export interface Stage {
  /** Makes a gate over this rail, with books in memory. */
  readonly gate: (parts: {
    readonly rail: Rail
    readonly clock: Clock
    readonly observe: Observe
  }) => Gate
  /** Serves the shop through the adapter on a free loopback port. */
  start(shop: Shop): Promise<{ readonly origin: string; readonly close: () => Promise<void> }>
  /** False if the adapter sits in a single route, so that paths are another's business. */
  readonly whole?: boolean
}

/** What is to be served. `work` does the same in both of its forms. */
export interface Shop {
  readonly seller: {
    readonly gate: Gate
    readonly protocols: readonly Protocol[]
    readonly realm: string
    readonly origin?: string
    readonly clock: Clock
    readonly observe: Observe
  }
  readonly routes: Readonly<
    Record<string, string | { readonly price: string; readonly keep: true }>
  >
  readonly work: {
    readonly node: (request: IncomingMessage, response: ServerResponse) => Promise<void>
    readonly fetch: (request: Request) => Promise<Response>
  }
}

/** What all adapters do alike: one paid request in every shape, and each attack beside an honest one. */
export function adapterSuite(name: string, stage: Stage): void {
  void describe(`adapter ${name}`, () => {
    void test('an unpaid request is told the offers, and nothing runs', async (t) => {
      const { ask, world } = await open(t, stage)
      const said = await ask('/ok')
      assert.equal(said.status, 402)
      assert.equal(said.headers['content-type'], 'application/problem+json')
      assert.equal(said.headers['cache-control'], 'no-store')
      assert.match(said.headers.vary ?? '', /fake-payment/i)
      assert.equal(JSON.parse(said.body).code, 'payment-required')
      assert.equal(offersIn(said).length, 1)
      assert.equal((await ask('/ok')).status, 402)
      assert.equal(world.runs, 0)
    })

    void test('a paid request is served once and charged once, with a receipt', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const said = await ask('/ok', { headers: await pay('/ok') })
      assert.equal(said.status, 200)
      assert.equal(said.body, 'the goods')
      assert.ok(said.headers['fake-receipt'])
      assert.equal(said.headers['cache-control'], 'private, no-store')
      assert.match(said.headers.vary ?? '', /accept.*fake-payment/i)
      assert.deepEqual([world.runs, world.charges], [1, 1])
    })

    void test('a payment that bought its answer buys no other: 410', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const headers = await pay('/ok')
      assert.equal((await ask('/ok', { headers })).status, 200)
      const again = await ask('/ok', { headers })
      assert.equal(again.status, 410)
      assert.ok(again.headers['fake-receipt'])
      assert.deepEqual([world.runs, world.charges], [1, 1])
    })

    void test('a kept answer is fetched again with the same proof, byte for byte', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const headers = await pay('/kept')
      const first = await ask('/kept', { headers })
      const again = await ask('/kept', { headers })
      assert.deepEqual([first.status, again.status], [200, 200])
      assert.equal(first.body, 'run 1')
      assert.equal(again.body, first.body)
      for (const name of ['fake-receipt', 'cache-control', 'x-of-the-work', 'content-type'])
        assert.equal(again.headers[name], first.headers[name], name)
      assert.ok(first.headers['fake-receipt'])
      assert.deepEqual([world.runs, world.charges], [1, 1])
      const other = await ask('/kept', { headers: await pay('/kept') })
      assert.deepEqual([other.status, other.body], [200, 'run 2'])
    })

    void test('an answer too large to be kept arrives whole, once', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const headers = await pay('/kept-big')
      const first = await ask('/kept-big', { headers })
      assert.equal(first.status, 200)
      assert.equal(first.body.length, LARGE_BYTES)
      assert.equal((await ask('/kept-big', { headers })).status, 410)
      assert.deepEqual([world.runs, world.charges], [1, 1])
    })

    void test('twenty parallel requests with one payment: one run, one charge', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const headers = await pay('/ok')
      const all = await Promise.all(Array.from({ length: 20 }, () => ask('/ok', { headers })))
      const good = all.filter(({ status }) => status === 200)
      const others = all.filter(({ status }) => status === 409 || status === 410)
      assert.deepEqual([good.length, others.length], [1, 19])
      assert.deepEqual([world.runs, world.charges], [1, 1])
    })

    void test('a payment for one request is foreign to another, and still good for its own', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const body = '{"n":1}'
      const headers = await pay('/echo', { method: 'POST', body })
      const elsewhere: readonly [string, Asking][] = [
        ['/ok', {}],
        ['/echo?n=2', { method: 'POST', body }],
        ['/echo', { method: 'PUT', body }],
        ['/echo', { method: 'POST', body: '{"n":10000}' }],
        ['/echo', { method: 'POST' }],
      ]
      for (const [path, asking] of elsewhere) {
        const said = await ask(path, { ...asking, headers })
        assert.equal(said.status, 402, `${asking.method} ${path}`)
        assert.equal(JSON.parse(said.body).code, 'offer-foreign')
      }
      assert.equal(world.runs, 0)
      const honest = await ask('/echo', { method: 'POST', body, headers })
      assert.deepEqual([honest.status, honest.body], [200, body])
    })

    void test('HEAD is told the price without a body, and does not spend a payment', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const headers = await pay('/ok')
      for (const asking of [{ method: 'HEAD' }, { method: 'HEAD', headers }]) {
        const said = await ask('/ok', asking)
        assert.deepEqual([said.status, said.body], [402, ''])
        assert.equal(offersIn(said).length, 1)
      }
      assert.equal(world.runs, 0)
      assert.equal((await ask('/ok', { headers })).status, 200)
    })

    void test('what HEAD offers is good for GET', async (t) => {
      const { ask } = await open(t, stage)
      const offers = offersIn(await ask('/ok', { method: 'HEAD' }))
      assert.equal((await ask('/ok', { headers: payment(offers[0], 'h') })).status, 200)
    })

    void test('OPTIONS is never charged, and its answer lets a page pay and read', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const said = await ask('/ok', {
        method: 'OPTIONS',
        headers: {
          origin: 'https://page.test',
          'access-control-request-method': 'GET',
          'access-control-request-headers': 'content-type,fake-payment',
        },
      })
      assert.equal(said.status, 204)
      assert.equal(said.headers['access-control-allow-origin'], '*')
      assert.match(
        said.headers['access-control-allow-headers'] ?? '',
        /fake-payment.*content-type/i,
      )
      assert.equal(world.runs, 0)
      const origin = { origin: 'https://page.test' }
      for (const headers of [origin, { ...origin, ...(await pay('/ok')) }]) {
        const page = await ask('/ok', { headers })
        assert.equal(page.headers['access-control-allow-origin'], '*')
        assert.match(page.headers['access-control-expose-headers'] ?? '', /fake-receipt/i)
      }
    })

    void test('no spelling of a paid path is free', async (t) => {
      const { ask, world } = await open(t, stage)
      for (const path of aliases) {
        const { status } = await ask(path)
        assert.ok([400, 402, 404].includes(status), `${path} → ${status}`)
      }
      assert.equal(world.runs, 0)
      assert.equal((await ask('/ok')).status, 402)
    })

    void test('what is not declared is closed, what is declared free is open', async (t) => {
      const { ask, world } = await open(t, stage)
      assert.equal((await ask('/nowhere')).status, 404)
      assert.equal((await ask('/free', { method: 'POST' })).status, 404)
      assert.equal(world.runs, 0)
      const free = await ask('/free')
      assert.deepEqual([free.status, free.body], [200, 'for nothing'])
      assert.equal(free.headers['cache-control'], undefined)
    })

    void test('another host is not served, the public one is', async (t) => {
      const { ask, pay, world } = await open(t, stage, { origin: 'http://shop.test' })
      const paid = await pay('/ok', { headers: { host: 'shop.test' } })
      assert.equal((await ask('/ok', { headers: { ...paid, host: 'evil.test' } })).status, 421)
      assert.equal(world.runs, 0)
      assert.equal((await ask('/ok', { headers: { ...paid, host: 'SHOP.test' } })).status, 200)
    })

    for (const [path, status] of [
      ['/throw', 500],
      ['/broken', 500],
      ['/moved', 302],
      ['/same', 304],
    ] as const)
      void test(`${path} answers ${status}, is not charged, and the payment is still good`, async (t) => {
        const { ask, pay, world } = await open(t, stage)
        const headers = await pay(path)
        const said = await ask(path, { headers })
        assert.equal(said.status, status)
        assert.equal(world.charges, 0)
        if (path === '/moved') assert.equal(said.headers.location, '/elsewhere')
        world.mended = true
        const again = await ask(path, { headers })
        assert.deepEqual([again.status, again.body], [200, 'mended'])
        assert.equal(world.charges, 1)
      })

    void test('an answer without a body is charged and passed on', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const said = await ask('/empty', { headers: await pay('/empty') })
      assert.deepEqual([said.status, said.body, world.charges], [204, '', 1])
      assert.ok(said.headers['fake-receipt'])
    })

    void test('a payer that leaves before the first byte is not charged', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const headers = await pay('/slow')
      const leaving = new AbortController()
      const left = ask('/slow', { headers, signal: leaving.signal })
      await world.started.promise
      leaving.abort()
      await assert.rejects(left)
      world.mended = true
      const again = await until(() => ask('/slow', { headers }), 409)
      assert.deepEqual([again.status, again.body], [200, 'mended'])
      assert.equal(world.charges, 1)
      world.go.resolve()
    })

    void test('work that takes too long is given up, and the payment is still good', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const headers = await pay('/slow')
      const late = ask('/slow', { headers })
      await world.started.promise
      world.expire()
      assert.equal((await late).status, 504)
      world.go.resolve()
      assert.equal(world.charges, 0)
      world.mended = true
      assert.equal((await ask('/slow', { headers })).status, 200)
    })

    void test('a stream begins after settlement and before its own end', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const headers = await pay('/stream')
      const { response } = await ask.raw('/stream', { headers })
      assert.equal(response.statusCode, 200)
      const chunks = response.setEncoding('utf8')[Symbol.asyncIterator]()
      assert.match(String((await chunks.next()).value), /data: 1/)
      assert.deepEqual(world.log, ['work', 'settled'])
      world.go.resolve()
      let rest = ''
      for (let c = await chunks.next(); !c.done; c = await chunks.next()) rest += String(c.value)
      assert.match(rest, /data: 2/)
      assert.equal(world.charges, 1)
    })

    void test(`a stream of ${BIG_BYTES} bytes is never held as a whole`, async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const { response } = await ask.raw('/big', { headers: await pay('/big') })
      let taken = 0
      let ahead = 0
      for await (const chunk of response) {
        taken += (chunk as Buffer).length
        ahead = Math.max(ahead, world.made - taken)
      }
      assert.equal(taken, BIG_BYTES)
      assert.ok(ahead < BIG_BYTES / 4, `${ahead} bytes ahead`)
    })

    void test('when settlement fails, not a byte of the work goes out', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      for (const path of ['/ok', '/stream', '/big']) {
        const headers = await pay(path)
        world.settle = () => ({
          state: 'failed',
          problem: problem('funds-insufficient', 'The payer has not enough.'),
        })
        const said = await ask(path, { headers })
        assert.equal(said.status, 402, path)
        assert.equal(JSON.parse(said.body).code, 'funds-insufficient')
        assert.equal(offersIn(said).length, 1)
        assert.equal(said.headers['x-of-the-work'], undefined)
        world.settle = undefined
        world.go.resolve()
        const paid = await ask.raw(path, { headers: await pay(path) })
        assert.equal(paid.response.statusCode, 200)
        assert.equal(paid.response.headers['x-of-the-work'], 'yes')
        paid.response.destroy()
      }
    })

    void test('an unknown outcome is 503 with an address to ask, and the same payment may come again', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const headers = await pay('/ok')
      world.settle = () => ({ state: 'unknown', detail: 'The line went dead.' })
      const said = await ask('/ok', { headers })
      assert.equal(said.status, 503)
      assert.ok(Number(said.headers['retry-after']) > 0)
      const { code, statusUrl } = JSON.parse(said.body)
      assert.equal(code, 'payment-unknown')
      assert.doesNotMatch(said.body, /goods/)
      if (stage.whole !== false) {
        const { pathname } = new URL(String(statusUrl))
        const state = await ask(pathname)
        assert.deepEqual([state.status, JSON.parse(state.body)], [200, { state: 'unknown' }])
        assert.equal((await ask(`${pathname}x`)).status, 404)
      }
      world.settle = undefined
      world.confirmed = true
      const again = await ask('/ok', { headers })
      assert.deepEqual([again.status, again.body], [200, 'the goods'])
    })

    // A token that is good for a time, whether it is known at once or must be asked for.
    for (const kind of ['now', 'later'] as const) {
      const headers = { 'fake-payment': kind }

      void test(`a pass with nothing to settle, ${kind}: nobody on the way may keep what it is served`, async (t) => {
        const { ask, world, events } = await open(t, stage)
        const asked = [
          ['/ok', 200, 'the goods', {}],
          ['/echo', 200, '{"n":1}', { method: 'POST', body: '{"n":1}' }],
          ['/empty', 204, '', {}],
          ['/moved', 302, '', {}],
          ['/same', 304, '', {}],
          ['/broken', 500, 'broken', {}],
        ] as const
        for (const [path, status, body, asking] of asked) {
          const said = await ask(path, { ...asking, headers })
          assert.deepEqual([said.status, said.body], [status, body], path)
          assert.equal(said.headers['cache-control'], 'private, no-store', path)
          assert.equal(said.headers.vary, 'Accept, Fake-Payment', path)
          assert.equal(said.headers['x-of-the-work'], 'yes', path)
          assert.equal(said.headers['fake-receipt'], undefined)
        }
        assert.deepEqual([world.runs, world.charges], [asked.length, 0])
        const told = events.filter(({ type }) => type === 'delivered')
        assert.equal(told.length, asked.length)
        assert.equal((await ask('/ok')).status, 402)
      })

      void test(`a pass with nothing to settle, ${kind}: a head that nobody wrote has all of it, and pages may read`, async (t) => {
        const { ask, world } = await open(t, stage)
        world.go.resolve()
        for (const path of ['/bare', '/bare-stream']) {
          const said = await ask(path, { headers: { ...headers, origin: 'https://page.test' } })
          assert.deepEqual([said.status, said.body], [200, 'bare'], path)
          assert.equal(said.headers['cache-control'], 'private, no-store')
          assert.match(said.headers.vary ?? '', /fake-payment/i)
          assert.equal(said.headers['access-control-allow-origin'], '*')
          assert.match(said.headers['access-control-expose-headers'] ?? '', /fake-receipt/i)
        }
      })

      void test(`a pass with nothing to settle, ${kind}: streams leave as they are written`, async (t) => {
        const { ask, world } = await open(t, stage)
        const { response } = await ask.raw('/stream', { headers })
        assert.equal(response.headers['cache-control'], 'private, no-store')
        const chunks = response.setEncoding('utf8')[Symbol.asyncIterator]()
        assert.match(String((await chunks.next()).value), /data: 1/)
        world.go.resolve()
        let rest = ''
        for (let c = await chunks.next(); !c.done; c = await chunks.next()) rest += String(c.value)
        assert.match(rest, /data: 2/)
        const big = await ask.raw('/big', { headers })
        assert.equal(big.response.headers['cache-control'], 'private, no-store')
        let taken = 0
        for await (const chunk of big.response) taken += (chunk as Buffer).length
        assert.equal(taken, BIG_BYTES)
      })

      void test(`a pass with nothing to settle, ${kind}: work that throws is answered, and the next is served`, async (t) => {
        const { ask, world } = await open(t, stage)
        const said = await ask('/throw', { headers })
        assert.equal(said.status, 500)
        assert.equal(said.headers['x-of-the-work'], undefined)
        world.mended = true
        assert.deepEqual((await ask('/throw', { headers })).body, 'mended')
      })
    }

    void test('hostile headers are refused, and the next honest request is served', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const [one, two] = [await pay('/ok'), await pay('/ok')]
      const both = [one['fake-payment'] ?? '', two['fake-payment'] ?? '']
      const hostile: readonly (string | string[])[] = [
        'null',
        '%00%00',
        toBase64('null'),
        toBase64('[]'),
        toBase64('{"__proto__":{"offer":1}}'),
        toBase64('['.repeat(5_000)),
        toBase64('{"offer":{"id":"x"},"nonce":{}}'),
        both,
      ]
      for (const value of hostile) {
        const said = await ask('/ok', { headers: { 'fake-payment': value } })
        assert.ok(
          [400, 402].includes(said.status),
          `${String(value).slice(0, 40)} → ${said.status}`,
        )
      }
      const huge = await ask('/ok', { headers: { 'fake-payment': 'A'.repeat(60_000) } })
      assert.equal(huge.status, 431)
      assert.deepEqual([world.runs, world.charges], [0, 0])
      for (const headers of [one, two]) assert.equal((await ask('/ok', { headers })).status, 200)
    })

    void test('a body above the limit is refused, one below is bound and handed on', async (t) => {
      const { ask, pay, world } = await open(t, stage)
      const body = 'x'.repeat(2_000_000)
      const chunked = { method: 'POST', body, headers: { 'transfer-encoding': 'chunked' } }
      for (const asking of [{ method: 'POST', body }, chunked])
        assert.equal((await ask('/echo', asking)).status, 413)
      assert.equal(world.runs, 0)
      const small = { ...chunked, body: body.slice(0, 900_000) }
      const paid = await pay('/echo', small)
      const said = await ask('/echo', { ...small, headers: { ...chunked.headers, ...paid } })
      assert.deepEqual([said.status, said.body.length], [200, small.body.length])
    })
  })
}

/** How much `/big` sends. */
const LARGE_BYTES = 32 * 65_536
const BIG_BYTES = 67_108_864

const aliases: readonly string[] = [
  '/OK',
  '/ok/',
  '//ok',
  '/ok//',
  '/%6fk',
  '/o%4B',
  '/ok;v=1',
  '/ok%3Bv=1',
  '/./ok',
  '/free/../ok',
  '/free/..%2fok',
  '/%2e%2e/ok',
  '/%2fok',
  '/ok%2f',
  '/ok%5c',
  '/ok%0a',
  '/ok%00',
  '/ok%ff',
  '/%256fk',
  '/\\ok',
  '/ok\\',
  'http://127.0.0.1/ok',
]

/** Where the money of the test is, and how the work behaves. */
interface World {
  runs: number
  charges: number
  made: number
  mended: boolean
  confirmed: boolean
  settle: (() => Settlement) | undefined
  readonly log: string[]
  readonly started: PromiseWithResolvers<void>
  readonly go: PromiseWithResolvers<void>
  expire(): void
}

interface Asking {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: string
  readonly signal?: AbortSignal
}

interface Said {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

const routes = {
  '* /ok': '0.01 USD',
  '* /kept': { price: '0.01 USD', keep: true as const },
  '* /kept-big': { price: '0.01 USD', keep: true as const },
  '* /echo': '0.01 USD',
  'GET /throw': '0.01 USD',
  'GET /broken': '0.01 USD',
  'GET /moved': '0.01 USD',
  'GET /same': '0.01 USD',
  'GET /empty': '0.01 USD',
  'GET /slow': '0.01 USD',
  'GET /stream': '0.01 USD',
  'GET /big': '0.01 USD',
  'GET /bare': '0.01 USD',
  'GET /bare-stream': '0.01 USD',
  'GET /free': 'free',
}

async function open(t: TestContext, stage: Stage, options: { readonly origin?: string } = {}) {
  let expired = Promise.withResolvers<void>()
  const world: World = {
    runs: 0,
    charges: 0,
    made: 0,
    mended: false,
    confirmed: false,
    settle: undefined,
    log: [],
    started: Promise.withResolvers<void>(),
    go: Promise.withResolvers<void>(),
    expire() {
      expired.resolve()
      expired = Promise.withResolvers<void>()
    },
  }
  const clock: Clock = {
    now: () => systemClock.now(),
    async sleep(_ms, signal) {
      const ended = signal && !signal.aborted ? once(signal, 'abort') : undefined
      await Promise.race(ended ? [expired.promise, ended] : [expired.promise])
    },
  }
  const events: Event[] = []
  const observe: Observe = (event) => events.push(event)
  const gate = withPasses(stage.gate({ rail: railOf(world), clock, observe }), observe)
  const seller = { gate, protocols: [fake], realm: 'shop', clock, observe, ...options }
  const { origin, close } = await stage.start({ seller, routes, work: workOf(world) })
  // Alone on its connections: an attack that breaks one must not disturb the next request.
  const agent = new Agent({ keepAlive: false })
  t.after(async () => {
    world.go.resolve()
    agent.destroy()
    await close()
    await gate.close()
  })

  async function raw(path: string, { method = 'GET', headers = {}, body, signal }: Asking) {
    const { hostname, port } = new URL(origin)
    const length =
      body === undefined || 'transfer-encoding' in headers
        ? {}
        : { 'content-length': String(Buffer.byteLength(body)) }
    const request = requestOf({
      hostname,
      port,
      agent,
      method,
      path,
      headers: { ...length, ...headers },
      ...(signal && { signal }),
    })
    const answered = Promise.withResolvers<IncomingMessage>()
    request.on('response', answered.resolve).on('error', answered.reject)
    request.end(body)
    return { response: await answered.promise }
  }

  async function ask(path: string, asking: Asking = {}): Promise<Said> {
    const { response } = await raw(path, asking)
    let text = ''
    for await (const chunk of response.setEncoding('utf8')) text += String(chunk)
    return { status: response.statusCode ?? 0, headers: response.headers, body: text }
  }
  ask.raw = raw

  let nonce = 0
  /** Asks for the price and pays it. */
  async function pay(path: string, asking: Asking = {}): Promise<Record<string, string>> {
    const said = await ask(path, asking)
    assert.equal(said.status, 402)
    return payment(offersIn(said)[0], `nonce-${nonce++}`)
  }

  return { ask, pay, world, events }
}

/** Asks again while the answer has that status. */
async function until(ask: () => Promise<Said>, status: number): Promise<Said> {
  for (;;) {
    const said = await ask()
    if (said.status !== status) return said
  }
}

/** Lets in for nothing whom the fake protocol names so, at once or not. */
function withPasses(gate: Gate, observe: Observe): Gate {
  const passOf = ({ credential, request }: Ask, kind: string): Pass | undefined => {
    if (!credential || 'code' in credential || credential.grant?.id !== kind) return undefined
    return {
      kind: 'pass',
      key: request,
      settles: false,
      finish: async () => ({ kind: 'serve' }),
      delivered: () => observe({ type: 'delivered', at: 0, request, key: request }),
      lost: () => undefined,
    }
  }
  return {
    ...gate,
    admitNow: (ask) => passOf(ask, 'now'),
    admit: async (ask) => passOf(ask, 'later') ?? (await gate.admit(ask)),
  }
}

/** A protocol that writes offers as JSON and reads them back. */
const fake: Protocol = {
  name: 'fake',
  fields: { request: ['Fake-Payment'], response: ['Fake-Offers', 'Fake-Receipt'] },
  writeChallenge: ({ offers }) => ({
    fields: [['Fake-Offers', toBase64(JSON.stringify(offers, bigintAsText))]],
    body: { fake: true },
  }),
  readCredential(fields) {
    const said = fields.get('fake-payment')
    if (said === null || said === undefined) return undefined
    if (said === 'now' || said === 'later') return { grant: { id: said, rights: {} } }
    const value = readJson(fromBase64(said) ?? '', 20_000)
    const { offer, nonce } = isObject(value) ? value : {}
    if (!isObject(offer) || !isObject(offer['amount']) || typeof nonce !== 'string')
      return problem('credential-malformed', 'The payment is not one.')
    const money = { ...offer['amount'], amount: BigInt(offer['amount']['amount'] as string) }
    return { offer: { ...offer, amount: money } as unknown as Offer, proof: nonce }
  },
  writeReceipt: ({ reference }) => ({ fields: [['Fake-Receipt', reference]] }),
  readChallenge: () => undefined,
  writeCredential: () => ({ fields: [] }),
  readReceipt: () => undefined,
}

function bigintAsText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value
}

function offersIn({ headers }: Said): readonly unknown[] {
  const value = readJson(fromBase64(String(headers['fake-offers'])) ?? '', 20_000)
  assert.ok(Array.isArray(value), 'the answer has offers')
  return value
}

function payment(offer: unknown, nonce: string): Record<string, string> {
  return { 'fake-payment': toBase64(JSON.stringify({ offer, nonce })) }
}

/** A rail whose money is a counter. */
function railOf(world: World): Rail<unknown, string> {
  const asset = { id: 'fake:coin', code: 'COIN', scale: 6, currency: 'USD' }
  const moved = new Set<string>()
  const settled = (key: string): Settlement => ({
    state: 'settled',
    reference: `tx-${key}`,
    payer: 'buyer',
    settledAt: systemClock.now(),
  })
  const said = { rail: 'fake', network: 'net', intent: 'charge', payee: 'seller', details: {} }
  return {
    name: 'fake',
    network: 'net',
    forms: {},
    open: async () => {},
    close: async () => {},
    quote: ({ amount, scale }) => [
      { ...said, timeoutMs: 60_000, amount: { asset, amount: amount * 10n ** BigInt(6 - scale) } },
    ],
    identify: (_offer, nonce) => ({ key: nonce, payer: 'buyer' }),
    verify: async (_offer, nonce) => ({ ok: true, key: nonce, payer: 'buyer' }),
    async settle(_offer, _nonce, key) {
      // The network is never as quick as the work.
      await new Promise((resolve) => setImmediate(resolve))
      if (world.settle) return world.settle()
      if (!moved.has(key)) world.charges++
      moved.add(key)
      world.log.push('settled')
      return settled(key)
    },
    find: async (_offer, key) =>
      world.confirmed || moved.has(key) ? settled(key) : { state: 'unknown', detail: 'Not yet.' },
  }
}

/** The same work for servers that write and for servers that return. */
function workOf(world: World): Shop['work'] {
  const mine = { 'x-of-the-work': 'yes', 'cache-control': 'public, max-age=3600', vary: 'Accept' }
  const begin = (url: string): string => {
    const path = new URL(url, 'http://work').pathname
    if (path !== '/free') world.runs++
    world.log.push('work')
    world.started.resolve()
    return world.mended ? '/mended' : path
  }
  const block = Buffer.alloc(65_536, 0x61)

  /** What does not need its own form. */
  const plain: Readonly<Record<string, readonly [number, string | null, Record<string, string>?]>> =
    {
      '/ok': [200, 'the goods'],
      '/mended': [200, 'mended'],
      '/broken': [500, 'broken'],
      '/moved': [302, null, { location: '/elsewhere' }],
      '/same': [304, null],
      '/empty': [204, null],
    }

  async function node(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = begin(request.url ?? '')
    const [status, text, more] = plain[path] ?? []
    if (path === '/throw') throw new Error('thrown by the work')
    if (path === '/free') return void response.end('for nothing')
    if (status !== undefined) return void response.writeHead(status, { ...mine, ...more }).end(text)
    if (path === '/bare') return void response.end('bare')
    if (path === '/bare-stream') return void Readable.from(['ba', 're']).pipe(response)
    for (const [name, value] of Object.entries(mine)) response.setHeader(name, value)
    if (path === '/kept') return void response.end(`run ${world.runs}`)
    if (path === '/kept-big')
      return await pipeline(Readable.from(large()), response).catch(() => undefined)
    if (path === '/echo') return void request.pipe(response)
    if (path === '/slow') return void world.go.promise.then(() => response.end('slow'))
    if (path === '/stream') {
      response.write('data: 1\n\n')
      return void world.go.promise.then(() => response.end('data: 2\n\n'))
    }
    // A payer that leaves is no fault of the work.
    await pipeline(Readable.from(blocks()), response).catch(() => undefined)
  }

  function* blocks(): Generator<Buffer> {
    for (; world.made < BIG_BYTES; world.made += block.length) yield block
  }

  function* large(): Generator<Buffer> {
    for (let made = 0; made < LARGE_BYTES; made += block.length) yield block
  }

  async function fetch(request: Request): Promise<Response> {
    const path = begin(request.url)
    const [status, text, more] = plain[path] ?? []
    if (path === '/throw') throw new Error('thrown by the work')
    if (path === '/free') return new Response('for nothing')
    if (status !== undefined) return new Response(text, { status, headers: { ...mine, ...more } })
    if (path === '/bare') return new Response('bare')
    if (path === '/bare-stream') return new Response(new Blob(['ba', 're']).stream())
    if (path === '/kept') return new Response(`run ${world.runs}`, { headers: mine })
    if (path === '/kept-big') {
      const body = Readable.toWeb(Readable.from(large()))
      return new Response(body as ReadableStream, { headers: mine })
    }
    if (path === '/echo') return new Response(request.body, { headers: mine })
    if (path === '/slow') return await world.go.promise.then(() => new Response('slow'))
    const encode = new TextEncoder()
    const stream =
      path === '/stream'
        ? {
            async pull(sink: ReadableStreamDefaultController): Promise<void> {
              sink.enqueue(encode.encode('data: 1\n\n'))
              await world.go.promise
              sink.enqueue(encode.encode('data: 2\n\n'))
              sink.close()
            },
          }
        : {
            pull(sink: ReadableStreamDefaultController): void {
              world.made += block.length
              sink.enqueue(new Uint8Array(block))
              if (world.made >= BIG_BYTES) sink.close()
            },
          }
    return new Response(new ReadableStream(stream), { headers: mine })
  }

  return { node, fetch }
}
