// The door without a server: requests are values, the gate is the real one over a rail that only quotes.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Event } from '../core/event.ts'
import { createMac } from '../core/mac.ts'
import { createOffers } from '../core/offers.ts'
import type { Protocol, Rail } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { createGate } from '../gate/gate.ts'
import { memory } from '../ledger/memory.ts'
import { createDoor, BODY_MAX_BYTES, RECENT_MS } from './http.ts'
import type { Entered, Incoming, Seller } from './http.ts'
import type { PriceRequest, Routes } from './routes.ts'

const protocol: Protocol = {
  name: 'fake',
  fields: { request: ['Fake-Payment'], response: ['Fake-Offers'] },
  writeChallenge: ({ offers }) => ({
    fields: offers.map(({ id, amount }) => ['Fake-Offers', `${amount.amount} ${id}`]),
    body: { fake: offers.length, title: 'not ours' },
  }),
  readCredential: () => undefined,
  writeReceipt: () => ({ fields: [] }),
  readChallenge: () => undefined,
  writeCredential: () => ({ fields: [] }),
  readReceipt: () => undefined,
}

function setUp(routes: Routes, more: Partial<Seller> = {}) {
  let time = 1_800_000_000_000
  const clock = { now: () => time, sleep: async () => {} }
  const events: Event[] = []
  const asset = { id: 'test:coin', code: 'COIN', scale: 2, currency: 'USD' }
  const said = { rail: 'test', network: 'net', intent: 'charge', payee: 'me', timeoutMs: 60_000 }
  const rail = {
    name: 'test',
    quote: ({ amount }: { amount: bigint }) => [
      { ...said, details: {}, amount: { asset, amount } },
    ],
  } as unknown as Rail
  const gate = createGate({
    rails: [rail],
    ledger: memory({ clock }),
    offers: createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers')),
    clock,
    observe: (event) => events.push(event),
  })
  const seller = { gate, protocols: [protocol], realm: 'shop', clock, ...more }
  const door = createDoor({ ...seller, observe: (event) => events.push(event) }, routes)
  const pass = (ms: number): void => void (time += ms)
  return { door, events, pass, enter: (incoming: Partial<Incoming>) => door.enter(at(incoming)) }
}

function at(incoming: Partial<Incoming>): Incoming {
  const fields = new Headers()
  return { method: 'GET', target: '/', scheme: 'http', authority: 'shop.test', fields, ...incoming }
}

function answerOf(entered: Entered | Promise<Entered>) {
  assert.ok(!(entered instanceof Promise) && entered.kind === 'answer')
  const { status, head, body } = entered.answer
  const fields = new Headers()
  for (let i = 0; i < head.length; i += 2) fields.append(head[i] ?? '', head[i + 1] ?? '')
  return { status, fields, body: body ? JSON.parse(Buffer.from(body).toString()) : undefined }
}

const later = async (entered: Entered | Promise<Entered>) => answerOf(await entered)

