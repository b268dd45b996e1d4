import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import { Bug } from '../../core/assert.ts'
import { PaymentError } from '../../core/problem.ts'

/**
 * The one call that is used of a Stripe SDK: `new Stripe(key)` of npm `stripe` is one. It retries with the same key by itself.
 */
export interface StripeClient {
  rawRequest(
    method: string,
    path: string,
    params?: { [key: string]: unknown },
    options?: StripeOptions,
  ): Promise<unknown>
}

/** What a call may say beside its parameters. */
export interface StripeOptions {
  readonly idempotencyKey?: string
  /** Of this call alone: what is in preview needs a version that says so. */
  readonly apiVersion?: string
  /** In the name of a connected account. */
  readonly stripeAccount?: string
}

/** The version by which shared payment tokens and stablecoins are asked for. Both are in preview. */
export const PREVIEW_VERSION = '2026-07-29.preview'

/**
 * What Stripe answered. `refused`: it did not do it, with its own word for why. `silent`: nobody knows whether it did; a lost
 * connection, a fault of its own, or another call with the same key is under way.
 */
export type Answer =
  | { readonly kind: 'done'; readonly object: JsonObject }
  | {
      readonly kind: 'refused'
      readonly status: number
      readonly code: string
      readonly type: string
    }
  | { readonly kind: 'silent' }

/** Asks Stripe. Nothing is thrown for an answer. */
export type Call = (
  method: 'GET' | 'POST',
  path: string,
  params?: { readonly [key: string]: unknown },
  options?: StripeOptions,
) => Promise<Answer>

/** Statuses after which the same call may have been done, or be done yet. */
const OPEN: ReadonlySet<number> = new Set([409, 424, 429])

/** Wraps the SDK: what it throws becomes an answer, and nothing of its text goes further. */
export function createCall(client: StripeClient, common: StripeOptions = {}): Call {
  return async (method, path, params, options) => {
    try {
      const said = await client.rawRequest(method, path, params && { ...params }, {
        ...common,
        ...options,
      })
      return isObject(said) ? { kind: 'done', object: said } : { kind: 'silent' }
    } catch (error) {
      if (error instanceof Bug) throw error
      return answerOf(error)
    }
  }
}

/** What an error of the SDK says: `statusCode`, `code` and `type` are Stripe's own words. */
function answerOf(error: unknown): Answer {
  if (typeof error !== 'object' || error === null) return { kind: 'silent' }
  const status = memberOf(error, 'statusCode')
  if (typeof status !== 'number' || status >= 500 || status < 400 || OPEN.has(status))
    return { kind: 'silent' }
  return {
    kind: 'refused',
    status,
    code: wordOf(memberOf(error, 'code')),
    type: wordOf(memberOf(error, 'rawType')),
  }
}

function memberOf(of: object, name: string): unknown {
  return Reflect.get(of, name)
}

function wordOf(value: unknown): string {
  return typeof value === 'string' && /^\w{1,64}$/.test(value) ? value : ''
}

/** Query text for a GET: the SDK sends none of its own there. */
export function queryOf(said: Readonly<Record<string, string>>): string {
  return new URLSearchParams(said).toString()
}

/** The fault to throw where Stripe must be asked and does not answer. */
export function unreachable(answer: Exclude<Answer, { kind: 'done' }>): PaymentError {
  return answer.kind === 'silent'
    ? new PaymentError('rail-unavailable', 'Stripe does not answer.', { retryable: true })
    : new PaymentError('misconfigured', `Stripe refuses the key: ${answer.status} ${answer.code}.`)
}
