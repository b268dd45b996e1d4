// A gateway in a process of its own, on one core, before an upstream on the other; and a server that says its 402 by heart.
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Pool } from 'undici'
import type { Seller } from '../src/adapters/http.ts'
import { createSeller } from '../src/adapters/seller.ts'
import type { Ask, Mint, Rail } from '../src/core/ports.ts'
import { startGateway } from '../src/gateway/gateway.ts'
import { createHouse } from '../src/gateway/house.ts'
import { memory } from '../src/ledger/memory.ts'
import { sqlite } from '../src/ledger/sqlite.ts'
import { oauth } from '../src/protocols/oauth/index.ts'
import { x402 } from '../src/protocols/x402/index.ts'
import { exact } from '../src/rails/evm/index.ts'
import { createMacaroonMint, createMacaroons } from '../src/tokens/macaroon/index.ts'
import { serveVerbs } from './process.ts'
import type { Script } from './unpaid-server.ts'

/** What is sold, and what is behind it. */
export interface Sold {
  readonly upstream: string
  readonly origin: string
  /** `free`, `priced` (asks for a payment), `timed` (a token that is good for a time), `counted` (each use in the books). */
  readonly route: 'free' | 'priced' | 'timed' | 'counted'
}

/** Where it listens, and what pays there. */
export interface Shop {
  readonly port: number
  readonly token: string
}

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const PAYEE = '0x1111111111111111111111111111111111111111'
const USES = 100_000_000
const BODY_BYTES = 1_024

serveVerbs({
  upstream: async () => {
    const body = Buffer.alloc(BODY_BYTES, 'x')
    return await listen((_, response) =>
      response
        .writeHead(200, { 'content-length': BODY_BYTES, 'content-type': 'text/plain' })
        .end(body),
    )
  },
  bare: async ({ status, head, body }: Script) =>
    await listen((_, response) => response.writeHead(status, [...head]).end(body)),
  /** The least that a proxy over the same client can be: no rules, no refusals. */
  async dispatch(upstream: string): Promise<number> {
    const pool = new Pool(upstream, { connections: 128, pipelining: 1 })
    return await listen(({ url = '/', method = 'GET', rawHeaders }, response) => {
      const options = { path: url, method, headers: endToEnd(rawHeaders), body: null }
      pool.dispatch(options, {
        onConnect: () => undefined,
        onHeaders(status, raw) {
          response.writeHead(status, endToEnd(raw.map((said) => said.toString('latin1'))))
          return true
        },
        onData: (chunk) => (response.write(chunk), true),
        onComplete: () => void response.end(),
        onError: () => void response.destroy(),
      })
    })
  },
  async gateway({ upstream, origin, route }: Sold): Promise<Shop> {
    const mint = createMacaroonMint(createMacaroons({ secrets: [SECRET] }))
    const plan = { price: '1 USD', ...(route === 'counted' && { uses: USES }) }
    const seller = await createSeller({
      ...{ secret: SECRET, origin, rails: [rail], mints: [mint], plans: { plan } },
      protocols: [x402([rail]), oauth({ mints: [mint], foreign: 'leave' })],
      ledger: route === 'counted' ? await books() : memory(),
    })
    const sale = route === 'free' ? 'free' : route === 'priced' ? '0.01 USD' : { plan: 'plan' }
    const house = createHouse({
      seller,
      routes: { 'GET /weather': { sale } },
      upstreams: { one: { url: upstream } },
    })
    const open = { house, close: () => seller.close(), ready: async () => undefined }
    const gateway = await startGateway({ listen: { host: '127.0.0.1', port: 0 }, open })
    const isSold = route === 'timed' || route === 'counted'
    const token = isSold ? await buy(seller, mint, origin) : 'none'
    return { port: Number(new URL(gateway.url).port), token }
  },
})

function endToEnd(raw: readonly string[]): string[] {
  const of = /^(?:connection|keep-alive|transfer-encoding|host)$/i
  return raw.filter((_, i) => !of.test(raw[i - (i % 2)] ?? ''))
}

async function books() {
  const directory = mkdtempSync(join(tmpdir(), 'bench-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  return await sqlite({ file: join(directory, 'books.sqlite') })
}

/** What is paid with is of no matter here. */
const rail: Rail = {
  ...(exact({ network: 'base', payTo: PAYEE }) as unknown as Rail),
  open: async () => {},
  close: async () => {},
  identify: () => ({ key: 'spend-1', payer: 'buyer' }),
  verify: async () => ({ ok: true, key: 'spend-1', payer: 'buyer' }),
  settle: async () => ({ state: 'settled', reference: 'tx', payer: 'buyer', settledAt: 0 }),
  find: async () => undefined,
}

async function buy({ gate, plans }: Seller, mint: Mint, origin: string): Promise<string> {
  const plan = plans?.get('plan')
  if (!plan) throw new Error('The plan is not there.')
  const { host } = new URL(origin)
  const resource = {
    realm: host,
    method: 'POST',
    authority: host,
    path: '/',
    query: '',
    url: origin,
  }
  const sale = {
    prices: plan.prices,
    settle: 'before-work',
    account: 'sales',
    plan,
    workMs: 60_000,
  } as const
  const ask: Ask = { request: 'r', resource, sale }
  const refused = await gate.challenge(ask)
  const [offer] = refused.challenge?.offers ?? []
  if (!offer) throw new Error('Nothing is offered.')
  const bought = await gate.sell({ ...ask, credential: { offer, proof: 'x' } })
  if (bought.kind !== 'bought') throw new Error(bought.problem.detail)
  return await mint.mint(bought.grant)
}

async function listen(listener: RequestListener): Promise<number> {
  const server = createServer(listener)
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  return (server.address() as AddressInfo).port
}