describe('the door', () => {
  test('gives equal unpaid requests the same answer for a moment, and counts each', () => {
    const { enter, events, pass } = setUp({ 'GET /a': '0.01 USD' })
    const ask = () => answerOf(enter({ target: '/a?x=1' }))
    const first = ask()
    assert.equal(first.status, 402)
    assert.deepEqual(ask().body, first.body)
    assert.notDeepEqual(answerOf(enter({ target: '/a?x=2' })).body, first.body)
    assert.notDeepEqual(answerOf(enter({ target: '/a?x=1', authority: 'b.test' })).body, first.body)
    pass(RECENT_MS)
    assert.notDeepEqual(ask().body, first.body)
    assert.equal(events.filter(({ type }) => type === 'challenged').length, 5)
  })

  test('writes the problem with the members of protocols, which cannot change it', () => {
    const { enter } = setUp({ 'GET /a': '0.01 USD' })
    const { body, fields } = answerOf(enter({ target: '/a' }))
    assert.equal(body.type, 'urn:tolsey:problem:payment-required')
    assert.equal(body.title, 'Payment required')
    assert.deepEqual(
      [body.status, body.code, body.moved, body.fake],
      [402, 'payment-required', 'no', 1],
    )
    assert.match(body.request, /^[\w-]{12}$/)
    assert.equal(fields.get('vary'), 'Fake-Payment')
  })

  test('asks a price function for each request, with what it may depend on', async () => {
    const seen: PriceRequest[] = []
    const price = (request: PriceRequest): string => {
      seen.push(request)
      return `${request.params['n']} USD`
    }
    const { enter } = setUp({ '* /pages/:n': { price } })
    for (const n of ['2', '3', '3']) {
      const { status, fields } = await later(enter({ target: `/pages/${n}?a=1` }))
      assert.deepEqual([status, fields.get('fake-offers')?.split(' ')[0]], [402, n])
    }
    const body = async () => Buffer.from('words')
    await later(enter({ target: '/pages/4', method: 'POST', body }))
    assert.equal(seen.length, 4)
    assert.deepEqual(
      [seen[0]?.method, seen[0]?.path, seen[0]?.query, seen[0]?.url],
      ['GET', '/pages/2', 'a=1', 'http://shop.test/pages/2?a=1'],
    )
    assert.equal(Buffer.from(seen[3]?.body ?? []).toString(), 'words')
  })

  test('a price that fails is never free', async () => {
    const fail = (error: Error) => ({
      price: () => {
        throw error
      },
    })
    const { enter, events } = setUp({
      'GET /bug': fail(new Error('secret detail')),
      'GET /world': fail(new PaymentError('rail-unavailable', 'http://inside:1/')),
      'GET /text': { price: () => 'a lot' },
    })
    const [bug, world, text] = [
      await later(enter({ target: '/bug' })),
      await later(enter({ target: '/world' })),
      await later(enter({ target: '/text' })),
    ]
    assert.deepEqual([bug.status, world.status, text.status], [500, 503, 500])
    assert.doesNotMatch(JSON.stringify([bug.body, world.body]), /secret|inside:1/)
    assert.equal(events.filter(({ type }) => type === 'fault').length, 3)
  })

  test('a gate that fails is never free', () => {
    const { enter } = setUp(
      { 'GET /a': '0.01 USD', 'GET /b': 'free' },
      {
        protocols: [
          {
            ...protocol,
            writeChallenge: () => {
              throw new Error('bug')
            },
          },
        ],
      },
    )
    assert.equal(answerOf(enter({ target: '/a' })).status, 500)
    assert.deepEqual(enter({ target: '/b' }), { kind: 'free' })
  })

  test('binds a body by its digest, and leaves it unread where the route says so', async () => {
    const { enter } = setUp({
      'POST /bound': '0.01 USD',
      'POST /open': { price: '0.01 USD', body: 'free' },
    })
    let reads = 0
    const body = (text: string) => async () => {
      reads++
      return Buffer.from(text)
    }
    const ask = async (target: string, text: string) => {
      const { fields } = await later(enter({ method: 'POST', target, body: body(text) }))
      return fields.get('fake-offers')
    }
    assert.equal(await ask('/bound', 'a'), await ask('/bound', 'a'))
    assert.notEqual(await ask('/bound', 'a'), await ask('/bound', 'b'))
    assert.equal(reads, 4)
    assert.equal(await ask('/open', 'a'), await ask('/open', 'b'))
    assert.equal(reads, 4)
  })

  test('refuses a body that says it is too large before reading it', async () => {
    const { enter } = setUp({ 'POST /a': '0.01 USD' })
    const asked = { method: 'POST', target: '/a', body: () => assert.fail('read') }
    const fields = new Headers({ 'content-length': String(BODY_MAX_BYTES + 1) })
    assert.equal((await later(enter({ ...asked, fields }))).status, 413)
    const body = async () => Buffer.alloc(BODY_MAX_BYTES)
    const fits = new Headers({ 'content-length': String(BODY_MAX_BYTES) })
    assert.equal((await later(enter({ ...asked, body, fields: fits }))).status, 402)
  })

  test('believes no host that is not declared, and writes addresses as declared', () => {
    const { enter } = setUp(
      { 'GET /a': '0.01 USD', 'GET /b': 'free' },
      { origin: ['https://a.test', 'http://b.test:81'] },
    )
    const statusAt = (authority: string | undefined): number =>
      answerOf(
        enter({
          target: '/a',
          ...(authority && { authority }),
          ...(!authority && { authority: undefined }),
        }),
      ).status
    assert.deepEqual(
      ['a.test', 'A.test', 'a.test:443', 'b.test:81'].map(statusAt),
      [402, 402, 402, 402],
    )
    assert.deepEqual(
      ['evil.test', 'a.test.', 'a.test:8443', 'b.test', 'a.test/x', '', undefined].map(statusAt),
      Array.from({ length: 7 }, () => 421),
    )
    assert.equal(enter({ target: '/b', authority: 'evil.test' }) instanceof Promise, false)
  })

  test('without an origin a host must at least be one', () => {
    const { enter } = setUp({ 'GET /a': '0.01 USD' })
    const statusAt = (authority: string): number =>
      answerOf(enter({ target: '/a', authority })).status
    assert.deepEqual(
      ['a', 'localhost:80', '[::1]:8402', '10.0.0.1'].map(statusAt),
      [402, 402, 402, 402],
    )
    assert.deepEqual(
      ['', 'a b', 'a@b', 'a/b', 'a:b', 'a?b', 'é'].map(statusAt),
      Array.from({ length: 7 }, () => 421),
    )
  })

  test('a wrong origin stops the start with a sentence', () => {
    for (const origin of [
      'shop.test',
      'https://shop.test/path',
      'ftp://shop.test',
      'https://u:p@shop.test',
    ])
      assert.throws(() => setUp({}, { origin }), /is not an origin/)
  })

  test('names listed origins one by one, and none when CORS is off', () => {
    const routes = { 'GET /a': '0.01 USD' }
    const from = (origin: string) => ({ target: '/a', fields: new Headers({ origin }) })
    const some = setUp(routes, { cors: { origins: ['https://page.test'] } })
    const allowed = (origin: string) => answerOf(some.enter(from(origin))).fields
    for (let i = 0; i < 2; i++) {
      assert.equal(
        allowed('https://page.test').get('access-control-allow-origin'),
        'https://page.test',
      )
      assert.equal(allowed('https://evil.test').get('access-control-allow-origin'), null)
    }
    assert.equal(allowed('https://page.test').get('vary'), 'Fake-Payment, Origin')
    const off = setUp(routes, { cors: false })
    const { fields } = answerOf(off.enter(from('https://page.test')))
    assert.deepEqual(
      [...fields.keys()].filter((name) => name.startsWith('access-control')),
      [],
    )
    assert.equal(
      answerOf(off.enter({ ...from('https://page.test'), method: 'OPTIONS' })).status,
      204,
    )
  })

  test('keeps a bounded number of finished answers', () => {
    const { enter } = setUp({ 'GET /a/*': '0.01 USD' })
    for (let i = 0; i < 5_000; i++) enter({ target: `/a/${i}` })
    const long = `/a/${'x'.repeat(4_000)}`
    assert.notDeepEqual(
      answerOf(enter({ target: long })).body,
      answerOf(enter({ target: long })).body,
    )
    assert.deepEqual(
      answerOf(enter({ target: '/a/b' })).body,
      answerOf(enter({ target: '/a/b' })).body,
    )
  })
})

test('a route that keeps its answers wants a seller with a vault', () => {
  const routes = { 'GET /a': { price: '0.01 USD', keep: true } }
  assert.throws(() => setUp(routes), /"GET \/a" keeps its answers\. Give the seller a vault/)
  setUp({ 'GET /a': { price: '0.01 USD', keep: false } })
})
