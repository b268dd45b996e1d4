import { Buffer } from 'node:buffer'
import { createHmac } from 'node:crypto'
import { systemChance, uuid } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import { isObject, readJson } from '../core/json.ts'
import type { Chance, Clock } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { createHttpClient, HttpFault } from '../net/http.ts'
import type { Priced, PriceOf, PriceRequest } from './routes.ts'
import { readPriced } from './routes.ts'

/** How long the service may take. */
export const PRICE_TIMEOUT_MS = 2_000
/** Longest answer of the service, in bytes. */
export const PRICE_BYTES_MAX = 65_536
/** Most questions at once; whoever comes then is told to come back. */
export const PRICES_AT_ONCE_MAX = 128
/** Most prices that are remembered, and longest key of one, in characters. */
export const CACHE_MAX = 10_000
export const CACHE_KEY_CHARS_MAX = 1_024
/** How often in a row the service may not answer until it is left alone, and for how long. */
export const BREAK_AFTER = 5
export const BREAK_MS = 10_000
/** Most header fields that are passed on, and longest value of one, in characters. */
export const FIELDS_MAX = 16
export const FIELD_CHARS_MAX = 1_024

/** A part of a request on which the price depends. */
export type PriceKey =
  | 'method'
  | 'path'
  | 'query'
  | `query.${string}`
  | `params.${string}`
  | `headers.${string}`

/** How a service that tells prices is asked. */
export interface PriceServiceOptions {
  /** Signs each question: `whsec_` and base64 of 24 to 64 bytes. With several all sign, so that the service may change its own. */
  readonly secret: string | readonly string[]
  /** Names of header fields that are passed on. None that may be a credential. */
  readonly headers?: readonly string[]
  /** Requests that are equal in these parts cost the same for so long. Nothing is remembered if absent. */
  readonly cache?: { readonly by: readonly PriceKey[]; readonly forMs: number }
  readonly timeoutMs?: number
  /** Allows `http:` to another machine, for a network of your own: who can change what is read there sets your prices. */
  readonly plainHttp?: boolean
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
  readonly chance?: Chance
}

/**
 * Prices that a service of yours tells. It is sent `{ method, path, query, params, headers }` by POST, signed as Standard Webhooks
 * 1.0 has it, and answers 200 with `{ price, breakdown? }` as a price function does. While it does not, nothing is sold.
 *
 * @example
 * const routes = { 'GET /report/:id': { price: priceService('https://prices.example.com/', { secret }) } }
 *
 * @throws {RangeError} with a sentence, for options that cannot be meant. No secret is ever part of it.
 */
export function priceService(url: string, options: PriceServiceOptions): PriceOf {
  const { headers = [], cache, clock = systemClock, chance = systemChance, fetch } = options
  const { timeoutMs = PRICE_TIMEOUT_MS, plainHttp = false } = options
  checkUrl(url, plainHttp)
  checkFields(headers)
  const sign = createSigner(options.secret)
  const pick = cache && createPick(cache)
  const bytesMax = PRICE_BYTES_MAX
  const client = createHttpClient({ timeoutMs, bytesMax, clock, ...(fetch && { fetch }) })
  const breaker = createBreaker(clock)
  const known = new Map<string, { readonly priced: Priced; readonly untilAt: number }>()
  /** What is being asked: whoever wants to know the same waits for it. */
  const asking = new Map<string, Promise<Priced>>()
  let count = 0

  async function ask(request: PriceRequest): Promise<Priced> {
    if (count >= PRICES_AT_ONCE_MAX) throw unavailable('too much is asked at once')
    const passed = breaker.enter()
    if (!passed) throw unavailable('it is left alone for a moment')
    count++
    try {
      return await question(request, passed)
    } finally {
      count--
    }
  }

  async function question(request: PriceRequest, passed: Passed): Promise<Priced> {
    let wasThere = false
    try {
      const body = JSON.stringify(saidOf(request, headers))
      const { status, text } = await client.ask({
        ...{ method: 'POST', url, body, headers: signed(body) },
        repeatable: true,
      })
      wasThere = !isAway(status)
      if (status !== 200) throw unavailable(`it answers ${status}`)
      return readAnswer(text)
    } catch (error) {
      throw error instanceof HttpFault ? unavailable(error.message) : error
    } finally {
      passed.end(wasThere)
    }
  }

  function signed(body: string): Readonly<Record<string, string>> {
    const id = `msg_${uuid(chance)}`
    const timestamp = String(Math.floor(clock.now() / 1000))
    return {
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': timestamp,
      'webhook-signature': sign(`${id}.${timestamp}.${body}`),
    }
  }

  function remembered(key: string): Priced | undefined {
    const found = known.get(key)
    return found && clock.now() < found.untilAt ? found.priced : undefined
  }

  function remember(key: string, priced: Priced, forMs: number): void {
    known.delete(key)
    const [oldest] = known.size < CACHE_MAX ? [] : known.keys()
    if (oldest !== undefined) known.delete(oldest)
    known.set(key, { priced, untilAt: clock.now() + forMs })
  }

  return async (request) => {
    const key = pick?.(request)
    if (!cache || key === undefined) return await ask(request)
    const before = remembered(key)
    if (before) return before
    const asked =
      asking.get(key) ??
      ask(request)
        .then((priced) => {
          remember(key, priced, cache.forMs)
          return priced
        })
        .finally(() => asking.delete(key))
    asking.set(key, asked)
    return await asked
  }
}

function unavailable(why: string): PaymentError {
  return new PaymentError('price-unavailable', `The price service tells no price: ${why}.`, {
    retryable: true,
  })
}

/** A service that is away, as told by what stands before it. What it refuses or trips over itself, one request may have caused. */
function isAway(status: number): boolean {
  return status === 502 || status === 503 || status === 504
}

