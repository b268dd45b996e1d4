import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerResponse } from 'node:http2'
import { Transform } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Open } from '../adapters/http.ts'
import { withPaid } from './fields.ts'
import { meterOf } from '../adapters/meter.ts'
import { hasBody } from '../adapters/node.ts'
import type { Clock } from '../core/ports.ts'
import type { Counter, Exchange } from '../meters/meters.ts'
import type { AnswerFields } from './fields.ts'
import { meterAnswer } from './metering.ts'
import type { Metered } from './metering.ts'
import { bodyTooLarge, refuse, refuseFor, sendRefusal, spent } from './problems.ts'
import type { UpstreamCode } from './problems.ts'
import type { Upstream } from './upstream.ts'

/** One request on its way to the upstream, and the answer on its way back. */
export interface Trip {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly upstream: Upstream
  /** The key of the route. */
  readonly route: string
  /** Path and query as the upstream is sent them. */
  readonly target: string
  /** Names and values in turn. */
  readonly head: string[]
  readonly answerFields: AnswerFields
  /** The request's id. */
  readonly id: () => string
  /** Whether the answer is kept, and so must not be let go before it is whole. */
  readonly keeps: boolean
  /** Let in with nothing to settle: what its head gets. */
  readonly open: Open | undefined
  /** Nothing is paid for it, so that nothing of the answer must wait. */
  readonly isFree: boolean
  readonly bodyBytesMax: number
  readonly headMs: number | undefined
  /** What the answer is counted by, on the meter of the request. */
  readonly counters: ((exchange: Exchange) => Counter) | undefined
  readonly clock: Clock
  /** What is done where the upstream is away; it fails if absent. */
  readonly instead?: Instead
  /** Told of faults behind the gateway. */
  fault(where: string, error: Error): void
}

/** What is done with a request whose upstream is away, in the place of a refusal. */
export interface Instead {
  /** The whole body, so that it can be sent again. */
  readonly body: Buffer
  /** Whether the request may be sent again though nobody knows whether the upstream has begun. */
  readonly repeats: boolean
  /** Whether an answer with that status says that the upstream is away. */
  isAway(status: number): boolean
  /** It has answered. */
  reached(): void
  /** Answers. `isSent`: something of the request may have left. */
  wait(isSent: boolean): void
}

/** Faults of a kept connection that had died before the upstream read the request. */
const dead: ReadonlySet<string> = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])
/** Methods that ask and change nothing (RFC 9110, 9.2.1), so that asking twice does no more than once. */
const safe: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])
/** What stands for a fault of which it is not known how it is called. */
const UNKNOWN = ''

const late: ReadonlySet<string> = new Set([
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ETIMEDOUT',
])

class TooLarge extends Error {
  override readonly name = 'TooLarge'
}

/**
 * Sends the request, and its answer back: as it comes, no faster than it is taken, and nothing of it kept. A payer that leaves
 * ends the work; an upstream that fails is told as a refusal where nothing has left yet, and else by breaking off.
 */
export function relay(trip: Trip): void {
  const { request, response, upstream, bodyBytesMax } = trip
  // Who has left is told no more, and nothing would ever give his place at the upstream back.
  if (isGone(response)) return
  const isBodied = hasBody(request)
  if (isBodied && Number(request.headers['content-length'] ?? 0) > bodyBytesMax)
    return refuseBody(trip)
  if (!upstream.enter()) return sendRefusal(response, refuseFor('upstream-busy', trip.id()))
  const method = request.method ?? 'GET'
  const options: Dispatcher.DispatchOptions = {
    method,
    path: trip.target,
    headers: trip.head,
    body: bodyOf(trip, isBodied),
    ...(trip.headMs !== undefined && { headersTimeout: trip.headMs }),
  }
  const state: State = { ended: false, abort: undefined }
  response.on('close', () => {
    upstream.leave()
    if (!state.ended) state.abort?.(gone)
  })
  const send = (again: (() => void) | undefined): void =>
    void upstream.dispatcher.dispatch(options, handle(trip, state, again))
  send(!isBodied && safe.has(method) ? () => send(undefined) : undefined)
}

/** Over HTTP/2 only the stream knows. */
function isGone(
  response: ServerResponse & { readonly stream?: Http2ServerResponse['stream'] },
): boolean {
  return response.destroyed || response.stream?.destroyed === true
}

