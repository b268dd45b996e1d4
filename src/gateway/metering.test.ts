// A model behind the gateway, paid by what it says that it used. The upstream is ours, and speaks as the usual APIs do.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as after } from 'node:timers/promises'
import { createSeller } from '../adapters/seller.ts'
import { TOKENS_PATH } from '../adapters/exchange.ts'
import { SECRET, bearer, createRail, fake, pay } from '../adapters/shop.test.ts'
import { memory } from '../ledger/memory.ts'
import type { MeterSettings } from '../meters/meters.ts'
import { oauth } from '../protocols/oauth/index.ts'
import { createMacaroonMint, createMacaroons } from '../tokens/macaroon/index.ts'
import { stage, upstream } from './fixture.test.ts'

const delta = (content: string): string =>
  `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`
const usage = (prompt: number, completion: number): string =>
  `data: ${JSON.stringify({ usage: { prompt_tokens: prompt, completion_tokens: completion } })}\n\n`
const DONE = 'data: [DONE]\n\n'
/** Forty characters: ten tokens, as far as one can guess. */
const TEN = 'x'.repeat(40)

interface Shop {
  readonly get: (path: string) => Promise<Response>
  /** What is left, once nothing is held. */
  readonly left: () => Promise<string>
  /** What the upstream has seen of each request. */
  readonly encodings: (string | undefined)[]
  readonly topUp: () => Promise<void>
}

const tokens: MeterSettings = { per: 'token', input: '0.001 USD', output: '0.002 USD' }

async function open(t: TestContext, counts: MeterSettings, most?: string): Promise<Shop> {
  const encodings: (string | undefined)[] = []
  const url = await upstream(t, async (request, response) => {
    encodings.push(request.headers['accept-encoding'])
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://up')
    if (pathname === '/fails') return void response.writeHead(500).end(delta(TEN))
    if (pathname === '/whole') {
      const said = {
        choices: [{ message: { content: TEN } }],
        usage: { prompt_tokens: 7, completion_tokens: 5 },
      }
      return void response.setHeader('content-type', 'application/json').end(JSON.stringify(said))
    }
    response.setHeader('content-type', 'text/event-stream')
    const pieces = Number(searchParams.get('pieces') ?? 1)
    for (let i = 0; i < pieces && !response.destroyed; i++) {
      response.write(delta(TEN))
      await after(Number(searchParams.get('ms') ?? 0))
    }
    if (searchParams.has('usage')) response.write(usage(20, pieces * 9))
    return void response.end(DONE)
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
  const sale = { plan: 'purse', meter: { unit: '0.05 USD', ...(most !== undefined && { most }) } }
  const gateway = await stage(t, {
    upstreams: { model: { url } },
    routes: { 'GET /*': { sale, counts } },
    seller,
  })
  const post = async (path: string, nonce: string, body?: string): Promise<Response> => {
    const asking = { method: 'POST', ...(body !== undefined && { body }) }
    const asked = await fetch(gateway.url + path, asking)
    const { offers } = (await asked.json()) as { readonly offers: readonly unknown[] }
    return await fetch(gateway.url + path, {
      ...asking,
      headers: { 'fake-payment': pay(offers[0], nonce) },
    })
  }
  const bought = await post(`${TOKENS_PATH}/purse`, 'p')
  const { token } = (await bought.json()) as { readonly token: string }
  return {
    encodings,
    get: (path) => fetch(gateway.url + path, { headers: bearer(token) }),
    async left() {
      while ((await ledger.pending()).length > 0) await after(5)
      const said = await fetch(`${gateway.url}${TOKENS_PATH}`, { headers: bearer(token) })
      return ((await said.json()) as { readonly balance: string }).balance
    },
    async topUp() {
      const said = await post(`${TOKENS_PATH}/purse`, 'q', JSON.stringify({ topUp: token }))
      assert.equal(said.status, 200, await said.text())
    },
  }
}

describe('a model that is paid by the token', () => {
  test('costs what it says that it used, in a stream and whole', async (t) => {
    const { get, left, encodings } = await open(t, tokens)
    const stream = await get('/stream?pieces=3&usage')
    assert.equal(stream.headers.get('content-type'), 'text/event-stream')
    assert.equal(await stream.text(), delta(TEN).repeat(3) + usage(20, 27) + DONE)
    // 20 read and 27 written.
    assert.equal(await left(), '0.926 USD')
    assert.match(await (await get('/whole')).text(), /"prompt_tokens":7/)
    // 7 read and 5 written.
    assert.equal(await left(), '0.909 USD')
    assert.deepEqual(new Set(encodings), new Set(['identity']))
  })

  test('costs what its text has, where it says nothing', async (t) => {
    const { get, left } = await open(t, tokens)
    await (await get('/stream?pieces=3')).text()
    assert.equal(await left(), '0.94 USD')
  })

  test('costs nothing where it fails', async (t) => {
    const { get, left } = await open(t, tokens)
    const said = await get('/fails')
    assert.deepEqual([said.status, await said.text()], [500, delta(TEN)])
    assert.equal(await left(), '1 USD')
  })

  test('is stopped where the balance ends, says so, and goes on after a top-up', async (t) => {
    const { get, left, topUp } = await open(t, tokens)
    const said = await (await get('/stream?pieces=80&ms=1')).text()
    const pieces = said.split(delta(TEN)).length - 1
    assert.equal(pieces, 50)
    assert.match(said, /event: payment-required\ndata: {"code":"token-exhausted"/)
    assert.ok(!said.includes(DONE))
    assert.equal(await left(), '0 USD')
    assert.equal((await get('/stream')).status, 402)
    await topUp()
    await (await get('/stream')).text()
    assert.equal(await left(), '0.98 USD')
  })

  test('never costs more than the most', async (t) => {
    const { get, left } = await open(t, tokens, '0.10 USD')
    const said = await (await get('/stream?pieces=9')).text()
    assert.equal(said.split(delta(TEN)).length - 1, 5)
    assert.equal(await left(), '0.9 USD')
  })
})

test('seconds are paid as they begin, also of an answer that is silent', async (t) => {
  const { get, left } = await open(t, { per: 'second', price: '0.01 USD' })
  await (await get('/stream?ms=1300')).text()
  assert.equal(await left(), '0.98 USD')
})

test('bytes and events are paid as they pass', async (t) => {
  const bytes = await open(t, { per: 'byte', price: '0.0001 USD' })
  const { length } = await (await bytes.get('/stream')).text()
  assert.equal(Number.parseFloat(await bytes.left()).toFixed(4), (1 - length / 10_000).toFixed(4))
  const events = await open(t, { per: 'event', price: '0.10 USD' })
  await (await events.get('/stream?pieces=4')).text()
  assert.equal(await events.left(), '0.5 USD')
})
