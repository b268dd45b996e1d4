import { STATUS_CODES } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Answer } from '../adapters/answer.ts'
import type { Admitted, Door, Incoming, Open } from '../adapters/http.ts'
import { lend, meterOf } from '../adapters/meter.ts'
import { createNews } from '../adapters/session-news.ts'
import type { Chance, Clock } from '../core/ports.ts'
import type { SocketCounter } from '../meters/meters.ts'
import { fieldsOf } from './fields.ts'
import type { AnswerFields } from './fields.ts'
import { noSocket, refuse, refuseFor } from './problems.ts'
import type { Refused } from './problems.ts'
import { rawOf } from './relay.ts'
import { endSoon, joinCounted, linger } from './socket.ts'
import type { Upstream } from './upstream.ts'

/** A request for a WebSocket on its way through the door. */
export interface UpgradeTrip {
  readonly door: Door
  readonly request: IncomingMessage
  readonly socket: Duplex
  /** What came behind the head of the request. */
  readonly head: Buffer
  readonly incoming: Incoming
  readonly upstream: Upstream
  readonly answerFields: AnswerFields
  readonly headMs: number | undefined
  /** What its frames are counted by, on the meter of the request. */
  readonly counters: (() => SocketCounter) | undefined
  /** The plan whose token has paid, where it is known. */
  readonly plan: () => string | undefined
  readonly clock: Clock
  readonly chance: Chance
  newId(): string
  /** The request as the upstream is sent it. */
  dress(): Promise<{ readonly target: string; readonly head: string[] }>
  fault(where: string, error: Error): void
}

/** What the upstream has said to the request: an upgraded connection, or an answer like any other. */
type Said =
  | { readonly kind: 'upgraded'; readonly head: readonly string[]; readonly socket: Duplex }
  | {
      readonly kind: 'answered'
      readonly status: number
      readonly head: readonly string[]
      /** Lets the body come, piece by piece; resolves at its end. */
      body(to: Duplex): Promise<void>
      drop(): void
    }
  | { readonly kind: 'failed'; readonly refused: Refused }

/** Who was let in by the door. */
type Entry = Admitted | Open | undefined

/**
 * Takes a request for a WebSocket through the door: it is paid like any other request, settled when the upstream has agreed,
 * and answered on the socket itself. An upstream that answers something else is charged for as the route says.
 */
export async function upgrade(trip: UpgradeTrip): Promise<void> {
  const { door, socket, incoming } = trip
  let entry: Entry
  socket.on('error', () => socket.destroy())
  const early = listenTo(socket, trip.head)
  try {
    const entered = await door.enter(incoming)
    if (entered.kind === 'answer') return write(socket, entered.answer)
    entry = entered.kind === 'free' ? undefined : entered
    if (socket.destroyed) return await giveUp(entry)
    await connect(trip, entry, early)
  } catch (error) {
    await giveUp(entry)
    const said = door.fault('upgrade', error)
    if (socket.writable) write(socket, said)
    else socket.destroy()
  }
}

/** Answers on the socket, and ends it. */
export function refuseUpgrade(socket: Duplex, refused: Refused): void {
  socket.on('error', () => socket.destroy())
  write(socket, refused)
}

async function connect(trip: UpgradeTrip, entry: Entry, early: Early): Promise<void> {
  const { socket, upstream } = trip
  if (!upstream.enter()) {
    await giveUp(entry)
    return write(socket, refuseFor('upstream-busy', trip.newId()))
  }
  socket.once('close', () => {
    upstream.leave()
    // Without effect once it was finished.
    void giveUp(entry)
  })
  const late = entry?.kind === 'pass' ? entry.expired : undefined
  const asked = ask(trip)
  const said = await Promise.race(
    late ? [asked, late.then((answer) => ({ kind: 'late' as const, answer }))] : [asked],
  )
  if (said.kind === 'late') {
    void asked.then(letGo)
    return write(socket, said.answer)
  }
  if (said.kind === 'failed') {
    await giveUp(entry)
    return write(socket, said.refused)
  }
  const status = said.kind === 'upgraded' ? 101 : said.status
  // What is counted frame by frame is not given away as the answer to a plain request.
  if (entry?.meter && trip.counters && status >= 200 && status < 300) {
    letGo(said)
    await giveUp(entry)
    return write(socket, refuse(noSocket, trip.newId()))
  }
  const told = await settle(entry, status, said.head)
  if ('answer' in told) {
    letGo(said)
    return write(socket, told.answer)
  }
  if (entry?.kind === 'pass') whenClosed(socket, () => entry.ended?.())
  if (socket.destroyed) {
    if (entry?.kind === 'pass') entry.lost()
    return letGo(said)
  }
  await passOn(trip, entry, said, told.head, early)
  entry?.delivered()
}

function whenClosed(socket: Duplex, act: () => void): void {
  if (socket.destroyed) act()
  else socket.once('close', act)
}

/** Settles what the upstream has agreed to, and adds to the head what belongs there. */
async function settle(
  entry: Entry,
  status: number,
  head: readonly string[],
): Promise<{ readonly head: readonly string[] } | { readonly answer: Answer }> {
  if (!entry) return { head }
  const go = entry.kind === 'pass' ? await entry.finish(status) : entry
  if (go.kind === 'answer') return { answer: go.answer }
  const added = go.fields(fieldsOf(head))
  const names = new Set(added.map(([name]) => name.toLowerCase()))
  const kept = head.filter((_, i) => !names.has((head[i - (i % 2)] ?? '').toLowerCase()))
  return { head: [...kept, ...added.flat()] }
}