function bodyOf(
  { request, instead, bodyBytesMax }: Trip,
  isBodied: boolean,
): Buffer | Transform | null {
  if (instead) return instead.body.length > 0 ? instead.body : null
  return isBodied ? gauge(request, bodyBytesMax) : null
}

/** The rest of such a body is not waited for. */
function refuseBody({ response, id }: Trip): void {
  response.shouldKeepAlive = false
  sendRefusal(response, refuse(bodyTooLarge, id()))
}

/** Where an exchange with the upstream stands. */
interface State {
  ended: boolean
  /** Ends it before its end. */
  abort: ((why: Error) => void) | undefined
}

/**
 * What becomes of the answer. `again` sends the request once more, where that does no harm. These are the dispatcher's own
 * hooks: those that are written on top of them read every field into an object that nobody here looks at.
 */
function handle(
  trip: Trip,
  state: State,
  again: (() => void) | undefined,
): Dispatcher.DispatchHandler {
  const { response } = trip
  let resume: () => void
  let begun = false
  let bodied = false
  let metered: Metered | undefined
  let hints = 0

  function writeHead(
    status: number,
    raw: readonly (Buffer | string)[],
    message: string | undefined,
  ): void {
    const said = trip.answerFields(raw)
    const head = trip.open ? withPaid(said, trip.open) : said
    if (message === undefined || trip.request.httpVersionMajor > 1) response.writeHead(status, head)
    else response.writeHead(status, message, head)
    begun = true
    trip.open?.delivered()
    // The head waits for what came with it, and no longer: a stream may be silent for long.
    if (!trip.keeps)
      queueMicrotask(() => {
        if (!bodied && !state.ended) response.flushHeaders()
      })
  }

  /** Nothing that is not covered leaves: the answer ends here, and the work with it. */
  function stop(): void {
    if (state.ended) return
    state.ended = true
    metered?.stop()
    state.abort?.(gone)
    if (!begun) return sendRefusal(response, refuse(spent, trip.id()))
    if (response.hasHeader('content-length')) return void response.destroy()
    if (isEvents(response)) response.write(endOfCredit)
    response.end()
  }

  /** Goes on when it is covered, and when what was written before has left. */
  function once(covered: Promise<boolean>, act: () => boolean): void {
    covered
      .then((is) => {
        if (!is) stop()
        else if (state.ended || response.destroyed || act()) resume()
        else response.once('drain', resume)
      })
      .catch((error: unknown) => {
        trip.fault('meter', error instanceof Error ? error : new Error(String(error)))
        stop()
      })
  }

  function end(trailers: readonly (Buffer | string)[] | null): void {
    state.ended = true
    if (trailers && trailers.length > 0) addTrailers(response, trailers)
    response.end()
  }

  return {
    onConnect(abort) {
      state.abort = abort
      if (response.destroyed) abort(gone)
    },
    onHeaders(status, raw, more, message) {
      // Other interim answers are between the upstream and us.
      if (status === EARLY_HINTS && hints++ < HINTS_MAX) hint(trip, raw)
      if (status < 200) return true
      if (trip.instead?.repeats && trip.instead.isAway(status)) {
        state.ended = true
        state.abort?.(gone)
        trip.instead.wait(true)
        return true
      }
      trip.instead?.reached()
      resume = more
      metered = isSuccess(status) ? meterOfTrip(trip, raw, stop) : undefined
      if (!metered) {
        writeHead(status, raw, message)
        return true
      }
      once(metered.begin(), () => {
        writeHead(status, raw, message)
        return true
      })
      return false
    },
    onData(chunk) {
      bodied = true
      if (metered) {
        once(metered.chunk(chunk), () => response.write(chunk))
        return false
      }
      if (response.write(chunk)) return true
      response.once('drain', resume)
      return false
    },
    onComplete(trailers) {
      if (!metered) return end(trailers)
      metered.stop()
      metered.end().then(
        () => end(trailers),
        (error: Error) => {
          trip.fault('meter', error)
          end(trailers)
        },
      )
    },
    onError(error) {
      if (state.ended) return
      state.ended = true
      metered?.stop()
      if (response.destroyed) return
      const code = codeOf(error)
      if (!begun && again && dead.has(code)) {
        state.ended = false
        return again()
      }
      if (error instanceof TooLarge && !begun) return refuseBody(trip)
      trip.fault(`upstream ${trip.upstream.name}`, error)
      const { instead } = trip
      // Asked to connect, and told to end before that was done: nothing has left.
      const isSent = state.abort !== undefined
      if (begun) response.destroy()
      else if (instead && (instead.repeats || !isSent)) instead.wait(isSent)
      else sendRefusal(response, refuseFor(whyOf(code), trip.id()))
    },
  }
}

