// A shop that takes everything, behind every kind of door, the gateway included. It tests nothing itself.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { IncomingMessage, Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import { toll as nextToll } from '../../src/adapters/next.ts'
import type { OpenSeller, SellerSettings } from '../../src/adapters/seller.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import { readAuth } from '../../src/core/auth.ts'
import type { Ledger, Mint, Protocol } from '../../src/core/ports.ts'
import { createHouse } from '../../src/gateway/house.ts'
import { listen as openGateway } from '../../src/gateway/server.ts'
import { memory } from '../../src/ledger/memory.ts'
import { bearer } from '../../src/protocols/bearer/index.ts'
import { l402 } from '../../src/protocols/l402/index.ts'
import { mpp } from '../../src/protocols/mpp/index.ts'
import { oauth } from '../../src/protocols/oauth/index.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import { permit } from '../../src/rails/evm/permit/index.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import { lightning } from '../../src/rails/lightning/index.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { LightningNetwork } from '../../src/sandbox/lightning/network.ts'
import { startLightning } from '../../src/sandbox/lightning/network.ts'
import { createMacaroonMint, createMacaroons, hashIn } from '../../src/tokens/macaroon/index.ts'
import type { Doors } from './l402-shop.ts'
import { linesOf, openDoors, payInvoice } from './l402-shop.ts'
import { createSender, listen } from './peers.ts'

export const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
export const USDC = 10_000n
export const MSAT = 15_000n
const PRICE = ['0.01 USD', '15 SAT'] as const

/** What shops and buyers stand on. */
export interface World {
  readonly chain: Chain
  readonly net: LightningNetwork
  readonly payee: `0x${string}`
  readonly ledger: Ledger
  readonly pay: (invoice: string) => Promise<string>
  /** What was earned, and what the books say of it. */
  holdings(): Promise<{ readonly usdc: bigint; readonly msat: bigint; readonly booked: bigint }>
  /** A shop behind every door; what it differs in. */
  openShop(rest?: ShopOptions): Promise<Doors>
  close(): Promise<void>
}

/** How a shop differs. */
interface ShopOptions extends Partial<Omit<SellerSettings, 'protocols'>> {
  /** Says L402 as LSAT too. */
  readonly legacy?: boolean
  /** Takes permits of Permit2 too, and names them first. */
  readonly permits?: boolean
  /** Which protocols are spoken, and in which order they are named; all if absent. */
  readonly speaks?: readonly string[]
}

/** Real channels, and a real chain. */
export async function openWorld(): Promise<World> {
  const [net, chain] = await Promise.all([startLightning(), startChain()])
  const payee = (await createSender(chain)).address
  const ledger = memory()
  const closing: (() => Promise<unknown>)[] = []

  async function openSeller({
    legacy = false,
    permits = false,
    speaks,
    ...rest
  }: ShopOptions): Promise<OpenSeller> {
    const sender = await createSender(chain)
    const { network, rpc } = chain
    const usdc = evm({ network, rpc, payTo: payee, signer: sender.privateKey })
    const bitcoin = lightning({ node: net.seller, network: 'regtest' })
    const spender = (await createSender(chain)).privateKey
    const permitted = permit({ network, rpc, payTo: payee, signer: spender })
    const first = permits ? [permitted] : []
    const macaroons = createMacaroons({ secrets: [SECRET] })
    const mints: readonly Mint[] = [createMacaroonMint(macaroons)]
    // The order in which they are named is not the one in which they stand in the answer.
    const all: readonly Protocol[] = [
      oauth({ mints }),
      bearer({ parts: [usdc], mints }),
      mpp({ parts: [...first, bitcoin, usdc] }),
      x402([usdc]),
      l402({ parts: [bitcoin], mint: macaroons, hashIn, legacy }),
    ]
    const protocols = (speaks ?? all.map(({ name }) => name)).map((name) => {
      const protocol = all.find((one) => one.name === name)
      assert.ok(protocol, name)
      return protocol
    })
    const seller = await createSeller({
      secret: SECRET,
      rails: [...first, bitcoin, usdc],
      protocols,
      ledger,
      mints,
      ...rest,
    })
    closing.push(() => seller.close())
    return seller
  }

  async function openShop(options: ShopOptions = {}): Promise<Doors> {
    const seller = await openSeller(options)
    const doors = await openDoors(seller, { 'GET /paid': { price: PRICE } })
    closing.push(() => doors.close())
    const others = new Map([
      ['Next', await openNext(seller)],
      ['gateway', await openGatewayOf(seller)],
    ])
    let runs = 0
    return {
      ...doors,
      names: [...doors.names, ...others.keys()],
      url: (name) => others.get(name) ?? doors.url(name),
      runs: () => runs + doors.runs(),
    }

    async function openNext(seller: OpenSeller): Promise<string> {
      const file = nextToll(seller, { price: PRICE }, () => {
        runs++
        return Response.json({ path: '/paid' })
      })
      const server = createAdaptorServer({ fetch: (request) => file(request) }) as Server
      const peer = await listen(server.listen(0, '127.0.0.1'))
      closing.push(() => peer.close())
      return peer.url
    }

    async function openGatewayOf(seller: OpenSeller): Promise<string> {
      const upstream = createServer((_, response) => {
        runs++
        response.setHeader('Content-Type', 'application/json').end('{"path":"/paid"}')
      })
      const behind = await listen(upstream.listen(0, '127.0.0.1'))
      const house = createHouse({
        seller,
        upstreams: { shop: { url: behind.url } },
        routes: { 'GET /paid': { upstream: 'shop', sale: { price: PRICE } } },
      })
      const server = await openGateway({ host: '127.0.0.1', port: 0 }, house)
      closing.push(async () => {
        await server.drain(0)
        await house.close()
        await behind.close()
      })
      return server.url.replace(/\/$/, '')
    }
  }

  return {
    chain,
    net,
    payee,
    ledger,
    openShop,
    pay: (invoice) => payInvoice(net, invoice),
    async holdings() {
      const all = await ledger.balances()
      const sales = all.filter(({ account }) => account.startsWith('sales/'))
      return {
        usdc: await chain.balanceOf(payee),
        msat: net.seller.balanceMsat(),
        booked: sales.reduce((sum, { posted }) => sum + posted, 0n),
      }
    },
    async close() {
      for (const one of closing.toReversed()) await one()
      await net.close()
      await chain.stop()
    },
  }
}

/** The challenges of a head in the order in which they stand: scheme, and what tells it from others of its scheme. */
export function kindsOf(raw: IncomingMessage): readonly string[] {
  return readAuth(linesOf(raw, 'WWW-Authenticate').join(', ')).map(({ scheme, params }) =>
    [scheme, params.get('method') ?? (scheme === 'Bearer' ? params.get('realm') : undefined)]
      .filter((word) => word !== undefined)
      .join(' '),
  )
}

/** All bytes of a head, as they came. */
export function headBytes({ rawHeaders, statusMessage = '' }: IncomingMessage): number {
  const fields = rawHeaders.reduce((sum, text) => sum + Buffer.byteLength(text, 'latin1'), 0)
  return `HTTP/1.1 402 ${statusMessage}\r\n\r\n`.length + fields + (rawHeaders.length / 2) * 4
}
