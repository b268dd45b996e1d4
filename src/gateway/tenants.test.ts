import assert from 'node:assert/strict'
import { request } from 'node:http'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as after } from 'node:timers/promises'
import { binaryOf, startServer } from '../../test/nats.ts'
import { freePort } from '../../test/ports.ts'
import { SHARE_MS } from '../adapters/shared-rates.ts'
import { DocumentError } from '../config/registry.ts'
import type { Settlement } from '../core/ports.ts'
import {
  ask as askAt,
  createHandClock,
  createShop,
  priced,
  serve,
  START,
} from '../gate/fixture.test.ts'
import type { Shop } from '../gate/fixture.test.ts'
import { memory } from '../ledger/memory.ts'
import { tenantLedger } from '../ledger/tenant.ts'
import { upstream } from './fixture.test.ts'
import { ask, createBuyer, openDocument, startFacilitator } from './market.test.ts'
import type { Facilitator, Opened } from './market.test.ts'
import { readSource } from './open.ts'
import { listen } from './server.ts'
import { openHouse } from './tenants.ts'

const environment: Readonly<Record<string, string>> = {
  ACME: 'aW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
  BOLT: 'bW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
  CITY: 'cW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
  ACME_DESK: 'the-token-of-the-people-of-acme',
  BOLT_DESK: 'the-token-of-the-people-of-bolt',
}
const [MAIN, ACME, BOLT] = ['main.example.com', 'acme.example.com', 'bolt.example.com']
const payTo = (n: number): string => `"0x${String(n).repeat(40)}"`
const plans = 'plans: { ten: { price: 0.10 USD, uses: 10 } }'

interface Market extends Opened {
  readonly facilitator: Facilitator
  /** Where the desks of the two are. */
  readonly desks: { readonly acme: number; readonly bolt: number }
}

function rails(n: number, { url }: Facilitator): string {
  return `rails: { evm: { network: base-sepolia, payTo: ${payTo(n)}, facilitator: "${url}" } }`
}

/** The document's own shop, two with a host each, and one below a path. */
async function open(t: TestContext, more: { readonly acme?: string } = {}): Promise<Market> {
  const facilitator = await startFacilitator(t)
  const api = await upstream(t, (asked, response) => response.end(`goods of ${asked.headers.host}`))
  const [acme, bolt] = [await freePort(), await freePort()]
  const shop = (n: number, secret: string): string =>
    `{ secret: { env: ${secret} }, ${rails(n, facilitator)}, upstreams: { api: "${api}" }`
  const text = `listen: 0
origin: http://${MAIN}
secret: { env: SECRET }
${rails(1, facilitator)}
upstreams: { api: "${api}" }
routes: { GET /a: 0.01 USD }
tenants:
  acme: ${shop(2, 'ACME')}, origin: "http://${ACME}", ${plans}, admin: ${acme},
    dashboard: { token: { env: ACME_DESK } }, ${more.acme ?? ''}
    routes: { GET /a: { price: 0.02 USD, takes: [ten] }, GET /only-acme: 0.02 USD, GET /b: { plan: ten } } }
  bolt: ${shop(3, 'BOLT')}, origin: "http://${BOLT}", ${plans}, admin: ${bolt},
    dashboard: { token: { env: BOLT_DESK } },
    routes: { GET /a: { price: 0.03 USD, takes: [ten] }, GET /b: { plan: ten } } }
  city: ${shop(4, 'CITY')}, path: /city,
    routes: { GET /city/a: 0.04 USD } }
`
  const opened = await openDocument(t, text, { environment })
  return { ...opened, facilitator, desks: { acme, bolt } }
}

