// Prices that a service tells: what it is asked, what it may answer, and that nothing is sold while it does not.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, describe, test } from 'node:test'
import type { Event } from '../core/event.ts'
import type { Json } from '../core/json.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { verifyWebhook } from '../outbox/signature.ts'
import {
  BREAK_AFTER,
  BREAK_MS,
  CACHE_MAX,
  PRICES_AT_ONCE_MAX,
  PRICE_BYTES_MAX,
  priceService,
} from './price-service.ts'
import type { PriceServiceOptions } from './price-service.ts'
import type { PriceOf, PriceRequest } from './routes.ts'
import { createHand, createWorld } from './shop.test.ts'
import type { Node } from './shop.test.ts'

const secret = `whsec_${Buffer.alloc(32, 'price secret').toString('base64')}`
const ends: (() => unknown)[] = []
after(async () => {
  for (const end of ends) await end()
})

describe('a price service', () => {
  test('is told of the request, signed, and of no field but those that were chosen', async () => {
    const asked: { readonly headers: Headers; readonly body: string }[] = []
    const url = await serve((headers, body) => {
      asked.push({ headers, body })
      return { price: '0.02 USD' }
    })
    const clock = createHand()
    const price = priceService(url, { secret, headers: ['Accept-Language'], clock })
    const node = await open({ 'GET /report/:id': { price } })
    const fields = { 'Accept-Language': 'de', Authorization: 'Basic c2VjcmV0', Cookie: 'a=b' }
    const paid = await node.ask('/report/seven?pages=2', { nonce: 'n1', fields })
    assert.equal(paid.status, 200)
    const [first = assert.fail()] = asked
    assert.deepEqual(JSON.parse(first.body), {
      method: 'GET',
      path: '/report/seven',
      query: 'pages=2',
      params: { id: 'seven' },
      headers: { 'Accept-Language': 'de' },
    })
    const told = JSON.stringify([[...first.headers], first.body])
    assert.doesNotMatch(told, /c2VjcmV0|a=b|fake-payment/i)
    // What any receiver of standard webhooks does; that it holds no event is what is wrong with it here.
    const why = (body: string, by = secret): string => {
      const verified = verifyWebhook(first.headers, body, { secrets: by, clock })
      return verified.ok ? 'ok' : verified.why
    }
    assert.match(why(first.body), /holds no events/)
    assert.match(why(first.body.replace('seven', 'eight')), /signature does not hold/)
    assert.match(why(first.body, `whsec_${'A'.repeat(44)}`), /signature does not hold/)
  })

  test('prices with a breakdown, which the challenge shows and the books keep', async () => {
    const breakdown = [
      { what: 'pages', quantity: 2, unit: 'page', amount: '0.015 USD' },
      { what: 'cover', quantity: '1', unit: 'piece', amount: '0.005 USD' },
    ]
    const url = await serve(() => ({ price: '0.02 USD', breakdown }))
    const ledger = memory()
    const node = await open({ 'GET /a': { price: priceService(url, { secret }) } }, { ledger })
    const shown = breakdown.map((line) => ({ ...line, quantity: `${line.quantity}` }))
    assert.deepEqual((await node.ask('/a')).body['breakdown'], shown)
    assert.equal((await node.ask('/a', { nonce: 'n1' })).status, 200)
    assert.deepEqual((await ledger.find('n1'))?.note['breakdown'], shown)
  })

  test('that does not answer with a price sells nothing, and gives nothing: 503, and the same later', async () => {
    let answer: () => unknown = () => ({ price: '0.02 USD' })
    const url = await serve(() => answer())
    const events: Event[] = []
    const observe = (event: Event): void => void events.push(event)
    const node = await open({ 'GET /a': { price: priceService(url, { secret }) } }, { observe })
    const offer = await node.ask('/a')
    assert.equal(offer.status, 402)
    const bad: readonly unknown[] = [
      undefined,
      {},
      [],
      'free',
      { price: 'free' },
      { price: '0 USD' },
      { price: ['0.01 USD', '0 SAT'] },
      { price: [] },
      { price: 5 },
      { price: null },
      { price: '-1 USD' },
      { price: '0.02 USD', breakdown: [] },
      { price: '0.02 USD', breakdown: 'x' },
      { price: '0.02 USD', breakdown: [null] },
      { price: '0.02 USD', breakdown: [{ what: 'a', quantity: 1, unit: 'b', amount: '0.01 USD' }] },
      { price: '0.02 USD', breakdown: [{ what: 'a', quantity: 1, unit: 'b', amount: '0.02 EUR' }] },
      {
        price: '0.02 USD',
        breakdown: [{ what: 'a', quantity: -1, unit: 'b', amount: '0.02 USD' }],
      },
      { price: '0.02 USD', padding: 'x'.repeat(PRICE_BYTES_MAX) },
      new Status(500),
      new Status(404),
      new Status(307),
      new Status(204),
    ]
    for (const one of bad) {
      answer = () => one
      const refused = await node.ask('/a')
      assert.deepEqual(
        [refused.status, refused.body['code'], refused.fields.get('retry-after')],
        [503, 'price-unavailable', '5'],
        JSON.stringify(one)?.slice(0, 100),
      )
      assert.equal('offers' in refused.body, false)
      assert.doesNotMatch(refused.text, /127\.0\.0\.1|service/)
      answer = () => ({ price: '0.02 USD' })
      assert.equal((await node.ask('/a')).status, 402)
    }
    assert.equal(node.runs(), 0)
    const faults = events.flatMap((event) => (event.type === 'fault' ? [event.error] : []))
    assert.equal(faults.length, bad.length)
    assert.ok(faults.every((e) => e instanceof PaymentError && !e.message.includes('127.0.0.1')))
    // Who has paid in the meantime is served when it is back, by the same payment.
    assert.equal((await node.ask('/a', { nonce: 'n1' })).status, 200)
  })

  test('that is away is left alone after some tries, and asked again by one request at a time', async () => {
    let [asked, isAway] = [0, true]
    const url = await serve(() => {
      asked++
      return isAway ? new Status(503) : { price: '0.02 USD' }
    })
    const clock = createHand()
    const price = priceService(url, { secret, clock })
    for (let i = 0; i < 3 * BREAK_AFTER; i++) await assert.rejects(priceOf(price), isUnavailable)
    assert.equal(asked, BREAK_AFTER)
    clock.pass(BREAK_MS)
    const tries = await Promise.allSettled([priceOf(price), priceOf(price), priceOf(price)])
    assert.ok(tries.every(({ status }) => status === 'rejected'))
    assert.equal(asked, BREAK_AFTER + 1)
    clock.pass(BREAK_MS - 1)
    isAway = false
    await assert.rejects(priceOf(price), isUnavailable)
    clock.pass(1)
    assert.deepEqual(await priceOf(price), { price: '0.02 USD' })
    assert.deepEqual(await priceOf(price), { price: '0.02 USD' })
  })

  test('is not taken from all by requests that it refuses or trips over', async () => {
    const url = await serve((_, body) =>
      body.includes('odd') ? new Status(body.includes('odd0') ? 400 : 500) : { price: '0.02 USD' },
    )
    const price = priceService(url, { secret })
    for (let i = 0; i < 3 * BREAK_AFTER; i++)
      await assert.rejects(priceOf(price, { path: `/odd${i % 2}` }), isUnavailable)
    assert.deepEqual(await priceOf(price), { price: '0.02 USD' })
  })

  test('has so much time, and so many questions at once', async () => {
    const gone = priceService(await serve(() => new Promise<never>(() => {})), {
      secret,
      timeoutMs: 50,
    })
    const late = await Promise.allSettled(
      Array.from({ length: PRICES_AT_ONCE_MAX + 1 }, () => priceOf(gone)),
    )
    const whys = late.map((one) => (one.status === 'rejected' ? String(one.reason) : 'priced'))
    assert.match(whys.at(-1) ?? '', /too much is asked at once/)
    assert.match(whys[0] ?? '', /time is up/)
    assert.equal(whys.filter((why) => why.includes('at once')).length, 1)
  })
})

