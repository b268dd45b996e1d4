// A shop that takes Lightning, behind every kind of door, and what its visitors need. It tests nothing itself.
import assert from 'node:assert/strict'
import { createServer, request as requestOf } from 'node:http'
import type { IncomingMessage, Server } from 'node:http'
import { createRequire } from 'node:module'
import { createAdaptorServer } from '@hono/node-server'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import { toll as expressToll } from '../../src/adapters/express.ts'
import { toll as fastifyToll } from '../../src/adapters/fastify.ts'
import { toll as fetchToll } from '../../src/adapters/fetch.ts'
import { toll as honoToll } from '../../src/adapters/hono.ts'
import type { Seller } from '../../src/adapters/http.ts'
import { toll as nodeToll } from '../../src/adapters/node.ts'
import type { Routes } from '../../src/adapters/routes.ts'
import type { Ledger } from '../../src/core/ports.ts'
import { hashIn } from '../../src/tokens/macaroon/index.ts'
import type { LightningNetwork } from '../../src/sandbox/lightning/network.ts'
import type { Macaroon } from '../../src/tokens/macaroon/index.ts'
import { readToken, writeToken } from '../../src/tokens/macaroon/index.ts'
import { writeMacaroon } from '../../src/tokens/macaroon/codec.ts'
import type { Peer } from './peers.ts'
import { listen } from './peers.ts'

/** Servers of all kinds before the same work, by their names. */
export interface Doors {
  readonly names: readonly string[]
  url(name: string): string
  /** How often the work was done. */
  runs(): number
  close(): Promise<void>
}

const NAMES = ['node:http', 'fetch', 'Express', 'Fastify', 'Hono'] as const

/** Opens them. The work says where it was; below `/fail` it fails. */
export async function openDoors(seller: Seller, routes: Routes): Promise<Doors> {
  let runs = 0
  const work = (path: string): readonly [status: number, body: string] => {
    runs++
    return [path.startsWith('/fail') ? 500 : 200, JSON.stringify({ path })]
  }
  const respond = (path: string): Response => {
    const [status, body] = work(path)
    return new Response(body, { status })
  }
  const pathOf = (url: string): string => new URL(url, 'http://shop').pathname

  const plain = createServer(
    nodeToll(seller, routes, (request, response) => {
      const [status, body] = work(pathOf(request.url ?? '/'))
      response.writeHead(status).end(body)
    }),
  )
  const handler = fetchToll(seller, routes, (request) => respond(pathOf(request.url)))
  const app = express().use(expressToll(seller, routes))
  app.use((request, response) => {
    const [status, body] = work(request.path)
    response.status(status).end(body)
  })
  const swift = fastify({ forceCloseConnections: true })
  await swift.register(fastifyToll(seller, routes))
  swift.all('/*', async (request, reply) => {
    const [status, body] = work(pathOf(request.url))
    return await reply.status(status).send(body)
  })
  const hono = new Hono().use(honoToll(seller, routes))
  hono.all('*', (context) => respond(context.req.path))
  const swiftUrl = await swift.listen({ port: 0, host: '127.0.0.1' })
  const peers: readonly Peer[] = [
    await listen(plain.listen(0, '127.0.0.1')),
    await listen(serverOf(handler).listen(0, '127.0.0.1')),
    await listen(app.listen(0, '127.0.0.1')),
    { url: swiftUrl, close: () => swift.close() },
    await listen(serverOf((request) => hono.fetch(request)).listen(0, '127.0.0.1')),
  ]
  return {
    names: NAMES,
    url(name) {
      const peer = peers[NAMES.indexOf(name as (typeof NAMES)[number])]
      assert.ok(peer)
      return peer.url
    },
    runs: () => runs,
    close: async () => void (await Promise.all(peers.map((peer) => peer.close()))),
  }
}

function serverOf(fetch: (request: Request) => Response | Promise<Response>): Server {
  return createAdaptorServer({ fetch }) as Server
}

