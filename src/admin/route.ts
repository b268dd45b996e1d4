import type { IncomingMessage, ServerResponse } from 'node:http'
import { isObject, readJson } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'
import { Refused } from './refusal.ts'

/** Longest body of a request, in bytes. */
export const BODY_BYTES_MAX = 16_384
/** Longest value in a query. */
export const VALUE_CHARS_MAX = 1_024

/** One value of a query or a path: its JSON Schema. Only what is named may be asked. */
export type Values = Readonly<Record<string, JsonObject>>

/** A request that was let in. */
export interface Call {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Fires when the dashboard ends. */
  readonly signal: AbortSignal
  /** A part of the path. */
  part(name: string): string
  text(name: string): string | undefined
  whole(name: string, otherwise: number): number
  /** A day or a time, in milliseconds since 1970. */
  time(name: string): number | undefined
  /** One of these, or the first. */
  word<const T extends string>(name: string, words: readonly T[]): T
  /** The body, which must be a JSON object with no other members than these. */
  body(...members: readonly string[]): Promise<JsonObject>
}

/** What is answered; nothing where the route has answered itself. */
export type Reply =
  | {
      readonly status?: number
      readonly json?: JsonObject
      readonly fields?: Readonly<Record<string, string>>
    }
  | undefined

/** One operation of the admin API: what is done, and what its documentation says. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** Parts in braces are percent-encoded. */
  readonly path: string
  readonly name: string
  readonly summary: string
  readonly query?: Values
  readonly fields?: Values
  readonly body?: JsonObject
  readonly answers: Readonly<
    Record<number, { readonly means: string; readonly schema?: JsonObject }>
  >
  /** What it answers with, if not JSON. */
  readonly media?: readonly string[]
  /** Whether it may be asked before a login. */
  readonly isOpen?: true
}

/** Reads the values of a request as its route documents them. */
export function createCall(
  route: Route,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
  parts: ReadonlyMap<string, string>,
  query: URLSearchParams,
): Call {
  for (const name of query.keys())
    if (!route.query || !Object.hasOwn(route.query, name))
      throw new Refused('malformed', `"${name.slice(0, 40)}" cannot be asked here.`)
  const text = (name: string): string | undefined => {
    const said = query.get(name) ?? undefined
    if (said !== undefined && said.length > VALUE_CHARS_MAX)
      throw new Refused('malformed', `"${name}" is too long.`)
    return said === '' ? undefined : said
  }
  return {
    request,
    response,
    signal,
    text,
    part: (name) => parts.get(name) ?? '',
    whole(name, otherwise) {
      const schema = route.query?.[name] ?? {}
      const least = Number(schema['minimum'] ?? 0)
      const most = Number(schema['maximum'] ?? Number.MAX_SAFE_INTEGER)
      const said = text(name)
      const found = said === undefined ? otherwise : /^\d{1,15}$/.test(said) ? Number(said) : NaN
      if (found >= least && found <= most) return found
      throw new Refused('malformed', `"${name}" is a whole number from ${least} to ${most}.`)
    },
    time(name) {
      const said = text(name)
      if (said === undefined) return undefined
      const at = /^\d{4}-\d\d-\d\d(?:T[\d:.]{5,12}(?:Z|[+-]\d\d:\d\d))?$/.test(said)
        ? Date.parse(said)
        : NaN
      if (!Number.isNaN(at)) return at
      throw new Refused('malformed', `"${name}" is a time like 2026-03-01T12:00:00Z.`)
    },
    word(name, words) {
      const said = text(name)
      const found = said === undefined ? words[0] : words.find((word) => word === said)
      if (found !== undefined) return found
      throw new Refused('malformed', `"${name}" is one of ${words.join(', ')}.`)
    },
    body: (...members) => readBody(request, members),
  }
}

async function readBody(request: IncomingMessage, members: readonly string[]): Promise<JsonObject> {
  // A form of another origin can be sent as text, never as this.
  if (!/^application\/json\s*(?:;|$)/i.test(request.headers['content-type'] ?? ''))
    throw new Refused('media-type', 'Send application/json.')
  const json = readJson(await readText(request), BODY_BYTES_MAX)
  if (!isObject(json)) throw new Refused('malformed', 'The body is no JSON object.')
  const other = Object.keys(json).find((name) => !members.includes(name))
  if (other !== undefined)
    throw new Refused('malformed', `"${other.slice(0, 40)}" does not belong into this body.`)
  return json
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  request.on('data', (chunk: Buffer) => {
    length += chunk.length
    // The rest is let go by, and the connection with it: whoever sends too much hears why.
    if (length <= BODY_BYTES_MAX) chunks.push(chunk)
    else reject(new Refused('too-large', `A body has at most ${BODY_BYTES_MAX} bytes.`))
  })
  request.once('end', resolve)
  request.once('close', () => reject(new Refused('malformed', 'The body was cut.')))
  if (Number(request.headers['content-length'] ?? 0) > BODY_BYTES_MAX)
    reject(new Refused('too-large', `A body has at most ${BODY_BYTES_MAX} bytes.`))
  await promise
  return Buffer.concat(chunks).toString('utf8')
}

/** The routes by their paths. */
export interface Finder<T extends Route> {
  /** @throws {Refused} where nothing is, or nothing that can be done so. */
  find(
    method: string,
    path: string,
  ): { readonly route: T; readonly parts: ReadonlyMap<string, string> }
}

/** Makes the finder. */
export function createFinder<T extends Route>(routes: readonly T[]): Finder<T> {
  const patterns = routes.map((route) => ({ route, steps: route.path.split('/') }))
  return {
    find(method, path) {
      const steps = path.split('/')
      const there = patterns.filter((pattern) => fits(pattern.steps, steps))
      const found = there.find(({ route }) => route.method === method)
      if (there.length === 0) throw new Refused('not-found', 'There is nothing at this path.')
      if (!found) throw new Refused('method-not-allowed', `${method} cannot be done at this path.`)
      return { route: found.route, parts: partsOf(found.steps, steps) }
    },
  }
}

function fits(pattern: readonly string[], steps: readonly string[]): boolean {
  return (
    pattern.length === steps.length &&
    pattern.every((step, i) => (step.startsWith('{') ? steps[i] !== '' : step === steps[i]))
  )
}

function partsOf(pattern: readonly string[], steps: readonly string[]): Map<string, string> {
  const named = pattern.flatMap((step, i) =>
    step.startsWith('{') ? [[step.slice(1, -1), decode(steps[i] ?? '')] as const] : [],
  )
  return new Map(named)
}

function decode(step: string): string {
  try {
    const said = decodeURIComponent(step)
    if (said.length <= VALUE_CHARS_MAX) return said
  } catch {
    // Told below.
  }
  throw new Refused('malformed', 'A part of the path cannot be read.')
}
