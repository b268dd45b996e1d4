import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { TLSSocket } from 'node:tls'
import type { Fields } from '../core/ports.ts'
import type { Answer } from './answer.ts'
import { addToHead, send } from './head.ts'
import type { Replaceable } from './head.ts'
import { hold } from './hold.ts'
import { createDoor } from './http.ts'
import type { Admitted, Door, Entered, Incoming, Open, Seller } from './http.ts'
import { lend } from './meter.ts'
import type { Routes } from './routes.ts'
import { tellIn } from './session-stream.ts'
import { lendTask } from './tasks.ts'

/** A request listener behind the toll. */
export interface Tolled extends RequestListener {
  /**
   * For `server.on('checkContinue', …)`: a payer that asks first (`Expect: 100-continue`) is told the price before it has
   * sent its body. Without it node:http bids every body welcome by itself.
   */
  readonly checkContinue: RequestListener
}

/**
 * Puts a toll on a node:http listener: `createServer(toll(seller, routes, listener))`.
 * @throws {RangeError} with a sentence, when the routes or the origin cannot be meant.
 */
export function toll(seller: Seller, routes: Routes, listener: RequestListener): Tolled {
  const door = createDoor(seller, routes)
  const serve: RequestListener = (request, response) =>
    pass(door, request, response, incomingOf(request), () => listener(request, response))
  const checkContinue: RequestListener = (request, response) => {
    const welcome = once(() => response.writeContinue())
    const incoming = afterWelcome(incomingOf(request), welcome)
    pass(door, request, response, incoming, () => {
      welcome()
      return listener(request, response)
    })
  }
  return Object.assign(serve, { checkContinue })
}

/**
 * Takes a request through the door, and its handler if it is let in. `work` may return a promise, and what it throws before
 * it has answered is answered here.
 */
export function pass(
  door: Door,
  request: IncomingMessage,
  response: ServerResponse,
  incoming: Incoming,
  work: () => unknown,
): void {
  const entered = door.enter(incoming)
  const visit = { door, request, response, work }
  if (!(entered instanceof Promise)) act(visit, entered)
  else
    entered
      .then((later) => act(visit, later))
      .catch((error: unknown) => {
        door.fault('adapter', error)
        response.destroy()
      })
}

/** A request on its way to its handler. */
interface Visit {
  readonly door: Door
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly work: () => unknown
}

function act(visit: Visit, entered: Entered): void {
  const { request, response, work } = visit
  if (entered.kind === 'free') work()
  else if (entered.kind === 'answer') answer(request, response, entered.answer)
  else if (entered.kind === 'go') runOpen(visit, entered)
  else if (response.destroyed) void entered.abort()
  else void run(visit, entered)
}

/** Nobody waits for the work: what it throws is all that is looked at. */
function runOpen({ door, request, response, work }: Visit, open: Open): void {
  if (response.destroyed) return
  const head = addToHead(response, open)
  lend(request, open.meter)
  lendTask(request, open.lasting)
  const broken = (error: unknown): void => replaceBy(head, response, door.fault('handler', error))
  try {
    const done = work()
    if (isThenable(done)) done.then(undefined, broken)
  } catch (error) {
    broken(error)
  }
}

async function run(visit: Visit, admitted: Admitted): Promise<void> {
  const { door, request, response, work } = visit
  const { meter, streamed } = admitted
  const told = meter && streamed ? tellIn(response, meter, streamed) : meter
  const held = hold(response, admitted)
  lend(request, told)
  lendTask(request, admitted.lasting)
  if (admitted.ended) response.once('close', () => admitted.ended?.())
  try {
    await work()
  } catch (error) {
    await admitted.abort()
    replaceBy(held, response, door.fault('handler', error))
  }
}

function replaceBy(head: Replaceable, response: ServerResponse, said: Answer): void {
  head.replace(said)
  if (!response.writableEnded) response.destroy()
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value
}

/** Sends our answer. A body that was announced and not read is not waited for. */
export function answer(request: IncomingMessage, response: ServerResponse, said: Answer): void {
  if (response.destroyed) return
  if (!request.complete && hasBody(request)) response.shouldKeepAlive = false
  send(response, said)
}

/** A node request as the door wants to see it. `target` is the whole path, where a framework cuts a prefix off `url`. */
export function incomingOf(
  request: IncomingMessage,
  target: string = request.url ?? '/',
): Incoming {
  const { headers, method = 'GET' } = request
  const said = {
    method,
    target,
    scheme: (request.socket as Partial<TLSSocket>).encrypted ? 'https' : 'http',
    authority: headers.host ?? (headers[':authority'] as string | undefined),
    address: request.socket.remoteAddress,
    fields: fieldsOf(request),
  }
  return hasBody(request) ? { ...said, body: (bytesMax) => readBody(request, bytesMax) } : said
}

