import { Pool } from 'undici'
import type { Dispatcher } from 'undici'
import { createTrust } from './trust.ts'
import type { SignTrust } from './trust.ts'

/** How long a connection to an upstream may take. */
export const CONNECT_MS = 5_000
/** How long an upstream may take until the head of its answer. */
export const HEAD_MS = 60_000
/** How long an answer may be silent between two pieces. */
export const IDLE_MS = 300_000
/** Most connections to one upstream. */
export const CONNECTIONS_MAX = 128
/** Most requests that an upstream has at once, those that wait for a connection included. */
export const REQUESTS_MAX = 1_024
/** Longest head of an upstream's answer, in bytes. */
export const ANSWER_HEAD_BYTES_MAX = 65_536
/** How long an idle connection is kept, if the upstream does not say less. */
const KEEP_MS = 4_000

/** Where a request may be sent to. */
export interface UpstreamSettings {
  /** `http://127.0.0.1:3000`, also with a path that stands before all others. */
  readonly url: string
  /** Signs what the upstream is told of a request; at least 32 bytes. Without it nothing is told. */
  readonly secret?: string
  /** `own` (the default): the upstream is named in `Host`; `public`: the name that the payer has used. */
  readonly host?: 'own' | 'public'
  /** Speaks HTTP/2 where the upstream can (by TLS). */
  readonly http2?: boolean
  /** Whose signature of its certificate is taken, in PEM, instead of the public authorities'. */
  readonly ca?: string
  readonly connectMs?: number
  readonly headMs?: number
  readonly idleMs?: number
  readonly connectionsMax?: number
  readonly requestsMax?: number
}

/** An upstream, with its connections. */
export interface Upstream {
  readonly name: string
  readonly dispatcher: Dispatcher
  /** Stands before every path; empty if there is none. */
  readonly base: string
  /** What is said in `Host`; undefined for the public name. */
  readonly host: string | undefined
  readonly sign: SignTrust | undefined
  /** One more request; false where there are too many. */
  enter(): boolean
  leave(): void
  /** Ends its connections when they have nothing more to do. */
  close(): Promise<void>
  /** Ends them now. */
  destroy(): Promise<void>
}

/**
 * Opens an upstream; nothing is sent yet.
 * @throws {RangeError} with a sentence, when its address or secret cannot be used.
 */
export function openUpstream(name: string, settings: UpstreamSettings): Upstream {
  const { url, secret, host = 'own', http2 = false, ca } = settings
  const { connectionsMax = CONNECTIONS_MAX, requestsMax = REQUESTS_MAX } = settings
  const { origin, pathname, protocol, search, hash } = readUrl(name, url)
  if (search !== '' || hash !== '' || !/^https?:$/.test(protocol))
    throw new RangeError(`The upstream "${name}" has an address that is none of a server.`)
  const dispatcher = new Pool(origin, {
    connections: connectionsMax,
    pipelining: 1,
    headersTimeout: settings.headMs ?? HEAD_MS,
    bodyTimeout: settings.idleMs ?? IDLE_MS,
    keepAliveTimeout: KEEP_MS,
    maxHeaderSize: ANSWER_HEAD_BYTES_MAX,
    allowH2: http2,
    connect: { timeout: settings.connectMs ?? CONNECT_MS, ...(ca !== undefined && { ca }) },
  })
  let open = 0
  return {
    name,
    dispatcher,
    base: pathname.replace(/\/$/, ''),
    host: host === 'own' ? new URL(origin).host : undefined,
    sign: secret === undefined ? undefined : createTrust(secret),
    enter: () => open < requestsMax && ++open > 0,
    leave: () => void open--,
    close: () => dispatcher.close(),
    destroy: () => dispatcher.destroy(),
  }
}

function readUrl(name: string, url: string): URL {
  const read = URL.parse(url)
  if (read && read.username === '' && read.password === '') return read
  throw new RangeError(
    `The upstream "${name}" needs an address like "http://127.0.0.1:3000", without a password.`,
  )
}
