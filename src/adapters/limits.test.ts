// Limits at the door of a whole seller, under a clock that is moved by hand. Who asks is told by the address option.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Hono } from 'hono'
import { oauth } from '../protocols/oauth/index.ts'
import { createOpaques } from '../tokens/opaque/index.ts'
import { TOKENS_PATH } from './exchange.ts'
import { serve } from './fixture.test.ts'
import { toll as tollHono } from './hono.ts'
import type { LimitSettings } from './limits.ts'
import { toll as tollNext } from './next.ts'
import { toll as tollNode } from './node.ts'
import type { Routes } from './routes.ts'
import { bearer, createHand, createWorld, fake, ORIGIN, pay, SECRET, textIn } from './shop.test.ts'
import type { Node, Said, Wish } from './shop.test.ts'

const HOUR_MS = 3_600_000
const HERE = '192.0.2.1'
const THERE = '192.0.2.2'

function shop(limits: LimitSettings | undefined, routes: Routes, issues?: { count: number }) {
  const clock = createHand()
  const mints = [createOpaques({ secrets: [SECRET], clock })]
  return createWorld(
    routes,
    {
      plans: {
        basic: { price: '0.10 USD' },
        gold: { price: '9 USD', ...(limits?.tiers?.['premium'] && { tier: 'premium' }) },
      },
      mints,
      protocols: [fake, oauth({ mints, clock })],
      ...(limits && { limits }),
    },
    clock,
    issues ? { issues } : {},
  )
}

const route = { 'GET /a': { price: '0.01 USD', takes: ['basic', 'gold'] } }

async function tokenOf(node: Node, plan: string, nonce: string, address = HERE): Promise<Wish> {
  const said = await node.ask(`${TOKENS_PATH}/${plan}`, { method: 'POST', nonce, address })
  assert.equal(said.status, 200, said.text)
  return { fields: bearer(textIn(said, 'token')), address }
}

/** The statuses of so many equal requests. */
async function statuses(node: Node, times: number, wish: Wish, path = '/a'): Promise<number[]> {
  const found: number[] = []
  for (let i = 0; i < times; i++) found.push((await node.ask(path, wish)).status)
  return found
}

const fieldsOf = ({ fields }: Said) =>
  ['retry-after', 'ratelimit-policy', 'ratelimit'].map((name) => fields.get(name))

describe('tiers', () => {
  const tiers = { unpaid: '3/h', paid: '2/h', premium: 'unlimited' }

  test('whoever does not pay has so many challenges, and is told when there are more', async () => {
    const { open, clock } = shop({ tiers }, route)
    const node = await open()
    const first = await node.ask('/a', { address: HERE })
    assert.equal(first.status, 402)
    assert.deepEqual(fieldsOf(first), [null, '"unpaid";q=3;w=3600', '"unpaid";r=2;t=2400'])
    assert.match(first.fields.get('access-control-expose-headers') ?? '', /RateLimit-Policy/)
    assert.deepEqual(await statuses(node, 3, { address: HERE }), [402, 402, 429])
    const over = await node.ask('/a', { address: HERE })
    assert.deepEqual([over.body['code'], over.body['moved']], ['rate-limited', 'no'])
    assert.deepEqual(fieldsOf(over), ['1200', '"unpaid";q=3;w=3600', '"unpaid";r=0;t=1200'])
    assert.equal(over.body['offers'], undefined)
    assert.deepEqual(await statuses(node, 1, { address: THERE }), [402])
    clock.pass(1_200_000)
    assert.deepEqual(await statuses(node, 2, { address: HERE }), [402, 429])
    await node.seller.close()
  })

  test('a token is counted by its account, wherever it is shown, and a plan has its own tier', async () => {
    const { open } = shop({ tiers: { ...tiers, unpaid: 'unlimited' } }, route)
    const node = await open()
    const basic = await tokenOf(node, 'basic', 'n1')
    const other = await tokenOf(node, 'basic', 'n2')
    const gold = await tokenOf(node, 'gold', 'n3')
    assert.deepEqual(await statuses(node, 1, basic), [200])
    assert.deepEqual(await statuses(node, 2, { ...basic, address: THERE }), [200, 429])
    assert.deepEqual(await statuses(node, 1, { ...basic, address: '2001:db8::1' }), [429])
    assert.deepEqual(await statuses(node, 2, other), [200, 200])
    assert.deepEqual(new Set(await statuses(node, 30, gold)), new Set([200]))
    const served = await node.ask('/a', gold)
    assert.equal(served.fields.get('ratelimit'), null)
    await node.seller.close()
  })

  test('a token that was never paid for names no caller of its own', async () => {
    const { open, clock } = shop({ tiers }, route)
    const node = await open()
    const mint = createOpaques({ secrets: [SECRET], clock })
    const unpaid = (i: number): Wish => {
      const id = i.toString(16).padStart(64, '0')
      return { fields: bearer(mint.mint({ id, rights: {} })), address: HERE }
    }
    const said: number[] = []
    for (let i = 0; i < 4; i++) said.push((await node.ask('/a', unpaid(i))).status)
    assert.deepEqual(said, [401, 401, 429, 429])
    await node.seller.close()
  })

  test('a plan or a route that names a tier which is not there stops the start', async () => {
    const plans = { a: { price: '1 USD', tier: 'gold' } }
    await assert.rejects(createWorld({}, { plans }).open(), /plan "a" names a tier "gold"/)
    const limited = { 'GET /a': { price: '1 USD', limits: { gold: '1/s' } } }
    await assert.rejects(createWorld(limited, {}).open(), /limits a tier "gold"/)
  })

  test('the exchange asks for money as often as a route does', async () => {
    const { open } = shop({ tiers }, route)
    const node = await open()
    const wish = { method: 'POST', address: HERE }
    assert.deepEqual(await statuses(node, 4, wish, `${TOKENS_PATH}/basic`), [402, 402, 402, 429])
    const over = await node.ask(`${TOKENS_PATH}/basic`, wish)
    assert.deepEqual(fieldsOf(over), ['1200', '"unpaid";q=3;w=3600', '"unpaid";r=0;t=1200'])
    await node.seller.close()
  })
})

