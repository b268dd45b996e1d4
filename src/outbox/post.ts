import type { LookupAddress } from 'node:dns'
import { isIP } from 'node:net'
import type { LookupFunction } from 'node:net'
import { Agent, request } from 'node:http'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { Agent as SecureAgent, request as requestSecurely } from 'node:https'
import { isPublic, systemResolve } from '../net/addresses.ts'
import type { Resolve } from '../net/addresses.ts'
import type { Clock } from '../core/ports.ts'
import { codeOf } from './sink.ts'

/** Longest answer that is read; a longer one is cut, and counts by its status. */
export const ANSWER_BYTES_MAX = 65_536
/** Longest head of an answer. */
const HEAD_BYTES_MAX = 16_384
/** How long a connection is kept while nothing is sent. */
const IDLE_MS = 4_000

/** What a poster is made of. */
export interface PosterSettings {
  readonly url: URL
  /** For one exchange, from the look-up of its name to the end of its answer. */
  readonly timeoutMs: number
  /** Whether it may be on this machine or in a private network. */
  readonly isPrivateAllowed: boolean
  /** Whose signature of the receiver's certificate is taken, in PEM, instead of the public authorities'. */
  readonly ca?: string
  readonly resolve?: Resolve
  readonly clock: Clock
}

/** What came back. */
export interface Posted {
  readonly status: number
  readonly retryAfter: string | undefined
}

/** Posts to one address. */
export interface Poster {
  /** @throws {PostFault} when there is no answer in time. What was sent may have been taken. */
  post(headers: Readonly<Record<string, string>>, body: string): Promise<Posted>
  close(): void
}

/** No answer. It holds no address and nothing that was sent. */
export class PostFault extends Error {
  override readonly name = 'PostFault'
}

/**
 * Makes a poster. Each connection goes to an address that was looked at just before: what a name means may change between two
 * looks, so there is only one. It follows no redirect, goes through no proxy, and asks for no compression.
 */
export function createPoster(settings: PosterSettings): Poster {
  const { url, timeoutMs, clock } = settings
  const secure = url.protocol === 'https:'
  const options = { keepAlive: true, maxSockets: 1, timeout: IDLE_MS, lookup: guarded(settings) }
  const { ca } = settings
  const agent = secure ? new SecureAgent({ ...options, ...(ca && { ca }) }) : new Agent(options)
  const start = (headers: Readonly<Record<string, string>>): ClientRequest => {
    const asked = { agent, method: 'POST', headers, maxHeaderSize: HEAD_BYTES_MAX }
    return secure ? requestSecurely(url, asked) : request(url, asked)
  }

  async function once(headers: Readonly<Record<string, string>>, body: string): Promise<Posted> {
    const done = new AbortController()
    const outgoing = start(headers)
    void clock.sleep(timeoutMs, done.signal).then(() => {
      if (!done.signal.aborted) outgoing.destroy(new PostFault('no answer in time'))
    })
    try {
      return await exchange(outgoing, body)
    } finally {
      done.abort('done')
    }
  }

  return {
    async post(said, body) {
      const host = url.hostname.replace(/^\[|\]$/g, '')
      if (isIP(host) !== 0 && !settings.isPrivateAllowed && !isPublic(host)) throw inner
      const headers = { 'user-agent': 'tolsey', 'accept-encoding': 'identity', ...said }
      try {
        return await once(headers, body)
      } catch (error) {
        // A kept connection that the receiver had closed meanwhile. What it took twice has one id.
        if (error instanceof Stale) return await once(headers, body).catch(toFault)
        throw faultOf(error)
      }
    },
    close: () => agent.destroy(),
  }
}

const inner = new PostFault('its address is not on the internet')

/** A kept connection was dead. */
class Stale extends PostFault {}

/** Connects to what was looked at, and to nothing else. */
function guarded(settings: PosterSettings): LookupFunction {
  return (host, { all }, tell) => {
    addressesOf(host, settings).then(
      ([first, ...others]) => {
        if (all) tell(null, [first, ...others])
        else tell(null, first.address, first.family)
      },
      (error: unknown) => tell(faultOf(error), ''),
    )
  }
}

async function addressesOf(
  host: string,
  { resolve = systemResolve, isPrivateAllowed }: PosterSettings,
): Promise<readonly [LookupAddress, ...LookupAddress[]]> {
  const addresses = await resolve(host)
  // One that is not on the internet is enough to refuse: nobody honest mixes them.
  if (!isPrivateAllowed && !addresses.every(isPublic)) throw inner
  const [first, ...others] = addresses.map((address) => ({ address, family: isIP(address) }))
  if (!first) throw new PostFault('its name has no address')
  return [first, ...others]
}

/** The status, once the answer is there, has been cut, or breaks off. */
function exchange(outgoing: ClientRequest, body: string): Promise<Posted> {
  const { promise, resolve, reject } = Promise.withResolvers<Posted>()
  let head: Posted | undefined
  const end = (error: unknown): void => {
    if (head) resolve(head)
    else reject(outgoing.reusedSocket && isReset(error) ? new Stale('') : error)
  }
  outgoing.on('error', end)
  outgoing.on('response', (incoming: IncomingMessage) => {
    head = { status: incoming.statusCode ?? 0, retryAfter: incoming.headers['retry-after'] }
    let size = 0
    incoming.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > ANSWER_BYTES_MAX) outgoing.destroy()
    })
    incoming.on('error', end)
    incoming.on('close', end)
  })
  outgoing.end(body)
  return promise
}

function isReset(error: unknown): boolean {
  return codeOf(error) === 'ECONNRESET' || codeOf(error) === 'EPIPE'
}

function toFault(error: unknown): never {
  throw faultOf(error)
}

/** Of what the machine says only its word for it is told on: the rest may name the address. */
function faultOf(error: unknown): PostFault {
  if (error instanceof PostFault) return error
  const code = codeOf(error)
  return new PostFault(code === undefined ? 'no answer' : `no answer (${code})`)
}
