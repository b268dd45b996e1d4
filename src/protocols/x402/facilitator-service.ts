import { readJson } from '../../core/json.ts'
import type { Json } from '../../core/json.ts'
import { readPrice } from '../../core/money.ts'
import type { Price } from '../../core/money.ts'
import type {
  Answered,
  Asked,
  Caller,
  Denial,
  Facilitated,
  Facilitator,
  Fields,
  Rail,
  Verdict,
} from '../../core/ports.ts'
import type { Code, Problem } from '../../core/problem.ts'
import { problems } from '../../core/problem.ts'
import { createCatalogue } from './facilitator-catalogue.ts'
import { readOrder } from './facilitator-request.ts'
import type { Misread, Order, Said } from './facilitator-request.ts'
import { formOf, formsOf } from './part.ts'
import { wordOf } from './reasons.ts'
import type { Kind, SettleResponse, SupportedResponse, VerifyResponse } from './wire.ts'

/** Most bytes of a request. The longest honest one has about 40,000: a wallet's signature in hex, twice wrapped. */
export const BODY_BYTES_MAX = 65_536

/** What a facilitator's HTTP side is made of. */
export interface ServiceOptions {
  /** The rails of the facilitator: what they can say in x402 is supported. */
  readonly rails: readonly Rail[]
  /** Paid resources for `/discovery`: {@link DiscoveryItem}s. */
  readonly catalogue?: readonly unknown[]
  /** Addresses that submit payments, by CAIP-2 pattern: `{ 'eip155:*': ['0x…'] }`. */
  readonly signers?: Readonly<Record<string, readonly string[]>>
  /** What stands before the paths, for instance `/x402`. */
  readonly prefix?: string
  /** A price that each rail can quote, from which `/supported` is made. */
  readonly sample?: Price
  readonly bodyBytesMax?: number
}

/** A facilitator's HTTP side. `address` is where the request comes from, for limits by address. */
export type Handler = (request: Request, address?: string) => Promise<Response>
/** The same without the web's own types, which cost more than the answers. */
export type Service = (asked: Asked) => Promise<Answered>
type Operation = 'verify' | 'settle'

/**
 * x402's facilitator over HTTP, versions 2 and 1: `/verify`, `/settle`, `/supported`, `/discovery/resources`,
 * `/discovery/search`, and `/health` (`/health/live`, `/health/ready`). A caller's key comes as `Authorization: Bearer` or
 * `X-API-Key`.
 *
 * What can be said of a payment is 200, as upstream says it; what is wrong with the request is 4xx; what cannot be told now is
 * 503 with `Retry-After`. No answer has a word of a rail's, a chain's or an error's own.
 * @throws {RangeError} when a rail has no form for x402, or the catalogue cannot be read.
 */
export function facilitatorHandler(facilitator: Facilitator, options: ServiceOptions): Handler {
  const service = facilitatorService(facilitator, options)
  return async (request, address) => {
    const { pathname, search } = new URL(request.url)
    const { status, fields, body } = await service({
      method: request.method,
      target: pathname + search,
      fields: request.headers,
      ...(address !== undefined && { address }),
      text: (bytesMax) => textOf(request, bytesMax),
    })
    return new Response(body, { status, headers: fields })
  }
}

/**
 * {@link facilitatorHandler} for a server of node:http, without a `Request` and a `Response` in between.
 * @throws {RangeError} when a rail has no form for x402, or the catalogue cannot be read.
 */
