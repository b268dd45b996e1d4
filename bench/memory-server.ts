// A seller in a process of its own whose memory is watched: durable books, a rail that says yes without a chain.
import type { RequestListener } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { toll as tollFetch } from '../src/adapters/fetch.ts'
import { toll } from '../src/adapters/node.ts'
import type { OpenSeller } from '../src/adapters/seller.ts'
import { createSeller } from '../src/adapters/seller.ts'
import type { Rail } from '../src/core/ports.ts'
import { sqlite } from '../src/ledger/sqlite.ts'
import { x402 } from '../src/protocols/x402/index.ts'
import type { Details, Proof } from '../src/rails/evm/index.ts'
import { exact } from '../src/rails/evm/index.ts'
import { createQuickPayer } from './parties.ts'
import { serveVerbs } from './process.ts'
import { readSlowly } from './slow.ts'
import { memory, most, watch } from './watched.ts'

/** What a seller is started with. */
export interface Start {
  readonly directory: string
  /** How much `GET /large` streams. */
  readonly bytes: number
}

const PAY_TO = '0x5eDbC8cD20A0C1a6D8f1DF8E9f4B3a7c2D1E6F09'
const NETWORK = 'eip155:84532'
const ROUTES = { 'GET /paid': '0.001 USD', 'GET /large': '0.001 USD' } as const
const PIECE = Buffer.alloc(2 ** 16, 'x')

serveVerbs({
  ours: async ({ directory, bytes }: Start) =>
    listen(toll(await open(directory), ROUTES, handler(bytes))),
  watch,
  most,
  memory,
  /** A large response through the fetch adapter, read slowly by this very process. How many bytes came. */
  async large({ directory, bytes }: Start): Promise<number> {
    const handle = tollFetch(await open(directory), ROUTES, () => streamed(bytes))
    const payer = createQuickPayer(async (input, init) => handle(new Request(input, init)))
    return readSlowly(await payer.fetch('http://127.0.0.1/large'))
  },
})

async function open(directory: string): Promise<OpenSeller> {
  const rail = yes()
  const ledger = await sqlite({ file: join(directory, 'books.db') })
  const secret = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
  return createSeller({ secret, rails: [rail], protocols: [x402([rail])], ledger })
}

/** Takes every payment as it is, and writes ahead as a real rail does. */
function yes(): Rail<Details, Proof> {
  const method = exact({ network: NETWORK, payTo: PAY_TO })
  return {
    ...method,
    open: () => Promise.resolve(),
    close: () => Promise.resolve(),
    verify: (offer, proof) => Promise.resolve({ ok: true, ...method.identify(offer, proof) }),
    async settle(offer, proof, _key, log) {
      const { payer } = method.identify(offer, proof)
      await log.write({ type: 'prepared', data: { raw: `0x${'5a'.repeat(600)}` } })
      return { state: 'settled', reference: proof.nonce, payer, settledAt: Date.now() }
    },
    find: () => Promise.resolve(undefined),
  }
}

function handler(bytes: number): RequestListener {
  return (request, response) => {
    if (request.url !== '/large') response.end('sold')
    else pipeline(pieces(bytes), response).catch(() => void response.destroy())
  }
}

function streamed(bytes: number): Response {
  return new Response(Readable.toWeb(Readable.from(pieces(bytes))) as ReadableStream<Uint8Array>)
}

/** The same piece again and again: what grows is what the way out holds on to, and not what the handler leaves behind. */
function* pieces(bytes: number): Generator<Uint8Array> {
  for (let left = bytes; left > 0; left -= PIECE.length) yield PIECE.subarray(0, left)
}

async function listen(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
