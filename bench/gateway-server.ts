// A gateway in a process of its own, on one core, before an upstream on the other; and a server that says its 402 by heart.
import { createServer } from 'node:http'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'
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
import { createVerifier, exact } from '../src/rails/evm/index.ts'
import type { Details, Proof } from '../src/rails/evm/index.ts'
import { createMacaroonMint, createMacaroons } from '../src/tokens/macaroon/index.ts'
import { serveVerbs } from './process.ts'
import type { Script } from './unpaid-server.ts'
import { memory as collected, most, watch } from './watched.ts'

/** What is sold, and what is behind it. */
export interface Sold {
  readonly upstream: string
  readonly origin: string
  /**
   * `free`, `priced` (asks for a payment), `timed` (a token that is good for a time), `counted` (each use in the books), `signed`
   * (payments whose signatures are checked, and whose money is not moved).
   */
  readonly route: 'free' | 'priced' | 'timed' | 'counted' | 'signed'
}

/** Where it listens, and what pays there. */
export interface Shop {
  readonly port: number
  readonly token: string
}

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const PAYEE = '0x1111111111111111111111111111111111111111'
const USES = 100_000_000
/** Base. */
const CHAIN_ID = 8453
const BODY_BYTES = 1_024
const PIECE_BYTES = 65_536
const EVENT_AFTER_MS = 20
/** More than anything that is sent here. */
const LARGE_BYTES_MAX = 2 ** 31

serveVerbs({
  ...{ memory: collected, watch, most },
  upstream: async () => await listen(serveAll),
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
    const paid = route === 'signed' ? await checked() : rail
    const seller = await createSeller({
      ...{ secret: SECRET, origin, rails: [paid], mints: [mint], plans: { plan } },
      protocols: [x402([paid]), oauth({ mints: [mint], foreign: 'leave' })],
      ledger: route === 'counted' ? await books() : memory(),
    })
    const isPriced = route === 'priced' || route === 'signed'
    const sale = route === 'free' ? 'free' : isPriced ? '0.01 USD' : { plan: 'plan' }
    const house = createHouse({
      seller,
      routes: {
        'GET /weather': { sale },
        'GET /events': { sale: 'free' },
        'GET /large': { sale: 'free' },
        'PUT /large': { sale: 'free', bodyBytesMax: LARGE_BYTES_MAX },
      },
      upstreams: { one: { url: upstream } },
    })
    const open = { house, close: () => seller.close(), ready: async () => undefined }
    const gateway = await startGateway({ listen: { host: '127.0.0.1', port: 0 }, open })
    const isSold = route === 'timed' || route === 'counted'
    const token = isSold ? await buy(seller, mint, origin) : 'none'
    return { port: Number(new URL(gateway.url).port), token }
  },
})

const body = Buffer.alloc(BODY_BYTES, 'x')
const piece = Buffer.alloc(PIECE_BYTES, 'x')

/** A kilobyte; an event that says when it was written; as much as is asked for; and how much was sent. */
const serveAll: RequestListener = (request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://upstream')
  if (request.method === 'PUT') void count(request, response)
  else if (pathname === '/events') void tell(response)
  else if (pathname === '/large')
    pipeline(pieces(Number(searchParams.get('bytes'))), response).catch(() => undefined)
  else
    response
      .writeHead(200, { 'content-length': BODY_BYTES, 'content-type': 'text/plain' })
      .end(body)
}

async function tell(response: ServerResponse): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders()
  await sleep(EVENT_AFTER_MS)
  response.end(`data: ${process.hrtime.bigint()}\n\n`)
}

async function count(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) bytes += chunk.length
  response.end(String(bytes))
}

/** The same piece again and again, so that only what is on its way takes room. */
function* pieces(bytes: number): Generator<Uint8Array> {
  for (let left = bytes; left > 0; left -= piece.length) yield piece.subarray(0, left)
}

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

/** Checks what can be checked without a chain, the signature above all, and settles nothing. */
async function checked(): Promise<Rail> {
  const method = exact({ network: 'base', payTo: PAYEE })
  const { domain, look } = await createVerifier()
  const domains = new Map<string, Uint8Array>()
  const domainOf = (details: Details): Uint8Array => {
    const token = { ...details, address: details.asset, code: '', scale: 6 }
    const known = domains.get(details.asset) ?? domain(token, CHAIN_ID)
    domains.set(details.asset, known)
    return known
  }
  const typed: Rail<Details, Proof> = {
    ...method,
    open: async () => {},
    close: async () => {},
    async verify(offer, proof) {
      const { key, payer } = method.identify(offer, proof)
      const isRight =
        look(domainOf(offer.details), proof) === 'payer' &&
        proof.value === offer.amount.amount &&
        proof.to === offer.payee.toLowerCase()
      if (!isRight) throw new Error('What is measured is an honest payment.')
      return { ok: true, key, payer }
    },
    settle: async (_, { nonce, from: payer }) => ({
      ...{ state: 'settled', reference: nonce, payer },
      settledAt: Date.now(),
    }),
    find: async () => undefined,
  }
  return typed
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
