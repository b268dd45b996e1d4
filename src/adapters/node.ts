import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { TLSSocket } from 'node:tls'
import type { Fields } from '../core/ports.ts'
import { hold, send } from './hold.ts'
import { createDoor } from './http.ts'
import type { Door, Entered, Incoming, Seller } from './http.ts'
import type { Routes } from './routes.ts'

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
  if (entered instanceof Promise) entered.then(act).catch(broken)
  else act(entered)

  function act(entered: Entered): void {
    if (entered.kind === 'free') work()
    else if (entered.kind === 'answer') answer(request, response, entered.answer)
    else if (response.destroyed) void entered.abort()
    else void run(entered)
  }

  function broken(error: unknown): void {
    door.fault('adapter', error)
    response.destroy()
  }

  async function run(admitted: Exclude<Entered, { kind: 'free' | 'answer' }>): Promise<void> {
    const held = hold(response, admitted)
    try {
      await work()
    } catch (error) {
      await admitted.abort()
      held.replace(door.fault('handler', error))
      if (!response.writableEnded) response.destroy()
    }
  }
}

/** Sends our answer. A body that was announced and not read is not waited for. */
export function answer(
  request: IncomingMessage,
  response: ServerResponse,
  said: Parameters<typeof send>[1],
): void {
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
      // Several lines are one list to us; the parser would drop all but the first.
      const lines = lower === 'authorization' ? request.headersDistinct[lower] : undefined
      const value = lines ?? headers[lower]
      return Array.isArray(value) ? value.join(', ') : value
    },
  }
}

/** RFC 9112, 6.3: a request has a body if it says how long it is, or that it is sent in pieces. */
function hasBody({ headers }: IncomingMessage): boolean {
  const length = headers['content-length']
  return headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
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

function afterWelcome(incoming: Incoming, welcome: () => void): Incoming {
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