/** The meter of the request, for an answer with this head. A payer that leaves ends the count. */
function meterOfTrip(
  { request, response, counters, clock }: Trip,
  raw: readonly (Buffer | string)[],
  onSpent: () => void,
): Metered | undefined {
  if (!counters) return undefined
  const at = raw.findIndex((name, i) => i % 2 === 0 && /^content-type$/i.test(String(name)))
  const contentType = at < 0 ? '' : String(raw[at + 1])
  const requestChars = Number(request.headers['content-length'] ?? 0)
  const counter = counters({ contentType, requestChars })
  const metered = meterAnswer(meterOf(request), counter, clock, onSpent)
  response.once('close', () => metered.stop())
  return metered
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300
}

function isEvents(response: ServerResponse): boolean {
  return /^text\/event-stream/i.test(String(response.getHeader('content-type') ?? ''))
}

/** What a stream of events ends with that is not paid any further. */
const endOfCredit = `event: payment-required\ndata: ${JSON.stringify({ code: spent.code, detail: spent.detail })}\n\n`

const EARLY_HINTS = 103
/** Most interim answers of one upstream's that are passed on. */
const HINTS_MAX = 8

/**
 * What may be fetched meanwhile (RFC 8297), where nothing of the answer must wait for money. Clients of HTTP/1.0 know no interim
 * answers (RFC 9110, 15.2); what the machine does not take for links is left out.
 */
function hint({ request, response, open, isFree }: Trip, raw: readonly (Buffer | string)[]): void {
  if ((!open && !isFree) || request.httpVersion === '1.0' || response.headersSent) return
  const link = raw.flatMap((name, i) =>
    i % 2 === 0 && /^link$/i.test(String(name)) ? String(raw[i + 1]).split(/,\s*(?=<)/) : [],
  )
  try {
    if (link.length > 0) response.writeEarlyHints({ link })
  } catch {
    // It is a hint.
  }
}

/** Fields that must stand at the beginning to hold (RFC 9110, 6.5.1), and what only connections and the gateway say. */
const unfitting =
  /^(?:tolsey-.*|content-(?:encoding|length|location|range|type)|transfer-encoding|trailer|te|host|connection|keep-alive|upgrade|authorization|www-authenticate|set-cookie|cache-control|expires|age|vary|location|date|retry-after)$/i

/** The fields at the end of an answer, but for those that are not taken there. */
function addTrailers(response: ServerResponse, raw: readonly (Buffer | string)[]): void {
  const told: Record<string, string> = {}
  for (let i = 0; i < raw.length; i += 2) {
    const name = String(raw[i])
    if (!unfitting.test(name)) told[name] = raw[i + 1]?.toString('latin1') ?? ''
  }
  response.addTrailers(told)
}

const gone = new Error('The payer has left.')

function whyOf(code: string): UpstreamCode {
  return late.has(code) ? 'upstream-late' : 'upstream-unreachable'
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : UNKNOWN
}

/** The fields as the upstream wrote them; over HTTP/2 they come by their names. */
export function rawOf(
  controller: Dispatcher.DispatchController,
  headers: IncomingHttpHeaders,
): readonly (Buffer | string)[] {
  const { rawHeaders } = controller
  if (Array.isArray(rawHeaders)) return rawHeaders
  return Object.entries(headers).flatMap(([name, said]) =>
    [said ?? []].flat().flatMap((value) => (name.startsWith(':') ? [] : [name, value])),
  )
}

/**
 * The body, up to the limit. What ends it ends not the request: an upstream that answers before it has read everything must not
 * cost the payer his answer.
 */
function gauge(request: IncomingMessage, bytesMax: number): Transform {
  let bytes = 0
  const body = new Transform({
    transform(chunk: Buffer, _, done) {
      bytes += chunk.length
      if (bytes > bytesMax) done(new TooLarge('The body is larger than it may be.'))
      else done(null, chunk)
    },
  })
  request.pipe(body)
  request.once('error', (error) => body.destroy(error))
  request.once('close', () => {
    if (!request.complete) body.destroy(gone)
  })
  body.once('close', () => request.resume())
  return body
}