function fieldsOf(request: IncomingMessage): Fields {
  const { headers } = request
  return {
    get(name) {
      const lower = name.toLowerCase()
      const value = lower === 'authorization' ? linesOf(request, lower) : headers[lower]
      return Array.isArray(value) ? value.join(', ') : value
    },
  }
}

/** Several lines are one list to us; the parser would drop all but the first. */
function linesOf({ headers, rawHeaders }: IncomingMessage, lower: string): string | undefined {
  let count = 0
  for (let i = 0; i < rawHeaders.length; i += 2) if (isCalled(rawHeaders[i], lower)) count++
  const single = headers[lower]
  if (count < 2 && !Array.isArray(single)) return single
  return rawHeaders.filter((_, i) => i % 2 === 1 && isCalled(rawHeaders[i - 1], lower)).join(', ')
}

function isCalled(name: string | undefined, lower: string): boolean {
  return name?.length === lower.length && name.toLowerCase() === lower
}

/**
 * Whether a body follows the head: it says how long it is, or that it is sent in pieces (RFC 9112, 6.3), or, over HTTP/2, does not
 * end the stream (RFC 9113, 8.1).
 */
export function hasBody(request: IncomingMessage): boolean {
  const { headers } = request
  const length = headers['content-length']
  if (length !== undefined) return length !== '0'
  const { stream } = request as { readonly stream?: { readonly endAfterHeaders?: boolean } }
  return headers['transfer-encoding'] !== undefined || stream?.endAfterHeaders === false
}

/**
 * Takes the body as the parser hands it over, before the stream has it, and then gives the stream the same bytes: whoever
 * reads the request afterwards finds it untouched.
 */
function readBody(
  request: IncomingMessage,
  bytesMax: number,
): Promise<Uint8Array | 'too-large' | 'gone'> {
  if (request.readableDidRead)
    throw new Error(
      'The body was read before the toll. Put the toll before body parsers, or sell the route with body: "free".',
    )
  const { promise, resolve } = Promise.withResolvers<Uint8Array | 'too-large' | 'gone'>()
  const chunks: Buffer[] = request.readableLength > 0 ? [request.read() as Buffer] : []
  let length = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  if (isWhole(request)) {
    if (length > 0) request.unshift(Buffer.concat(chunks))
    return Promise.resolve(length > bytesMax ? 'too-large' : Buffer.concat(chunks))
  }
  const native = request.push.bind(request)
  const gone = (): void => finish('gone')
  function finish(outcome: 'whole' | 'too-large' | 'gone'): void {
    Reflect.deleteProperty(request, 'push')
    request.off('close', gone).off('error', gone)
    if (outcome !== 'gone') for (const chunk of chunks) native(chunk)
    if (outcome === 'whole') native(null)
    resolve(outcome === 'whole' ? Buffer.concat(chunks) : outcome)
  }
  // The parser hands over bytes; Fastify's `inject` also text.
  request.push = (said: Buffer | string | null): boolean => {
    const chunk = typeof said === 'string' ? Buffer.from(said) : said
    if (chunk === null) {
      finish('whole')
      return false
    }
    chunks.push(chunk)
    length += chunk.length
    if (length > bytesMax) finish('too-large')
    else process.nextTick(more)
    return length <= bytesMax
  }
  /** Nobody reads the stream meanwhile, so it must be asked for more by hand. */
  const more = (): void => {
    if (Object.hasOwn(request, 'push') && !request.destroyed) pull(request)
  }
  request.on('close', gone).on('error', gone)
  pull(request)
  return promise
}

function pull(request: IncomingMessage): void {
  // oxlint-disable-next-line no-underscore-dangle -- `read(0)` asks only once, and the answer does not reach the stream.
  request._read(0)
}

/** Whether the parser has the whole body already. HTTP/2's `complete` only speaks of what was read. */
function isWhole(request: IncomingMessage): boolean {
  const { _readableState: state } = request as { _readableState?: { ended?: boolean } }
  return request.complete || state?.ended === true
}

/** The same request, whose body is bid welcome before it is read. */
export function afterWelcome(incoming: Incoming, welcome: () => void): Incoming {
  const { body } = incoming
  if (!body) return incoming
  return {
    ...incoming,
    body: (bytesMax) => {
      welcome()
      return body(bytesMax)
    },
  }
}

function once(act: () => void): () => void {
  let done = false
  return () => {
    if (!done) act()
    done = true
  }
}