export function facilitatorService(facilitator: Facilitator, options: ServiceOptions): Service {
  const { rails, prefix = '', bodyBytesMax = BODY_BYTES_MAX } = options
  const forms = formsOf(rails)
  if (forms.length < rails.length) throw new RangeError('A rail has no form for x402.')
  const catalogue = createCatalogue(options.catalogue)
  const supported = JSON.stringify(supportedOf(options))

  const operations = {
    async verify(caller: Caller, { offer, proof }: Order) {
      const verdict = await facilitator.verify(caller, offer, proof)
      if ('kind' in verdict) return denied(verdict)
      return verdictOf(verdict, (why) => word(why, 'verify'))
    },
    async settle(caller: Caller, { offer, proof, said }: Order) {
      const answer = await facilitator.settle(caller, offer, proof)
      if (answer.kind === 'denied') return denied(answer)
      return settlementOf(answer, (why) => word(why, 'settle'), said)
    },
  }

  const word = (why: Problem, operation: Operation): string =>
    isTold(why.code) ? wordOf(why, forms) : `unexpected_${operation}_error`

  async function work(operation: Operation, asked: Asked): Promise<Answered> {
    // Who may not ask is told so before a byte of the body is read.
    const caller = facilitator.admit(keyOf(asked.fields), asked.address)
    if ('kind' in caller) return denied(caller)
    if (!isJson(asked.fields)) return plain(415, 'Send a JSON body as application/json.')
    const text = await asked.text(bodyBytesMax)
    if (text === undefined) return plain(413, `A request has at most ${bodyBytesMax} bytes.`)
    const body = readJson(text, bodyBytesMax)
    const order = readOrder(forms, body)
    if ('reason' in order) return misreadOf(operation, order, body)
    return await operations[operation](caller, order)
  }

  type Get = (query: URLSearchParams) => Answered | Promise<Answered>
  const gets: Readonly<Record<string, Get>> = {
    '/supported': () => json(200, supported),
    '/discovery/resources': (query) => json(200, catalogue.resources(query)),
    '/discovery/search': (query) => json(200, catalogue.search(query)),
    '/health/live': () => json(200, { status: 'ok' }),
    '/health/ready': ready,
    '/health': ready,
  }
  const posts: Readonly<Record<string, Operation>> = { '/verify': 'verify', '/settle': 'settle' }

  async function ready(): Promise<Answered> {
    const up = await facilitator.ready()
    return json(up ? 200 : 503, { status: up ? 'ok' : 'unavailable' })
  }

  return async (asked) => {
    const { method, target } = asked
    const [pathname, query] = partsOf(target)
    if (!pathname.startsWith(prefix)) return plain(404, notHere)
    const path = pathname.slice(prefix.length)
    const operation = own(posts, path)
    if (operation) return method === 'POST' ? await work(operation, asked) : wrongMethod('POST')
    const get = own(gets, path)
    if (!get) return plain(404, notHere)
    const reads = method === 'GET' || method === 'HEAD'
    return reads ? await get(new URLSearchParams(query)) : wrongMethod('GET')
  }
}

/** Path and query. */
function partsOf(target: string): readonly [path: string, query: string] {
  const at = target.indexOf('?')
  return at === -1 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)]
}

/** Whether the code says something of the payment; the others say something of us. */
function isTold(code: Code): boolean {
  return problems[code].moved === 'no' || code === 'payment-in-flight' || code === 'payment-unknown'
}

/** What is said of a fault is that it cannot be told now: the same request may be sent again. */
function statusOf(code: Code): number {
  return isTold(code) ? 200 : 503
}

function verdictOf(verdict: Verdict, word: (why: Problem) => string): Answered {
  const { payer } = verdict
  if (verdict.ok) return json(200, { isValid: true, payer } satisfies VerifyResponse)
  const { code, detail } = verdict.problem
  const no: VerifyResponse = {
    isValid: false,
    invalidReason: word(verdict.problem),
    invalidMessage: detail,
    ...(payer !== undefined && { payer }),
  }
  return json(statusOf(code), no, later(statusOf(code)))
}

function settlementOf(
  answer: Facilitated,
  word: (why: Problem) => string,
  { network, version }: Said,
): Answered {
  if (answer.kind === 'settled') {
    const { payer, reference: transaction, amount } = answer.receipt
    const yes: SettleResponse = {
      ...{ success: true, payer, transaction, network },
      ...(version === 2 && { amount: `${amount.amount}` }),
    }
    return json(200, yes)
  }
  if (answer.kind === 'pending') {
    const { payer, reference: transaction = '' } = answer
    const sentence = 'It was sent, and its outcome is not known yet. Settle the same payment again.'
    return json(200, failure('settlement_pending', sentence, { payer, transaction, network }))
  }
  const { problem, payer } = answer
  const no = failure(word(problem), problem.detail, { payer, transaction: '', network })
  const status = statusOf(problem.code)
  return json(status, no, later(status))
}

