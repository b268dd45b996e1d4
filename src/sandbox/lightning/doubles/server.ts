import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { Json, JsonObject } from '../../../core/json.ts'
import { isObject, readJson } from '../../../core/json.ts'
import type { Faults } from '../faults.ts'
import { createFaults, suffer } from '../faults.ts'

/** Largest body of a request, in bytes. */
const BODY_BYTES_MAX = 65_536
/** How long a back end waits for a payment that is under way, in milliseconds: they have no end of their own. */
export const PAY_MS_MAX = 600_000

/** What a back end was asked. */
export interface Call {
  /** The last part of the path, decoded, where the route ends in a star. */
  readonly tail: string
  readonly query: URLSearchParams
  readonly json: JsonObject
  readonly form: URLSearchParams
  header(name: string): string
  /** Fires when who asked has gone. */
  readonly signal: AbortSignal
}

/** What a back end answers: JSON, text, or JSON line by line. */
export interface Reply {
  readonly status: number
  readonly json?: Json
  readonly text?: string
  readonly lines?: AsyncIterable<Json>
}

/** One thing that a back end does. */
export type Route = (call: Call) => Promise<Reply> | Reply

/** What a back end is made of. */
export interface Api {
  /** By method and path; a star stands for the last part. */
  readonly routes: Readonly<Record<string, Route>>
  /** What whoever has not the right credential is told; undefined where it is right. */
  readonly refuse: (call: Call) => Reply | undefined
  readonly missing: Reply
}

/** A stand-in for a back end, on a free port of loopback. The money behind it is real. */
export interface Double {
  readonly url: string
  readonly faults: Faults
  /** How often each route was asked, by its name. */
  readonly calls: ReadonlyMap<string, number>
  close(): Promise<void>
}

/** Serves an API. An idle one does not keep the process alive. */
export async function serve(api: Api): Promise<Double> {
  const faults = createFaults()
  const calls = new Map<string, number>()

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    const text = await bodyOf(request)
    if (text === undefined) return void request.socket.destroy()
    const gone = new AbortController()
    response.on('close', () => gone.abort())
    const call: Call = {
      tail: decodeURIComponent(pathname.slice(pathname.lastIndexOf('/') + 1)),
      query: searchParams,
      json: objectOf(text),
      form: new URLSearchParams(text),
      header: (name) => String(request.headers[name] ?? ''),
      signal: gone.signal,
    }
    const name = nameOf(api, `${request.method} ${pathname}`)
    calls.set(name, (calls.get(name) ?? 0) + 1)
    const reply = api.refuse(call) ?? (await (api.routes[name]?.(call) ?? api.missing))
    if (await suffer(faults, pathname)) return void request.socket.destroy()
    await write(response, reply)
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  server.unref()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  return {
    url: `http://127.0.0.1:${port}`,
    faults,
    calls,
    async close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** The route that takes it: named in full, or up to the last part. */
function nameOf({ routes }: Api, asked: string): string {
  return asked in routes ? asked : `${asked.slice(0, asked.lastIndexOf('/'))}/*`
}

async function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    const bytes = Buffer.from(chunk)
    size += bytes.length
    if (size > BODY_BYTES_MAX) return undefined
    chunks.push(bytes)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function objectOf(text: string): JsonObject {
  const said = readJson(text, BODY_BYTES_MAX)
  return isObject(said) ? said : {}
}

async function write(response: ServerResponse, reply: Reply): Promise<void> {
  const { status, json, text, lines } = reply
  response.statusCode = status
  response.setHeader('content-type', text === undefined ? 'application/json' : 'text/plain')
  for await (const line of lines ?? []) response.write(`${JSON.stringify(line)}\n`)
  response.end(text ?? (json === undefined ? undefined : JSON.stringify(json)))
}

/** A member of what was asked, as text. */
export function textOf(from: JsonObject, key: string): string {
  const said = from[key]
  return typeof said === 'string' || typeof said === 'number' ? String(said) : ''
}

/** A member of what was asked, as a whole number; 0 where it is none. */
export function wholeOf(from: JsonObject, key: string): bigint {
  const text = textOf(from, key)
  return /^\d{1,19}$/.test(text) ? BigInt(text) : 0n
}

/** Milliseconds as whole seconds. */
export function secondsOf(ms: number): number {
  return Math.floor(ms / 1000)
}
