import { isObject, readJson } from '../../core/json.ts'
import type { Json } from '../../core/json.ts'
import type { Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { FacilitatorRequest } from './wire.ts'

/** Most bytes of an answer that are read. */
export const ANSWER_BYTES_MAX = 262_144

/** How long an answer may take, in all, if nothing else is said: as long as upstream waits. */
const ANSWER_TIMEOUT_MS = 90_000

/** How long a facilitator that failed is asked last. */
export const REST_MS = 30_000

/** What a facilitator is asked. */
export type Operation = 'verify' | 'settle' | 'supported'

/** Where a facilitator is, and how it is asked. */
export interface FacilitatorAddress {
  /** Address under which `/verify`, `/settle` and `/supported` lie. */
  readonly url: string
  /** Header fields of each call, for instance an API key. */
  readonly headers?: (
    operation: Operation,
  ) => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>
  readonly timeoutMs?: number
  /** Set if the facilitator answers a repeated `/settle` from its record. By default nothing is sent twice. */
  readonly repeatable?: boolean
}

/** What was answered. */
export interface Answer {
  readonly status: number
  /** Undefined if the answer was not JSON within limits. */
  readonly json: Json | undefined
}

/** A facilitator as the rail sees it. */
export interface Place {
  /** Its origin: how the log names it. A path may hold a key. */
  readonly via: string
  readonly repeatable: boolean
  /** Asked last until then. */
  readonly restUntilAt: number
  /** @throws {PaymentError} when there is no answer; {@link Unsent} when no byte of the request can have arrived. */
  ask(operation: Operation, body?: FacilitatorRequest): Promise<Answer>
  /** It failed: others first, for a while. */
  rest(): void
}

/** The request never left. */
export class Unsent extends PaymentError {}

/** What each place is asked with. */
interface Means {
  readonly clock: Clock
  readonly fetch: typeof globalThis.fetch
}

/**
 * Makes the one way to a facilitator: bounded in time and size, and never led elsewhere.
 * @throws {TypeError} when the URL is none.
 */
export function createPlace(address: FacilitatorAddress, { clock, fetch }: Means): Place {
  const { headers, timeoutMs = ANSWER_TIMEOUT_MS, repeatable = false } = address
  const base = new URL(address.url).href.replace(/\/+$/, '')
  let restUntilAt = 0
  const ownFields = async (operation: Operation): Promise<Readonly<Record<string, string>>> => {
    try {
      return (await headers?.(operation)) ?? {}
    } catch (cause) {
      throw new Unsent('rail-unavailable', sentence(operation, noFields), { cause })
    }
  }
  return {
    via: new URL(base).origin,
    repeatable,
    get restUntilAt() {
      return restUntilAt
    },
    rest() {
      restUntilAt = clock.now() + REST_MS
    },
    async ask(operation, body) {
      const own = await ownFields(operation)
      try {
        return await within(clock, timeoutMs, async (signal) => {
          const response = await fetch(`${base}/${operation}`, {
            method: body ? 'POST' : 'GET',
            headers: { accept: 'application/json', ...(body && json), ...own },
            ...(body && { body: JSON.stringify(body) }),
            redirect: 'error',
            signal,
          })
          const text = await textOf(response)
          return { status: response.status, json: readJson(text, ANSWER_BYTES_MAX) }
        })
      } catch (cause) {
        const Kind = isUnsent(cause) ? Unsent : PaymentError
        throw new Kind('rail-unavailable', sentence(operation, notReached), {
          cause,
          retryable: true,
        })
      }
    },
  }
}

/** Those that are up, in the order in which they were given, and then those that failed a moment ago. */
export function inOrder(places: readonly Place[], now: number): readonly Place[] {
  const up = places.filter(({ restUntilAt }) => restUntilAt <= now)
  return [...up, ...places.filter((place) => !up.includes(place))]
}

/** Whether the answer says that the request was turned away at the door: nothing of it was looked at. */
export function isTurnedAway({ status, json }: Answer): boolean {
  if (isObject(json) && 'success' in json) return false
  if (closed.has(status)) return true
  return status >= 400 && isObject(json) && words.has(json['error'])
}

/** Not 429: some count what they have begun. */
const closed: ReadonlySet<number> = new Set([401, 403, 404, 405])

/** What our own facilitator says before it reads a request. */
const words: ReadonlySet<unknown> = new Set(['unauthorized', 'forbidden', 'limited', 'closing'])

/** What a facilitator that gave no usable answer is told to have done. */
export function sentence(operation: Operation, why: string): string {
  return `The facilitator's /${operation} gave no usable answer. ${why}`
}

const notReached = 'It could not be reached in time.'
const noFields = 'The header fields for it could not be made.'

/** Faults of finding the way and shaking hands: before them nothing is sent. */
const early: ReadonlySet<unknown> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'ERR_TLS_CERT_ALTNAME_INVALID',
])

function isUnsent(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error instanceof AggregateError && error.errors.length > 0)
    return error.errors.every(isUnsent)
  return 'code' in error ? early.has(error.code) : isUnsent(error.cause)
}

const json = { 'content-type': 'application/json' }

/** The body as text; empty when it is longer than the limit. */
async function textOf(response: Response): Promise<string> {
  if (!response.body) return ''
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.byteLength
    // Leaving the loop ends the stream.
    if (bytes > ANSWER_BYTES_MAX) return ''
    chunks.push(chunk)
  }
  return new TextDecoder().decode(Buffer.concat(chunks))
}

/** Does the work in that time, or throws, also when the work does not listen to the signal. */
async function within<T>(
  clock: Clock,
  ms: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ended = new AbortController()
  const cut = new AbortController()
  const late = clock.sleep(ms, ended.signal).then((): never => {
    cut.abort()
    throw new Error('The time is over.')
  })
  try {
    return await Promise.race([work(cut.signal), late])
  } finally {
    late.catch(() => undefined)
    ended.abort()
  }
}
