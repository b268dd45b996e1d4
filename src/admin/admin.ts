import type { IncomingMessage, ServerResponse } from 'node:http'
import { createCallers } from '../adapters/callers.ts'
import type { CallerSettings } from '../adapters/callers.ts'
import { systemChance } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import type { Observe } from '../core/event.ts'
import type { Chance, Clock } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { createApi } from './api.ts'
import { createLinks } from './explorers.ts'
import type { Explorers } from './explorers.ts'
import { builtFiles, readFiles } from './files.ts'
import type { Files } from './files.ts'
import { createGuard, securityFields } from './guard.ts'
import { createHealth } from './health.ts'
import type { Hub } from './hub.ts'
import { createLogin } from './login.ts'
import type { Session } from './login.ts'
import { Refused, refusalJson, refusals } from './refusal.ts'
import { createCall, createFinder } from './route.ts'
import type { Reply } from './route.ts'
import type { AdminShop } from './shop.ts'
import { table } from './table.ts'

/** What a dashboard is made of. */
export interface AdminSettings {
  /** What the operator logs in with: at least 20 characters, and nothing if absent. There is no other. */
  readonly token: string
  /** The shop; asked anew for each request, so that it may be replaced while it runs. */
  readonly shop: () => AdminShop
  /** What happens now: the same whose `observe` the seller was given. */
  readonly hub: Hub
  /** Names under which it is reached, beside `localhost` and addresses in numbers. */
  readonly hosts?: readonly string[]
  /** Proxies of ours before it, so that wrong tokens are counted for whoever brings them. */
  readonly proxies?: CallerSettings
  /** Where transactions are looked at, beside those of the public networks. */
  readonly explorers?: Explorers
  /** Where the built dashboard is. */
  readonly files?: string
  readonly clock?: Clock
  readonly chance?: Chance
  readonly observe?: Observe
}

/** The dashboard and its API. */
export interface Admin {
  /** A request listener of `node:http`. It answers everything that it is given. */
  readonly handle: (request: IncomingMessage, response: ServerResponse) => void
  /** Ends what streams, so that the server can stop. */
  close(): void
}

/**
 * Makes the dashboard, which is no server by itself.
 * @throws {RangeError} with a sentence, for a token that is too short, or a host or an explorer that cannot be meant.
 *
 * @example
 * const hub = createHub()
 * const seller = await createSeller({ ..., observe: hub.observe })
 * const admin = createAdmin({ token, hub, shop: () => ({ gate: seller.gate, ledger, rails }) })
 * createServer(admin.handle).listen(9402, '127.0.0.1')
 */
export function createAdmin(settings: AdminSettings): Admin {
  const { clock = systemClock, chance = systemChance, hub, observe } = settings
  const guard = createGuard(settings.hosts ?? [])
  const login = createLogin(settings.token, clock, chance)
  const callerOf = createCallers(settings.proxies)
  const health = createHealth(hub, clock)
  const api = createApi({
    ...{ clock, hub, login, health, shop: settings.shop },
    linksOf: createLinks(settings.explorers),
  })
  const finder = createFinder(table)
  const closing = new AbortController()
  let files: Promise<Files> | undefined

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(securityFields)) response.setHeader(name, value)
    response.setHeader('Cache-Control', 'no-store')
    guard.check(request)
    const { path, query } = targetOf(request)
    if (path !== '/api' && !path.startsWith('/api/')) return await sendFile(request, response, path)
    const { method = '' } = request
    const { route, parts } = finder.find(method === 'HEAD' ? 'GET' : method, path)
    if (method === 'HEAD' && route.media)
      throw new Refused('method-not-allowed', 'What streams can only be fetched.')
    const caller = callerFor(request)
    const session = route.isOpen ? nobody : login.check(request, caller)
    const call = createCall(route, request, response, closing.signal, parts, query)
    const reply = await api[route.name](call, caller, session)
    if (reply) send(request, response, reply)
  }

  function callerFor({ socket, headers }: IncomingMessage): string {
    const fields = {
      get(name: string): string | undefined {
        const said = headers[name.toLowerCase()]
        return Array.isArray(said) ? said.join(', ') : said
      },
    }
    return callerOf({ address: socket.remoteAddress, fields })
  }

  async function sendFile(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
  ): Promise<void> {
    files ??= readFiles(settings.files ?? builtFiles)
    const all = await files
    if (request.method !== 'GET' && request.method !== 'HEAD')
      throw new Refused('method-not-allowed', 'Files can only be fetched.')
    const file = all.get(path)
    if (!file) {
      const isBuilt = all.has('/')
      if (!isBuilt) files = undefined
      const hint = isBuilt ? 'There is no such file.' : 'The dashboard is not built here.'
      throw new Refused('not-found', hint)
    }
    const kept = file.isFixed ? 'private, max-age=31536000, immutable' : 'no-store'
    response.writeHead(200, {
      'Content-Type': file.type,
      'Content-Length': file.bytes.length,
      'Cache-Control': kept,
    })
    response.end(request.method === 'HEAD' ? undefined : file.bytes)
  }

  function fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const refused = refusedOf(error)
    if (refused.code === 'internal' || refused.code === 'unavailable')
      observe?.({ type: 'fault', at: clock.now(), where: 'admin', error })
    if (response.headersSent) return void response.destroy()
    // What was not read of the body must not be taken for the next request.
    if (!request.complete) response.shouldKeepAlive = false
    const waitMs = refused.retryAfterMs
    const fields = {
      'Content-Type': 'application/problem+json',
      ...(waitMs !== undefined && { 'Retry-After': `${Math.ceil(waitMs / 1_000)}` }),
      ...(refused.code === 'unauthorized' && { 'WWW-Authenticate': 'Bearer realm="tolsey admin"' }),
    }
    send(request, response, {
      status: refusals[refused.code][0],
      json: refusalJson(refused),
      fields,
    })
  }

  return {
    handle(request, response) {
      // Whoever goes is nobody's fault.
      response.on('error', () => undefined)
      answer(request, response).catch((error: unknown) => fail(request, response, error))
    },
    close() {
      closing.abort('closed')
      health.close()
      api.close()
    },
  }
}

/** Where nobody needs to be logged in. */
const nobody: Session = { expiresAt: 0, holds: () => false }

/** Longest target that is read. */
const TARGET_CHARS_MAX = 8_192

/** The path as it was sent, letter by letter: nothing in it is resolved, so nothing climbs. */
function targetOf({ url = '' }: IncomingMessage): {
  readonly path: string
  readonly query: URLSearchParams
} {
  if (!url.startsWith('/') || url.length > TARGET_CHARS_MAX)
    throw new Refused('malformed', 'The address cannot be read.')
  const cut = url.indexOf('?')
  const path = cut < 0 ? url : url.slice(0, cut)
  return { path, query: new URLSearchParams(cut < 0 ? '' : url.slice(cut)) }
}

function refusedOf(error: unknown): Refused {
  if (error instanceof Refused) return error
  return error instanceof PaymentError
    ? new Refused('unavailable', 'The books or a rail cannot be reached. Try again.')
    : new Refused('internal', 'Something went wrong inside. The log says what.')
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status = 200, json, fields = {} }: NonNullable<Reply>,
): void {
  const body = json === undefined ? '' : JSON.stringify(json)
  response.writeHead(status, {
    ...(json !== undefined && {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
    }),
    ...fields,
  })
  response.end(request.method === 'HEAD' ? '' : body)
}