describe('tenants', () => {
  test('sell each at its own place, for its own price, to its own account', async (t) => {
    const market = await open(t)
    const buyer = createBuyer()
    for (const [host, path] of [
      [MAIN, '/a'],
      [ACME, '/a'],
      [BOLT, '/a'],
      [MAIN, '/city/a'],
    ] as const) {
      const said = await buyer.buy(market.port, host, path)
      assert.equal(said.status, 200, said.body)
    }
    assert.deepEqual(
      market.facilitator.settled.map((to) => to.slice(0, 4)),
      ['0x11', '0x22', '0x33', '0x44'],
    )
    const accounts = (await market.ledger.balances()).map(({ account }) => account)
    assert.deepEqual(accounts.filter((name) => name.includes('sales/')).toSorted(), [
      'sales/GET /a',
      'tenants/acme/sales/GET /a',
      'tenants/bolt/sales/GET /a',
      'tenants/city/sales/GET /city/a',
    ])
  })

  test('are not reached at each other’s places', async (t) => {
    const market = await open(t)
    const status = async (host: string, path: string): Promise<number> =>
      (await ask(market, path, { headers: { host } })).status
    assert.equal(await status(ACME, '/only-acme'), 402)
    assert.equal(await status(BOLT, '/only-acme'), 404)
    assert.equal(await status(MAIN, '/only-acme'), 404)
    assert.equal(await status(MAIN, '/city/a'), 402)
    assert.equal(await status(ACME, '/city/a'), 404)
    assert.equal(await status('nobody.example.com', '/a'), 421)
    // Neither another case nor another spelling leads into the path of a tenant, or past its price.
    for (const path of ['/CITY/a', '/city/../city/a', '/city%2fa', '/city//a', '//city/a'])
      assert.notEqual(await status(MAIN, path), 200, path)
  })

  test('take no payment that was made for another, which is still good where it belongs', async (t) => {
    const market = await open(t)
    const buyer = createBuyer()
    const said = await ask(market, '/a', { headers: { host: ACME } })
    const fields = await buyer.sign(said, ACME, '/a')
    for (const host of [BOLT, MAIN]) {
      const refused = await ask(market, '/a', { headers: { ...fields, host } })
      assert.equal(refused.status, 402, refused.body)
    }
    assert.deepEqual(market.facilitator.settled, [])
    const served = await ask(market, '/a', { headers: { ...fields, host: ACME } })
    assert.equal(served.status, 200)
    // And not a second time, here or there.
    for (const host of [ACME, BOLT, MAIN])
      assert.notEqual((await ask(market, '/a', { headers: { ...fields, host } })).status, 200)
    assert.equal(market.facilitator.settled.length, 1)
  })

  test('take no tokens of another, of a plan of the same name', async (t) => {
    const market = await open(t)
    const bought = await createBuyer().buy(market.port, ACME, '/b')
    assert.equal(bought.status, 200, bought.body)
    const token = bought.response.headers['tolsey-token']
    assert.equal(typeof token, 'string')
    const authorization = `L402 ${String(token).replace(/^\S+ /, '')}`
    const asked = async (host: string, said: string): Promise<number> =>
      (await ask(market, '/b', { headers: { host, authorization: said } })).status
    for (const said of [authorization, `Bearer ${String(token).replace(/^\S+ /, '')}`]) {
      const [here, there] = [await asked(ACME, said), await asked(BOLT, said)]
      assert.notEqual(there, 200)
      if (here !== 200) continue
      assert.ok(there === 401 || there === 402 || there === 403, `${there}`)
      return
    }
    assert.fail('The token pays nowhere.')
  })

  test('see of the books only their own, and give back only what was paid to them', async (t) => {
    const market = await open(t)
    const buyer = createBuyer()
    assert.equal((await buyer.buy(market.port, ACME, '/a')).status, 200)
    assert.equal((await buyer.buy(market.port, BOLT, '/a')).status, 200)
    const { acme, bolt } = market.desks
    const [ofAcme, ofBolt] = [
      await desk(acme, environment['ACME_DESK'] ?? ''),
      await desk(bolt, environment['BOLT_DESK'] ?? ''),
    ]
    const [mine, theirs] = [await ofAcme('payments'), await ofBolt('payments')]
    assert.equal(mine.payments.length, 1)
    assert.equal(theirs.payments.length, 1)
    const [key] = mine.payments.map((one) => one.key)
    const [other] = theirs.payments.map((one) => one.key)
    assert.ok(key && other && key !== other)
    assert.equal((await ofAcme(`payments/${encodeURIComponent(key)}`)).status, 200)
    assert.equal((await ofBolt(`payments/${encodeURIComponent(key)}`)).status, 404)
    const [known, unknown] = [await ofAcme('refunds', { key }), await ofBolt('refunds', { key })]
    const nobody = await ofBolt('refunds', { key: `${key}x` })
    assert.deepEqual([unknown.status, nobody.status], [409, 409], unknown.text)
    // Not even that there is such a payment.
    assert.equal(unknown.text.replaceAll(key, ''), nobody.text.replaceAll(`${key}x`, ''))
    assert.notEqual(known.text, unknown.text)
  })

  test('have logins of their own', async (t) => {
    const market = await open(t)
    const { acme, bolt } = market.desks
    await desk(acme, environment['ACME_DESK'] ?? '')
    await assert.rejects(desk(bolt, environment['ACME_DESK'] ?? ''), /401/)
    await assert.rejects(desk(acme, environment['BOLT_DESK'] ?? ''), /401/)
  })

  test('are not stopped by whoever asks a desk for what is no address', async (t) => {
    const market = await open(t)
    const port = market.desks.acme
    const headers = { host: `127.0.0.1:${port}` }
    for (const path of ['//', '//[', '/\\\\:x'])
      assert.equal((await ask({ port }, path, { headers })).status, 404, path)
    assert.equal((await ask({ port }, '/metrics?x=1', { headers })).status, 200)
  })

  test('hear of their own events only', async (t) => {
    const market = await open(t)
    await createBuyer().buy(market.port, ACME, '/a')
    const settled = market.events.filter(({ type }) => type === 'settled')
    assert.deepEqual(
      settled.map(({ tenant }) => tenant),
      ['acme'],
    )
    const metrics = async (port: number): Promise<string> =>
      (await ask({ port }, '/metrics', { headers: { host: `127.0.0.1:${port}` } })).body
    assert.match(await metrics(market.desks.acme), /tolsey_sales_total\{.*\} 1/)
    assert.doesNotMatch(await metrics(market.desks.bolt), /tolsey_sales_total\{.*\} 1/)
  })

  test('do not starve each other: who has as many within as it may waits, and others do not', async (t) => {
    const market = await open(t, { acme: 'most: { requests: 2, invoices: 10 },' })
    const held = Array.from({ length: 2 }, () => hang(market.port, ACME))
    t.after(() => held.forEach((one) => one.destroy()))
    let full = await ask(market, '/a', { headers: { host: ACME } })
    for (let i = 0; i < 200 && full.status !== 503; i++)
      full = await ask(market, '/a', { headers: { host: ACME } })
    assert.equal(full.status, 503)
    assert.ok(full.response.headers['retry-after'])
    assert.equal((await createBuyer().buy(market.port, BOLT, '/a')).status, 200)
    for (const one of held) one.destroy()
    let free = full
    for (let i = 0; i < 500 && free.status === 503; i++)
      free = await ask(market, '/a', { headers: { host: ACME } })
    assert.equal(free.status, 402)
  })
})

