// The programs of docs/pricing.md run here as they stand there, but for the names of the packages: a seller whose prices are in
// dollars and who is paid over real channels, its price service, and two sources of rates.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fetchWithL402 } from '@getalby/lightning-tools/402/l402'
import {
  BREAK_AFTER,
  CACHE_MAX,
  PRICES_AT_ONCE_MAX,
  PRICE_BYTES_MAX,
  PRICE_TIMEOUT_MS,
} from '../src/adapters/price-service.ts'
import { LINES_MAX, WORD_CHARS_MAX } from '../src/adapters/routes.ts'
import { readEntries } from '../src/books/index.ts'
import type { BookEntry } from '../src/books/index.ts'
import { OFFER_GRID_MS, OFFER_VALID_MS, RATES_RECENT_MAX } from '../src/gate/limits.ts'
import { sqlite } from '../src/ledger/sqlite.ts'
import {
  ANSWER_BYTES_MAX,
  MAX_AGE_MS,
  REFRESH_MS,
  SPREAD_MAX,
  TIMEOUT_MS,
} from '../src/rates/http.ts'
import { startLnd } from '../src/sandbox/lightning/doubles/lnd.ts'
import type { Double } from '../src/sandbox/lightning/doubles/server.ts'
import type { LightningNetwork } from '../src/sandbox/lightning/network.ts'
import { startLightning } from '../src/sandbox/lightning/network.ts'
import { payInvoice } from './interop/l402-shop.ts'
import { freePort } from './ports.ts'
import { openStage, programsIn, readPage } from './programs.ts'
import type { Stage } from './programs.ts'

const KEY = 'abcd12'
const PRICES_SECRET = `whsec_${Buffer.alloc(32, 'prices').toString('base64')}`
const servers: Server[] = []
let page: string
let net: LightningNetwork
let lnd: Double
let stage: Stage
let origin: string

before(async () => {
  page = await readPage('pricing.md')
  net = await startLightning()
  lnd = await startLnd(net.seller, KEY)
  stage = await openStage()
  const [seller = '', prices = ''] = programsIn(page)
  const [port, pricesPort] = [await freePort(), await freePort()]
  origin = `http://127.0.0.1:${port}`
  await run(prices, { PORT: `${pricesPort}`, PRICES_SECRET })
  await run(seller, {
    SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    NODE: lnd.url,
    KEY,
    NETWORK: 'regtest',
    PORT: `${port}`,
    RATES_A: await tell('{"data":{"amount":"65000.00"}}'),
    RATES_B: await tell('{"last":65000.2}'),
    PRICES: `http://127.0.0.1:${pricesPort}/`,
    PRICES_SECRET,
  })
})
after(async () => {
  await stage?.close()
  for (const server of servers) server.close()
  await lnd?.close()
  await net?.close()
})

