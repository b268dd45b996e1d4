// Routes that are priced by measure, through node:http and through a fetch handler, with real connections and real streams.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as after } from 'node:timers/promises'
import type { Ledger } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { oauth } from '../protocols/oauth/index.ts'
import { createMacaroonMint, createMacaroons } from '../tokens/macaroon/index.ts'
import { TOKENS_PATH } from './exchange.ts'
import { toll as fetchToll } from './fetch.ts'
import { serve } from './fixture.test.ts'
import { meterOf } from './meter.ts'
import type { RequestMeter } from './meter.ts'
import { toll as nodeToll } from './node.ts'
import type { Routes } from './routes.ts'
import type { OpenSeller } from './seller.ts'
import { createSeller } from './seller.ts'
import { SECRET, bearer, createRail, fake, pay } from './shop.test.ts'

const routes: Routes = {
  'GET /words': { plan: 'purse', meter: { unit: '0.10 USD', most: '0.60 USD' } },
  'GET /once': { plan: 'purse', meter: { unit: '0.01 USD' } },
  'GET /fails': { plan: 'purse', meter: { unit: '0.01 USD' } },
  'GET /gift': { plan: 'purse', meter: { unit: '0.01 USD' }, free: '1/d' },
}
const CHUNK = 'word '.repeat(1_000)

/** What is served: chunks for a tenth of a dollar each, until they are not covered; or one answer that is counted at once. */
async function* words(meter: RequestMeter): AsyncGenerator<string> {
  while (await meter.take('0.10 USD', 'words')) yield CHUNK
}

interface Shop {
  readonly origin: string
  readonly token: string
  readonly ledger: Ledger
  readonly meters: RequestMeter[]
  readonly get: (path: string) => Promise<Response>
  /** What is left, once nothing is held any more. */
  readonly left: () => Promise<string>
}

const kinds: Readonly<
  Record<
    string,
    (seller: OpenSeller, meters: RequestMeter[]) => Promise<Awaited<ReturnType<typeof serve>>>
  >
> = {
  'node:http': (seller, meters) =>
    serve(
      nodeToll(seller, routes, async (request, response): Promise<unknown> => {
        const meter = meterOf(request)
        meters.push(meter)
        if (request.url === '/fails') {
          await meter.take('0.05 USD')
          return response.writeHead(500).end('broken')
        }
        if (request.url !== '/words') {
          await meter.take('0.0123 USD', 'one')
          return response.end('once')
        }
        for await (const chunk of words(meter)) {
          if (response.destroyed) break
          if (!response.write(chunk))
            await new Promise((resume) => response.once('drain', resume).once('close', resume))
        }
        return response.end()
      }),
    ),
  fetch: async (seller, meters) => {
    const handler = fetchToll(seller, routes, async (request) => {
      const meter = meterOf(request)
      meters.push(meter)
      const { pathname } = new URL(request.url)
      if (pathname === '/fails') {
        await meter.take('0.05 USD')
        return new Response('broken', { status: 500 })
      }
      if (pathname !== '/words') {
        await meter.take('0.0123 USD', 'one')
        return new Response('once')
      }
      return new Response(ReadableStream.from(words(meter)).pipeThrough(new TextEncoderStream()))
    })
    const { getRequestListener } = await import('@hono/node-server')
    return await serve(getRequestListener(handler))
  },
}

async function open(t: TestContext, kind: string): Promise<Shop> {
  const ledger = memory()
  const mints = [createMacaroonMint(createMacaroons({ secrets: [SECRET] }))]
  const seller = await createSeller({
    secret: SECRET,
    rails: [createRail(new Set())],
    protocols: [fake, oauth({ mints })],
    mints,
    ledger,
    plans: { purse: { price: '0.50 USD', balance: '0.45 USD' } },
    limits: {},
  })
  const meters: RequestMeter[] = []
  const { origin, close } = await (kinds[kind] ?? assert.fail(kind))(seller, meters)
  t.after(async () => {
    await close()
    await seller.close()
  })
  const buying = { method: 'POST', headers: {} }
  const asked = await fetch(`${origin}${TOKENS_PATH}/purse`, buying)
  const { offers } = (await asked.json()) as { readonly offers: readonly unknown[] }
  const headers = { 'fake-payment': pay(offers[0], 'p') }
  const bought = await fetch(`${origin}${TOKENS_PATH}/purse`, { ...buying, headers })
  const { token } = (await bought.json()) as { readonly token: string }
  return {
    origin,
    token,
    ledger,
    meters,
    get: (path) => fetch(origin + path, { headers: bearer(token) }),
    async left() {
      while ((await ledger.pending()).length > 0) await after(5)
      const said = await fetch(`${origin}${TOKENS_PATH}`, { headers: bearer(token) })
      const { balance } = (await said.json()) as { readonly balance: string }
      return balance
    },
  }
}

