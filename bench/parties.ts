// Sellers and buyers, ours and the peers', on the same chain and for the same price.
import { createServer } from 'node:http'
import { join } from 'node:path'
import { wrapFetchWithPayment } from '@x402/fetch'
import { createPayer, createSeller, sqlite } from '../src/index.ts'
import { toll } from '../src/adapters/node.ts'
import { memory } from '../src/ledger/memory.ts'
import type { Payer } from '../src/index.ts'
import { x402 } from '../src/protocols/x402/index.ts'
import type { EvmRail } from '../src/rails/evm/index.ts'
import { evm, fromPrivateKey, wallet } from '../src/rails/evm/index.ts'
import type { Chain } from '../src/sandbox/chain.ts'
import contracts from '../src/sandbox/contracts.json' with { type: 'json' }
import type { Keys } from '../test/interop/peers.ts'
import {
  createClient,
  createSender,
  listen,
  startExpressSeller,
  startFacilitator,
} from '../test/interop/peers.ts'

/** What both sell at. */
export const PRICE = '0.001 USD'

/** A seller of `GET /paid`. */
export interface SellerParty {
  readonly url: string
  close(): Promise<void>
}

/** Our seller, with the rail that it checks and settles by. */
export interface OurSeller extends SellerParty {
  readonly rail: EvmRail
}

/** The peers' seller, with its facilitator. */
export interface PeerSeller extends SellerParty {
  readonly facilitator: string
}

/** Our seller on node:http: our rail, and durable books in the directory. */
export async function startOurs(chain: Chain, directory: string): Promise<OurSeller> {
  const [payee, sender] = [await createSender(chain), await createSender(chain)]
  const { network, rpc } = chain
  const { batcher } = contracts
  const rail = evm({ network, rpc, payTo: payee.address, signer: sender.privateKey, batcher })
  const ledger = await sqlite({ file: join(directory, 'seller.db') })
  const seller = await createSeller({
    secret: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    rails: [rail],
    protocols: [x402([rail])],
    ledger,
  })
  const listener = toll(seller, { 'GET /paid': PRICE }, (_, response) => response.end('sold'))
  const server = await listen(createServer(listener).listen(0, '127.0.0.1'))
  return {
    rail,
    url: server.url,
    async close() {
      await server.close()
      await seller.close()
      await ledger.close()
    },
  }
}

/** The peers' seller on Express, and their facilitator with its nonce manager. It keeps no books. */
export async function startPeers(chain: Chain): Promise<PeerSeller> {
  const payee = await createSender(chain)
  const facilitator = await startFacilitator(chain)
  const seller = await startExpressSeller(facilitator.url, payee.address)
  return {
    url: seller.url,
    facilitator: facilitator.url,
    async close() {
      await seller.close()
      await facilitator.close()
    },
  }
}

/** Buyers that pay for whatever they fetch. */
export interface Buyers {
  readonly fetches: readonly (typeof fetch)[]
  close(): Promise<void>
}

/** Our buyers, who share a budget and its durable books. */
export async function createOurBuyers(keys: readonly Keys[], directory: string): Promise<Buyers> {
  const ledger = await sqlite({ file: join(directory, 'buyers.db') })
  const policy = { perRequest: '0.01 USD', total: '1000 USD' }
  const payers = keys.map(({ privateKey }) => {
    const wallets = [wallet({ signer: fromPrivateKey(privateKey) })]
    return createPayer({ wallets, protocols: [x402(wallets)], ledger, policy })
  })
  return {
    fetches: payers.map((payer) => (input, init) => payer.fetch(input, init)),
    close: () => ledger.close(),
  }
}

/** The peers' buyers. They keep neither books nor a budget. */
export function createPeerBuyers(keys: readonly Keys[]): Buyers {
  return {
    fetches: keys.map(({ account }) => wrapFetchWithPayment(fetch, createClient(account))),
    close: () => Promise.resolve(),
  }
}

/** A payer whose payments no chain would take, for sellers that do not look: nobody's time goes into signing. */
export function createQuickPayer(payingFetch: typeof fetch): Payer {
  const signer = {
    address: '0x209693bc6afc0c5328ba36faf03c514ef312287c',
    signTypedData: () => Promise.resolve(`0x${'11'.repeat(64)}1b` as const),
  } as const
  const wallets = [wallet({ signer })]
  const policy = { perRequest: '0.01 USD', total: '1000 USD' }
  const parts = { wallets, protocols: [x402(wallets)], ledger: memory(), policy }
  return createPayer({ ...parts, fetch: payingFetch })
}

/** Buys once, and tells whether it was sold. */
export async function buy(payingFetch: typeof fetch, url: string): Promise<boolean> {
  const response = await payingFetch(`${url}/paid`)
  await response.text()
  return response.status === 200
}
