import { Buffer } from 'node:buffer'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { readJson } from '../core/json.ts'
import type { Resource } from '../core/resource.ts'
import { exits, Failure, misuse } from './command.ts'
import type { Arguments, Call, Option } from './command.ts'
import { clean } from './text.ts'

/** Largest body that is sent: it is kept in memory, because a paid request is sent twice. */
const BODY_BYTES_MAX: number = 16 * 1024 * 1024

/** The options that `pay` and `inspect` have in common. */
export const requestOptions: Readonly<Record<string, Option>> = {
  method: { type: 'string', short: 'X' },
  header: { type: 'string', short: 'H', multiple: true },
  data: { type: 'string', short: 'd' },
}

/** Their part of the help. */
export const requestHelp: readonly string[] = [
  '  -X, --method METHOD    GET where nothing is given, POST with -d.',
  '  -H, --header LINE      A header, "Name: value"; may be given again.',
  '  -d, --data TEXT        The body; @file reads it from a file, @- from stdin.',
]

/** A request as it was typed. */
export interface Typed {
  readonly url: URL
  readonly method: string
  readonly headers: Headers
  readonly body?: Uint8Array<ArrayBuffer>
}

/** @throws {Failure} with a sentence when a part of the request cannot be used. */
export async function readRequest(call: Call): Promise<Typed> {
  const args = call.arguments
  const url = readUrl(args.words[0])
  const headers = readHeaders(args)
  const body = await readBody(args.text('data'), call)
  const method = readMethod(args.text('method') ?? (body ? 'POST' : 'GET'))
  if (body && (method === 'GET' || method === 'HEAD'))
    throw misuse(
      `A ${method} request has no body. Leave away -d, or choose another method with -X.`,
    )
  if (body && !headers.has('content-type')) headers.set('content-type', typeOf(body))
  return { url, method, headers, ...(body && { body }) }
}

/** Whether the host is this machine. */
export function isLoopback(url: URL): boolean {
  return /^(?:localhost|.+\.localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname)
}

/** The request as a resource that offers can be made for. */
export function resourceOf({ url, method }: Pick<Typed, 'url' | 'method'>): Resource {
  const authority = url.host.toLowerCase()
  return {
    realm: authority,
    method,
    authority,
    path: url.pathname,
    query: url.search.slice(1),
    url: url.href,
  }
}

/** What the usual faults of the network mean for the user. */
const faults: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the connection was cut',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name cannot be looked up at the moment',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
  ETIMEDOUT: 'nobody answered in time',
  UND_ERR_CONNECT_TIMEOUT: 'nobody answered in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer came in time',
  UND_ERR_SOCKET: 'the connection was cut',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is self-signed',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate cannot be verified',
}

/** A fault of the network as a sentence. */
export function unreachable(error: unknown, url: URL): Failure {
  const reason = reasonOf(error)
  const hint =
    reason === faults['ECONNREFUSED'] && isLoopback(url)
      ? ' Is it running? A sandbox starts with "tolsey sandbox".'
      : ''
  return new Failure(`${url.host} cannot be asked: ${reason}.${hint}`, exits.error, {
    cause: error,
  })
}

function reasonOf(error: unknown): string {
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return 'no answer came in time'
  if (error instanceof DOMException && error.name === 'AbortError') return 'it was interrupted'
  const code = codeOf(error)
  return (code !== undefined && faults[code]) || `the network failed${code ? ` (${code})` : ''}`
}

/** The code of an error or of what caused it; fetch hides it one or two levels down. */
function codeOf(error: unknown, depth = 4): string | undefined {
  if (!(error instanceof Error) || depth === 0) return undefined
  if ('code' in error && typeof error.code === 'string') return error.code
  if (error instanceof AggregateError) return codeOf(error.errors[0], depth - 1)
  return codeOf(error.cause, depth - 1)
}

function readUrl(word: string | undefined): URL {
  if (word === undefined) throw misuse('A URL is missing.')
  // Without a scheme it is https, but for this machine, where hardly anybody has a certificate.
  const plain = /^(?:localhost|127\.|\[::1\])/.test(word) ? 'http' : 'https'
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(word) ? word : `${plain}://${word}`
  const url = URL.parse(text)
  if (!url || !/^https?:$/.test(url.protocol) || url.hostname === '')
    throw misuse(`"${clean(word)}" is not a URL of a web server.`)
  if (url.username || url.password)
    throw misuse('A URL may not carry a password; use -H "Authorization: …".')
  url.hash = ''
  return url
}

function readMethod(text: string): string {
  if (!/^[A-Za-z-]{1,32}$/.test(text)) throw misuse(`"${clean(text)}" is not a method.`)
  return text.toUpperCase()
}

/** A header's value may be a secret, so the errors show only its name. */
function readHeaders(args: Arguments): Headers {
  const headers = new Headers()
  for (const line of args.texts('header')) {
    const [, name, value = ''] = /^([^:\s]+):(.*)$/s.exec(line) ?? []
    if (name === undefined) throw misuse('A header is written like -H "Name: value".')
    try {
      headers.append(name, value.trim())
    } catch {
      throw misuse(`The header ${clean(name)} cannot be sent as it is written.`)
    }
  }
  return headers
}

async function readBody(
  text: string | undefined,
  call: Call,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (text === undefined) return undefined
  const body =
    text === '@-'
      ? await readAll(call.terminal.stdin)
      : text.startsWith('@')
        ? await readFile(resolve(call.cwd, text.slice(1))).catch(() => {
            throw misuse(`The file ${text.slice(1)} cannot be read.`)
          })
        : Buffer.from(text)
  if (body.byteLength > BODY_BYTES_MAX)
    throw misuse('The body is larger than 16 MiB, which is the most that can be sent twice.')
  return new Uint8Array(body)
}

/** All of a stream, up to one byte more than a body may have. */
export async function readAll(stream: AsyncIterable<Uint8Array | string>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of stream) {
    chunks.push(Buffer.from(chunk))
    size += chunk.length
    if (size > BODY_BYTES_MAX) break
  }
  return Buffer.concat(chunks)
}

/** What it most likely is: a JSON document, or a form as curl assumes. */
function typeOf(body: Uint8Array): string {
  const text = Buffer.from(body).toString()
  return /^\s*[[{]/.test(text) && readJson(text, BODY_BYTES_MAX) !== undefined
    ? 'application/json'
    : 'application/x-www-form-urlencoded'
}
