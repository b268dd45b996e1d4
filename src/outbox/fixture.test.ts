// What the tests of this room share: books with sales in them, receivers on loopback, and time that runs faster.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import type { JsonObject } from '../core/json.ts'
import type { Clock, Ledger } from '../core/ports.ts'
import { createReplays, verifyWebhook } from './signature.ts'
import type { CloudEvent } from './cloud-event.ts'

export const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo='

const coin = { id: 'test:coin', code: 'COIN', scale: 6, currency: 'USD' }

/** The note of a sale as the gate writes it. */
export function noteOf(payer: string, request: string): JsonObject {
  const amount = { asset: coin, amount: '10000' }
  const offer = { id: 'SECRET-OFFER', rail: 'test', network: 'net', payee: 'seller', amount }
  return { kind: 'sale', offer, payer, request }
}

/** Rows of a sale. */
export const SALE_ROWS = 5

/** A sale from its claim to its first byte: {@link SALE_ROWS}, of which two are told. */
export async function sell(ledger: Ledger, key: string, payer = 'buyer'): Promise<void> {
  await claim(ledger, key, payer)
  await ledger.step(key, { type: 'prepared', data: { raw: 'SECRET-TRANSACTION' } })
  const data = { reference: `tx-${key}`, payer, settledAt: 1_800_000_000_000, deliverBy: 0 }
  await ledger.post(key, undefined, { type: 'settled', data })
  await ledger.step(key, { type: 'delivered', data: {} })
}

/** The claim of a sale. */
export async function claim(ledger: Ledger, key: string, payer = 'buyer'): Promise<void> {
  await ledger.transfer({
    key,
    purpose: 'p',
    asset: coin.id,
    amount: 10_000n,
    legs: [{ debit: 'world/test/net/seller', credit: 'sales/GET /a' }],
    leaseUntilAt: 4_000_000_000_000,
    note: noteOf(payer, `request-${key}`),
  })
}

/** Time that runs so many times faster, for all processes alike. */
export function createFastClock(times: number): Clock {
  const since = 1_790_000_000_000
  return {
    now: () => since + Math.round((Date.now() - since) * times),
    sleep: (ms, signal) =>
      setTimeout(ms / times, undefined, signal ? { signal } : {}).catch(() => undefined),
  }
}

/** What a receiver got, and what it says to it. */
export interface Receiver {
  readonly url: string
  readonly port: number
  /** Events in the order in which they came, whatever was answered. */
  readonly came: CloudEvent[]
  /** Those that were answered with success, without what came again. */
  readonly taken: CloudEvent[]
  readonly requests: () => number
  answer: (
    request: IncomingMessage,
    response: ServerResponse,
    events: readonly CloudEvent[],
  ) => void
  close(): Promise<void>
}

/** A receiver that verifies what comes, and remembers what it took. It listens on a port that was free, or on that one. */
export async function createReceiver(port = 0, tolerant = true): Promise<Receiver> {
  const came: CloudEvent[] = []
  const taken: CloudEvent[] = []
  const seen = new Set<string>()
  const replays = createReplays()
  let requests = 0
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    requests++
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    const fields = { get: (name: string) => [request.headers[name]].flat().join() }
    const toleranceMs = tolerant ? Infinity : 300_000
    const verified = verifyWebhook(fields, body, { secrets: SECRET, replays, toleranceMs })
    if (!verified.ok) {
      response.writeHead(401).end()
      return
    }
    came.push(...verified.events)
    receiver.answer(request, response, verified.events)
    if (response.statusCode >= 300) return
    verified.done()
    for (const event of verified.events) {
      if (!seen.has(event.id)) taken.push(event)
      seen.add(event.id)
    }
  }
  const server = createServer((request, response) => void take(request, response).catch(() => {}))
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const at = (server.address() as AddressInfo).port
  const receiver: Receiver = {
    url: `http://127.0.0.1:${at}/hook?token=SECRET-QUERY`,
    port: at,
    came,
    taken,
    requests: () => requests,
    answer: (_, response) => void response.writeHead(204).end(),
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close').catch(() => undefined)
    },
  }
  return receiver
}

/** Waits until it is so. */
export async function until(is: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let i = 0; i < 9_000; i++) {
    if (await is()) return
    await setTimeout(10)
  }
  throw new Error(`It never came that ${what}.`)
}
