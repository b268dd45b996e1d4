import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { isObject, readJson } from '../core/json.ts'
import { systemClock } from '../core/clock.ts'
import type { JsonObject } from '../core/json.ts'
import { upstream } from './fixture.test.ts'
import type { Said } from './fixture.test.ts'
import { ask, createBuyer, openDocument, startFacilitator } from './market.test.ts'
import type { Opened, Opening } from './market.test.ts'

const HOST = 'api.example.com'
const payTo = `0x${'11'.repeat(20)}`
const PRICES_SECRET = `whsec_${Buffer.alloc(32, 'prices').toString('base64')}`

const one = `{ evm: { network: base-sepolia, payTo: "${payTo}", facilitator: FACILITATOR } }`

async function open(
  t: TestContext,
  routes: string,
  more = '',
  {
    rails,
    api: given,
    ...opening
  }: Opening & {
    readonly rails?: string
    readonly api?: string
  } = {},
): Promise<Opened> {
  const facilitator = await startFacilitator(t)
  const api =
    given ?? (await upstream(t, (request, response) => response.end(`served ${request.url}`)))
  const text = `listen: 0
origin: http://${HOST}
secret: { env: SECRET }
rails: ${(rails ?? one).replace('FACILITATOR', `"${facilitator.url}"`)}
upstreams: { api: "${api}" }
routes:
${routes}
${more}`
  return await openDocument(t, text, opening)
}

function read(body: string): JsonObject {
  const said = readJson(body, 100_000)
  assert.ok(isObject(said), body)
  return said
}

/** What was taken, by the books: the amount in the token's smallest unit, and the note of the sale. */
async function sold({ ledger }: Opened): Promise<readonly { amount: string; note: JsonObject }[]> {
  const rows = await ledger.journal(0, 1000)
  const keys = [...new Set(rows.filter(({ type }) => type === 'posted').map(({ key }) => key))]
  const held = await Promise.all(keys.map((key) => ledger.find(key)))
  return held.flatMap((one) => (one ? [{ amount: String(one.posted), note: one.note }] : []))
}

describe('a document’s price by rules', () => {
  const routes = `  GET /report: { price: { base: 0.02 USD, each: { unit: page, price: 0.01 USD, query: pages, most: 50 } } }
  /orders: { price: { base: 0.01 USD, when: [{ method: POST, price: 0.05 USD }] } }`

  test('is asked, said line by line, and taken', async (t) => {
    const opened = await open(t, routes)
    const said = await ask(opened, '/report?pages=3', { headers: { host: HOST } })
    assert.equal(said.status, 402)
    assert.deepEqual(read(said.body)['breakdown'], [
      { what: 'request', quantity: '1', unit: 'request', amount: '0.02 USD' },
      { what: 'pages', quantity: '3', unit: 'page', amount: '0.03 USD' },
    ])
    const bought = await createBuyer().buy(opened.port, HOST, '/report?pages=3')
    assert.equal(bought.body, 'served /report?pages=3')
    assert.deepEqual(
      (await sold(opened)).map(({ amount }) => amount),
      ['50000'],
    )
  })

  test('refuses what cannot be priced with a sentence, takes nothing, and calls it no fault', async (t) => {
    const opened = await open(t, routes)
    for (const query of ['pages=51', 'pages=1&pages=50', 'pages=all']) {
      const said = await ask(opened, `/report?${query}`, { headers: { host: HOST } })
      assert.equal(said.status, 400)
      assert.equal(read(said.body)['code'], 'request-unpriced')
      assert.match(JSON.stringify(read(said.body)['detail']), /from 1 to 50/)
    }
    assert.deepEqual(
      opened.events.filter(({ type }) => type === 'fault'),
      [],
    )
    const bought = await createBuyer().buy(opened.port, HOST, '/report?pages=50')
    assert.equal(bought.status, 200)
  })

  test('is another by method, and a payment for the cheaper one buys not the dearer', async (t) => {
    const opened = await open(t, routes)
    const buyer = createBuyer()
    const cheap = await ask(opened, '/orders', { headers: { host: HOST } })
    const fields = await buyer.sign(cheap, HOST, '/orders')
    const headers = { ...fields, host: HOST }
    assert.equal((await ask(opened, '/orders', { method: 'POST', headers })).status, 402)
    assert.equal((await ask(opened, '/orders', { headers })).status, 200)
    const dear = await buyer.buy(opened.port, HOST, '/orders', { method: 'POST' })
    assert.equal(dear.status, 200)
    assert.deepEqual(
      (await sold(opened)).map(({ amount }) => amount),
      ['10000', '50000'],
    )
  })
})