for (const kind of Object.keys(kinds))
  describe(`a route that is priced by measure, through ${kind}`, () => {
    test('is asked for with the plan, and costs what was counted', async (t) => {
      const { get, left, origin } = await open(t, kind)
      assert.equal((await fetch(`${origin}/once`)).status, 402)
      const said = await get('/once')
      assert.deepEqual([said.status, await said.text()], [200, 'once'])
      assert.equal(said.headers.get('cache-control'), 'private, no-store')
      assert.equal(await left(), '0.4377 USD')
    })

    test('streams for as long as it is covered, and not a piece further', async (t) => {
      const { get, left } = await open(t, kind)
      const said = await get('/words')
      assert.equal(await said.text(), CHUNK.repeat(4))
      assert.equal(await left(), '0.05 USD')
      assert.equal((await get('/words')).status, 402)
      assert.equal((await get('/once')).status, 200)
    })

    test('costs nothing where the answer is no success', async (t) => {
      const { get, left } = await open(t, kind)
      assert.equal((await get('/fails')).status, 500)
      assert.equal(await left(), '0.45 USD')
    })

    test('that is left in the middle costs what was measured until then', async (t) => {
      const { origin, token, left, meters } = await open(t, kind)
      const leave = new AbortController()
      const said = await fetch(`${origin}/words`, { headers: bearer(token), signal: leave.signal })
      const reader = said.body?.getReader()
      await reader?.read()
      leave.abort()
      const rest = await left()
      const used = meters[0]?.used ?? ''
      assert.ok(['0.1 USD', '0.2 USD', '0.3 USD', '0.4 USD'].includes(used), used)
      assert.equal(Number.parseFloat(rest).toFixed(2), (0.45 - Number.parseFloat(used)).toFixed(2))
    })

    test('counts nothing for whoever is let in for nothing', async (t) => {
      const { origin, meters } = await open(t, kind)
      const said = await fetch(`${origin}/gift`)
      assert.deepEqual([said.status, await said.text()], [200, 'once'])
      assert.equal(meters[0]?.used, '0 USD')
      assert.equal((await fetch(`${origin}/gift`)).status, 402)
    })
  })

test('a request without a meter, and a price that cannot be meant, are told as mistakes', async (t) => {
  assert.throws(() => meterOf({}), /has no meter/)
  const { get, meters } = await open(t, 'node:http')
  await get('/once')
  const [meter] = meters
  await assert.rejects(async () => await meter?.take('5 EUR'), /metered in USD/)
  await assert.rejects(async () => await meter?.add('much'), /not a price/)
})

test('a meter that cannot be meant stops the start with a sentence', async () => {
  const wrong: readonly (readonly [said: object, why: RegExp])[] = [
    [{ price: '1 USD', meter: { unit: '1 USD' } }, /which "plan"/],
    [{ plan: 'uses', meter: { unit: '1 USD' } }, /is no balance/],
    [{ plan: 'purse', meter: { unit: '1 EUR' } }, /is no balance in that/],
    [{ plan: 'purse', meter: { unit: '0 USD' } }, /unit of nothing/],
    [{ plan: 'purse', meter: { unit: '1 USD', most: '1 EUR' } }, /two currencies/],
    [{ plan: 'purse', meter: { unit: '1 USD', mots: '1 USD' } }, /"mots" that means nothing/],
    [{ plan: 'purse', meter: '1 USD' }, /has a "meter"/],
    [{ plan: 'purse' }, /Or a "meter"/],
  ]
  const plans = { purse: { price: '1 USD', balance: '1 USD' }, uses: { price: '1 USD', uses: 5 } }
  const seller = await createSeller({
    secret: SECRET,
    rails: [createRail(new Set())],
    protocols: [fake],
    ledger: memory(),
    plans,
  })
  for (const [said, why] of wrong)
    assert.throws(() => nodeToll(seller, { 'GET /a': said }, () => undefined), why)
  await seller.close()
})
