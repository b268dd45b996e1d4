import { Buffer } from 'node:buffer'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { Agent, request } from 'node:http'
import { Agent as SecureAgent, globalAgent, request as requestSecurely } from 'node:https'
import { systemClock } from '../core/clock.ts'
import type { Clock } from '../core/ports.ts'

/** Most connections to one server at once; what is more waits, within its own time. */
export const SOCKETS_MAX = 256
/** Most of them that are kept while nothing is asked. */
export const SOCKETS_IDLE_MAX = 64
/** How long they are kept, if the server does not say less: shorter than most servers do, so that theirs are seldom dead. */
export const SOCKET_IDLE_MS = 4_000
/** Most lines of one answer. */
export const LINES_MAX = 10_000
/** Status codes of an answer that leads elsewhere. */
const [ELSEWHERE_FIRST, ELSEWHERE_LAST] = [300, 399]

/** What a client is made of. */
export interface HttpClientSettings {
  /** How long one exchange may take, to the end of its answer. */
  readonly timeoutMs: number
  /** Longest answer, and longest line of one that is read by lines. */
  readonly bytesMax: number
  /** Whose signature of a server's certificate is taken, in PEM, instead of the public authorities'. Only without `fetch`. */
  readonly ca?: string
  /** Asks in our place: for proxies and tests. */
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
}

/** One thing that is asked. */
export interface HttpQuestion {
  readonly method: 'GET' | 'POST'
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
  /** In place of the client's. */
  readonly timeoutMs?: number
  /**
   * Whether asking twice does no more than asking once; that of a GET if absent. Only then it is sent once more when a kept
   * connection has died before the head of an answer came: the server may have read the question all the same.
   */
  readonly repeatable?: boolean
}

/** A whole answer, whatever its status. */
export interface HttpAnswer {
  readonly status: number
  readonly text: string
}

/** An answer that is read as it comes. */
export interface HttpStream {
  readonly status: number
  /** Those that are not blank. @throws {HttpFault} as {@link HttpClient.ask}. */
  lines(): AsyncGenerator<string, void>
  /** Must be called at the end; cuts what has not been read. */
  close(): void
}

/** Asks servers that we were told to trust with a credential, and nobody whom these name. */
export interface HttpClient {
  /**
   * @throws {HttpFault} when there is no answer in time, one that is too long or breaks off, or one that leads elsewhere. What
   * was asked may still have been done.
   */
  ask(question: HttpQuestion, signal?: AbortSignal): Promise<HttpAnswer>
  /** As {@link HttpClient.ask}, when the head of the answer is there. */
  open(question: HttpQuestion, signal?: AbortSignal): Promise<HttpStream>
  /** Gives up what is asked just now, and asks nothing more. */
  close(): void
}

/** No answer, or none that may be read. It holds no address, field or body, nor an error with one: these may be secrets. */
export class HttpFault extends Error {
  override readonly name = 'HttpFault'
  /** What the machine calls it (`ECONNREFUSED`), if it is the machine that says so. */
  readonly code: string | undefined
  constructor(why: string, code?: string) {
    super(why)
    this.code = code
  }
}

/** An answer whose head is there. */
interface Incoming {
  readonly status: number
  readonly encoding: string | undefined
  readonly body: AsyncIterable<Uint8Array>
  whole(bytesMax: number): Promise<Buffer>
}

/** Puts a question to its server. The signal ends all of it, the body of the answer too. */
interface Carrier {
  send(question: HttpQuestion, signal: AbortSignal): Promise<Incoming>
  close(): void
}

/** The time that an exchange has. */
interface Life {
  readonly signal: AbortSignal
  /** Cuts whatever is left of it. */
  end(): void
}

/**
 * A client for servers of our operator's: nodes, wallets, signers. Connections are kept and used again, and an idle one keeps no
 * process alive. It follows no redirect, keeps no cookies and asks for no compression; it goes through a proxy where the machine
 * was told to (`NODE_USE_ENV_PROXY`).
 */