test('a document’s price service is asked with a signature, and nothing is sold while it is away', async (t) => {
  const asked: { readonly body: string; readonly signature: unknown }[] = []
  let status = 200
  const prices = await upstream(t, async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString()
    asked.push({ body, signature: request.headers['webhook-signature'] })
    response.writeHead(status).end(JSON.stringify({ price: '0.07 USD' }))
  })
  const routes = `  GET /report/:id: { priceService: { url: "${prices}/", secret: { env: PRICES }, timeout: 1s } }`
  const opened = await open(t, routes, '', { environment: { PRICES: PRICES_SECRET } })
  const bought = await createBuyer().buy(opened.port, HOST, '/report/7')
  assert.equal(bought.status, 200)
  assert.deepEqual(
    (await sold(opened)).map(({ amount }) => amount),
    ['70000'],
  )
  const [first] = asked
  assert.match(String(first?.signature), /^v1,/)
  assert.deepEqual(read(first?.body ?? '')['params'], { id: '7' })
  status = 503
  const away = await ask(opened, '/report/8', { headers: { host: HOST } })
  assert.equal(away.status, 503)
  assert.equal(read(away.body)['code'], 'price-unavailable')
})

test('a document’s rates turn a price into what a rail takes, and stand in the books', async (t) => {
  const opened = await open(t, '  GET /a: 1 EUR', 'rates: { fixed: { EUR/USD: "1.08" } }')
  assert.equal((await createBuyer().buy(opened.port, HOST, '/a')).status, 200)
  const [sale] = await sold(opened)
  assert.equal(sale?.amount, '1080000')
  const rate = sale?.note['rate']
  assert.ok(isObject(rate))
  assert.deepEqual([rate['currency'], rate['source']], ['EUR', 'fixed'])
})

describe('a document’s protocols and page', () => {
  const twice = `{ evm: [{ network: base-sepolia, payTo: "${payTo}", facilitator: FACILITATOR },
    { network: base, payTo: "0x${'22'.repeat(20)}", rpc: "http://127.0.0.1:1", signer: { env: KEY }, transactions: true }] }`

  test('speaks all that are named in one 402, over the rails that are up', async (t) => {
    const opened = await open(t, '  GET /a: 0.01 USD', 'protocols: [x402, mpp, bearer]', {
      environment: { KEY: 'ab'.repeat(32) },
      rails: twice,
    })
    const said = await ask(opened, '/a', { headers: { host: HOST } })
    assert.equal(said.status, 402)
    const names = opened.open.parts.seller.protocols.map(({ name }) => name)
    assert.deepEqual(names, ['x402', 'mpp', 'bearer'])
    assert.match(
      String(said.response.headers['www-authenticate']),
      /Bearer realm="payment_gateway"/,
    )
    assert.ok(said.response.headers['payment-required'])
    // Two rails are on a chain that nobody answers for, and wait for it.
    const down = opened.events.flatMap((event) => (event.type === 'rail' ? [event.rail] : []))
    assert.deepEqual(down.toSorted(), ['evm', 'evm-transaction'])
    assert.equal((await createBuyer().buy(opened.port, HOST, '/a')).status, 200)
  })

  const built = existsSync(new URL('../../dist/page/index.html', import.meta.url))
  if (!built) process.emitWarning('The page is not built: npm run build.')
  test('shows people a page, and programs none', { skip: !built }, async (t) => {
    const opened = await open(t, '  GET /a: 0.01 USD', 'page: { name: Weather of Acme }')
    const html = await ask(opened, '/a', { headers: { host: HOST, accept: 'text/html' } })
    assert.equal(html.status, 402)
    assert.match(String(html.response.headers['content-type']), /^text\/html/)
    assert.match(html.body, /Weather of Acme/)
    const json = await ask(opened, '/a', { headers: { host: HOST, accept: 'application/json' } })
    assert.match(String(json.response.headers['content-type']), /json/)
  })
})

