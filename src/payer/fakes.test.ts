// No tests, but what the payer's tests stand on: a toy protocol, a wallet that counts, a clock that leaps, a seller.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { JsonObject } from '../core/json.ts'
import { isObject } from '../core/json.ts'
import type { Asset } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Clock, Form, Protocol, Wallet } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import { BODY_HOLD_MS, CHALLENGE_MS_MAX } from './limits.ts'

export const usdc: Asset = { id: 'toy:usdc', code: 'USDC', scale: 6, currency: 'USD' }
export const points: Asset = { id: 'toy:pts', code: 'PTS', scale: 0 }
const assets = [usdc, points]

/** An offer as the toy protocol says it. */
export interface Ask {
  readonly amount: string
  readonly asset?: string
  readonly payTo?: string
  readonly network?: string
  readonly timeoutMs?: number
  readonly rail?: string
  readonly intent?: string
}

/** A 402's header, with USDC to the seller for five minutes unless it says otherwise. */
export function asking(...asks: readonly Ask[]): Record<string, string> {
  return { 'toy-required': JSON.stringify(asks) }
}

/** What a toy seller says when it was paid. */
export function receiptFor(req: IncomingMessage, rest: JsonObject = {}): Record<string, string> {
  const { amount, from } = proofIn(req)
  return {
    'toy-receipt': JSON.stringify({ ref: 'tx-1', amount, payer: from, payee: 'seller', ...rest }),
  }
}

export interface ToyProof {
  readonly nonce: number
  readonly from: string
  readonly amount: string
  readonly expiresAt: number
}

/** The proof that a request brought. */
export function proofIn(req: IncomingMessage): ToyProof {
  return JSON.parse(String(req.headers['toy-payment'])) as ToyProof
}

export const form: Form<unknown, ToyProof> = {
  rail: 'toy',
  networks: [],
  writeDetails: () => ({}),
  readDetails: () => 'unused',
  writeProof: (proof) => ({ ...proof }),
  readProof: (said) => (isObject(said) ? (said as unknown as ToyProof) : 'This is no proof.'),
  reasons: {},
}

/** Offers in `toy-required` or in the body's `toy`, the proof in `toy-payment`, the receipt in `toy-receipt`. */
export const toy: Protocol = {
  name: 'toy',
  fields: { request: ['toy-payment'], response: ['toy-receipt'] },
  writeChallenge: () => ({ fields: [] }),
  readCredential: () => undefined,
  writeReceipt: () => ({ fields: [] }),
  readChallenge({ fields, body }, resource) {
    const header = fields.get('toy-required')
    const asks: unknown = header ? JSON.parse(header) : isObject(body) ? body['toy'] : undefined
    if (!Array.isArray(asks)) return undefined
    const offers = asks.map((ask: Ask): Offer => offerOf(ask, resource.url))
    const code = fields.get('toy-error') ? 'settlement-failed' : 'payment-required'
    return { resource, offers, problem: problem(code, 'Pay first.') }
  },
  writeCredential: ({ proof }) => ({ fields: [['toy-payment', JSON.stringify(proof)]] }),
  readReceipt({ fields }, offer) {
    const text = fields.get('toy-receipt')
    if (!text) return undefined
    const said = JSON.parse(text) as Record<string, string>
    if (said['error'] !== undefined) return problem('settlement-failed', said['error'])
    const { rail, network, amount } = offer
    return {
      rail,
      network: said['network'] ?? network,
      reference: said['ref'] ?? '',
      payer: said['payer'] ?? '',
      payee: said['payee'] ?? '',
      amount: { asset: amount.asset, amount: BigInt(said['amount'] ?? 0) },
      settledAt: 1,
      settled: true,
    }
  },
}