describe('a price that is remembered', () => {
  test('is that of requests which are equal in what was stated, for so long', async () => {
    let asked = 0
    const url = await serve((_, body) => ({ price: `0.0${++asked} USD`, said: body }))
    const clock = createHand()
    const price = priceService(url, {
      secret,
      clock,
      headers: ['x-tier'],
      cache: { by: ['method', 'query.model', 'params.id', 'headers.x-tier'], forMs: 60_000 },
    })
    const ask = async (request: Partial<PriceRequest>): Promise<unknown> =>
      Reflect.get(Object(await priceOf(price, request)), 'price')
    const first = { query: 'model=a&n=1', params: { id: '7' } }
    assert.equal(await ask(first), '0.01 USD')
    assert.equal(await ask({ ...first, query: 'n=2&model=a', path: '/other' }), '0.01 USD')
    const others: readonly Partial<PriceRequest>[] = [
      { ...first, method: 'POST' },
      { ...first, query: 'model=b' },
      // To one reader the first counts, to another the last.
      { ...first, query: 'model=a&model=b' },
      { ...first, params: { id: '8' } },
      { ...first, fields: new Headers({ 'x-tier': 'gold' }) },
    ]
    for (const [i, other] of others.entries()) assert.equal(await ask(other), `0.0${i + 2} USD`)
    clock.pass(59_999)
    assert.equal(await ask(first), '0.01 USD')
    clock.pass(1)
    assert.equal(await ask(first), '0.07 USD')
  })

  test('is asked for once by all who want to know it at once, and a failure is remembered by nobody', async () => {
    let [asked, isBroken] = [0, true]
    const url = await serve(() => {
      asked++
      return isBroken ? new Status(500) : { price: '0.02 USD' }
    })
    const price = priceService(url, { secret, cache: { by: ['path'], forMs: 60_000 } })
    const all = (): Promise<readonly PromiseSettledResult<unknown>[]> =>
      Promise.allSettled(Array.from({ length: 20 }, () => priceOf(price)))
    assert.ok((await all()).every(({ status }) => status === 'rejected'))
    assert.equal(asked, 1)
    isBroken = false
    assert.ok((await all()).every(({ status }) => status === 'fulfilled'))
    assert.equal(asked, 2)
  })

  test('takes so much memory and no more: the oldest is asked for again', async () => {
    let asked = 0
    const fetch = async (): Promise<Response> => {
      asked++
      return Response.json({ price: '0.02 USD' })
    }
    const price = priceService('https://prices.test/', {
      secret,
      fetch,
      cache: { by: ['path'], forMs: 60_000 },
    })
    for (let i = 0; i <= CACHE_MAX; i++) await priceOf(price, { path: `/${i}` })
    assert.equal(asked, CACHE_MAX + 1)
    await priceOf(price, { path: '/1' })
    assert.equal(asked, CACHE_MAX + 1)
    await priceOf(price, { path: '/0' })
    assert.equal(asked, CACHE_MAX + 2)
  })
})