/** The price of an answer, checked as far as it can be here: the door reads it once more. Nothing is free. */
function readAnswer(text: string): Priced {
  const said = readJson(text, PRICE_BYTES_MAX)
  if (!isObject(said)) throw unavailable('its answer is no JSON object')
  const { price, breakdown } = said as unknown as Priced
  const priced: Priced = { price, ...(breakdown !== undefined && { breakdown }) }
  try {
    const { prices } = readPriced(priced)
    if (prices.length > 0 && prices.every(({ amount }) => amount > 0n)) return priced
  } catch {
    // Whatever it was, it is no price.
  }
  throw unavailable('its answer is no price')
}

/** What the service is told of a request. */
function saidOf(request: PriceRequest, names: readonly string[]): object {
  const { method, path, query, params, fields } = request
  const headers = Object.fromEntries(
    names.flatMap((name) => {
      const value = fields.get(name)
      return typeof value === 'string' ? [[name, value.slice(0, FIELD_CHARS_MAX)]] : []
    }),
  )
  return { method, path, query, params, headers }
}

/** May ask, and says how it went: true when the service was there. */
interface Passed {
  end(wasThere: boolean): void
}

/** Leaves a service alone that was not there so often in a row. After that one may try, and the others when it was there. */
function createBreaker(clock: Pick<Clock, 'now'>): { enter(): Passed | undefined } {
  let failures = 0
  let openUntilAt = -Infinity
  let isTrying = false
  return {
    enter() {
      const isOpen = failures >= BREAK_AFTER
      if (isOpen && (isTrying || clock.now() < openUntilAt)) return undefined
      if (isOpen) isTrying = true
      return {
        end(wasThere) {
          if (isOpen) isTrying = false
          failures = wasThere ? 0 : failures + 1
          if (failures >= BREAK_AFTER) openUntilAt = clock.now() + BREAK_MS
        },
      }
    },
  }
}

/** The parts of a request by which its price is remembered, as one text; undefined where that is too long. */
function createPick({
  by,
  forMs,
}: NonNullable<PriceServiceOptions['cache']>): (request: PriceRequest) => string | undefined {
  if (!Number.isSafeInteger(forMs) || forMs <= 0 || by.length === 0)
    throw new RangeError(
      'A "cache" has "by", on which the price depends, and "forMs" above zero: { by: [\'path\'], forMs: 60000 }.',
    )
  const parts = by.map(readKey)
  return (request) => {
    const key = JSON.stringify(parts.map((part) => part(request)))
    return key.length <= CACHE_KEY_CHARS_MAX ? key : undefined
  }
}

function readKey(key: PriceKey): (request: PriceRequest) => unknown {
  if (key === 'method' || key === 'path' || key === 'query') return (request) => request[key]
  const [, kind, name = ''] = /^(query|params|headers)\.(.+)$/.exec(key) ?? []
  if (kind === 'query') return ({ query }) => new URLSearchParams(query).getAll(name)
  if (kind === 'params') return ({ params }) => params[name] ?? null
  if (kind === 'headers') return ({ fields }) => fields.get(name) ?? null
  throw new RangeError(
    `"${key}" in "by" is none of method, path, query, query.<name>, params.<name>, headers.<name>.`,
  )
}

/** Names of fields whose values let in whoever knows them. */
const SECRET_FIELDS = /auth|cookie|token|secret|key|sign|pass|payment|credential|session|dpop/i

function checkFields(names: readonly string[]): void {
  if (names.length > FIELDS_MAX)
    throw new RangeError(`A price service is told of at most ${FIELDS_MAX} header fields.`)
  for (const name of names) {
    if (!/^[\w!#$%&'*+.^`|~-]{1,64}$/.test(name))
      throw new RangeError(`"${name}" is no name of a header field.`)
    if (SECRET_FIELDS.test(name))
      throw new RangeError(`The header field "${name}" may be a credential. It is not passed on.`)
  }
}

function checkUrl(url: string, plainHttp: boolean): void {
  const { protocol, hostname } = URL.canParse(url) ? new URL(url) : { protocol: '', hostname: '' }
  const isHere = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/.test(hostname)
  if (protocol === 'https:' || (protocol === 'http:' && (isHere || plainHttp))) return
  throw new RangeError(
    'The address of a price service begins with "https://", or it is on this machine. For a network of your own say "plainHttp".',
  )
}

/** Fewest and most bytes of a secret (Standard Webhooks 1.0, signature scheme), and most of them. */
const [SECRET_BYTES_MIN, SECRET_BYTES_MAX] = [24, 64]
const SECRETS_MAX = 4

/** Signs as Standard Webhooks 1.0 has it: HMAC-SHA256 over `id.timestamp.body`. */
function createSigner(secrets: string | readonly string[]): (text: string) => string {
  const keys = (typeof secrets === 'string' ? [secrets] : secrets).map(readSecret)
  if (keys.length === 0 || keys.length > SECRETS_MAX)
    throw new RangeError(`Give between one and ${SECRETS_MAX} secrets. ${ADVICE}`)
  return (text) =>
    keys.map((key) => `v1,${createHmac('sha256', key).update(text).digest('base64')}`).join(' ')
}

const ADVICE = 'Make one with: echo "whsec_$(openssl rand -base64 32)"'

function readSecret(secret: string): Buffer {
  const [, text = ''] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret) ?? []
  const key = Buffer.from(text, 'base64')
  if (key.length < SECRET_BYTES_MIN || key.length > SECRET_BYTES_MAX)
    throw new RangeError(
      `The secret of a price service is "whsec_" and base64 of ${SECRET_BYTES_MIN} to ${SECRET_BYTES_MAX} bytes. ${ADVICE}`,
    )
  return key
}