function offerOf(ask: Ask, url: string): Offer {
  const asset = assets.find(({ code }) => code === (ask.asset ?? 'USDC')) ?? usdc
  return {
    id: '',
    rail: ask.rail ?? 'toy',
    network: ask.network ?? 'toy:1',
    intent: ask.intent ?? 'charge',
    amount: { asset, amount: BigInt(ask.amount) },
    payee: ask.payTo ?? 'seller',
    timeoutMs: ask.timeoutMs ?? 300_000,
    details: {},
    resource: { realm: '', method: '', authority: '', path: '', query: '', url },
    expiresAt: Number.MAX_SAFE_INTEGER,
    echo: { ask: { ...ask } },
  }
}

/** A wallet that tells what it signed. */
export interface Counting extends Wallet<unknown, ToyProof> {
  readonly signed: {
    readonly offer: Offer
    readonly validForMs: number
    readonly proof: ToyProof
  }[]
}

/** Makes a wallet; `rest` replaces its parts. */
export function counting(clock: Clock, rest: Partial<Wallet<unknown, ToyProof>> = {}): Counting {
  const signed: Counting['signed'] = []
  return {
    rail: 'toy',
    forms: { toy: form },
    signed,
    refuses: (offer) => (offer.network === 'toy:9' ? 'This network is not known.' : undefined),
    async pay(offer, validForMs) {
      const expiresAt = clock.now() + validForMs
      const amount = offer.amount.amount.toString()
      const proof = { nonce: signed.length + 1, from: 'Buyer', amount, expiresAt }
      signed.push({ offer, validForMs, proof })
      return proof
    },
    expiresAt: (proof) => proof.expiresAt,
    payer: (proof) => proof.from,
    ...rest,
  }
}

/** A clock that leaps over every sleep but the waits for a body, which end with `expire`. */
export interface Leaping extends Clock {
  readonly slept: number[]
  leap(ms: number): void
  expire(): void
}

/** Makes a clock that stands at the test's day until it leaps. */
export function leaping(startAt: number = Date.UTC(2026, 10, 20, 12)): Leaping {
  const slept: number[] = []
  let at = startAt
  let expire = (): void => undefined
  const expired = new Promise<void>((resolve) => {
    expire = resolve
  })
  return {
    slept,
    expire: () => expire(),
    now: () => at,
    leap: (ms) => {
      at += ms
    },
    async sleep(ms) {
      if (ms === CHALLENGE_MS_MAX || ms === BODY_HOLD_MS) return expired
      slept.push(ms)
      at += ms
      return undefined
    },
  }
}

/** A request as the seller saw it. */
export interface Seen {
  readonly req: IncomingMessage
  readonly body: string
}

export type Serve = (seen: Seen, res: ServerResponse) => void

/** A loopback server. */
export interface Seller {
  readonly url: string
  readonly host: string
  readonly seen: Seen[]
  /** The proofs it was shown, in order. */
  readonly proofs: () => readonly ToyProof[]
}

const servers: Server[] = []

/** Starts a server on a free port; {@link closeSellers} stops it. */
export async function selling(serve: Serve): Promise<Seller> {
  const seen: Seen[] = []
  const server = createServer((req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('error', () => undefined)
    req.on('end', () => {
      const one = { req, body: Buffer.concat(chunks).toString() }
      seen.push(one)
      serve(one, res)
    })
  }).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: `http://${host}`,
    host,
    seen,
    proofs: () =>
      seen.filter(({ req }) => req.headers['toy-payment']).map(({ req }) => proofIn(req)),
  }
}

/** Stops all sellers that this file started. */
export async function closeSellers(): Promise<void> {
  for (const server of servers) {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
}

/** An honest seller: asks for the price, serves with a receipt. */
export function honest(...asks: readonly Ask[]): Serve {
  return ({ req, body }, res) => {
    if (!req.headers['toy-payment']) return void res.writeHead(402, asking(...asks)).end('pay')
    return void res.writeHead(200, receiptFor(req)).end(`served ${req.method} ${body}`)
  }
}