/** Pays and gives the preimage. */
export async function payInvoice(net: LightningNetwork, invoice: string): Promise<string> {
  const paid = await net.buyer.pay({ invoice, feeMaxMsat: 5_000n, timeoutMs: 20_000 })
  assert.equal(paid.state, 'succeeded')
  return paid.state === 'succeeded' ? paid.preimage : ''
}

/** What the L402 challenge of an answer says. */
export interface Asked {
  readonly token: string
  readonly invoice: string
}

/** Asks for the price. */
export async function ask(url: string, init: RequestInit = {}): Promise<Asked> {
  const answer = await fetch(url, init)
  assert.equal(answer.status, 402, await answer.text())
  return askedIn(answer.headers.get('www-authenticate') ?? '')
}

export function askedIn(field: string): Asked {
  const [, token, invoice] = /L402 macaroon="([^"]+)", invoice="([^"]+)"/.exec(field) ?? []
  assert.ok(token !== undefined && invoice !== undefined, field)
  return { token, invoice }
}

/** Buys a token by hand: what a client without a library does. */
export async function buy(
  net: LightningNetwork,
  url: string,
): Promise<{ readonly token: string; readonly preimage: string }> {
  const { token, invoice } = await ask(url)
  return { token, preimage: await payInvoice(net, invoice) }
}

/** A request with these `Authorization` lines. */
export async function show(
  url: string,
  lines: readonly string[],
  method = 'GET',
): Promise<{ readonly status: number; readonly code: string; readonly raw: IncomingMessage }> {
  const { host } = new URL(url)
  const headers = ['Host', host, ...lines.flatMap((line) => ['Authorization', line])]
  const answered = Promise.withResolvers<IncomingMessage>()
  requestOf(url, { method, headers, agent: false })
    .on('response', answered.resolve)
    .on('error', answered.reject)
    .end()
  const raw = await answered.promise
  let body = ''
  for await (const chunk of raw.setEncoding('utf8')) body += chunk
  const said = body.startsWith('{') ? (JSON.parse(body) as { code?: string }) : {}
  return { status: raw.statusCode ?? 0, code: said.code ?? '', raw }
}

/** The lines of one name, as they came. */
export function linesOf({ rawHeaders }: IncomingMessage, name: string): readonly string[] {
  return rawHeaders.filter(
    (_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === name.toLowerCase(),
  )
}

/** What has been earned, in the smallest unit of each asset. */
export async function earned(ledger: Ledger, account: string): Promise<bigint> {
  const all = await ledger.balances(account)
  return all.reduce((sum, { posted }) => sum + posted, 0n)
}

/** npm's `macaroon`, as far as it is used here. */
interface Theirs {
  addFirstPartyCaveat(id: string): void
  exportJSON(): { readonly s64: string }
}

const { importMacaroon } = createRequire(import.meta.url)('macaroon') as {
  readonly importMacaroon: (bytes: Uint8Array) => Theirs
}

/**
 * Narrows a token by npm's `macaroon`, without any key of ours. That library reserves gigabytes to write three caveats in
 * binary, so its JSON is asked for the new signature, and the bytes are put together here.
 */
export function narrowedByNpm(token: string, ...conditions: readonly string[]): string {
  const theirs = importMacaroon(Buffer.from(token, 'base64'))
  for (const condition of conditions) theirs.addFirstPartyCaveat(condition)
  const before = macaroonOf(token)
  const caveats = [...before.caveats, ...conditions.map((text) => ({ id: Buffer.from(text) }))]
  return changed(token, { caveats, signature: Buffer.from(theirs.exportJSON().s64, 'base64url') })
}

export function macaroonOf(token: string): Macaroon {
  const read = readToken(token)
  assert.ok(typeof read !== 'string' && read.length === 1)
  const [macaroon] = read
  assert.ok(macaroon && hashIn(token) !== undefined)
  return macaroon
}

/** The same macaroon with other parts. */
export function changed(token: string, parts: Partial<Macaroon>): string {
  const made = writeMacaroon({ ...macaroonOf(token), ...parts })
  assert.ok(made)
  return writeToken([made])
}