export function createHttpClient(settings: HttpClientSettings): HttpClient {
  const { timeoutMs, bytesMax, clock = systemClock } = settings
  const carrier = settings.fetch ? carryBy(settings.fetch) : carry(settings.ca)
  const lives = new Set<AbortController>()
  let closed = false

  /** One controller for all ends of an exchange: time, the caller, closing, and its own. */
  function begin(ms: number, caller: AbortSignal | undefined): Life {
    if (closed || caller?.aborted) throw gone
    const life = new AbortController()
    const leave = (): void => life.abort(gone)
    caller?.addEventListener('abort', leave, { once: true })
    lives.add(life)
    void clock.sleep(ms, life.signal).then(() => life.abort(late))
    return {
      signal: life.signal,
      end() {
        lives.delete(life)
        caller?.removeEventListener('abort', leave)
        life.abort(gone)
      },
    }
  }

  async function send(question: HttpQuestion, signal: AbortSignal): Promise<Incoming> {
    const incoming = await carrier.send(question, signal)
    const { status, encoding } = incoming
    if (status >= ELSEWHERE_FIRST && status <= ELSEWHERE_LAST)
      throw new HttpFault('the answer leads elsewhere')
    if (encoding !== undefined && encoding !== 'identity')
      throw new HttpFault('the answer is compressed')
    return incoming
  }

  async function receive(question: HttpQuestion, signal: AbortSignal): Promise<HttpAnswer> {
    const incoming = await send(question, signal)
    const bytes = await incoming.whole(bytesMax)
    return { status: incoming.status, text: bytes.toString('utf8') }
  }

  return {
    async ask(question, caller) {
      const life = begin(question.timeoutMs ?? timeoutMs, caller)
      try {
        return await whileAlive(receive(question, life.signal), life.signal)
      } catch (error) {
        throw faultOf(error, life.signal)
      } finally {
        life.end()
      }
    },
    async open(question, caller) {
      const life = begin(question.timeoutMs ?? timeoutMs, caller)
      try {
        const { status, body } = await whileAlive(send(question, life.signal), life.signal)
        return { status, lines: () => lines(body, bytesMax, life.signal), close: () => life.end() }
      } catch (error) {
        const fault = faultOf(error, life.signal)
        life.end()
        throw fault
      }
    },
    close() {
      closed = true
      for (const life of lives) life.abort(gone)
      carrier.close()
    },
  }
}

const gone = new HttpFault('nobody waits for the answer')
const late = new HttpFault('time is up')
const cutShort = new HttpFault('the answer breaks off')
const tooLong = new HttpFault('the answer is too long')

/** Rejects when the life ends first: whoever carries may not heed the signal, and a question that waits for its turn cannot. */
async function whileAlive<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const end = (): void => reject(signal.reason)
  signal.addEventListener('abort', end, { once: true })
  try {
    if (signal.aborted) end()
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', end)
  }
}

function faultOf(error: unknown, { aborted, reason }: AbortSignal): HttpFault {
  if (aborted && reason instanceof HttpFault) return reason
  if (error instanceof HttpFault) return error
  const code = codeOf(error) ?? codeOf(error instanceof Error ? error.cause : undefined)
  return new HttpFault(code === undefined ? 'no answer' : `no answer (${code})`, code)
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' && /^[A-Z0-9_]{3,60}$/.test(error.code)
    ? error.code
    : undefined
}

async function* lines(
  body: AsyncIterable<Uint8Array>,
  bytesMax: number,
  signal: AbortSignal,
): AsyncGenerator<string, void> {
  try {
    yield* cut(body, bytesMax)
  } catch (error) {
    throw faultOf(error, signal)
  }
}