describe('what a caller has for nothing', () => {
  const gift: Routes = { 'GET /a': { price: '0.01 USD', takes: ['basic'], free: '2/d' } }
  const served = async (node: Node, wish: Wish): Promise<boolean> =>
    (await node.ask('/a', wish)).status === 200

  test('is served as private, and then the price is told', async () => {
    const { open, clock } = shop(undefined, gift)
    const node = await open()
    const { status, text, fields } = await node.ask('/a', { address: HERE })
    assert.deepEqual([status, text], [200, 'served'])
    assert.equal(fields.get('cache-control'), 'private, no-store')
    assert.equal(fields.get('ratelimit'), '"free GET /a";r=1;t=43200')
    assert.deepEqual(await statuses(node, 3, { address: HERE }), [200, 402, 402])
    assert.equal((await node.ask('/a', { address: HERE, nonce: 'n1' })).status, 200)
    clock.pass(12 * HOUR_MS)
    assert.deepEqual(await statuses(node, 2, { address: HERE }), [200, 402])
    await node.seller.close()
  })

  test('is counted for the address of the socket, where there is one', async (t) => {
    const { open } = shop(undefined, gift)
    const { seller } = await open()
    const { origin: _, ...anywhere } = seller
    const server = await serve(
      tollNode(anywhere, gift, (_, response) => void response.end('served')),
    )
    t.after(() => server.close())
    t.after(() => seller.close())
    const ask = async (spoofed: string) => {
      const headers = { 'X-Forwarded-For': spoofed }
      const response = await fetch(`${server.origin}/a`, { headers })
      await response.text()
      return [response.status, response.headers.get('cache-control')]
    }
    assert.deepEqual(await ask(HERE), [200, 'private, no-store'])
    assert.deepEqual(await ask(THERE), [200, 'private, no-store'])
    assert.deepEqual(await ask('198.51.100.1'), [402, 'no-store'])
  })

  test('is not multiplied by addresses of one IPv6 customer, nor by what a stranger writes', async () => {
    const { open } = shop(undefined, gift)
    const node = await open()
    for (const [address, isServed] of [
      ['2001:db8:1:2::1', true],
      ['2001:db8:1:2:ffff::2', true],
      ['2001:db8:1:2::3', false],
      ['2001:db8:1:2:a:b:c:d', false],
      ['2001:db8:1:3::1', true],
    ] as const)
      assert.equal(await served(node, { address }), isServed, address)
    const spoof = (said: string) => ({ address: HERE, fields: { 'X-Forwarded-For': said } })
    assert.equal(await served(node, spoof('198.51.100.1')), true)
    assert.equal(await served(node, spoof('198.51.100.2')), true)
    assert.equal(await served(node, spoof('198.51.100.3')), false)
    assert.equal(await served(node, { address: HERE, fields: { Forwarded: 'for=a' } }), false)
    assert.equal(await served(node, { address: `::ffff:${HERE}` }), false)
    assert.equal(await served(node, { address: THERE }), true)
    await node.seller.close()
  })

  test('is not multiplied by a token, which pays for itself', async () => {
    const { open } = shop(undefined, gift)
    const node = await open()
    assert.deepEqual(await statuses(node, 3, { address: HERE }), [200, 200, 402])
    assert.equal((await node.ask('/a', { address: HERE, fields: bearer('tk_new') })).status, 401)
    const token = await tokenOf(node, 'basic', 'n1')
    assert.equal((await node.ask('/a', token)).fields.get('ratelimit'), null)
    assert.deepEqual(await statuses(node, 1, { address: HERE }), [402])
    await node.seller.close()
  })

  test('is given behind trusted proxies to whom they were called by', async () => {
    const { open } = shop({ trusted: ['10.0.0.0/8'] }, gift)
    const node = await open()
    const via = (said: string, address = '10.1.2.3') => ({
      address,
      fields: { 'X-Forwarded-For': said },
    })
    assert.equal(await served(node, via('198.51.100.1')), true)
    assert.equal(await served(node, via('203.0.113.9, 198.51.100.1, 10.9.9.9')), true)
    // What stands left of the first stranger was written by him.
    assert.equal(await served(node, via('203.0.113.7, 198.51.100.1')), false)
    assert.equal(await served(node, via('198.51.100.2')), true)
    assert.equal(await served(node, via('198.51.100.1', '198.51.100.1')), false)
    await node.seller.close()
  })
})

