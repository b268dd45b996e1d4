// What the tests of whole documents share: a facilitator that says yes to what is well formed and new, gateways made of
// documents, and buyers who sign. It tests nothing itself.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import type { Event } from '../core/event.ts'
import { isObject, readJson } from '../core/json.ts'
import type { Clock, Ledger } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { x402 } from '../protocols/x402/index.ts'
import { fromPrivateKey, wallet } from '../rails/evm/index.ts'
import { ask, CERTIFICATE } from './fixture.test.ts'
import type { Asking, Said } from './fixture.test.ts'
import type { DocumentHouse, OpenHouseOptions } from './open.ts'
import { readSource } from './open.ts'
import { openHouse } from './tenants.ts'
import { listen } from './server.ts'

export { ask, CERTIFICATE }

export const SECRETS: Readonly<Record<string, string>> = {
  SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
  OTHER: 'Qz7Lk2Wm9Xc4Vb6Nn1As8Df3Gh5Jk0PoT',
}
export const NETWORK = 'eip155:84532'

/** A facilitator, and what it was asked. */
export interface Facilitator {
  readonly url: string
  /** Payments that it settled, by whom they pay. */
  readonly settled: string[]
  /** Whether it answers 503 to all. */
  down: boolean
  /** How often it was asked for what. */
  readonly asked: Map<string, number>
}

export async function startFacilitator(t: TestContext): Promise<Facilitator> {
  const used = new Set<string>()
  const state = { url: '', settled: [] as string[], down: false, asked: new Map<string, number>() }
  const server = createServer(async (request, response) => {
    const text = Buffer.concat(await request.toArray()).toString()
    const path = request.url ?? ''
    state.asked.set(path, (state.asked.get(path) ?? 0) + 1)
    const say = (said: object, status = 200): void =>
      void response
        .writeHead(status, { 'content-type': 'application/json' })
        .end(JSON.stringify(said))
    if (state.down) return say({}, 503)
    if (path === '/supported')
      return say({
        kinds: [{ x402Version: 2, scheme: 'exact', network: NETWORK }],
        extensions: [],
        signers: {},
      })
    const body = readJson(text, 100_000)
    assert.ok(isObject(body) && isObject(body['paymentPayload']))
    const { payload } = body['paymentPayload']
    assert.ok(isObject(payload) && isObject(payload['authorization']))
    const { nonce, from, to } = payload['authorization'] as Record<string, string>
    assert.ok(nonce !== undefined && to !== undefined)
    if (path === '/verify') return say({ isValid: !used.has(nonce), payer: from })
    if (used.has(nonce))
      return say({
        success: false,
        errorReason: 'nonce_already_used',
        transaction: '',
        network: NETWORK,
      })
    used.add(nonce)
    state.settled.push(to)
    say({ success: true, transaction: nonce, network: NETWORK, payer: from })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return state
}

/** A document that is open, behind a server. */
export interface Opened {
  readonly port: number
  readonly open: DocumentHouse
  readonly events: Event[]
  readonly ledger: Ledger
}

export interface Opening extends OpenHouseOptions {
  readonly environment?: Readonly<Record<string, string>>
  readonly clock?: Clock
}

export async function openDocument(
  t: TestContext,
  text: string,
  { environment = {}, ...options }: Opening = {},
): Promise<Opened> {
  const all = { ...SECRETS, ...environment }
  const source = readSource(text, 'a.yaml', { directory: '.', variable: (name) => all[name] })
  const { ledger = memory() } = options
  const events: Event[] = []
  const open = await openHouse(source, {
    ...options,
    ledger,
    observe: (event) => events.push(event),
  })
  const server = await listen({ host: '127.0.0.1', port: 0 }, open.house)
  t.after(async () => {
    await server.drain(0)
    await open.house.close()
    await open.close()
    await ledger.close()
  })
  return { port: Number(new URL(server.url).port), open, events, ledger }
}

/** Somebody with a key who pays what is asked. */
export interface Buyer {
  /** The fields of a payment for what was said with 402. */
  sign(said: Said, host: string, path: string, method?: string): Promise<Record<string, string>>
  /** Asks, pays, and asks again. */
  buy(port: number, host: string, path: string, asking?: Asking): Promise<Said>
}

export function createBuyer(): Buyer {
  const key = `0x${Buffer.from(crypto.getRandomValues(new Uint8Array(31))).toString('hex')}01`
  const purse = wallet({ signer: fromPrivateKey(key) })
  const protocol = x402([purse])
  const sign: Buyer['sign'] = async ({ status, response, body }, host, path, method = 'GET') => {
    assert.equal(status, 402, body)
    const headers: IncomingHttpHeaders = response.headers
    const json = readJson(body, 100_000)
    const [pathname = '', query = ''] = path.split('?', 2)
    const resource = {
      ...{ realm: '', method, authority: host, path: pathname, query },
      url: `http://${host}${path}`,
    }
    const fields = { get: (name: string) => headers[name.toLowerCase()]?.toString() }
    const challenge = protocol.readChallenge(
      { status, fields, ...(json !== undefined && { body: json }) },
      resource,
    )
    const [offer] = challenge?.offers ?? []
    assert.ok(offer, body)
    const proof = await purse.pay(offer as Parameters<typeof purse.pay>[0], 300_000)
    return Object.fromEntries(protocol.writeCredential({ offer, proof }).fields)
  }
  return {
    sign,
    async buy(port, host, path, asking = {}) {
      const headers = { ...asking.headers, host }
      const said = await ask({ port }, path, { ...asking, headers })
      const fields = await sign(said, host, path, asking.method)
      return await ask({ port }, path, { ...asking, headers: { ...headers, ...fields } })
    },
  }
}
