// A seller in a process of its own, on one core: ours, the bare server that says the same, or the peers' on Express.
import { createServer } from 'node:http'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { FacilitatorClient } from '@x402/core/server'
import { x402ResourceServer } from '@x402/core/server'
import { ExactEvmScheme } from '@x402/evm/exact/server'
import { paymentMiddleware } from '@x402/express'
import express from 'express'
import { toll } from '../src/adapters/node.ts'
import type { Rail } from '../src/core/ports.ts'
import { memory } from '../src/ledger/memory.ts'
import { x402 } from '../src/protocols/x402/index.ts'
import { exact } from '../src/rails/evm/index.ts'
import { createSeller } from '../src/adapters/seller.ts'
import { serveVerbs } from './process.ts'

/** An answer to be said again, byte for byte but for the date. */
export interface Script {
  readonly status: number
  /** Names and values in turn. */
  readonly head: readonly string[]
  readonly body: string
}

const PAY_TO = '0x5eDbC8cD20A0C1a6D8f1DF8E9f4B3a7c2D1E6F09'
const NETWORK = 'eip155:84532'

serveVerbs({
  ours: async (origin: string) => listen(await ours(origin)),
  bare: async (script: Script) => listen(bare(script)),
  express: async () => listen(peers()),
})

async function ours(origin: string): Promise<RequestListener> {
  const rail = unasked()
  const seller = await createSeller({
    secret: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    rails: [rail],
    protocols: [x402([rail])],
    ledger: memory(),
    origin,
  })
  return toll(seller, { 'GET /weather': '0.01 USD' }, (_, response) => response.end('sold'))
}

/** The rail's pure half: a request without a payment never asks a chain. */
function unasked(): Rail {
  const never = (): never => {
    throw new Error('Nobody pays here.')
  }
  return {
    ...exact({ network: NETWORK, payTo: PAY_TO }),
    open: () => Promise.resolve(),
    close: () => Promise.resolve(),
    verify: never,
    settle: never,
    find: never,
  }
}

function bare({ status, head, body }: Script): RequestListener {
  const bytes = Buffer.from(body, 'latin1')
  const fields = [...head]
  return (_, response) => {
    response.writeHead(status, fields)
    response.end(bytes)
  }
}

function peers(): RequestListener {
  const facilitator: FacilitatorClient = {
    getSupported: () =>
      Promise.resolve({
        kinds: [{ x402Version: 2, scheme: 'exact', network: NETWORK }],
        extensions: [],
        signers: {},
      }),
    verify: () => Promise.reject(new Error('Nobody pays here.')),
    settle: () => Promise.reject(new Error('Nobody pays here.')),
  }
  const server = new x402ResourceServer(facilitator).register('eip155:*', new ExactEvmScheme())
  const accepts = { scheme: 'exact', network: NETWORK, payTo: PAY_TO, price: '$0.01' } as const
  const app = express()
  app.use(paymentMiddleware({ 'GET /weather': { accepts } }, server))
  app.get('/weather', (_, response) => void response.send('sold'))
  return app
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
