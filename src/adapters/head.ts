import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import type { Answer } from './answer.ts'
import type { Open } from './http.ts'

/** Puts an answer of ours in the place of the work's, as far as nothing has left. */
export interface Replaceable {
  replace(answer: Answer): void
}

/**
 * Adds to the head when it is made, and keeps nothing back. Every head of node:http and its HTTP/2 twin is made by
 * `writeHead`, also those that nobody has asked for, so that what the work says of caching cannot leave.
 */
export function addToHead(response: ServerResponse, open: Open): Replaceable {
  // oxlint-disable-next-line typescript/unbound-method -- It is called on the response.
  const native = response.writeHead
  const before = response.getHeaderNames().length > 0 ? response.getHeaders() : {}
  let replaced = false

  function writeHead(...args: readonly unknown[]): ServerResponse {
    if (replaced || response.headersSent) return Reflect.apply(native, response, args)
    const isPlain = args.length === 1 && response.getHeaderNames().length === 0
    if (isPlain) Reflect.apply(native, response, [args[0], open.plain])
    else writeOver(args)
    open.delivered()
    return response
  }

  function writeOver(args: readonly unknown[]): void {
    setHead(response, args)
    for (const [name, value] of open.fields(saidBy(response))) response.setHeader(name, value)
    Reflect.apply(native, response, [response.statusCode])
  }

  // The old name is a method of its own.
  Object.assign(response, { writeHead, writeHeader: writeHead })
  return {
    replace(answer) {
      if (response.headersSent || response.destroyed) return
      replaced = true
      putBack(response, before)
      send(response, answer)
    },
  }
}

/** What the work put on the head goes with its answer; what stood there before it stays. */
export function putBack(response: ServerResponse, before: OutgoingHttpHeaders): void {
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  for (const [name, value] of Object.entries(before))
    if (value !== undefined) response.setHeader(name, value)
  response.statusMessage = ''
}

/** Sends an answer of ours on a response that nobody has written to. */
export function send(response: ServerResponse, { status, head, body }: Answer): void {
  response.writeHead(status, head as string[])
  response.end(body)
}

/** The overloads of `writeHead`: status, message and headers. */
export function setHead(response: ServerResponse, [status, ...rest]: readonly unknown[]): void {
  if (typeof status !== 'number' || !(status >= 100 && status <= 999))
    throw new RangeError(`Invalid status code: ${String(status)}`)
  const [first] = rest
  response.statusCode = status
  if (typeof first === 'string') response.statusMessage = first
  put(response, typeof first === 'string' ? rest[1] : (first ?? rest[1]))
}

/** Puts the headers of a `writeHead` on the response: an object, a flat list, or a list of pairs. */
function put(response: ServerResponse, headers: unknown): void {
  if (!Array.isArray(headers)) {
    for (const [name, value] of Object.entries((headers ?? {}) as OutgoingHttpHeaders))
      if (value !== undefined) response.setHeader(name, value)
    return
  }
  const seen = new Set<string>()
  for (const [name, value] of pairs(headers)) {
    if (seen.has(name.toLowerCase())) response.appendHeader(name, value as string)
    else response.setHeader(name, value)
    seen.add(name.toLowerCase())
  }
}

function pairs(list: readonly unknown[]): readonly (readonly [string, OutgoingHttpHeader])[] {
  const flat = Array.isArray(list[0]) ? list.flat() : list
  if (flat.length % 2 !== 0) throw new TypeError('Every header needs a value.')
  return flat.flatMap((name, i) =>
    i % 2 === 0 ? [[String(name), flat[i + 1] as OutgoingHttpHeader] as const] : [],
  )
}

/** What stands on the head. */
export function saidBy(response: ServerResponse): { get(name: string): string | undefined } {
  return {
    get(name) {
      const value = response.getHeader(name)
      return value === undefined ? undefined : String(value)
    },
  }
}