describe('a route with a fallback', () => {
  const isPage = (path: string | undefined): boolean => path?.startsWith('/page') === true

  /** A gateway over an API that can be taken away, and a way to buy. */
  async function shop(t: TestContext, fallback: string) {
    let now = Date.now()
    const state = { status: 200, headers: {} as Record<string, string>, isGone: false, count: 0 }
    const api = await upstream(t, (request, response) => {
      if (state.isGone) {
        response.destroy()
        return
      }
      state.count++
      response.writeHead(state.status, state.headers)
      const size = request.url?.includes('large') ? 3_000_000 : 10
      response.end(isPage(request.url) ? `${'x'.repeat(size)} ${state.count}` : 'other')
    })
    const clock = {
      now: () => now,
      sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(ms, signal),
    }
    const opened = await open(
      t,
      `  GET /page/*: { price: 0.01 USD, description: A page., fallback: ${fallback} }`,
      '',
      { clock, api },
    )
    const buyer = createBuyer()
    const buy = (path: string, headers: Record<string, string> = {}): Promise<Said> =>
      buyer.buy(opened.port, HOST, path, { headers })
    return { opened, state, buy, pass: (ms: number) => void (now += ms) }
  }

  test('gives the last good answer while its upstream is away, marked and charged, and not for long', async (t) => {
    const { opened, state, buy, pass } = await shop(t, '{ cached: 1m }')
    const fresh = await buy('/page/a')
    assert.deepEqual([fresh.status, fresh.response.headers['tolsey-fallback']], [200, undefined])
    pass(30_000)
    for (const fault of [{ isGone: true }, { isGone: false, status: 503 }, { status: 502 }]) {
      Object.assign(state, fault)
      const old = await buy('/page/a')
      assert.equal(old.status, 200)
      assert.equal(old.body, fresh.body)
      assert.equal(old.response.headers['tolsey-fallback'], 'cached')
      assert.equal(old.response.headers['age'], '30')
      assert.match(String(old.response.headers['cache-control']), /no-store/)
    }
    assert.equal((await sold(opened)).length, 4)
    // What was never asked for is not there, and is not charged.
    assert.equal((await buy('/page/b')).status, 502)
    pass(30_000)
    assert.equal((await buy('/page/a')).status, 502)
    assert.equal((await sold(opened)).length, 4)
    state.status = 200
    assert.equal((await buy('/page/a')).response.headers['tolsey-fallback'], undefined)
  })

  test('gives it for nothing where the seller says so, and says so in its terms', async (t) => {
    const { opened, state, buy } = await shop(t, '{ cached: 1m, charged: false }')
    assert.equal((await buy('/page/a')).status, 200)
    state.isGone = true
    const old = await buy('/page/a')
    assert.deepEqual([old.status, old.response.headers['tolsey-fallback']], [203, 'cached'])
    assert.equal((await sold(opened)).length, 1)
    const said = await ask(opened, '/page/a', { headers: { host: HOST } })
    const terms = Buffer.from(String(said.response.headers['payment-required']), 'base64')
    assert.match(terms.toString(), /A page\. While the service behind is away, .*for nothing/)
  })

  test('gives nobody what was made for another', async (t) => {
    const { state, buy } = await shop(t, '{ cached: 1m }')
    const honest = await buy('/page/plain')
    assert.equal(honest.status, 200)
    for (const [path, asked, said] of [
      ['/page/cookie', { cookie: 'who=me' }, {}],
      ['/page/name', { authorization: 'Basic bWU6cGFzcw==' }, {}],
      ['/page/set', {}, { 'set-cookie': 'who=me' }],
      ['/page/private', {}, { 'cache-control': 'private' }],
      ['/page/vary', {}, { vary: 'X-Who' }],
      ['/page/origin', { origin: 'https://me.example' }, { vary: 'Origin' }],
    ] as const) {
      state.headers = said
      assert.equal((await buy(path, asked)).status, 200)
    }
    state.headers = {}
    state.isGone = true
    for (const name of ['cookie', 'name', 'set', 'private', 'vary', 'origin'])
      assert.equal((await buy(`/page/${name}`)).status, 502, name)
    assert.equal((await buy('/page/plain')).status, 200)
  })

  test('gives nobody what was bought on another route, though both lead to one address', async (t) => {
    let isGone = false
    const api = await upstream(t, (request, response) => {
      if (isGone) response.destroy()
      else response.end(`${String(request.headers['x-tier'])} goods`)
    })
    const routes = ['cheap', 'dear'].map(
      (tier, i) =>
        `  GET /${tier}/*: { price: ${i + 1}.00 USD, rewrite: "/goods/*", fallback: { cached: 1m },
          headers: { request: { set: { X-Tier: ${tier} } } } }`,
    )
    const opened = await open(t, routes.join('\n'), '', { api })
    const buyer = createBuyer()
    assert.equal((await buyer.buy(opened.port, HOST, '/dear/a')).body, 'dear goods')
    isGone = true
    assert.equal((await buyer.buy(opened.port, HOST, '/dear/a')).body, 'dear goods')
    assert.equal((await buyer.buy(opened.port, HOST, '/cheap/a')).status, 502)
  })

  test('passes on what is too large to be kept, whole', async (t) => {
    const { state, buy } = await shop(t, '{ cached: 1m }')
    const large = await buy('/page/large')
    assert.equal(large.body.length, 3_000_002)
    state.isGone = true
    assert.equal((await buy('/page/large')).status, 502)
  })
})