describe('what costs us something', () => {
  test('invoices are made for a caller so often, and those that were paid do not count', async () => {
    const issues = { count: 0 }
    const { open, clock } = shop({ tiers: { challenges: '2/m' } }, route, issues)
    const node = await open()
    assert.deepEqual(await statuses(node, 3, { address: HERE }), [402, 402, 429])
    assert.equal(issues.count, 2)
    const over = await node.ask('/a', { address: HERE })
    assert.deepEqual(fieldsOf(over), ['30', '"challenges";q=2;w=60', '"challenges";r=0;t=30'])
    assert.deepEqual(await statuses(node, 1, { address: THERE }), [402])
    clock.pass(60_000)
    for (const nonce of ['n1', 'n2', 'n3', 'n4', 'n5'])
      assert.equal((await node.ask('/a', { address: HERE, nonce })).status, 200)
    await node.seller.close()
  })

  test('a payment that does not hold costs us no invoice', async () => {
    const issues = { count: 0 }
    const { open } = shop({}, route, issues)
    const node = await open()
    for (const fields of [{ 'Fake-Payment': 'garbage' }, bearer('garbage')])
      assert.ok([400, 401].includes((await node.ask('/a', { address: HERE, fields })).status))
    assert.equal(issues.count, 0)
    const bad = await node.ask('/a', { address: HERE, nonce: 'bad' })
    assert.deepEqual([bad.body['code'], issues.count], ['proof-invalid', 1])
    await node.seller.close()
  })

  test('who fails too often is not listened to for a while, at routes and services', async () => {
    const { open, clock } = shop({ tiers: { failures: '3/m' } }, route)
    const node = await open()
    const token = await tokenOf(node, 'basic', 'n1')
    const wrong = { address: HERE, fields: bearer('tk_garbage') }
    assert.deepEqual(await statuses(node, 4, wrong), [401, 401, 401, 429])
    assert.deepEqual(await statuses(node, 1, token), [429])
    assert.equal((await node.ask(TOKENS_PATH, token)).status, 429)
    assert.deepEqual(await statuses(node, 1, { ...token, address: THERE }), [200])
    assert.deepEqual(await statuses(node, 1, { address: HERE }), [402])
    clock.pass(20_000)
    assert.deepEqual(await statuses(node, 3, token), [200, 200, 200])
    assert.deepEqual(await statuses(node, 2, wrong, TOKENS_PATH), [401, 429])
    await node.seller.close()
  })
})

