// Paid requests that wait while their upstream is away, behind real gateways and gates. Time runs twenty times as fast.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as after } from 'node:timers/promises'
import { TOKENS_PATH } from '../adapters/exchange.ts'
import { createSeller } from '../adapters/seller.ts'
import { SECRET, bearer, createRail, fake, pay } from '../adapters/shop.test.ts'
import { systemClock } from '../core/clock.ts'
import type { Clock, Ledger, Vault } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import { QUEUE_BYTES_MAX } from '../gate/limits.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { oauth } from '../protocols/oauth/index.ts'
import { createMacaroonMint, createMacaroons } from '../tokens/macaroon/index.ts'
import { stage } from './fixture.test.ts'
import { QUEUE_BODY_BYTES_MAX } from './queue.ts'
import { createTrustCheck } from './trust.ts'

const SPEED = 20
const HOUR_MS = 3_600_000
const UPSTREAM_SECRET = 'Qz7Lk2Wm9Xc4Vb6Nn1As8Df3Gh5Jk0PoT'

interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}
type Answer = (seen: Seen, response: ServerResponse, socket: Socket) => unknown

function createFastClock(): Clock {
  const start = Date.now()
  return {
    now: () => start + (Date.now() - start) * SPEED,
    sleep: (ms, signal) => systemClock.sleep(ms / SPEED, signal),
  }
}

/** An upstream that can go away and come back at its address. */
async function createUpstream(t: TestContext, answer: Answer) {
  const seen: Seen[] = []
  let server: Server | undefined
  let port = 0
  const up = async (): Promise<void> => {
    server = createServer(async (request, response) => {
      const body = Buffer.concat(await request.toArray())
      const { method = '', url = '', headers } = request
      const one = { method, url, headers, body }
      seen.push(one)
      await answer(one, response, request.socket)
    }).listen(port, '127.0.0.1')
    await once(server, 'listening')
    ;({ port } = server.address() as AddressInfo)
  }
  const down = async (): Promise<void> => {
    if (!server?.listening) return
    server.closeAllConnections()
    const closed = once(server, 'close')
    server.close()
    await closed
  }
  await up()
  t.after(down)
  return { seen, up, down, url: `http://127.0.0.1:${port}` }
}

const echo: Answer = ({ body }, response) => response.writeHead(201, { 'X-Own': 'yes' }).end(body)

interface World {
  readonly answer?: Answer
  readonly withinMs?: number
  /** Whether payments can be taken. */
  readonly isPayable?: boolean
  readonly requestsMax?: number
}

async function open(
  t: TestContext,
  { answer = echo, withinMs = HOUR_MS, isPayable = true, requestsMax = 16 }: World = {},
) {
  const behind = await createUpstream(t, answer)
  const clock = createFastClock()
  const ledger = memory({ clock })
  const kept = new Map<string, Uint8Array>()
  const vault: Vault = {
    put: async (key, sealed) => void kept.set(key, sealed),
    get: async (key) => kept.get(key),
  }
  const back: bigint[] = []
  const moved = new Set<string>()
  const rail = createRail(moved)
  const mints = [createMacaroonMint(createMacaroons({ secrets: [SECRET] }))]
  const node = async () => {
    const seller = await createSeller({
      ...{ secret: SECRET, ledger, vault, mints, clock },
      rails: [
        {
          ...rail,
          ...(!isPayable && {
            settle: async () =>
              ({ state: 'failed', problem: problem('proof-invalid', 'No.') }) as const,
          }),
          async refund(_offer, _to, { amount }, key) {
            back.push(amount)
            return { state: 'settled', reference: `back-${key}`, payer: 'buyer', settledAt: 1 }
          },
        },
      ],
      protocols: [fake, oauth({ mints })],
      plans: {
        purse: { price: '1 USD', balance: '1 USD' },
        pass: { price: '1 USD', validForMs: HOUR_MS },
      },
    })
    t.after(() => seller.close())
    const queueing = { withinMs, repeat: false }
    const gateway = await stage(t, {
      upstreams: { one: { url: behind.url, secret: UPSTREAM_SECRET, requestsMax } },
      routes: {
        '* /a': { sale: { price: '0.10 USD', takes: ['purse', 'pass'] }, queueing },
        'POST /twice': { sale: '0.10 USD', queueing: { withinMs, repeat: true } },
      },
      seller,
    })
    const send = (path: string, init: RequestInit = {}): Promise<Response> =>
      fetch(gateway.url + path, init)
    return {
      ...{ gateway, seller, send },
      async paying(path: string, nonce: string, init: RequestInit = {}) {
        const { offers } = (await (await send(path, init)).json()) as { readonly offers: unknown[] }
        return { 'fake-payment': pay(offers[0], nonce) }
      },
      /** How it stands, once it is over. */
      async ended(address: string): Promise<Record<string, unknown>> {
        for (;;) {
          const said = (await (await send(address)).json()) as Record<string, unknown>
          const isOpen = said['state'] === 'failed' && said['refund'] === 'open'
          if (!isOpen && (said['state'] === 'done' || said['state'] === 'failed')) return said
          await after(5)
        }
      },
    }
  }
  const first = await node()
  return { ...first, ...{ behind, ledger, back, moved, node, clock } }
}