describe('a document of several sellers', () => {
  const text = ({ url }: Facilitator, price: string, second = 'ACME'): string => `listen: 0
origin: http://${MAIN}
secret: { env: SECRET }
${rails(1, { url } as Facilitator)}
upstreams: { api: "http://127.0.0.1:1" }
routes: { GET /a: 0.01 USD }
tenants:
  acme: { secret: { env: ${second} }, ${rails(2, { url } as Facilitator)}, origin: "http://${ACME}",
    upstreams: { api: "http://127.0.0.1:1" }, routes: { GET /a: ${price} } }
`
  const sourceOf = (said: string): ReturnType<typeof readSource> =>
    readSource(said, 'a.yaml', {
      directory: '.',
      variable: (name) => ({ ...environment, SECRET: 'dW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA' })[name],
    })

  test('is not opened where two sign by one secret: their tokens would be good at each other', async (t) => {
    const facilitator = await startFacilitator(t)
    await assert.rejects(
      openHouse(sourceOf(text(facilitator, '0.02 USD', 'SECRET')), { ledger: memory() }),
      (error) => {
        assert.ok(error instanceof DocumentError)
        assert.match(
          error.message,
          /tenants › acme › secret: This is the secret of the document itself/,
        )
        assert.doesNotMatch(error.message, /dW3h8/)
        return true
      },
    )
  })

  test('is read anew without a rail or a book being opened twice', async (t) => {
    const facilitator = await startFacilitator(t)
    const ledger = memory()
    const first = await openHouse(sourceOf(text(facilitator, '0.02 USD')), { ledger })
    assert.equal(facilitator.asked.get('/supported'), 2)
    const second = await openHouse(sourceOf(text(facilitator, '0.05 USD')), {
      ledger,
      before: first,
    })
    assert.equal(facilitator.asked.get('/supported'), 2)
    await first.house.close()
    await first.close()
    const server = await listen({ host: '127.0.0.1', port: 0 }, second.house)
    t.after(async () => {
      await server.drain(0)
      await second.house.close()
      await second.close()
    })
    const port = Number(new URL(server.url).port)
    const said = await ask({ port }, '/a', { headers: { host: ACME } })
    assert.equal(said.status, 402)
    assert.match(said.body, /50000/)
    assert.equal(await second.ready(), undefined)
  })
})

