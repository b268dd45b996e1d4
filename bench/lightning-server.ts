// A seller over Lightning in a process of its own, whose node is elsewhere and speaks as LND over HTTP: our gate with durable
// books, or the tools of the peers in a middleware of Express, which keeps none.
import { hash as digest } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import {
  issueL402Macaroon,
  makeL402AuthenticateHeader,
  parseL402Authorization,
  verifyL402Macaroon,
} from '@getalby/lightning-tools/402/l402'
import express from 'express'
import { toll } from '../src/adapters/node.ts'
import { createSeller } from '../src/adapters/seller.ts'
import { sqlite } from '../src/ledger/sqlite.ts'
import { l402 } from '../src/protocols/l402/index.ts'
import { createLnd } from '../src/rails/lightning/adapters/index.ts'
import { lightning } from '../src/rails/lightning/index.ts'
import { createMacaroons } from '../src/tokens/macaroon/index.ts'
import { serveVerbs } from './process.ts'

/** What a seller is started with. */
export interface Start {
  /** Where its node answers as LND. */
  readonly node: string
  /** In hex. */
  readonly macaroon: string
  readonly directory: string
  readonly sat: number
}

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const MIB = 2 ** 20
const EXPIRY_S = 600

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

serveVerbs({
  ours: async (start: Start) => listen(await ours(start)),
  peers: async (start: Start) => listen(peers(start)),
  /** What its objects take, in MiB, when nothing is left to be collected. */
  heap(): number {
    collect()
    collect()
    return process.memoryUsage().heapUsed / MIB
  },
})

async function ours({ node: url, macaroon, directory, sat }: Start): Promise<RequestListener> {
  const rail = lightning({ node: createLnd({ url, macaroon }), network: 'regtest' })
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [l402({ parts: [rail], mint: createMacaroons({ secrets: [SECRET] }) })],
    ledger: await sqlite({ file: join(directory, 'books.db') }),
    // All buyers have one address here.
    limits: { tiers: { challenges: 'unlimited' } },
  })
  return toll(seller, { 'GET /paid': `${sat} SAT` }, (_, response) => response.end('sold'))
}

/** As little as sells: invoice and token out, token and preimage in. The same payment buys again and again. */
function peers({ node, macaroon, sat }: Start): RequestListener {
  const app = express()
  app.use(async (request, response, next) => {
    if (await isPaid(request.headers.authorization ?? '', request.path)) return next()
    const answer = await fetch(`${node}/v1/invoices`, {
      method: 'POST',
      headers: { 'grpc-metadata-macaroon': macaroon, 'content-type': 'application/json' },
      body: JSON.stringify({ value: String(sat), memo: request.path, expiry: String(EXPIRY_S) }),
    })
    const made = (await answer.json()) as {
      readonly r_hash: string
      readonly payment_request: string
    }
    const hash = Buffer.from(made.r_hash, 'base64').toString('hex')
    const token = await issueL402Macaroon(SECRET, hash, { path: request.path })
    const challenge = makeL402AuthenticateHeader({ token, invoice: made.payment_request })
    response.status(402).set('WWW-Authenticate', challenge).json({ error: 'Payment required' })
  })
  app.get('/paid', (_, response) => void response.send('sold'))
  return app
}

async function isPaid(field: string, path: string): Promise<boolean> {
  const shown = parseL402Authorization(field)
  if (!shown) return false
  const { paymentHash, path: sold } = await verifyL402Macaroon<{ path: string }>(
    SECRET,
    shown.token,
  )
  const hash = digest('sha256', Buffer.from(shown.preimage, 'hex'))
  return sold === path && hash === paymentHash
}

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
