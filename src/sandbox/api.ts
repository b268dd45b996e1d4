import type { IncomingMessage, ServerResponse } from 'node:http'
import type { PlansSettings } from '../adapters/plans.ts'
import type { PriceRequest, Routes } from '../adapters/routes.ts'
import type { Clock } from '../core/ports.ts'

/** The sample API: what it sells, for how much. Each route shows one thing that a seller may want. */
export const routes: Routes = {
  'GET /weather': {
    price: ['0.001 USD', '2 SAT'],
    description: 'The weather at a place',
    mimeType: 'application/json',
  },
  'GET /report/:id': {
    price: ({ query }: PriceRequest) => {
      const pages = readPages(query) ?? 1
      return [`${writeCents(pages)} USD`, `${pages * 15} SAT`]
    },
    description: 'A report, a cent a page',
    mimeType: 'text/plain',
    keep: true,
  },
  'POST /echo': {
    price: ['0.002 USD', '3 SAT'],
    description: 'What you sent, counted',
    mimeType: 'application/json',
  },
  'GET /stream': {
    price: ['0.005 USD', '8 SAT'],
    description: 'Five events, one a second',
    mimeType: 'text/event-stream',
  },
  'GET /quote': {
    plan: 'hundred',
    description: 'A quote; a token pays for a hundred',
    mimeType: 'application/json',
  },
  'GET /print': {
    price: ['5 USD', '7500 SAT'],
    description: 'A print, signed: by card, account, chain or Lightning',
    mimeType: 'text/html',
  },
  // For programs that look for one protocol alone: without Lightning the challenge begins with the scheme of MPP.
  'GET /time': {
    price: '0.001 USD',
    rails: ['evm'],
    description: 'The time, on one rail alone',
    mimeType: 'application/json',
  },
  'GET /shared': {
    price: '0.01 USD',
    rails: ['evm-permit2'],
    description: 'A tenth goes to somebody else, by the same transaction',
    mimeType: 'application/json',
  },
  'GET /health': 'free',
  'GET /': 'free',
}

/** What is sold as tokens: a hundred quotes, or money to spend on everything that has a price. */
export const plans: PlansSettings = {
  hundred: { price: ['0.05 USD', '80 SAT'], uses: 100 },
  balance: { price: ['1 USD', '1500 SAT'], balance: '1 USD' },
}

/** A route as a reader would try it. */
export interface Sample {
  readonly method: string
  readonly path: string
  /** The price of just this request, in dollars; and over Lightning, if that runs. */
  readonly price: string
  readonly sats?: string
  readonly about: string
}

/** One request for each paid route. */
const samples: readonly Sample[] = [
  {
    method: 'GET',
    path: '/weather',
    price: '0.001 USD',
    sats: '2 SAT',
    about: 'JSON, the smallest price',
  },
  {
    method: 'GET',
    path: '/report/7?pages=3',
    price: '0.03 USD',
    sats: '45 SAT',
    about: 'priced by the page, and kept for whoever loses it',
  },
  {
    method: 'POST',
    path: '/echo',
    price: '0.002 USD',
    sats: '3 SAT',
    about: 'paid for just this body',
  },
  {
    method: 'GET',
    path: '/stream',
    price: '0.005 USD',
    sats: '8 SAT',
    about: 'server-sent events',
  },
  {
    method: 'GET',
    path: '/quote',
    price: '0.05 USD',
    sats: '80 SAT',
    about: 'sold as a token for a hundred requests',
  },
  {
    method: 'GET',
    path: '/print',
    price: '5 USD',
    sats: '7500 SAT',
    about: 'for people: open it in a browser; cards and PayPal are stand-ins',
  },
]

/** What the request costs, for people. */
export function priceOf({ price, sats }: Pick<Sample, 'price' | 'sats'>): string {
  return sats === undefined ? price : `${price} or ${sats}`
}

/** The requests as they can be paid. */
export function samplesFor(lightning: boolean): readonly Sample[] {
  if (lightning) return samples
  return samples.map(({ method, path, price, about }) => ({ method, path, price, about }))
}

/** Most pages of a report. */
const PAGES_MAX = 20

const EVENTS = 5
const EVENT_MS = 1_000

/** Does the work of a request that is paid, or free. */
export function createApi(
  clock: Clock,
): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  return async (request, response) => {
    const [path = '', query = ''] = (request.url ?? '').split('?', 2)
    if (path === '/weather') return json(response, 200, weather(clock.now()))
    if (path === '/echo') return json(response, 200, echo(await bodyOf(request)))
    if (path === '/quote') return json(response, 200, quoteOf(clock.now()))
    if (path === '/print') return print(response)
    if (path === '/shared') return json(response, 200, { shared: 'a tenth' })
    if (path === '/time') return json(response, 200, { now: clock.now() })
    if (path === '/health') return json(response, 200, { ok: true })
    if (path === '/stream') return stream(response, clock)
    if (path.startsWith('/report/')) return report(response, path, query)
    return json(response, 404, { detail: 'There is nothing here.' })
  }
}

function weather(at: number): object {
  const hour = new Date(at).getUTCHours()
  const celsius = Math.round(12 - 6 * Math.cos((hour / 12) * Math.PI))
  return { place: 'Tolsey', celsius, sky: hour % 6 === 0 ? 'rain' : 'clear', at }
}

const quotes = [
  'Payment required.',
  'A price is a sentence that everybody reads.',
  'What is owed and what is paid are two lines of one book.',
]

function quoteOf(at: number): object {
  return { quote: quotes[at % quotes.length] }
}

/** What a person has bought: it needs nothing from anywhere. */
function print(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
  response.end(
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">' +
      '<title>A print</title><h1>A print</h1><p>402 of 402, signed. It is yours, and a reload does not buy another.</p></html>\n',
  )
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

function echo(body: Buffer): object {
  return { bytes: body.length, text: body.toString() }
}

function report(response: ServerResponse, path: string, query: string): void {
  const pages = readPages(query)
  // Not a success, and so not charged.
  if (pages === undefined)
    return json(response, 400, { detail: `"pages" is a whole number from 1 to ${PAGES_MAX}.` })
  const lines = Array.from({ length: pages }, (_, i) => `Page ${i + 1} of ${pages}.`)
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' })
  response.end(`Report ${path.slice('/report/'.length)}\n${lines.join('\n')}\n`)
}

async function stream(response: ServerResponse, clock: Clock): Promise<void> {
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (let i = 1; i <= EVENTS && !gone.signal.aborted; i++) {
    response.write(`id: ${i}\ndata: ${JSON.stringify({ event: i, of: EVENTS })}\n\n`)
    if (i < EVENTS) await clock.sleep(EVENT_MS, gone.signal)
  }
  response.end()
}

/** How many pages are asked for, one if nothing is said. */
function readPages(query: string): number | undefined {
  const said = new URLSearchParams(query).get('pages') ?? '1'
  const pages = Number(said)
  return /^\d{1,2}$/.test(said) && pages >= 1 && pages <= PAGES_MAX ? pages : undefined
}

function writeCents(cents: number): string {
  return `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, '0')}`
}

function json(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(`${JSON.stringify(value)}\n`)
}
