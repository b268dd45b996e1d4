import { Agent, request } from 'node:https'
import { Readable } from 'node:stream'
import { systemClock } from '../../../core/clock.ts'
import type { Json, JsonObject } from '../../../core/json.ts'
import { readJson } from '../../../core/json.ts'
import type { Clock } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'

/** How long a node may take for an answer that needs nobody else. */
export const ANSWER_TIMEOUT_MS = 10_000
/** Longest answer, and longest line of a stream, in bytes. A payment with some hundred attempts has as much. */
export const ANSWER_BYTES_MAX: number = 4 * 2 ** 20
/** Most lines of one stream. */
export const LINES_MAX = 10_000

/** What every back end that is spoken to over HTTP is made of. */
export interface HttpSettings {
  /** Where it answers, without a user name and without its API's own path. */
  readonly url: string
  /** Its certificate, or that of who signed it, in PEM: for those that sign their own. */
  readonly ca?: string
  /** For one answer; {@link ANSWER_TIMEOUT_MS} if absent. A payment has its own. */
  readonly timeoutMs?: number
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
}

/** One thing that is asked. */
export interface Question {
  readonly method: 'GET' | 'POST'
  /** With the query. */
  readonly path: string
  readonly json?: JsonObject
  readonly form?: Readonly<Record<string, string>>
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
}

/** What was answered, whatever its status. */
export interface Answer {
  readonly status: number
  readonly ok: boolean
  /** Undefined where the body is no JSON. */
  readonly said: Json | undefined
}

/** One server and our credential for it. Neither stands in any error. */
export interface Http {
  /**
   * @throws {PaymentError} `rail-unavailable` when there is no answer in time, or one that is too long or leads elsewhere;
   * `misconfigured` when it does not take our credential (401, 403). What was asked may still have been done.
   */
  ask(question: Question): Promise<Answer>
  /** The JSON values of an answer, line by line, as they come. Errors as {@link Http.ask}. */
  lines(question: Question): AsyncGenerator<Json | undefined, void>
  /** Gives up what is asked just now. */
  close(): void
}

/**
 * Speaks HTTP with a back end.
 * @throws {RangeError} when the address is none.
 */
export function createHttp(
  name: string,
  settings: HttpSettings,
  headers: Readonly<Record<string, string>>,
): Http {
  const base = readUrl(name, settings.url)
  const trust = settings.ca === undefined ? undefined : createTrust(settings.ca)
  const fetch = settings.fetch ?? trust?.fetch ?? globalThis.fetch
  const { clock = systemClock, timeoutMs = ANSWER_TIMEOUT_MS } = settings
  const closer = new AbortController()

  /** Ends when the time is up, when the caller wants, or when all is closed. */
  function within(question: Question): { readonly signal: AbortSignal; done(): void } {
    const done = new AbortController()
    const late = new AbortController()
    void clock
      .sleep(question.timeoutMs ?? timeoutMs, done.signal)
      .then(() => done.signal.aborted || late.abort())
    const ends = [closer.signal, late.signal, question.signal ?? []].flat()
    return { signal: AbortSignal.any(ends), done: () => done.abort() }
  }

  async function send(question: Question, signal: AbortSignal): Promise<Response> {
    const { method, path, json, form } = question
    const response = await fetch(`${base}${path}`, {
      method,
      headers: { accept: 'application/json', ...headers, ...typeOf(question) },
      ...(json && { body: JSON.stringify(json) }),
      ...(form && { body: new URLSearchParams(form).toString() }),
      // A credential goes where it was meant for, and nowhere else.
      redirect: 'error',
      signal,
    })
    const { status } = response
    if (status === 401 || status === 403) throw refused(name)
    if (status >= 300 && status < 400) throw silent(name)
    return response
  }

  async function ask(question: Question): Promise<Answer> {
    const time = within(question)
    try {
      const response = await send(question, time.signal)
      const said = readJson(await whole(response), ANSWER_BYTES_MAX)
      return { status: response.status, ok: response.ok, said }
    } catch (error) {
      throw error instanceof PaymentError ? error : silent(name, error)
    } finally {
      time.done()
    }
  }

  async function* lines(question: Question): AsyncGenerator<Json | undefined, void> {
    const time = within(question)
    try {
      const response = await send(question, time.signal)
      for await (const line of cut(response)) yield readJson(line, ANSWER_BYTES_MAX)
    } catch (error) {
      throw error instanceof PaymentError ? error : silent(name, error)
    } finally {
      time.done()
    }
  }

  return {
    ask,
    lines,
    close() {
      closer.abort()
      trust?.close()
    },
  }
}