/** A source of rates. */
async function tell(body: string): Promise<string> {
  const server = createServer((_, response) => response.end(body)).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

/** Starts a program and waits until it answers. */
async function run(code: string, env: Record<string, string>): Promise<void> {
  const program = stage.start(await stage.write(code), env)
  await program.answers(`http://127.0.0.1:${env['PORT']}/`)
}

const wallet = {
  payInvoice: async ({ invoice }: { readonly invoice: string }) => ({
    preimage: await payInvoice(net, invoice),
  }),
}

/** Buys, and tells how many millisatoshis have reached the seller's node. */
async function buy(path: string, init: RequestInit = {}): Promise<bigint> {
  const was = net.seller.balanceMsat()
  const answer = await fetchWithL402(origin + path, init, { wallet })
  assert.deepEqual([answer.status, await answer.text()], [200, 'served'])
  return net.seller.balanceMsat() - was
}

/** 65,000.10 dollars a bitcoin, rounded up to the millisatoshi. */
function msatOf(cents: bigint): bigint {
  return (cents * 10n ** 11n + 6_500_009n) / 6_500_010n
}

async function breakdownOf(path: string, method = 'GET'): Promise<unknown> {
  const answer = await fetch(origin + path, { method })
  assert.equal(answer.status, 402)
  const body: unknown = await answer.json()
  return Reflect.get(Object(body), 'breakdown')
}

describe('docs/pricing.md', () => {
  test('has a seller whose dollars are paid over Lightning, by method, by function and by service', async () => {
    assert.equal(await buy('/weather'), msatOf(1n))
    assert.equal(await buy('/weather', { method: 'POST' }), msatOf(5n))
    const image = [
      { what: 'pixels', quantity: '4', unit: 'megapixel', amount: '0.08 USD' },
      { what: 'storing', quantity: '1', unit: 'image', amount: '0.03 USD' },
    ]
    assert.deepEqual(await breakdownOf('/images?megapixels=4', 'POST'), image)
    assert.equal(await buy('/images?megapixels=4', { method: 'POST' }), msatOf(11n))
    const report = [{ what: 'pages', quantity: '7', unit: 'page', amount: '0.07 USD' }]
    assert.deepEqual(await breakdownOf('/report/a?pages=7'), report)
    assert.equal(await buy('/report/a?pages=7'), msatOf(7n))
    // What the service refuses is not sold.
    const refused = await fetch(`${origin}/report/a?pages=100`)
    assert.equal(refused.status, 503)
    assert.equal(Reflect.get(Object(await refused.json()), 'code'), 'price-unavailable')
  })

  test('writes what it was worth into the books, which tell the dollars', async () => {
    const books = await sqlite({ file: join(stage.directory, 'books.db') })
    const entries: BookEntry[] = []
    for await (const entry of readEntries(books)) entries.push(entry)
    const sales = entries.filter(({ kind }) => kind === 'sale')
    assert.equal(sales.length, 4)
    for (const [i, cents] of [1n, 5n, 11n, 7n].entries()) {
      const { value, amount, key } = sales[i] ?? assert.fail()
      assert.ok(value)
      assert.deepEqual(
        [value.currency, value.rate, value.source],
        ['USD', '65000.1', 'median-of-2'],
      )
      assert.equal(amount.units, msatOf(cents))
      // The price, and less than a millisatoshi's worth more.
      const price = cents * 10n ** BigInt(value.scale - 2)
      const step = 650_001n * 10n ** BigInt(value.scale - 12)
      assert.ok(value.amount >= price && value.amount - price < step)
      const { breakdown } = (await books.find(key))?.note ?? {}
      assert.equal(Array.isArray(breakdown) ? breakdown.length : 0, [0, 0, 2, 1][i])
    }
    await books.close()
  })

  test('says the limits that the code has', () => {
    const said = (count: number): string => count.toLocaleString('en-US')
    for (const [name, text] of Object.entries({
      refreshMs: said(REFRESH_MS),
      timeoutMs: said(TIMEOUT_MS),
      maxAgeMs: said(MAX_AGE_MS),
      spreadMax: `\`${SPREAD_MAX}\``,
    }))
      assert.match(page, new RegExp(`\\| \`${name}\` +\\| ${text.replace('.', '\\.')} `), name)
    for (const text of [
      `may have ${said(ANSWER_BYTES_MAX)} bytes`,
      `at most ${LINES_MAX} lines, of ${WORD_CHARS_MAX} characters`,
      `(${RATES_RECENT_MAX} at most)`,
      `(${said(PRICE_TIMEOUT_MS)}), in ${said(PRICE_BYTES_MAX)} bytes`,
      `${said(CACHE_MAX)} prices are kept`,
      `${PRICES_AT_ONCE_MAX} are asked at once`,
    ])
      assert.ok(page.includes(text), text)
    assert.deepEqual([BREAK_AFTER, OFFER_GRID_MS, OFFER_VALID_MS], [5, 5_000, 300_000])
  })
})
