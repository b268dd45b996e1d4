// Unmodified buyers of the peers pay our gate, on a real chain with Circle's USDC code, through every kind of door.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { serve } from '@hono/node-server'
import { wrapAxiosWithPayment, x402Client as AxiosClient } from '@x402/axios'
import { ExactEvmScheme } from '@x402/evm/exact/client'
import { decodePaymentResponseHeader, wrapFetchWithPayment } from '@x402/fetch'
import { create as createAxios } from 'axios'
import express from 'express'
import { Hono } from 'hono'
import {
  createSigner,
  decodeXPaymentResponse,
  wrapFetchWithPayment as wrapFetchV1,
} from 'x402-fetch'
import { toll as expressToll } from '../../src/adapters/express.ts'
import { toll as honoToll } from '../../src/adapters/hono.ts'
import { toll as nodeToll } from '../../src/adapters/node.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { Keys, Peer } from './peers.ts'
import { createBuyer, createClient, createSender, listen } from './peers.ts'

const PRICE = 10_000n
const routes = { 'GET /paid': '0.01 USD', 'POST /paid': '0.01 USD' } as const

let chain: Chain
let directory: string
let payee: Keys
let ledger: Ledger
let seller: Awaited<ReturnType<typeof createSeller>>
const doors = new Map<string, Peer>()
let runs = 0

before(async () => {
  chain = await startChain()
  directory = await mkdtemp(join(tmpdir(), 'interop-'))
  payee = await createSender(chain)
  const sender = await createSender(chain)
  ledger = await sqlite({ file: join(directory, 'books.db') })
  const rail = evm({
    network: chain.network,
    rpc: chain.rpc,
    payTo: payee.address,
    signer: sender.privateKey,
  })
  seller = await createSeller({
    secret: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    rails: [rail],
    protocols: [x402([rail])],
    ledger,
  })
  doors.set(
    'node:http',
    await listen(
      createServer(
        nodeToll(seller, routes, (req, res) => {
          runs++
          let said = ''
          req
            .on('data', (chunk) => (said += chunk))
            .on('end', () => res.end(JSON.stringify({ from: 'node', said })))
        }),
      ).listen(0, '127.0.0.1'),
    ),
  )
  const app = express().use(expressToll(seller, routes))
  app.all('/paid', express.text({ type: '*/*' }), (req, res) => {
    runs++
    res.json({ from: 'express', said: req.body ?? '' })
  })
  doors.set('Express', await listen(app.listen(0, '127.0.0.1')))
  const hono = new Hono().use(honoToll(seller, routes))
  hono.all('/paid', async (c) => {
    runs++
    return c.json({ from: 'hono', said: await c.req.text() })
  })
  doors.set(
    'Hono',
    await listen(serve({ fetch: hono.fetch, port: 0, hostname: '127.0.0.1' }) as never),
  )
})

after(async () => {
  for (const door of doors.values()) await door.close()
  await seller?.close()
  await ledger?.close()
  await chain?.stop()
  await rm(directory, { recursive: true, force: true })
})

/** Each paid request moves exactly its price, is in the books, and runs the handler once. */
async function paysOnce(buy: (buyer: Keys) => Promise<void>): Promise<void> {
  const buyer = await createBuyer(chain, 5n * PRICE)
  const before = { payee: await chain.balanceOf(payee.address), books: await earned(), runs }
  await buy(buyer)
  assert.equal(await chain.balanceOf(buyer.address), 4n * PRICE)
  assert.equal((await chain.balanceOf(payee.address)) - before.payee, PRICE)
  assert.equal((await earned()) - before.books, PRICE)
  assert.equal(runs - before.runs, 1)
}

async function earned(): Promise<bigint> {
  const sales = (await ledger.balances()).filter(({ account }) => account.startsWith('sales/'))
  return sales.reduce((sum, { posted }) => sum + posted, 0n)
}

for (const name of ['node:http', 'Express', 'Hono'])
  describe(`our gate behind ${name}`, () => {
    const url = (): string => `${doors.get(name)?.url}/paid`

    test('is paid by npm @x402/fetch (v2)', () =>
      paysOnce(async ({ account }) => {
        const response = await wrapFetchWithPayment(fetch, createClient(account))(url())
        assert.equal(response.status, 200)
        assert.ok('from' in ((await response.json()) as object))
        const receipt = decodePaymentResponseHeader(response.headers.get('PAYMENT-RESPONSE') ?? '')
        assert.deepEqual(
          [receipt.success, receipt.network, receipt.payer?.toLowerCase()],
          [true, chain.network, account.address.toLowerCase()],
        )
        assert.match(receipt.transaction, /^0x[0-9a-f]{64}$/)
      }))

    test('is paid by npm @x402/fetch (v2) for a POST, whose body arrives whole', () =>
      paysOnce(async ({ account }) => {
        const body = JSON.stringify({ n: 'x'.repeat(50_000) })
        const response = await wrapFetchWithPayment(fetch, createClient(account))(url(), {
          method: 'POST',
          body,
        })
        assert.equal(response.status, 200)
        assert.equal(((await response.json()) as { said: string }).said, body)
      }))

    test('is paid by npm @x402/axios (v2)', () =>
      paysOnce(async ({ account }) => {
        const client = new AxiosClient().register('eip155:*', new ExactEvmScheme(account))
        const response = await wrapAxiosWithPayment(createAxios(), client).get(url())
        assert.equal(response.status, 200)
        assert.ok(response.headers['payment-response'])
      }))

    test('is paid by npm x402-fetch (v1)', () =>
      paysOnce(async ({ privateKey }) => {
        const signer = await createSigner('base-sepolia', privateKey)
        const response = await wrapFetchV1(fetch, signer)(url(), {})
        assert.equal(response.status, 200)
        const receipt = decodeXPaymentResponse(response.headers.get('X-PAYMENT-RESPONSE') ?? '')
        assert.deepEqual([receipt.success, receipt.network], [true, 'base-sepolia'])
      }))
  })
