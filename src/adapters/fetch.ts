import { toResponse } from './answer.ts'
import { createDoor } from './http.ts'
import type { Admitted, Door, Go, Incoming, Open, Seller } from './http.ts'
import { KEPT_BYTES_MAX } from './kept.ts'
import type { Whole } from './kept.ts'
import { lend } from './meter.ts'
import type { Routes } from './routes.ts'
import { lendTask } from './tasks.ts'

/** A handler of web requests, with whatever else its platform passes on. */
export type Handler<R extends Request, A extends readonly unknown[]> = (
  request: R,
  ...rest: A
) => Response | Promise<Response>

/** What a web request does not tell. `A` is what the platform passes on with it. */
export interface FetchOptions<R extends Request, A extends readonly unknown[]> {
  /**
   * The address at the other end, as the platform tells it: `(_, info) => info.remoteAddr.hostname` on Deno. Without one all
   * callers are one to the seller's `limits`, or, where these trust peers without an address (`unix`), as the proxy says.
   */
  readonly address?: (request: R, ...rest: A) => string | undefined
}

/**
 * Puts a toll on a fetch handler, as Deno, Bun, Workers and others serve them.
 * @throws {RangeError} with a sentence, when the routes or the origin cannot be meant.
 */
export function toll<R extends Request, A extends readonly unknown[]>(
  seller: Seller,
  routes: Routes,
  handler: Handler<R, A>,
  { address }: FetchOptions<R, A> = {},
): (request: R, ...rest: A) => Promise<Response> {
  const door = createDoor(seller, routes)
  return (request, ...rest) =>
    pass(
      door,
      request,
      async () => await handler(request, ...rest),
      () => address?.(request, ...rest),
    )
}

/** Takes a request through the door, and its handler if it is let in. What the handler throws is thrown on. */
export async function pass(
  door: Door,
  request: Request,
  work: () => Promise<Response>,
  address: () => string | undefined = () => undefined,
): Promise<Response> {
  const entered = await door.enter({
    ...incomingOf(request),
    // Asked only where something is counted: a probe, for one, comes from nowhere.
    get address() {
      return address()
    },
  })
  if (entered.kind === 'free') return await work()
  if (entered.kind === 'answer') return toResponse(entered.answer)
  if (entered.kind === 'go') return await runOpen(entered, request, work)
  return await run(entered, request, work)
}

/** Nothing is settled, so nobody waits for anything but the work. */
async function runOpen(
  open: Open,
  request: Request,
  work: () => Promise<Response>,
): Promise<Response> {
  lend(request, open.meter)
  lendTask(request, open.lasting)
  const response = await work()
  if (!request.signal.aborted) open.delivered()
  return withHead(response, response.body, open)
}

async function run(
  admitted: Admitted,
  request: Request,
  work: () => Promise<Response>,
): Promise<Response> {
  const leave = (): void => void admitted.abort()
  const { signal } = request
  if (signal.aborted) leave()
  signal.addEventListener('abort', leave)
  lend(request, admitted.meter)
  lendTask(request, admitted.lasting)
  try {
    const late = admitted.expired.then(toResponse)
    const response = await Promise.race([work(), late])
    return await finish(admitted, response, signal)
  } catch (error) {
    await admitted.abort()
    throw error
  } finally {
    signal.removeEventListener('abort', leave)
  }
}

/** The streams of the two responses are one: nothing is read here. */
async function finish(
  admitted: Admitted,
  response: Response,
  signal: AbortSignal,
): Promise<Response> {
  const { whole, stream } = admitted.keeps ? await collect(response) : { stream: response.body }
  const outcome = await admitted.finish(response.status, whole)
  if (outcome.kind === 'answer') {
    await stream?.cancel()
    return toResponse(outcome.answer)
  }
  if (signal.aborted) admitted.lost()
  else admitted.delivered()
  return withHead(response, admitted.ended ? watched(stream, admitted) : stream, outcome)
}

/** The same stream, whose end is told, however it ends. */
function watched(stream: Response['body'], { ended }: Admitted): Response['body'] {
  if (!stream) {
    ended?.()
    return stream
  }
  const reader = stream.getReader()
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read()
          if (!done) return controller.enqueue(value)
          ended?.()
          controller.close()
        } catch (error) {
          ended?.()
          controller.error(error)
        }
      },
      async cancel(reason) {
        ended?.()
        await reader.cancel(reason)
      },
    },
    { highWaterMark: 0 },
  )
}

function withHead(response: Response, stream: Response['body'], go: Go): Response {
  const { status, statusText } = response
  const headers = new Headers(response.headers)
  for (const [name, value] of go.fields(response.headers)) headers.set(name, value)
  return new Response(stream, { status, statusText, headers })
}

/** The answer whole, if it is no larger than what is kept, and its body as something to send either way. */
async function collect(
  response: Response,
): Promise<{ readonly whole?: Whole; readonly stream: Response['body'] }> {
  const reader = response.body?.getReader()
  const chunks: Uint8Array[] = []
  let length = 0
  for (let read = await reader?.read(); read && !read.done; read = await reader?.read()) {
    chunks.push(read.value)
    length += read.value.length
    if (reader && length > KEPT_BYTES_MAX) return { stream: rest(chunks, reader) }
  }
  const body = Buffer.concat(chunks)
  const whole = { status: response.status, head: [...response.headers], body }
  return { whole, stream: response.body && new Blob([body]).stream() }
}

/** What was read already, and then what is still to come. */
function rest(
  read: readonly Uint8Array[],
  reader: ReadableStreamDefaultReader<Uint8Array>,
): ReadableStream<Uint8Array> {
  const chunks = [...read]
  return new ReadableStream({
    async pull(controller) {
      const chunk = chunks.shift() ?? (await reader.read()).value
      if (chunk) controller.enqueue(chunk)
      else controller.close()
    },
    cancel: (reason) => reader.cancel(reason),
  })
}

/** A web request as the door wants to see it. */
function incomingOf(request: Request): Incoming {
  const { method, headers: fields } = request
  const [, scheme = '', authority = '', target = '/'] =
    /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)([^#]*)/.exec(request.url) ?? []
  const said = { method, scheme, authority, target: target || '/', fields }
  if (method === 'GET' || method === 'HEAD' || !request.body) return said
  return { ...said, body: (bytesMax) => readBody(request, bytesMax) }
}

/** Reads a copy, so that the handler finds its own request as it came, whatever class it is of. */
async function readBody(request: Request, bytesMax: number): Promise<Uint8Array | 'too-large'> {
  if (request.bodyUsed)
    throw new Error(
      'The body was read before the toll. Put the toll before body parsers, or sell the route with body: "free".',
    )
  const reader = request.clone().body?.getReader()
  if (!reader) return new Uint8Array()
  const chunks: Uint8Array[] = []
  let length = 0
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    chunks.push(read.value)
    length += read.value.length
    if (length <= bytesMax) continue
    // A copy is only given up when both are, so neither may be waited for alone.
    await Promise.all([reader.cancel(), request.body?.cancel()])
    return 'too-large'
  }
  return Buffer.concat(chunks)
}