test('settings that cannot be meant stop the start, and never tell the secret', () => {
  const at = 'https://prices.test/'
  const wrong: readonly (readonly [string, Partial<PriceServiceOptions>, RegExp])[] = [
    ['http://prices.test/', {}, /https:/],
    ['ftp://127.0.0.1/', {}, /https:/],
    ['prices.test', {}, /https:/],
    ['http://127.0.0.1.evil.test/', {}, /https:/],
    [at, { secret: 'hunter2' }, /whsec_/],
    [at, { secret: [] }, /between one and/],
    [at, { headers: ['Authorization'] }, /credential/],
    [at, { headers: ['X-Api-Key'] }, /credential/],
    [at, { headers: ['PAYMENT-SIGNATURE'] }, /credential/],
    [at, { headers: ['a b'] }, /no name/],
    [at, { cache: { by: [], forMs: 1 } }, /cache/],
    [at, { cache: { by: ['path'], forMs: 0 } }, /cache/],
    [at, { cache: { by: ['query.'], forMs: 1 } }, /"by"/],
  ]
  for (const [url, options, why] of wrong)
    assert.throws(
      () => priceService(url, { secret, ...options }),
      (error) =>
        error instanceof RangeError && why.test(error.message) && !/hunter2/.test(error.message),
      url,
    )
  for (const url of [at, 'http://localhost:1/', 'http://[::1]:1/', 'http://127.9.9.9/'])
    assert.equal(typeof priceService(url, { secret }), 'function')
  assert.equal(typeof priceService('http://prices.test/', { secret, plainHttp: true }), 'function')
})