test('a desk goes on with the parts that serve, where what was read anew could not be opened', async (t) => {
  const facilitator = await startFacilitator(t)
  const port = await freePort()
  const api = 'upstreams: { api: "http://127.0.0.1:1" }'
  const sourceOf = (limits: string, headers: string): ReturnType<typeof readSource> =>
    readSource(
      `listen: 0
origin: http://${MAIN}
secret: { env: SECRET }
${rails(1, facilitator)}
${api}
routes: { GET /a: 0.01 USD }
tenants:
  acme: { secret: { env: ACME }, ${rails(2, facilitator)}, ${api}, origin: "http://${ACME}",
    admin: ${port}, dashboard: { token: { env: ACME_DESK } }, limits: { unpaid: ${limits} },
    routes: { GET /a: 0.02 USD } }
  bolt: { secret: { env: BOLT }, ${rails(3, facilitator)}, ${api}, origin: "http://${BOLT}",
    routes: { GET /a: { price: 0.03 USD, headers: { request: { set: { X-Key: ${headers} } } } } } }
`,
      'a.yaml',
      {
        directory: '.',
        variable: (name) => ({ ...environment, SECRET: 'dW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA' })[name],
      },
    )
  const ledger = memory()
  const first = await openHouse(sourceOf('5/h', '{ env: CITY }'), { ledger })
  t.after(async () => {
    await first.house.close()
    await first.close()
  })
  type Desks = { tenants: Map<string, { desk: { office: { use: (parts: unknown) => void } } }> }
  const office = (first as unknown as Desks).tenants.get('acme')?.desk.office
  assert.ok(office)
  const used: unknown[] = []
  const use = office.use.bind(office)
  office.use = (parts) => {
    used.push(parts)
    use(parts)
  }
  const again = { ledger, before: first }
  await assert.rejects(openHouse(sourceOf('6/h', '{ env: NOWHERE }'), again), DocumentError)
  assert.deepEqual(used, [])
  const second = await openHouse(sourceOf('6/h', '{ env: CITY }'), again)
  t.after(async () => {
    await second.house.close()
    await second.close()
  })
  assert.equal(used.length, 1)
})

test('a desk that moves in a reload hears of all that is sold from then on', async (t) => {
  const facilitator = await startFacilitator(t)
  const api = await upstream(t, (_, response) => response.end('goods'))
  const [before, now] = [await freePort(), await freePort()]
  const sourceOf = (port: number): ReturnType<typeof readSource> =>
    readSource(
      `listen: 0
origin: http://${MAIN}
secret: { env: SECRET }
${rails(1, facilitator)}
upstreams: { api: "${api}" }
routes: { GET /a: 0.01 USD }
tenants:
  acme: { secret: { env: ACME }, ${rails(2, facilitator)}, upstreams: { api: "${api}" }, origin: "http://${ACME}",
    admin: ${port}, dashboard: { token: { env: ACME_DESK } }, routes: { GET /a: 0.02 USD } }
`,
      'a.yaml',
      {
        directory: '.',
        variable: (name) => ({ ...environment, SECRET: 'dW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA' })[name],
      },
    )
  const ledger = memory()
  const first = await openHouse(sourceOf(before), { ledger })
  const sales = async (port: number): Promise<string> => {
    const { body } = await ask({ port }, '/metrics', { headers: { host: `127.0.0.1:${port}` } })
    return /^tolsey_sales_total\{.*\} (\d+)/m.exec(body)?.[1] ?? '0'
  }
  const buy = async (house: typeof first.house): Promise<void> => {
    const server = await listen({ host: '127.0.0.1', port: 0 }, house)
    const { status } = await createBuyer().buy(Number(new URL(server.url).port), ACME, '/a')
    assert.equal(status, 200)
    await server.drain(1_000)
  }
  await buy(first.house)
  assert.equal(await sales(before), '1')
  const second = await openHouse(sourceOf(now), { ledger, before: first })
  t.after(async () => {
    await second.house.close()
    await second.close()
  })
  await first.house.close()
  await first.close()
  await buy(second.house)
  assert.equal(await sales(now), '1')
})

const redis = binaryOf('redis-server')
const noRedis = redis === undefined ? 'No Redis on this machine.' : undefined

