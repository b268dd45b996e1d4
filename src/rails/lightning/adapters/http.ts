import { HttpFault, createHttpClient } from '../../../net/http.ts'
import type { HttpQuestion } from '../../../net/http.ts'
import type { Json, JsonObject } from '../../../core/json.ts'
import { readJson } from '../../../core/json.ts'
import type { Clock } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'

/** How long a node may take for an answer that needs nobody else. */
export const ANSWER_TIMEOUT_MS = 10_000
/** Longest answer, and longest line of a stream, in bytes. A payment with some hundred attempts has as much. */
export const ANSWER_BYTES_MAX: number = 4 * 2 ** 20

/** What every back end that is spoken to over HTTP is made of. */
export interface HttpSettings {
  /** Where it answers, without a user name and without its API's own path. */
  readonly url: string
  /** Its certificate, or that of who signed it, in PEM: for those that sign their own. */
  readonly ca?: string
  /** For one answer; {@link ANSWER_TIMEOUT_MS} if absent. A payment has its own. */
  readonly timeoutMs?: number
  /** Asks in place of our own client: for proxies and tests. It must know the certificate by itself. */
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
}

/** One thing that is asked. What does more than make an invoice when it is asked twice is never a GET. */
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
  const { ca, fetch, clock, timeoutMs = ANSWER_TIMEOUT_MS } = settings
  const client = createHttpClient({
    ...{ timeoutMs, bytesMax: ANSWER_BYTES_MAX },
    ...(ca !== undefined && { ca }),
    ...(fetch && { fetch }),
    ...(clock && { clock }),
  })

  function put(question: Question): HttpQuestion {
    const { method, path, json, form, timeoutMs: ownMs } = question
    return {
      method,
      url: `${base}${path}`,
      headers: { accept: 'application/json', ...headers, ...typeOf(question) },
      ...(json && { body: JSON.stringify(json) }),
      ...(form && { body: new URLSearchParams(form).toString() }),
      ...(ownMs !== undefined && { timeoutMs: ownMs }),
    }
  }

  /** @throws {PaymentError} when we are turned away. */
  function admit(status: number): void {
    if (status === 401 || status === 403) throw refused(name)
  }

  async function ask(question: Question): Promise<Answer> {
    try {
      const { status, text } = await client.ask(put(question), question.signal)
      admit(status)
      const ok = status >= 200 && status < 300
      return { status, ok, said: readJson(text, ANSWER_BYTES_MAX) }
    } catch (error) {
      throw silent(name, error)
    }
  }

  async function* lines(question: Question): AsyncGenerator<Json | undefined, void> {
    try {
      const stream = await client.open(put(question), question.signal)
      try {
        admit(stream.status)
        for await (const line of stream.lines()) yield readJson(line, ANSWER_BYTES_MAX)
      } finally {
        stream.close()
      }
    } catch (error) {
      throw silent(name, error)
    }
  }

  return { ask, lines, close: () => client.close() }
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

/** It does not answer. The code tells the operator why (`ECONNREFUSED`); what else stands in an error is not repeated. */
function silent(name: string, error: unknown): unknown {
  if (!(error instanceof HttpFault)) return error
  const { code } = error
  return new PaymentError(
    'rail-unavailable',
    `${name} does not answer${code === undefined ? '' : ` (${code})`}.`,
    { retryable: true },
  )
}

/** It answers, and not us. */
export function refused(name: string): PaymentError {
  return new PaymentError(
    'misconfigured',
    `${name} does not take the credential that it was given, or not for this.`,
  )
}