describe('an honest payer', () => {
  const tiers = { paid: '1/h' }

  test('is told before he pays that there is no room, and never after', async () => {
    const { open, moved } = shop({ tiers }, route)
    const node = await open()
    assert.equal((await node.ask('/a', { address: HERE, nonce: 'n1' })).status, 200)
    const asked = await node.ask('/a', { address: HERE })
    assert.deepEqual([asked.status, asked.body['offers']], [429, undefined])
    assert.deepEqual([...moved], ['n1'])
    await node.seller.close()
  })

  test('whose offer still stands when there is room again is told to come then', async () => {
    const { open, clock, moved } = shop({ tiers: { paid: '1/m' } }, route)
    const node = await open()
    const { offers } = (await node.ask('/a', { address: HERE })).body
    const [offer] = Array.isArray(offers) ? offers : []
    const wish = (nonce: string) => ({
      address: HERE,
      fields: { 'Fake-Payment': pay(offer, nonce) },
    })
    assert.equal((await node.ask('/a', wish('n1'))).status, 200)
    const over = await node.ask('/a', wish('n2'))
    assert.deepEqual([over.status, over.fields.get('retry-after')], [429, '60'])
    assert.deepEqual([...moved], ['n1'])
    clock.pass(60_000)
    assert.equal((await node.ask('/a', wish('n2'))).status, 200)
    await node.seller.close()
  })

  test('whose offer would be over by then is served, and counted', async () => {
    const { open, clock } = shop({ tiers }, route)
    const node = await open()
    const { offers } = (await node.ask('/a', { address: HERE })).body
    const [offer] = Array.isArray(offers) ? offers : []
    // On a rail where the money moves first, two invoices may be paid before either proof is shown.
    for (const nonce of ['n1', 'n2']) {
      const fields = { 'Fake-Payment': pay(offer, nonce) }
      assert.equal((await node.ask('/a', { address: HERE, fields })).status, 200)
    }
    clock.pass(HOUR_MS)
    assert.equal((await node.ask('/a', { address: HERE })).status, 429, 'the second is owed for')
    clock.pass(HOUR_MS)
    assert.equal((await node.ask('/a', { address: HERE })).status, 402)
    await node.seller.close()
  })
})

describe('callers of web handlers', () => {
  const limits = { tiers: { unpaid: '1/h' } }

  test('without an address are one', async () => {
    const { open } = shop(limits, route)
    const node = await open()
    assert.deepEqual(await statuses(node, 2, {}), [402, 429])
    assert.deepEqual(await statuses(node, 1, { fields: { 'X-Forwarded-For': HERE } }), [429])
    assert.deepEqual(await statuses(node, 1, { address: HERE }), [402])
    await node.seller.close()
  })

  test('without an address are told apart by a proxy that is trusted', async () => {
    const { open } = shop({ ...limits, trusted: ['unix'] }, route)
    const node = await open()
    const via = (said: string) => ({ fields: { 'X-Forwarded-For': said } })
    assert.deepEqual(await statuses(node, 2, via(HERE)), [402, 429])
    assert.deepEqual(await statuses(node, 1, via(`${THERE}, ${HERE}`)), [429])
    assert.deepEqual(await statuses(node, 1, via(THERE)), [402])
    await node.seller.close()
  })

  test('are told apart in Hono and Next by what these are told', async () => {
    const { open } = shop(limits, route)
    const { seller } = await open()
    const app = new Hono<{ Bindings: { readonly ip: string } }>()
    app.use(tollHono(seller, route, { address: ({ env }) => (env as { ip: string }).ip }))
    const inHono = async (ip: string) => (await app.request(`${ORIGIN}/a`, {}, { ip })).status
    assert.deepEqual([await inHono(HERE), await inHono(HERE), await inHono(THERE)], [402, 429, 402])
    const handler = tollNext(seller, route['GET /a'], () => new Response('served'), {
      address: (request: Request) => request.headers.get('x-real-ip') ?? undefined,
    })
    const inNext = async (ip: string) =>
      (await handler(new Request(`${ORIGIN}/a`, { headers: { 'x-real-ip': ip } }))).status
    assert.deepEqual([await inNext(HERE), await inNext(HERE), await inNext(THERE)], [402, 429, 402])
    await seller.close()
  })
})