test(
  'limits are counted for each seller apart, and with the other gateways',
  { skip: noRedis },
  async (t) => {
    const server = await startServer(redis ?? '', (port, directory) => [
      ...['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory, '--save', ''],
    ])
    t.after(() => server.stop())
    const facilitator = await startFacilitator(t)
    const api = await upstream(t, (_, response) => response.end())
    const tenant = (name: string, n: number, secret: string): string =>
      `${name}: { secret: { env: ${secret} }, ${rails(n, facilitator)}, upstreams: { api: "${api}" },
    path: /${name}, limits: { unpaid: 2/h }, routes: { GET /${name}/a: 0.04 USD } }`
    const text = `listen: 0
origin: http://${MAIN}
secret: { env: SECRET }
redis: redis://127.0.0.1:${server.port}
${rails(1, facilitator)}
upstreams: { api: "${api}" }
routes: { GET /a: 0.01 USD }
tenants:
  ${tenant('acme', 2, 'ACME')}
  ${tenant('bolt', 3, 'BOLT')}
`
    const [one, other] = [
      await openDocument(t, text, { environment }),
      await openDocument(t, text, { environment }),
    ]
    const status = async (gateway: Opened, path: string): Promise<number> => {
      const said = await ask(gateway, path, { headers: { host: MAIN } })
      // Until it is known to all.
      await after(4 * SHARE_MS)
      return said.status
    }
    assert.deepEqual([await status(one, '/acme/a'), await status(one, '/acme/a')], [402, 402])
    assert.equal(await status(one, '/acme/a'), 429)
    assert.deepEqual([await status(one, '/bolt/a'), await status(one, '/bolt/a')], [402, 402])
    assert.deepEqual([await status(other, '/acme/a'), await status(other, '/acme/a')], [402, 429])
  },
)

test('a gate gives back what was paid to its own tenant, though rails and secret were the same', async () => {
  const shared = memory()
  const back: string[] = []
  const refund = async (_: unknown, __: string, ___: unknown, key: string): Promise<Settlement> => {
    back.push(key)
    return { state: 'settled', reference: 'tx', payer: 'buyer', settledAt: START }
  }
  const clock = createHandClock()
  const shop = (name: string): Shop => createShop(tenantLedger(shared, name), clock, { refund })
  const [acme, bolt] = [shop('acme'), shop('bolt')]
  const to = askAt(priced('1 USD'))
  const credential = await acme.pay('spend', to)
  assert.equal(await serve(acme.gate, { ...to, credential }), 'serve')
  const key = 'spend'
  const crossed = await bolt.gate.refund({ key, idempotencyKey: 'o1', reason: 'Mine now.' })
  assert.notEqual(crossed.kind, 'refunded')
  assert.deepEqual(back, [])
  const own = await acme.gate.refund({ key, idempotencyKey: 'o1', reason: 'An honest one.' })
  assert.equal(own.kind, 'refunded')
  assert.equal(back.length, 1)
  // Nor is the spend good a second time at the other, whose offers are the same.
  assert.notEqual(await serve(bolt.gate, { ...to, credential }), 'serve')
})

/** A request whose body never ends. */
function hang(port: number, host: string): ReturnType<typeof request> {
  const headers = { host, 'content-length': '10', 'content-type': 'text/plain' }
  const asked = request({
    host: '127.0.0.1',
    port,
    method: 'GET',
    path: '/a',
    headers,
    agent: false,
  })
  asked.on('error', () => undefined)
  asked.write('half ')
  return asked
}

interface Seen {
  readonly status: number
  readonly text: string
  readonly payments: readonly { readonly key: string }[]
}

/** Logs in, and asks. */
async function desk(
  port: number,
  token: string,
): Promise<(path: string, order?: object) => Promise<Seen>> {
  const home = `http://127.0.0.1:${port}`
  const post = (
    path: string,
    body: object,
    headers: Record<string, string> = {},
  ): Promise<Response> =>
    fetch(home + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin: home, ...headers },
      body: JSON.stringify(body),
    })
  const entered = await post('/api/session', { token })
  if (entered.status >= 400) throw new Error(`${entered.status}`)
  const cookie = entered.headers
    .getSetCookie()
    .map((one) => one.split(';')[0])
    .join('; ')
  return async (path, order) => {
    const response = order
      ? await post(`/api/${path}`, order, {
          cookie,
          'idempotency-key': 'order-1',
          'x-tolsey-admin': '1',
        })
      : await fetch(`${home}/api/${path}`, { headers: { cookie } })
    const text = await response.text()
    const json = (text.startsWith('{') ? JSON.parse(text) : {}) as Partial<Seen>
    return { status: response.status, text, payments: json.payments ?? [] }
  }
}
