import { Buffer } from 'node:buffer'
import type { ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import type { Dispatcher } from 'undici'
import { withPaid } from './fields.ts'
import { refuseFor, sendRefusal } from './problems.ts'
import type { UpstreamCode } from './problems.ts'
import type { Trip } from './relay.ts'

/** Largest answer that is kept for when its upstream is away, and most of all of them of one gateway, in bytes. */
export const FALLBACK_BYTES_MAX = 1_048_576
/** Most of all answers together. */
export const FALLBACKS_BYTES_MAX = 67_108_864

/** What a route gives for a payment while its upstream is away: the last good answer. */
export interface Fallback {
  /** How old it may be, in milliseconds. */
  readonly ageMs: number
  /** Whether it is charged; if not it is sent with 203, which is no success then. */
  readonly isCharged: boolean
}

/** The status of an answer that is given for nothing (RFC 9110, 15.3.4: not as its origin would have it). */
export const GIVEN = 203

/** Says that an answer is one of before. */
export const FALLBACK_FIELD = 'Tolsey-Fallback'

/** An answer of before. */
interface Kept {
  readonly head: readonly string[]
  readonly body: Buffer
  readonly at: number
}

/** The last good answers of a gateway, in memory: the oldest goes when there is no room. */
export interface Fallbacks {
  /** Asks the upstream, and where it is away looks for what it said last. */
  serve(trip: Trip, fallback: Fallback): Promise<void>
}

/** Answers of an upstream that say that it is away. */
const away: ReadonlySet<number> = new Set([502, 503, 504])
/** Faults that say that it took too long. */
const late: ReadonlySet<string> = new Set([
  ...['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_CONNECT_TIMEOUT', 'UND_ERR_BODY_TIMEOUT', 'ETIMEDOUT'],
])

/** Makes the place for answers. */
export function createFallbacks(bytesMax: number = FALLBACKS_BYTES_MAX): Fallbacks {
  const kept = new Map<string, Kept>()
  let bytes = 0

  function drop(key: string): void {
    bytes -= kept.get(key)?.body.length ?? 0
    kept.delete(key)
  }

  function keep(key: string, answer: Kept): void {
    drop(key)
    kept.set(key, answer)
    bytes += answer.body.length
    for (const oldest of kept.keys()) {
      if (bytes <= bytesMax) return
      drop(oldest)
    }
  }

  function sendKept(trip: Trip, { ageMs, isCharged }: Fallback): boolean {
    const { response, clock, open } = trip
    const answer = kept.get(keyOf(trip))
    const age = answer ? clock.now() - answer.at : Infinity
    if (!answer || age < 0 || age >= ageMs) return false
    const own = [
      ...without(answer.head, 'age'),
      'Age',
      `${Math.floor(age / 1000)}`,
      FALLBACK_FIELD,
      'cached',
    ]
    send(response, isCharged ? 200 : GIVEN, open ? withPaid(own, open) : own, answer.body, trip)
    return true
  }

  function fail(trip: Trip, fallback: Fallback, code: UpstreamCode): void {
    if (!sendKept(trip, fallback)) sendRefusal(trip.response, refuseFor(code, trip.id()))
  }

  async function ask(trip: Trip, fallback: Fallback, signal: AbortSignal): Promise<void> {
    const { response, upstream, clock } = trip
    const asked = await upstream.dispatcher.request({
      ...{ method: 'GET', path: trip.target, headers: trip.head, body: null, signal },
      ...(trip.headMs !== undefined && { headersTimeout: trip.headMs }),
      responseHeaders: 'raw',
    })
    const status = asked.statusCode
    if (away.has(status)) {
      await asked.body.dump()
      return fail(trip, fallback, 'upstream-unreachable')
    }
    const head = trip.answerFields(rawOf(asked.headers))
    const whole = await collect(asked.body)
    if (whole.rest) return await stream(trip, status, head, whole.chunks, whole.rest)
    const body = Buffer.concat(whole.chunks)
    if (status === 200 && isForAll(trip.head, head))
      keep(keyOf(trip), { head, body, at: clock.now() })
    send(response, status, trip.open ? withPaid(head, trip.open) : head, body, trip)
  }

  return {
    async serve(trip, fallback) {
      const { response, upstream } = trip
      if (!upstream.enter()) return fail(trip, fallback, 'upstream-busy')
      const gone = new AbortController()
      response.once('close', () => gone.abort())
      try {
        await ask(trip, fallback, gone.signal)
      } catch (error) {
        if (response.destroyed || gone.signal.aborted) return
        const fault = error instanceof Error ? error : new Error(String(error))
        trip.fault(`upstream ${upstream.name}`, fault)
        if (response.headersSent) response.destroy()
        else
          fail(trip, fallback, late.has(codeOf(fault)) ? 'upstream-late' : 'upstream-unreachable')
      } finally {
        upstream.leave()
      }
    },
  }
}

/**
 * An answer is that of an address at one upstream, as the payer's host names it, and of what was paid for it: two routes may lead
 * to one address, and the dearer one asks for more there.
 */
function keyOf({ upstream, route, target, request }: Trip): string {
  const { host = '', accept = '', origin = '' } = request.headers
  return JSON.stringify([upstream.name, route, target, host, accept, origin])
}

function send(
  response: ServerResponse,
  status: number,
  head: readonly string[],
  body: Buffer,
  { open }: Trip,
): void {
  response.writeHead(status, [...head])
  open?.delivered()
  response.end(body)
}

/** What is too large to be kept goes on as it comes. */
async function stream(
  { response, open }: Trip,
  status: number,
  head: readonly string[],
  chunks: readonly Buffer[],
  rest: AsyncIterable<Buffer>,
): Promise<void> {
  response.writeHead(status, open ? withPaid(head, open) : [...head])
  open?.delivered()
  await pipeline(async function* () {
    yield* chunks
    yield* rest
  }, response)
}

interface Collected {
  readonly chunks: readonly Buffer[]
  /** What comes behind, where there is more than is kept. */
  readonly rest?: AsyncIterable<Buffer>
}

async function collect(body: Dispatcher.ResponseData['body']): Promise<Collected> {
  const chunks: Buffer[] = []
  let size = 0
  const pieces = (body as AsyncIterable<Buffer>)[Symbol.asyncIterator]()
  for (;;) {
    const { done, value } = await pieces.next()
    if (done) return { chunks }
    chunks.push(value)
    size += value.length
    if (size > FALLBACK_BYTES_MAX) return { chunks, rest: { [Symbol.asyncIterator]: () => pieces } }
  }
}

/**
 * Whether an answer is the same for everybody: asked for without a name, and not said to be for one. What the gateway itself
 * tells the upstream of a payer is the seller's own affair.
 */
function isForAll(asked: readonly string[], said: readonly string[]): boolean {
  const names = new Set(asked.flatMap((name, i) => (i % 2 === 0 ? [name.toLowerCase()] : [])))
  if (names.has('authorization') || names.has('cookie') || names.has('range')) return false
  return said.every((name, i) => {
    if (i % 2 === 1) return true
    const value = said[i + 1] ?? ''
    if (/^set-cookie$/i.test(name)) return false
    if (/^vary$/i.test(name)) return /^(?:\s*(?:accept-encoding|accept|origin)\s*,?)*$/i.test(value)
    return !/^cache-control$/i.test(name) || !/\bno-store\b|\bprivate\b/i.test(value)
  })
}

function without(head: readonly string[], field: string): string[] {
  return head.filter((_, i) => head[i - (i % 2)]?.toLowerCase() !== field)
}

function rawOf(headers: unknown): readonly (Buffer | string)[] {
  if (Array.isArray(headers)) return headers as readonly (Buffer | string)[]
  return Object.entries(headers as Readonly<Record<string, string | string[] | undefined>>).flatMap(
    ([name, said]) =>
      [said ?? []].flat().flatMap((value) => (name.startsWith(':') ? [] : [name, value])),
  )
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : ''
}