async function* cut(
  body: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<string, void> {
  const utf8 = new TextDecoder()
  let rest = ''
  let count = 0
  for await (const chunk of body) {
    const [first = '', ...others] = utf8.decode(chunk, { stream: true }).split('\n')
    // What was there before is not searched again: it may come in single bytes.
    rest += first
    const parts = others.length > 0 ? [rest, ...others] : []
    rest = parts.pop() ?? rest
    count += parts.length
    if (rest.length > bytesMax || count > LINES_MAX) throw tooLong
    yield* parts.filter((part) => part.trim() !== '')
  }
  if (rest.trim() !== '') yield rest
}

/** Over connections of our own. */
function carry(ca: string | undefined): Carrier {
  const trust = ca === undefined ? {} : { ca }
  const kept = createAgents({
    keepAlive: true,
    maxSockets: SOCKETS_MAX,
    maxFreeSockets: SOCKETS_IDLE_MAX,
    // Without it the machine does not heed what a server says of its own patience.
    timeout: SOCKET_IDLE_MS,
    ...trust,
  })
  const fresh = createAgents({ keepAlive: false, maxSockets: SOCKETS_MAX, ...trust })
  return {
    async send(question, signal) {
      const first = start(question, kept, signal)
      try {
        return await first.answer
      } catch (error) {
        const { method, repeatable = method === 'GET' } = question
        if (!repeatable || !first.outgoing.reusedSocket || signal.aborted || !isDead(error))
          throw error
        return await start(question, fresh, signal).answer
      }
    },
    close() {
      kept.close()
      fresh.close()
    },
  }
}

interface Agents {
  readonly plain: Agent
  readonly secure: SecureAgent
  close(): void
}

function createAgents(options: ConstructorParameters<typeof SecureAgent>[0]): Agents {
  // What the machine was told of proxies, its own agents know.
  const { proxyEnv } = globalAgent.options
  const all = { ...options, ...(proxyEnv && { proxyEnv }) }
  const plain = new Agent(all)
  const secure = new SecureAgent(all)
  return {
    plain,
    secure,
    close() {
      plain.destroy()
      secure.destroy()
    },
  }
}

function start(
  { method, url, headers: said, body }: HttpQuestion,
  { plain, secure }: Agents,
  signal: AbortSignal,
): { readonly outgoing: ClientRequest; readonly answer: Promise<Incoming> } {
  const { promise, resolve, reject } = Promise.withResolvers<Incoming>()
  // A server that is not told may compress, and some are closed to clients without a name.
  const headers = { 'accept-encoding': 'identity', 'user-agent': 'tolsey', ...said }
  const take = (incoming: IncomingMessage): void => resolve(incomingOf(incoming))
  const outgoing = url.startsWith('https:')
    ? requestSecurely(url, { agent: secure, method, headers }, take)
    : request(url, { agent: plain, method, headers }, take)
  outgoing.on('error', reject)
  // Some ends have no error, for instance where a server switches to another protocol.
  outgoing.on('close', () => reject(cutShort))
  signal.addEventListener('abort', () => outgoing.destroy(), { once: true })
  outgoing.end(body)
  return { outgoing, answer: promise }
}

function incomingOf(incoming: IncomingMessage): Incoming {
  return {
    status: incoming.statusCode ?? 0,
    encoding: incoming.headers['content-encoding'],
    body: incoming,
    whole: (bytesMax) => whole(incoming, bytesMax),
  }
}

/** The body, up to the limit: a server is trusted with truth, not with memory. By events, which cost less than a stream's turns. */
function whole(incoming: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const chunks: Buffer[] = []
  let size = 0
  incoming.on('data', (chunk: Buffer) => {
    size += chunk.length
    if (size > bytesMax) reject(tooLong)
    else chunks.push(chunk)
  })
  incoming.on('end', () => resolve(Buffer.concat(chunks)))
  incoming.on('error', reject)
  // After its end nobody hears this any more.
  incoming.on('close', () => reject(cutShort))
  return promise
}

/** A kept connection that the server had closed while the question was on its way. */
function isDead(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'ECONNRESET' || code === 'EPIPE'
}

/** By somebody else's `fetch`. */
function carryBy(fetch: typeof globalThis.fetch): Carrier {
  return {
    async send({ method, url, headers, body: said }, signal) {
      const response = await fetch(url, {
        method,
        headers,
        ...(said !== undefined && { body: said }),
        // A credential goes where it was meant for, and nowhere else.
        redirect: 'error',
        signal,
      })
      const body = heeding(response.body ?? nothing(), signal)
      return {
        status: response.status,
        // It undoes that by itself.
        encoding: undefined,
        body,
        whole: (bytesMax) => gather(body, bytesMax),
      }
    },
    close() {
      // Its connections are not ours.
    },
  }
}

async function* nothing(): AsyncGenerator<never, void> {}

/** Breaks off when the life ends, whether or not the body heeds the signal. */
async function* heeding(
  body: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void> {
  const chunks = body[Symbol.asyncIterator]()
  for (;;) {
    const { done, value } = await whileAlive(chunks.next(), signal)
    if (done) return
    yield value
  }
}

async function gather(body: AsyncIterable<Uint8Array>, bytesMax: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > bytesMax) throw tooLong
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