const addressOf = ({ headers }: Response): string => headers.get('location') ?? ''
const codeOf = async (said: Response): Promise<unknown> =>
  ((await said.json()) as { readonly code?: unknown }).code

describe('a paid request whose upstream is away', () => {
  test('waits, is sent byte for byte when it is back, and only its payer is given the answer', async (t) => {
    const world = await open(t)
    const body = Buffer.from(Array.from({ length: 70_000 }, (_, i) => i % 256))
    const init = { method: 'POST', body, headers: { 'X-Asked': 'this', 'Tolsey-Payer': 'forged' } }
    const fields = await world.paying('/a?b=c', 'n1', init)
    await world.behind.down()
    const paid = { ...init, headers: { ...init.headers, ...fields } }
    const said = await world.send('/a?b=c', paid)
    assert.equal(said.status, 202)
    assert.equal(said.headers.get('fake-receipt'), 'tx-n1')
    assert.equal(said.headers.get('retry-after'), '5')
    const address = addressOf(said)
    assert.equal(
      addressOf(await world.send('/a?b=c', paid)),
      address,
      'the same payment is the same task',
    )
    const state = await world.send(address)
    assert.match(state.headers.get('tolsey-task') ?? '', /^(?:accepted|running)$/)
    assert.match(await state.text(), /"waits":"The service behind/)
    await world.behind.up()
    assert.equal((await world.ended(address))['state'], 'done')
    const stranger = await world.paying('/a', 'n2', init)
    for (const headers of [{}, stranger]) {
      const told = await world.send(address, { headers })
      assert.match(
        await told.text(),
        /"state":"done"/,
        'a stranger hears how it stands, and no more',
      )
    }
    const result = await world.send(address, { headers: fields })
    assert.deepEqual([result.status, result.headers.get('x-own')], [201, 'yes'])
    assert.equal(result.headers.get('tolsey-task'), null)
    assert.deepEqual(Buffer.from(await result.arrayBuffer()), body)
    const [one, ...more] = world.behind.seen
    assert.ok(one)
    assert.deepEqual([one.method, one.url, more.length], ['POST', '/a?b=c', 0])
    assert.deepEqual(one.body, body)
    assert.equal(one.headers['x-asked'], 'this')
    assert.equal(one.headers['fake-payment'], undefined)
    assert.equal(one.headers.host, new URL(world.behind.url).host)
    const trusted = createTrustCheck(UPSTREAM_SECRET, { clock: world.clock })(one)
    assert.equal(trusted?.key, 'n1')
    assert.deepEqual([[...world.moved], world.back], [['n1'], []])
    assert.equal(addressOf(await world.send('/a?b=c', paid)), address, 'also when it is done')
    assert.equal(world.behind.seen.length, 1)
    assert.deepEqual((await verifyBooks(world.ledger)).problems, [])
  })

  test('is answered at once where the upstream is there, as on any route', async (t) => {
    const world = await open(t)
    const fields = await world.paying('/a', 'n1')
    const said = await world.send('/a', {
      method: 'POST',
      headers: await world.paying('/a', 'n0', { method: 'POST', body: 'x' }),
      body: 'x',
    })
    assert.deepEqual([said.status, await said.text()], [201, 'x'])
    const get = await world.send('/a', { headers: fields })
    assert.deepEqual([get.status, get.headers.get('fake-receipt')], [201, 'tx-n1'])
    assert.deepEqual(await world.ledger.pending('queued-task'), [])
  })

  test('of a payer who leaves before the upstream is asked takes nobody’s place there', async (t) => {
    const world = await open(t, { requestsMax: 1 })
    const [fields, others] = [await world.paying('/a', 'n1'), await world.paying('/a', 'n2')]
    const find = world.ledger.find.bind(world.ledger)
    const [asked, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const slow: Ledger['find'] = async (key) => {
      if (key.startsWith('task/')) {
        asked.resolve()
        await go.promise
      }
      return await find(key)
    }
    Object.assign(world.ledger, { find: slow })
    const leaving = new AbortController()
    const left = world.send('/a', { headers: fields, signal: leaving.signal })
    await asked.promise
    leaving.abort()
    await assert.rejects(left)
    // His claim is let go of when the gateway has seen him leave.
    while ((await find('n1'))?.state !== 'voided') await after(5)
    go.resolve()
    const said = await world.send('/a', { headers: others })
    assert.deepEqual([said.status, world.behind.seen.length], [201, 1])
  })

  test('that waits too long is paid back, once, and not sent any more', async (t) => {
    const world = await open(t, { withinMs: 4_000 })
    const fields = await world.paying('/a', 'n1')
    await world.behind.down()
    const said = await world.send('/a', { headers: fields })
    assert.equal(said.status, 202)
    const state = await world.ended(addressOf(said))
    assert.deepEqual(
      [state['state'], state['why'], state['refund']],
      ['failed', 'late', 'refunded'],
    )
    await world.behind.up()
    await after(200)
    assert.deepEqual([world.back, world.behind.seen.length], [[100_000n], 0])
    const result = await world.send(addressOf(said), { headers: fields })
    assert.equal(result.headers.get('tolsey-task'), 'failed')
    assert.deepEqual((await verifyBooks(world.ledger)).problems, [])
  })

  test('whose answer comes too late is paid back, and the answer is nobody’s', async (t) => {
    const late = Promise.withResolvers<void>()
    const world = await open(t, {
      withinMs: 8_000,
      answer: async (_, response) => {
        await late.promise
        response.end('late')
      },
    })
    const fields = await world.paying('/a', 'n1')
    await world.behind.down()
    const said = await world.send('/a', { headers: fields })
    await world.behind.up()
    while (world.behind.seen.length === 0) await after(5)
    assert.equal((await world.send(addressOf(said))).headers.get('tolsey-task'), 'running')
    const state = await world.ended(addressOf(said))
    late.resolve()
    assert.deepEqual([state['state'], state['why']], ['failed', 'late'])
    await after(50)
    const result = await world.send(addressOf(said), { headers: fields })
    assert.equal(result.headers.get('tolsey-task'), 'failed')
    assert.deepEqual(world.back, [100_000n])
  })

  test('is worked off once by two gateways, and by another where the first has ended', async (t) => {
    const world = await open(t)
    const second = await world.node()
    const all = await Promise.all(
      Array.from(
        { length: 12 },
        async (_, i) => await (i % 2 ? world : second).paying(`/a?n=${i}`, `n${i}`),
      ),
    )
    await world.behind.down()
    const addresses = await Promise.all(
      all.map(async (headers, i) => {
        const said = await (i % 2 ? world : second).send(`/a?n=${i}`, { headers })
        assert.equal(said.status, 202)
        return addressOf(said)
      }),
    )
    await world.gateway.house.interrupt()
    const third = await world.node()
    await world.behind.up()
    for (const [i, address] of addresses.entries()) {
      assert.equal((await third.ended(address))['state'], 'done')
      assert.equal((await third.send(address, { headers: all[i] ?? {} })).status, 201)
    }
    assert.deepEqual(
      world.behind.seen.map(({ url }) => url).toSorted(),
      all.map((_, i) => `/a?n=${i}`).toSorted(),
    )
    assert.equal(world.moved.size, 12)
  })

  test('is refused before anything is taken where no more can wait, and waits where there is room', async (t) => {
    const world = await open(t)
    const { tasks } = world.seller.gate
    const order = { request: 'r', what: 'w', holder: 'h', isMetered: false, withinMs: HOUR_MS }
    const first = await world.paying('/a', 'n1')
    await world.behind.down()
    const work = new Uint8Array(QUEUE_BYTES_MAX)
    const most = await tasks?.queue({ ...order, payment: 'time/x', work, repeats: true })
    const said = await world.send('/a', { headers: first })
    assert.deepEqual([said.status, said.headers.get('retry-after')], [503, '30'])
    assert.equal(await codeOf(said), 'queue-full')
    assert.deepEqual([...world.moved], [])
    await most?.charged?.(false)
    const again = await world.send('/a', { headers: first })
    assert.equal(again.status, 202)
    const large = { method: 'POST', body: Buffer.alloc(QUEUE_BODY_BYTES_MAX + 1) }
    assert.equal((await world.send('/a', { ...large, headers: first })).status, 413)
  })

  test('whose payment cannot be taken is refused, and nothing waits', async (t) => {
    const world = await open(t, { isPayable: false })
    const fields = await world.paying('/a', 'n1')
    await world.behind.down()
    const said = await world.send('/a', { headers: fields })
    assert.equal(said.status, 402)
    while ((await world.ledger.pending('queued-task')).length > 0) await after(5)
    await world.behind.up()
    await after(200)
    assert.deepEqual([world.behind.seen.length, world.back], [0, []])
  })

  test('waits by a token too; under one name it is drawn once, and the address is the same', async (t) => {
    const world = await open(t)
    for (const [plan, costs] of [
      ['purse', '0.8 USD'],
      ['pass', undefined],
    ] as const) {
      const path = `${TOKENS_PATH}/${plan}`
      const bought = await world.send(path, {
        method: 'POST',
        headers: await world.paying(path, `buys-${plan}`, { method: 'POST' }),
      })
      const { token } = (await bought.json()) as { readonly token: string }
      await world.behind.down()
      const named = { headers: { ...bearer(token), 'Idempotency-Key': 'order-7' } }
      const said = await world.send('/a', named)
      assert.equal(said.status, 202)
      const again = await world.send('/a', named)
      if (costs !== undefined) assert.equal(addressOf(again), addressOf(said))
      const other = await world.send('/a', { headers: bearer(token) })
      assert.notEqual(addressOf(other), addressOf(said))
      await world.behind.up()
      assert.equal((await world.ended(addressOf(said)))['state'], 'done')
      assert.equal((await world.ended(addressOf(other)))['state'], 'done')
      assert.equal((await world.send(addressOf(said), { headers: bearer(token) })).status, 201)
      const left = (await (
        await world.send(TOKENS_PATH, { headers: bearer(token) })
      ).json()) as Record<string, unknown>
      assert.equal(left['balance'], costs)
    }
  })

  for (const [what, path, method, isQueued] of [
    ['a POST of which nobody knows whether it has begun', '/a', 'POST', false],
    ['one that may be repeated', '/twice', 'POST', true],
    ['a PUT, which does no more when it comes twice', '/a', 'PUT', true],
  ] as const)
    for (const breaks of ['breaks off', 'says 503'] as const)
      test(`${what}: the upstream ${breaks}, and it ${isQueued ? 'waits' : 'costs nothing'}`, async (t) => {
        let isBack = false
        const world = await open(t, {
          answer: (seen, response, socket) => {
            if (isBack) return echo(seen, response, socket)
            return breaks === 'says 503' ? response.writeHead(503).end() : socket.destroy()
          },
        })
        const init = { method, body: 'x' }
        const fields = await world.paying(path, 'n1', init)
        const said = await world.send(path, { ...init, headers: fields })
        isBack = true
        if (isQueued) {
          assert.equal(said.status, 202)
          assert.equal((await world.ended(addressOf(said)))['state'], 'done')
          assert.equal(await (await world.send(addressOf(said), { headers: fields })).text(), 'x')
          assert.deepEqual([world.behind.seen.length, world.moved.size], [2, 1])
        } else {
          assert.equal(said.status, breaks === 'says 503' ? 503 : 502)
          assert.deepEqual([...world.moved], [])
          assert.equal(world.behind.seen.length, 1)
          assert.equal((await world.send(path, { ...init, headers: fields })).status, 201)
        }
      })

  test('that fails when it is sent, or breaks off then and must not be repeated, is paid back', async (t) => {
    const world = await open(t, {
      answer: ({ url }, response, socket) =>
        url.endsWith('fails') ? response.writeHead(500).end() : socket.destroy(),
    })
    for (const [query, why] of [
      ['fails', 'status-500'],
      ['breaks', 'interrupted'],
    ]) {
      const path = `/a?${query}`
      const init = { method: 'POST', body: 'x' }
      const fields = await world.paying(path, `n-${query}`, init)
      await world.behind.down()
      const said = await world.send(path, { ...init, headers: fields })
      assert.equal(said.status, 202)
      await world.behind.up()
      const state = await world.ended(addressOf(said))
      assert.deepEqual([state['why'], state['refund']], [why, 'refunded'])
    }
    assert.deepEqual([world.back, world.behind.seen.length], [[100_000n, 100_000n], 2])
  })
})