async function passOn(
  trip: UpgradeTrip,
  entry: Entry,
  said: Exclude<Said, { readonly kind: 'failed' }>,
  head: readonly string[],
  early: Early,
): Promise<void> {
  const { socket } = trip
  if (said.kind === 'answered') {
    socket.write(headOf(said.status, [...head, 'Connection', 'close']), 'latin1')
    await said.body(socket)
    return linger(socket)
  }
  socket.write(headOf(101, [...head, 'Connection', 'Upgrade', 'Upgrade', 'websocket']), 'latin1')
  const counter = entry?.meter && trip.counters?.()
  if (counter) count(trip, entry, counter, said.socket, early.take())
  else join(socket, said.socket, early.take())
}

/** Counts what passes. */
function count(
  trip: UpgradeTrip,
  entry: Exclude<Entry, undefined>,
  counter: SocketCounter,
  upstream: Duplex,
  early: Buffer,
): void {
  const { request, socket: payer, clock, chance } = trip
  lend(request, entry.meter)
  const { meter } = entry
  const streamed = entry.kind === 'pass' ? entry.streamed : undefined
  joinCounted({
    ...{ payer, upstream, early, counter, clock, chance },
    meter: meterOf(request),
    plan: trip.plan(),
    fault: (where, error) => trip.fault(where, error),
    ...(meter && streamed && { news: createNews(meter, streamed) }),
  })
}

/** What a payer says before he is answered. */
interface Early {
  take(): Buffer
}

/** Most of it that is kept. */
const EARLY_BYTES_MAX = 65_536

/** Listens while the answer is not there: only who listens hears that the payer has left. */
function listenTo(socket: Duplex, head: Buffer): Early {
  const chunks = [head]
  let bytes = head.length
  const hear = (chunk: Buffer): void => {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes > EARLY_BYTES_MAX) socket.pause()
  }
  const leave = (): void => void socket.destroy()
  socket.on('data', hear).once('end', leave)
  return {
    take() {
      socket.off('data', hear).off('end', leave)
      return Buffer.concat(chunks)
    },
  }
}

/** Both directions, with back-pressure; the end of either ends the other. */
function join(payer: Duplex, upstream: Duplex, rest: Buffer): void {
  if (rest.length > 0) upstream.write(rest)
  payer.pipe(upstream).on('error', () => payer.destroy())
  upstream.pipe(payer)
  payer.once('close', () => upstream.destroy())
  upstream.once('close', () => endSoon(payer))
}

/** Sends the request upstream. */
async function ask(trip: UpgradeTrip): Promise<Said> {
  const { request, socket, upstream, answerFields, headMs } = trip
  const { target, head: dressed } = await trip.dress()
  const head = trip.counters?.().reads ? plainly(dressed) : dressed
  const { promise, resolve } = Promise.withResolvers<Said>()
  let controller: Dispatcher.DispatchController | undefined
  let to: Duplex | undefined
  let done = false
  const ended = Promise.withResolvers<void>()
  const waiting: Buffer[] = []
  socket.once('close', () => controller?.abort(gone))
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart(started) {
      controller = started
      if (socket.destroyed) started.abort(gone)
    },
    onRequestUpgrade(started, _status, headers, opened) {
      resolve({ kind: 'upgraded', head: answerFields(rawOf(started, headers)), socket: opened })
    },
    onResponseStart(started, status, headers) {
      if (status < 200) return
      started.pause()
      resolve({
        kind: 'answered',
        status,
        head: answerFields(rawOf(started, headers)),
        body(sink) {
          to = sink
          for (const chunk of waiting.splice(0)) sink.write(chunk)
          if (done) sink.end()
          else started.resume()
          return ended.promise
        },
        drop: () => started.abort(gone),
      })
    },
    onResponseData(started, chunk) {
      if (!to) waiting.push(chunk)
      else if (!to.write(chunk)) {
        started.pause()
        to.once('drain', () => started.resume())
      }
    },
    onResponseEnd() {
      done = true
      ended.resolve()
      to?.end()
    },
    onResponseError(_, error) {
      trip.fault(`upstream ${upstream.name}`, error)
      resolve({ kind: 'failed', refused: refuseFor('upstream-unreachable', trip.newId()) })
      ended.resolve()
      to?.destroy()
    },
  }
  const { method = 'GET' } = request
  const options = { method, path: target, headers: head, upgrade: 'websocket' }
  upstream.dispatcher.dispatch(
    { ...options, ...(headMs !== undefined && { headersTimeout: headMs }) },
    handler,
  )
  return await promise
}

/** What is read must not be compressed: no extensions are asked for (RFC 6455, 9.1). */
function plainly(head: readonly string[]): string[] {
  return head.filter((_, i) => !/^sec-websocket-extensions$/i.test(head[i - (i % 2)] ?? ''))
}

const gone = new Error('The payer has left.')

function letGo(said: Said): void {
  if (said.kind === 'upgraded') said.socket.destroy()
  if (said.kind === 'answered') said.drop()
}

async function giveUp(entry: Entry): Promise<void> {
  if (entry?.kind === 'pass') await entry.abort()
}

function write(socket: Duplex, { status, head, body }: Answer | Refused): void {
  if (!socket.writable) return void socket.destroy()
  socket.write(headOf(status, [...head, 'Connection', 'close']), 'latin1')
  socket.end(body)
  linger(socket)
}

function headOf(status: number, head: readonly string[]): string {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`]
  for (let i = 0; i < head.length; i += 2) lines.push(`${head[i]}: ${head[i + 1]}`)
  return `${lines.join('\r\n')}\r\n\r\n`
}
