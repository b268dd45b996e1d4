import { hash } from 'node:crypto'
import type { Resource } from '../core/resource.ts'
import { BODY_BYTES_MAX, REDIRECTS_MAX } from './limits.ts'

/** Header fields by name, to be set on a request. */
export type Fields = readonly (readonly [name: string, value: string])[]

/** A request that can be sent as often as its body allows. */
export interface Outgoing {
  readonly url: URL
  readonly method: string
  readonly headers: Headers
  readonly body: Body
  readonly redirect: Request['redirect']
  readonly signal: AbortSignal | undefined
  /** All that fetch was told beside this. */
  readonly options: RequestInit
}

/** A stream is what did not fit into memory: it goes out once. */
type Body = Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | undefined

/** What came back, and which request it answers after redirects. */
export interface Answer {
  readonly response: Response
  readonly request: Outgoing
  /** Whether a redirect left the origin on the way. */
  readonly crossed: boolean
}

/** Reads what fetch was called with, once; the body into memory if it fits. Throws what fetch would throw. */
export async function readRequest(
  input: string | URL | Request,
  init: RequestInit = {},
): Promise<Outgoing> {
  const request = new Request(input, init)
  const given = input instanceof Request ? input.signal : undefined
  const signal = init.signal === undefined ? given : (init.signal ?? undefined)
  const body = request.body ? await readBody(request.body, signal) : undefined
  const { method, headers, redirect } = request
  const url = new URL(request.url)
  return { url, method, headers, body, redirect, signal, options: optionsOf(input, init) }
}

/** Waits no longer than the signal allows; what it waited for goes on alone. */
export async function orAbort<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  const done = new AbortController()
  const aborted = new Promise<never>((_, reject) => {
    const abort = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', abort, { once: true, signal: done.signal })
    if (signal.aborted) abort()
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    done.abort()
  }
}

/** Whether it can be sent a second time. */
export function isRepeatable(request: Outgoing): boolean {
  return !(request.body instanceof ReadableStream)
}

/** Whether a protocol may write its fields into the request: what the caller has set there is his. */
export function mayWrite(
  { fields }: { readonly fields: { readonly request: readonly string[] } },
  { headers }: Outgoing,
): boolean {
  return !fields.request.some((name) => headers.has(name))
}

/** Names a request by method, address and body: the same purchase asked for again has the same print. */
export function fingerprint({ method, url, body }: Outgoing): string {
  const digest = body instanceof Uint8Array ? hash('sha256', body) : ''
  return hash('sha256', JSON.stringify([method, addressOf(url), digest]))
}

/** The request as the thing that is sold. */
export function resourceOf({ method, url }: Outgoing): Resource {
  return {
    realm: '',
    method,
    authority: url.host,
    path: url.pathname,
    query: url.search.slice(1),
    url: addressOf(url),
  }
}

/** The address without its fragment, which is never sent. */
export function addressOf(url: URL): string {
  return url.href.slice(0, url.href.length - url.hash.length)
}

/**
 * Sends a request with the payment's fields and follows redirects by hand, because fetch would carry the payment on to
 * whatever origin a seller names. `paying` are the names of all fields that must not leave the origin.
 */
export async function send(
  fetch: typeof globalThis.fetch,
  first: Outgoing,
  fields: Fields,
  paying: readonly string[],
): Promise<Answer> {
  let request = first
  let crossed = false
  for (let hops = 0; ; hops++) {
    const response = await fetch(request.url.href, initOf(request, crossed ? [] : fields))
    const target = targetOf(request, response)
    if (!target) return { response: hops > 0 ? redirected(response) : response, request, crossed }
    await response.body?.cancel()
    if (hops === REDIRECTS_MAX) throw new TypeError(`More than ${REDIRECTS_MAX} redirects.`)
    const leaves = target.origin !== request.url.origin
    crossed ||= leaves
    request = follow(request, response.status, target, leaves ? [...privately, ...paying] : [])
  }
}

/** Fields that fetch itself keeps from another origin (Fetch standard, HTTP-redirect fetch, step 13). */
const privately = ['authorization', 'proxy-authorization', 'cookie', 'host']
const aboutBody = ['content-encoding', 'content-language', 'content-location', 'content-type']
const statuses = [301, 302, 303, 307, 308]

/** Where a redirect leads, if it is one that is to be followed. */
function targetOf({ url, redirect }: Outgoing, response: Response): URL | undefined {
  const location = response.headers.get('location')
  if (redirect !== 'follow' || location === null || !statuses.includes(response.status))
    return undefined
  const target = new URL(location, url)
  if (target.protocol !== 'http:' && target.protocol !== 'https:')
    throw new TypeError('A redirect leads to something that is not HTTP.')
  if (target.hash === '') target.hash = url.hash
  return target
}

function follow(request: Outgoing, status: number, url: URL, drop: readonly string[]): Outgoing {
  const { method } = request
  const headers = new Headers(request.headers)
  for (const name of drop) headers.delete(name)
  const rewritten =
    (status === 303 && method !== 'GET' && method !== 'HEAD') ||
    (method === 'POST' && (status === 301 || status === 302))
  if (rewritten) {
    for (const name of [...aboutBody, 'content-length']) headers.delete(name)
    return { ...request, url, headers, method: 'GET', body: undefined }
  }
  if (!isRepeatable(request))
    throw new TypeError('A redirect asks for the body again, and it was too large to be kept.')
  return { ...request, url, headers }
}

function initOf(request: Outgoing, fields: Fields): RequestInit {
  const { method, body, redirect, signal, options } = request
  const headers = new Headers(request.headers)
  for (const [name, value] of fields) headers.set(name, value)
  return {
    ...options,
    method,
    headers,
    redirect: redirect === 'error' ? 'error' : 'manual',
    ...(body && { body }),
    ...(body instanceof ReadableStream && { duplex: 'half' }),
    ...(signal && { signal }),
  }
}

/** What a Request carries beside the parts that are taken out of it, and what init says over that. */
function optionsOf(input: string | URL | Request, init: RequestInit): RequestInit {
  const { body: _, headers: __, method: ___, signal: ____, redirect: _____, ...rest } = init
  if (!(input instanceof Request)) return rest
  const { cache, credentials, integrity, keepalive, mode, referrer, referrerPolicy } = input
  return { cache, credentials, integrity, keepalive, mode, referrer, referrerPolicy, ...rest }
}

/** fetch would say so of a response that it followed to. */
function redirected(response: Response): Response {
  return Object.defineProperty(response, 'redirected', { value: true })
}

async function readBody(
  stream: ReadableStream<Uint8Array>,
  signal: AbortSignal | undefined,
): Promise<Body> {
  signal?.throwIfAborted()
  const reader = stream.getReader()
  const abort = (): void => void reader.cancel(signal?.reason).catch(() => undefined)
  signal?.addEventListener('abort', abort, { once: true })
  const chunks: Uint8Array[] = []
  let size = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    chunks.push(value)
    size += value.byteLength
    if (size > BODY_BYTES_MAX) return rejoin(chunks, reader)
  }
  signal?.removeEventListener('abort', abort)
  signal?.throwIfAborted()
  return new Uint8Array(Buffer.concat(chunks))
}

/** What was read already, then the rest as it comes. */
function rejoin(
  chunks: Uint8Array[],
  reader: ReadableStreamDefaultReader<Uint8Array>,
): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const chunk = chunks.shift() ?? (await reader.read()).value
      if (chunk) controller.enqueue(chunk)
      else controller.close()
    },
    cancel: (reason) => reader.cancel(reason),
  })
}
