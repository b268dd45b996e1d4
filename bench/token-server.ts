// A server in a process of its own, on one core, whose requests are paid by tokens; and the same without a gate.
import { createServer } from 'node:http'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toll } from '../src/adapters/node.ts'
import type { PlanSettings } from '../src/adapters/plans.ts'
import { createSeller } from '../src/adapters/seller.ts'
import type { Seller } from '../src/adapters/http.ts'
import type { Ask, Mint, Rail } from '../src/core/ports.ts'
import { memory } from '../src/ledger/memory.ts'
import { sqlite } from '../src/ledger/sqlite.ts'
import { oauth } from '../src/protocols/oauth/index.ts'
import { createJwts, newJwtKey } from '../src/tokens/jwt/index.ts'
import { createMacaroonMint, createMacaroons } from '../src/tokens/macaroon/index.ts'
import { createOpaques } from '../src/tokens/opaque/index.ts'
import { serveVerbs } from './process.ts'

/** What the tokens are, and what their plan counts. */
export interface Sold {
  readonly kind: 'macaroon' | 'jwt' | 'opaque'
  readonly counted: boolean
  readonly origin: string
}

/** Where it listens, and what pays there. */
export interface Shop {
  readonly port: number
  readonly token: string
}

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const USES = 100_000_000

serveVerbs({
  bare: async () => ({ port: await listen((_, response) => response.end('sold')), token: 'none' }),
  async ungated({ origin }: Pick<Sold, 'origin'>): Promise<Shop> {
    const settings = { secret: SECRET, rails: [rail], protocols: [oauth()], origin }
    const seller = await createSeller({ ...settings, ledger: memory() })
    const listener = toll(seller, { 'GET /weather': 'free' }, (_, response) => response.end('sold'))
    return { port: await listen(listener), token: 'none' }
  },
  async ours({ kind, counted, origin }: Sold): Promise<Shop> {
    const mint = await mintOf(kind, origin)
    const plan: PlanSettings = { price: '1 USD', ...(counted && { uses: USES }) }
    const directory = mkdtempSync(join(tmpdir(), 'bench-'))
    process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
    const seller = await createSeller({
      secret: SECRET,
      rails: [rail],
      protocols: [oauth({ mints: [mint] })],
      mints: [mint],
      plans: { plan },
      ledger: await sqlite({ file: join(directory, 'books.sqlite') }),
      origin,
    })
    const listener = toll(seller, { 'GET /weather': { plan: 'plan' } }, (_, response) =>
      response.end('sold'),
    )
    return { port: await listen(listener), token: await buy(seller, mint, origin) }
  },
})

async function mintOf(kind: Sold['kind'], issuer: string): Promise<Mint> {
  const secrets = [SECRET]
  if (kind === 'macaroon') return createMacaroonMint(createMacaroons({ secrets }))
  if (kind === 'opaque') return createOpaques({ secrets })
  return createJwts({ keys: [await newJwtKey('ES256')], issuer, audience: issuer })
}

/** A stand-in: whoever accepts its offer has paid. What is measured comes after the payment. */
const rail: Rail = {
  name: 'gift',
  network: 'none',
  forms: {},
  quote: () => [
    {
      rail: 'gift',
      network: 'none',
      intent: 'charge',
      amount: { asset: { id: 'none/usd', code: 'USD', scale: 0 }, amount: 1n },
      payee: 'us',
      timeoutMs: 60_000,
      details: {},
    },
  ],
  identify: (offer) => ({ key: `gift/${offer.id}`, payer: 'somebody' }),
  open: () => Promise.resolve(),
  close: () => Promise.resolve(),
  verify: (offer) => Promise.resolve({ ok: true, key: `gift/${offer.id}`, payer: 'somebody' }),
  settle: (offer) =>
    Promise.resolve({
      state: 'settled',
      reference: offer.id,
      payer: 'somebody',
      settledAt: Date.now(),
    }),
  find: () => Promise.resolve(undefined),
}

async function buy({ gate, plans, realm }: Seller, mint: Mint, origin: string): Promise<string> {
  const plan = plans?.get('plan')
  if (!plan) throw new Error('There is no plan.')
  const { host } = new URL(origin)
  const ask: Ask = {
    resource: { realm, method: 'GET', authority: host, path: '/', query: '', url: `${origin}/` },
    sale: { prices: plan.prices, plan, settle: 'before-work', account: 'sales/plan' },
    request: 'bench',
  }
  const [offer] = (await gate.challenge(ask)).challenge?.offers ?? []
  const bought = await gate.sell({ ...ask, credential: { ...(offer && { offer }), proof: {} } })
  if (bought.kind === 'refused') throw new Error(bought.problem.detail)
  return await mint.mint(bought.grant)
}

async function listen(listener: RequestListener): Promise<number> {
  const server: Server = createServer(listener)
  // Connections stand still while the others have their turn.
  server.keepAliveTimeout = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  return (server.address() as AddressInfo).port
}
