// What the tests of this room share; it tests nothing itself.
import { request } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { readJson } from '../core/json.ts'
import type { JsonObject } from '../core/json.ts'

/** An answer, read whole. */
export interface Answer {
  readonly status: number
  readonly fields: Readonly<Record<string, string | undefined>>
  readonly cookies: readonly string[]
  readonly text: string
  readonly json: JsonObject
}

/** A request as it stands here, letter by letter: `fetch` would tidy it. */
export function send(
  url: string,
  path: string,
  options: {
    readonly method?: string
    readonly fields?: Readonly<Record<string, string>>
    readonly body?: string
    /** Sent without saying how long it is. */
    readonly isChunked?: true
  } = {},
): Promise<Answer> {
  const { method = 'GET', fields = {}, body } = options
  const { hostname, port } = new URL(url)
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const length =
    body === undefined || options.isChunked
      ? {}
      : { 'content-length': `${Buffer.byteLength(body)}` }
  const sent = request(
    { hostname, port, path, method, headers: { ...length, ...fields }, agent: false },
    (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        const json = (readJson(text, 10_000_000) ?? {}) as JsonObject
        const { 'set-cookie': cookies = [], ...others } = response.headers
        resolve({ status: response.statusCode ?? 0, fields: flat(others), cookies, text, json })
      })
    },
  )
  sent.on('error', reject)
  if (options.isChunked) sent.write(body)
  sent.end(options.isChunked ? undefined : body)
  return promise
}

function flat(headers: IncomingHttpHeaders): Readonly<Record<string, string | undefined>> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, value?.toString()] as const),
  )
}

/** Logs in; the cookie as a browser sends it back. */
export async function logIn(url: string, token: string): Promise<string> {
  const answer = await send(url, '/api/session', {
    method: 'POST',
    fields: { 'content-type': 'application/json' },
    body: JSON.stringify({ token }),
  })
  const [cookie = ''] = answer.cookies
  return cookie.replace(/;.*$/, '')
}