describe('a price function', () => {
  test('may give a breakdown, and one that does not add up is a fault: nothing is sold', async () => {
    let amount = '0.01 USD'
    const node = await open({
      'GET /a': {
        price: ({ query }) => {
          const pages = BigInt(new URLSearchParams(query).get('pages') ?? '1')
          const breakdown = [{ what: 'pages', quantity: pages, unit: 'page', amount }]
          return { price: ['0.010 USD', '15 SAT'], breakdown }
        },
      },
    })
    const offered = await node.ask('/a?pages=3')
    assert.equal(offered.status, 402)
    assert.deepEqual(offered.body['breakdown'], [
      { what: 'pages', quantity: '3', unit: 'page', amount: '0.01 USD' },
    ])
    amount = '15 SAT'
    assert.equal((await node.ask('/a?pages=3')).status, 402)
    for (const wrong of ['0.009 USD', '14 SAT', '0.01 EUR', 'free']) {
      amount = wrong
      const refused = await node.ask('/a?pages=3')
      assert.deepEqual([refused.status, refused.body['code']], [500, 'internal'], wrong)
    }
    assert.equal(node.runs(), 0)
  })

  test('prices by method and query, beside routes that differ by method', async () => {
    const amountOf = async (node: Node, path: string, method = 'GET'): Promise<unknown> => {
      const { offers } = (await node.ask(path, { method })).body
      const [first] = Array.isArray(offers) ? (offers as readonly Json[]) : []
      return JSON.parse(JSON.stringify(first ?? null))?.amount?.amount
    }
    const node = await open({
      'GET /a': '0.01 USD',
      'POST /a': '0.05 USD',
      '/b': {
        price: ({ method, query }) =>
          method === 'POST' || query === 'n=2' ? '0.02 USD' : '0.01 USD',
      },
    })
    assert.equal(await amountOf(node, '/a'), '10000')
    assert.equal(await amountOf(node, '/a', 'POST'), '50000')
    assert.equal(await amountOf(node, '/b?n=1'), '10000')
    assert.equal(await amountOf(node, '/b?n=2'), '20000')
    assert.equal(await amountOf(node, '/b?n=1', 'POST'), '20000')
  })
})

/** An answer with that status and no body. */
class Status {
  readonly status: number
  constructor(status: number) {
    this.status = status
  }
}

function isUnavailable(error: unknown): boolean {
  return error instanceof PaymentError && error.code === 'price-unavailable' && error.retryable
}

async function priceOf(price: PriceOf, request: Partial<PriceRequest> = {}): Promise<unknown> {
  const plain = { method: 'GET', url: 'https://api.test/a', path: '/a', query: '', params: {} }
  return await price({ ...plain, fields: new Headers(), ...request })
}

/** A service on this machine. */
async function serve(answer: (headers: Headers, body: string) => unknown): Promise<string> {
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (text: string) => (body += text))
    request.on('end', () => {
      const headers = new Headers(
        Object.entries(request.headersDistinct).map(([name, all]) => [
          name,
          (all ?? []).join(', '),
        ]),
      )
      Promise.resolve(answer(headers, body)).then((said) => {
        if (said instanceof Status) response.writeHead(said.status, { location: '/' }).end()
        else response.writeHead(200).end(JSON.stringify(said))
      }, assert.fail)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  ends.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

async function open(
  routes: Parameters<typeof createWorld>[0],
  settings: Parameters<typeof createWorld>[1] = {},
): Promise<Node> {
  const { ledger, ...rest } = settings
  const node = await createWorld(routes, { ...rest, ...(ledger && { ledger }) }).open()
  ends.push(() => node.seller.close())
  return node
}
