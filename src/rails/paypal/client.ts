import { systemClock } from '../../core/clock.ts'
import { isObject, readJson } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { createHttpClient, HttpFault } from '../../net/http.ts'
import type { HttpAnswer } from '../../net/http.ts'

/** Where PayPal's API is, by the kind of money. */
export const API: Readonly<Record<Mode, string>> = {
  sandbox: 'https://api-m.sandbox.paypal.com',
  live: 'https://api-m.paypal.com',
}
/** How long one call may take. */
export const CALL_MS = 20_000
/** Longest answer. */
const ANSWER_BYTES_MAX = 262_144
/** How long before its end an access token is replaced. */
const TOKEN_MARGIN_MS = 60_000
/** Longest time that one is used, whatever is said. */
const TOKEN_MS_MAX = 32_400_000

/** Whether money is real. */
export type Mode = 'sandbox' | 'live'

/** By whom PayPal is asked. */
export interface AccountSettings {
  readonly clientId: string
  readonly clientSecret: string
  readonly mode: Mode
  /** Where the API is; that of the mode if absent. */
  readonly url?: string
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
}

/**
 * What PayPal answered. `refused`: it did not do it, with its own word for why. `silent`: nobody knows whether it did.
 */
export type Answer =
  | { readonly kind: 'done'; readonly object: JsonObject }
  | { readonly kind: 'refused'; readonly status: number; readonly issue: string }
  | { readonly kind: 'silent' }

/** Asks PayPal. */
export interface PayPalClient {
  /** What is posted under the same id is done once. Nothing is thrown for an answer. */
  readonly call: (
    method: 'GET' | 'POST',
    path: string,
    body?: JsonObject,
    requestId?: string,
  ) => Promise<Answer>
  close(): void
}

/** Statuses after which the same call may have been done, or be done yet. */
const OPEN: ReadonlySet<number> = new Set([408, 409, 425, 429])

/** Makes the client. Its access token is asked for once, and again shortly before its end. */
export function createClient(settings: AccountSettings): PayPalClient {
  const { clientId, clientSecret, mode, fetch, clock = systemClock } = settings
  const url = settings.url ?? API[mode]
  const http = createHttpClient({
    timeoutMs: CALL_MS,
    bytesMax: ANSWER_BYTES_MAX,
    clock,
    ...(fetch && { fetch }),
  })
  const basic = Buffer.from(`${clientId}:${clientSecret}`).toString('base64')
  let token: { readonly text: string; readonly untilAt: number } | undefined
  let asking: Promise<string | Answer> | undefined

  /** The token, or why there is none. */
  async function authorize(): Promise<string | Answer> {
    if (token && token.untilAt > clock.now()) return token.text
    asking ??= fetchToken().finally(() => (asking = undefined))
    return asking
  }

  async function fetchToken(): Promise<string | Answer> {
    const answer = await http
      .ask({
        method: 'POST',
        url: `${url}/v1/oauth2/token`,
        headers: {
          authorization: `Basic ${basic}`,
          'content-type': 'application/x-www-form-urlencoded',
        },
        body: 'grant_type=client_credentials',
        repeatable: true,
      })
      .catch(unlessFault)
    const said = answerOf(answer)
    if (said.kind !== 'done') return said
    const { access_token: text, expires_in: seconds } = said.object
    if (typeof text !== 'string' || typeof seconds !== 'number') return { kind: 'silent' }
    const ms = Math.min(seconds * 1000, TOKEN_MS_MAX) - TOKEN_MARGIN_MS
    token = { text, untilAt: clock.now() + ms }
    return text
  }

  async function send(
    bearer: string,
    ...[method, path, body, requestId]: Parameters<PayPalClient['call']>
  ): Promise<HttpAnswer | undefined> {
    return http
      .ask({
        method,
        url: url + path,
        headers: {
          authorization: `Bearer ${bearer}`,
          'content-type': 'application/json',
          prefer: 'return=representation',
          ...(requestId !== undefined && { 'paypal-request-id': requestId }),
        },
        ...(method === 'POST' && { body: JSON.stringify(body ?? {}) }),
        repeatable: method === 'GET' || requestId !== undefined,
      })
      .catch(unlessFault)
  }

  return {
    async call(...asked) {
      const bearer = await authorize()
      if (typeof bearer !== 'string') return bearer
      const first = await send(bearer, ...asked)
      if (first?.status !== 401) return answerOf(first)
      // It was revoked, or the clocks differ: nothing was done, and a fresh one may do.
      token = undefined
      const fresh = await authorize()
      return typeof fresh === 'string' ? answerOf(await send(fresh, ...asked)) : fresh
    },
    close: () => http.close(),
  }
}

function unlessFault(error: unknown): undefined {
  if (!(error instanceof HttpFault)) throw error
}

function answerOf(answer: HttpAnswer | undefined): Answer {
  if (!answer || answer.status >= 500 || OPEN.has(answer.status)) return { kind: 'silent' }
  const said = readJson(answer.text || '{}', ANSWER_BYTES_MAX)
  if (answer.status >= 400)
    return { kind: 'refused', status: answer.status, issue: issueOf(isObject(said) ? said : {}) }
  return isObject(said) ? { kind: 'done', object: said } : { kind: 'silent' }
}

/** PayPal's word for what is wrong: that of the first detail, which is finer, or the general one. */
function issueOf({ name, details }: JsonObject): string {
  const first = Array.isArray(details) ? (details as readonly unknown[])[0] : undefined
  const word = isObject(first) ? first['issue'] : name
  return typeof word === 'string' && /^\w{1,64}$/.test(word) ? word : ''
}

/** The fault to throw where PayPal must be asked and does not answer. */
export function unreachable(answer: Exclude<Answer, { kind: 'done' }>): PaymentError {
  return answer.kind === 'silent'
    ? new PaymentError('rail-unavailable', 'PayPal does not answer.', { retryable: true })
    : new PaymentError('misconfigured', `PayPal refuses: ${answer.status} ${answer.issue}.`)
}