function typeOf({ json, form }: Question): Record<string, string> {
  if (json) return { 'content-type': 'application/json' }
  return form ? { 'content-type': 'application/x-www-form-urlencoded' } : {}
}

function readUrl(name: string, url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed?.protocol !== 'https:' && parsed?.protocol !== 'http:')
    throw new RangeError(`The "url" of ${name} is not an http or https address.`)
  if (parsed.username || parsed.password || parsed.search || parsed.hash)
    throw new RangeError(`The "url" of ${name} has more than a host and a path in it.`)
  return `${parsed.origin}${parsed.pathname}`.replace(/\/+$/, '')
}

/** The body, up to the limit: a node is trusted with truth, not with memory. */
async function whole(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > ANSWER_BYTES_MAX) throw new Error('too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

async function* cut(response: Response): AsyncGenerator<string, void> {
  const utf8 = new TextDecoder()
  let rest = ''
  let count = 0
  for await (const chunk of response.body ?? []) {
    const parts = (rest + utf8.decode(chunk, { stream: true })).split('\n')
    rest = parts.pop() ?? ''
    count += parts.length
    if (rest.length > ANSWER_BYTES_MAX || count > LINES_MAX) throw new Error('too large')
    yield* parts.filter((part) => part.trim() !== '')
  }
  if (rest.trim() !== '') yield rest
}

/** It does not answer. The code tells the operator why (`ECONNREFUSED`); what stands beside it may hold a credential. */
function silent(name: string, error?: unknown): PaymentError {
  const code = codeOf(error) ?? codeOf(error instanceof Error ? error.cause : undefined)
  return new PaymentError(
    'rail-unavailable',
    `${name} does not answer${code === undefined ? '' : ` (${code})`}.`,
    { retryable: true },
  )
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' && /^[A-Z0-9_]{3,60}$/.test(error.code)
    ? error.code
    : undefined
}

/** It answers, and not us. */
export function refused(name: string): PaymentError {
  return new PaymentError(
    'misconfigured',
    `${name} does not take the credential that it was given, or not for this.`,
  )
}

/** What a connection to a server that signs its own certificate is made with: the built-in `fetch` has no place for one. */
function createTrust(ca: string): { fetch: typeof globalThis.fetch; close(): void } {
  const agent = new Agent({ ca, keepAlive: true })
  const fetch: typeof globalThis.fetch = (input, init) => {
    const { promise, resolve, reject } = Promise.withResolvers<Response>()
    const headers = Object.fromEntries(new Headers(init?.headers))
    const body = typeof init?.body === 'string' ? init.body : undefined
    const { method = 'GET', signal } = init ?? {}
    const outgoing = request(
      new URL(input instanceof Request ? input.url : input),
      {
        agent,
        method,
        headers: {
          ...headers,
          ...(body !== undefined && { 'content-length': Buffer.byteLength(body) }),
        },
        ...(signal && { signal }),
      },
      (incoming) => {
        const status = incoming.statusCode ?? 0
        const empty = status === 204 || status === 304
        if (empty) incoming.resume()
        try {
          resolve(new Response(empty ? null : Readable.toWeb(incoming), { status }))
        } catch (error) {
          incoming.destroy()
          reject(error)
        }
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
    return promise
  }
  return { fetch, close: () => agent.destroy() }
}