function failure(
  errorReason: string,
  errorMessage: string,
  rest: Pick<SettleResponse, 'payer' | 'transaction' | 'network'>,
): SettleResponse {
  return { success: false, errorReason, errorMessage, ...rest }
}

/** Readable as x402 asks for it, the request is answered as a payment is; otherwise it is the caller's mistake. */
function misreadOf(operation: Operation, misread: Misread, body: Json | undefined): Answered {
  const { reason, why, said } = misread
  const status = body === undefined || said.network === '' ? 400 : 200
  if (operation === 'verify')
    return json(status, { isValid: false, invalidReason: reason, invalidMessage: why })
  return json(status, failure(reason, why, { transaction: '', network: said.network }))
}

const statuses: Readonly<Record<Denial['code'], number>> = {
  unauthorized: 401,
  forbidden: 403,
  limited: 429,
  closing: 503,
}

/** Not in the shape of an answer about a payment, so that no server takes it for one. */
function denied({ code, detail, retryAfterMs }: Denial): Answered {
  const fields: Record<string, string> = {}
  if (code === 'unauthorized') fields['www-authenticate'] = 'Bearer'
  if (retryAfterMs !== undefined) fields['retry-after'] = String(Math.ceil(retryAfterMs / 1000))
  return json(statuses[code], { error: code, message: detail }, fields)
}

function wrongMethod(allow: string): Answered {
  return json(405, { error: 'method_not_allowed' }, { allow })
}

function plain(status: number, message: string): Answered {
  return json(status, { error: 'invalid_request', message })
}

const notHere = 'There is nothing at this path.'

/** When a fault may be over. */
const LATER_S = '2'

function later(status: number): Record<string, string> {
  return status === 503 ? { 'retry-after': LATER_S } : {}
}

function json(status: number, body: unknown, fields: Record<string, string> = {}): Answered {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const all = { 'content-type': 'application/json', 'cache-control': 'no-store', ...fields }
  return { status, fields: all, body: text }
}

/** RFC 6750, 2.1, or the header that many gateways use. */
function keyOf(fields: Fields): string | undefined {
  const [, bearer] = /^Bearer +([!-~]+)$/i.exec(fields.get('authorization') ?? '') ?? []
  return bearer ?? fields.get('x-api-key') ?? undefined
}

/** A page of another origin can send any other type without asking first. */
function isJson(fields: Fields): boolean {
  return /^application\/json *(?:;|$)/i.test(fields.get('content-type') ?? '')
}

/** The body; undefined when it is longer than the limit, of which not a byte more is kept. */
async function textOf(request: Request, bytesMax: number): Promise<string | undefined> {
  if (Number(request.headers.get('content-length') ?? 0) > bytesMax) return undefined
  if (!request.body) return ''
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of request.body) {
    bytes += chunk.byteLength
    // Leaving the loop ends the stream.
    if (bytes > bytesMax) return undefined
    chunks.push(chunk)
  }
  return new TextDecoder().decode(Buffer.concat(chunks))
}

function supportedOf({ rails, sample, signers = {} }: ServiceOptions): SupportedResponse {
  const price = sample ?? readPrice('1 USD')
  const kinds = new Map<string, Kind>()
  for (const rail of rails)
    for (const terms of rail.quote(price)) {
      const words = formOf(rail)?.writeDetails(terms)
      if (!words) continue
      const { scheme, network, legacyNetwork } = words
      kinds.set(`2 ${scheme} ${network}`, { x402Version: 2, scheme, network })
      if (legacyNetwork !== undefined)
        kinds.set(`1 ${scheme} ${network}`, { x402Version: 1, scheme, network: legacyNetwork })
    }
  return { kinds: [...kinds.values()], extensions: [], signers }
}

function own<T>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined
}
