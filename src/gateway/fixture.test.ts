// What the tests of the gateway share; it tests nothing itself. Money is a count: "Pay: <text>" pays once with each text.
import { once } from 'node:events'
import { createServer, request as requestOf } from 'node:http'
import type { IncomingMessage, RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'
import type { Seller } from '../adapters/http.ts'
import type { Event } from '../core/event.ts'
import type { Ask, Gate, Protocol } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import { createHouse } from './house.ts'
import type { House, HouseSettings } from './house.ts'
import type { GatewayRoutes } from './routes.ts'
import { listen } from './server.ts'
import type { ListenSettings, Listening } from './server.ts'

/** What was asked and paid. */
export interface Money {
  readonly spent: Set<string>
  readonly held: Set<string>
  /** What each request was bound to. */
  readonly asks: Ask[]
  readonly events: Event[]
}

const fake: Protocol = {
  name: 'fake',
  fields: { request: ['Pay', 'Authorization'], response: ['Paid'] },
  writeChallenge: () => ({ fields: [['Price', 'a penny']] }),
  readChallenge: () => undefined,
  writeCredential: () => ({ fields: [] }),
  readCredential(fields) {
    const bearer = fields.get('authorization')
    const own = bearer?.startsWith('Ours ') ? bearer.slice(5) : undefined
    const proof = fields.get('pay') ?? own
    return proof === undefined ? undefined : { proof, offer: { rail: 'fake', network: 'net' } }
  },
  writeReceipt: ({ reference }) => ({ fields: [['Paid', reference]] }),
  readReceipt: () => undefined,
}

function gateOf(money: Money): Gate {
  const refused = (why: Parameters<typeof problem>[0]) =>
    ({ kind: 'refused', problem: problem(why, 'Pay first.') }) as const
  const gate: Pick<Gate, 'keeps' | 'challenge' | 'admit' | 'status'> = {
    keeps: false,
    challenge: () => refused('payment-required'),
    async admit(ask) {
      money.asks.push(ask)
      const { credential } = ask
      const key = String(credential && 'proof' in credential ? credential.proof : '')
      if (money.spent.has(key)) return refused('payment-delivered')
      if (money.held.has(key)) return refused('payment-in-flight')
      money.held.add(key)
      return {
        kind: 'pass',
        key,
        async finish(success) {
          money.held.delete(key)
          if (success) money.spent.add(key)
          const receipt = {
            ...{ rail: 'fake', network: 'net', reference: key, payer: 'buyer', payee: 'shop' },
            ...{ settledAt: 0, settled: true },
            amount: { asset: { id: 'coin', code: 'COIN', scale: 0 }, amount: 1n },
          }
          return success ? { kind: 'serve', receipt } : { kind: 'serve' }
        },
        delivered: () => undefined,
        lost: () => undefined,
      }
    },
    status: async () => undefined,
  }
  return gate as Gate
}

/** A seller whose money is a count. */
export function sellerOf(more: Partial<Seller> = {}): { seller: Seller; money: Money } {
  const money: Money = { spent: new Set(), held: new Set(), asks: [], events: [] }
  const observe = (event: Event): void => void money.events.push(event)
  return {
    seller: { gate: gateOf(money), protocols: [fake], realm: 'shop', observe, ...more },
    money,
  }
}

/** An upstream of the test's own. */
export async function upstream(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(async () => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** What a gateway of a test is made of. */
export interface Stage extends Partial<Omit<HouseSettings, 'seller' | 'upstreams'>> {
  readonly seller?: Partial<Seller>
  readonly upstreams: HouseSettings['upstreams']
  readonly routes: GatewayRoutes
  readonly listen?: Partial<ListenSettings>
}

/** A gateway in this process. */
export interface Staged {
  readonly url: string
  readonly port: number
  readonly money: Money
  readonly house: House
  readonly server: Listening
}

export async function stage(t: TestContext, settings: Stage): Promise<Staged> {
  const { seller: more = {}, listen: place, ...rest } = settings
  const { seller, money } = sellerOf(more)
  const house = createHouse({ ...rest, seller })
  const server = await listen({ host: '127.0.0.1', port: 0, ...place }, house)
  t.after(async () => {
    await server.drain(0)
    await house.close()
  })
  return { url: server.url, port: Number(new URL(server.url).port), money, house, server }
}

/** A request as it is sent, with its path as it stands. */
export interface Asking {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string | string[]>>
  readonly body?: string | Buffer
}

export interface Said {
  readonly status: number
  readonly response: IncomingMessage
  readonly body: string
}

/** Asks over a connection of its own. */
export async function ask(
  { port }: { readonly port: number },
  path: string,
  asking: Asking = {},
): Promise<Said> {
  const { method = 'GET', headers = {}, body } = asking
  const request = requestOf({ host: '127.0.0.1', port, method, path, headers, agent: false })
  const answered = Promise.withResolvers<IncomingMessage>()
  request.on('response', answered.resolve).on('error', answered.reject)
  request.end(body)
  const response = await answered.promise
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += String(chunk)
  return { status: response.statusCode ?? 0, response, body: text }
}

/** Made for tests, for 127.0.0.1 and localhost; it guards nothing. */
export const CERTIFICATE: string = `-----BEGIN CERTIFICATE-----
MIIBSDCB7qADAgECAgEBMAoGCCqGSM49BAMCMBQxEjAQBgNVBAMMCWxvY2FsaG9z
dDAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowFDESMBAGA1UEAwwJ
bG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEV3JTU/Z4icT+GSlE
vXZrvYXAjacxkviqnw4J/FL8fZziBbQ6m6XGv5Ioon6jOA/evtVKS5JK+eaOS/dl
ePWARqMvMC0wDwYDVR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SH
BH8AAAEwCgYIKoZIzj0EAwIDSQAwRgIhAPZOGF1f/Ji/iYLmAv54qH76eH9LEOWi
FFIqFInWH6ojAiEAocmHmGq+Wt+K5kS8pLLOZuZ+w7PwTcr+tfe3/L0gqo4=
-----END CERTIFICATE-----
`
/** Its key. */
export const KEY: string = [
  '-----BEGIN PRIVATE KEY-----',
  'MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgofvki84XK2ZHdKSE',
  'mYVgRPq+dBJmmXe3fPDycEnmbsWhRANCAARXclNT9niJxP4ZKUS9dmu9hcCNpzGS',
  '+KqfDgn8Uvx9nOIFtDqbpca/kiiifqM4D96+1UpLkkr55o5L92V49YBG',
  '-----END PRIVATE KEY-----',
  '',
].join('\n')
