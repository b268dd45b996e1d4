import { createServer, request as requestOf } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { PROBE_FIELD, probe } from './http.ts'
import { readRoutes } from './routes.ts'
import type { Route, Routes } from './routes.ts'

/** A probe in the words of Fastify's `inject`. */
export interface Injection {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly url: string
  readonly headers: Record<string, string>
}

/** What can be proved: a node:http listener or Express app, anything with `fetch`, anything with `inject`. */
export type Provable =
  | RequestListener
  | { fetch(request: Request): Response | Promise<Response> }
  | {
      inject(probe: Injection): PromiseLike<{
        readonly statusCode: number
        readonly headers: Readonly<Record<string, number | string | readonly string[] | undefined>>
      }>
    }

/** How long one probe may take. */
export const PROBE_TIMEOUT_MS = 5_000

interface Seen {
  readonly status: number
  readonly answer: string | undefined
}

type Ask = (route: Route) => Promise<Seen>

/**
 * Proves that each paid route answers through the toll, by asking for it as a probe that only this process can make. The
 * handlers of routes that are behind the toll do not run, and nothing is counted.
 * @throws {Error} that lists the routes that are open, and says what to do.
 */
export async function prove(target: Provable, routes: Routes): Promise<void> {
  const { paid } = readRoutes(routes)
  const reached = await reach(target)
  const open: string[] = []
  try {
    for (const route of paid) {
      const { status, answer } = await reached.ask(route)
      if (status !== 402 || answer !== probe.answer)
        open.push(`"${route.key}" (answered ${status})`)
    }
  } finally {
    reached.close()
  }
  if (open.length > 0) throw new Error(sentence(open))
}

function sentence(open: readonly string[]): string {
  return (
    `Not behind the toll: ${open.join(', ')}. Register the toll before these routes, and write their keys as the ` +
    `whole path that a payer asks for, with the prefix that a router is mounted at.`
  )
}

async function reach(target: Provable): Promise<{ ask: Ask; close(): void }> {
  const nothing = (): void => {}
  if (typeof target === 'function') return await listen(target)
  if ('fetch' in target) return { ask: (route) => askFetch(target, route), close: nothing }
  return { ask: (route) => askInject(target, route), close: nothing }
}

async function askFetch(
  target: Extract<Provable, { fetch: unknown }>,
  route: Route,
): Promise<Seen> {
  const { method, url, headers } = injectionOf(route)
  const response = await target.fetch(new Request(`http://localhost${url}`, { method, headers }))
  await response.body?.cancel()
  return { status: response.status, answer: response.headers.get(PROBE_FIELD) ?? undefined }
}

async function askInject(
  target: Extract<Provable, { inject: unknown }>,
  route: Route,
): Promise<Seen> {
  const { statusCode, headers } = await target.inject(injectionOf(route))
  return { status: statusCode, answer: answerIn(headers) }
}

/** Serves the listener on a free loopback port for the time of the proof. */
async function listen(listener: RequestListener): Promise<{ ask: Ask; close(): void }> {
  const server = createServer(listener)
  const ready = Promise.withResolvers<void>()
  server.once('error', ready.reject).listen(0, '127.0.0.1', ready.resolve)
  await ready.promise
  const { port } = server.address() as AddressInfo
  return {
    ask: (route) => askServer(port, route),
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

async function askServer(port: number, route: Route): Promise<Seen> {
  const { method, url: path, headers } = injectionOf(route)
  const { promise, resolve, reject } = Promise.withResolvers<Seen>()
  const timeout = AbortSignal.timeout(PROBE_TIMEOUT_MS)
  requestOf({ host: '127.0.0.1', port, method, path, headers, agent: false, signal: timeout })
    .on('response', (response) => {
      resolve({ status: response.statusCode ?? 0, answer: answerIn(response.headers) })
      response.destroy()
    })
    .on('error', reject)
    .end()
  return await promise
}

function injectionOf({ verb, sample }: Route): Injection {
  const method = verb === '*' ? 'GET' : (verb as Injection['method'])
  return { method, url: sample, headers: { [PROBE_FIELD]: probe.question } }
}

function answerIn(headers: Readonly<Record<string, unknown>>): string | undefined {
  const said = headers[PROBE_FIELD]
  return typeof said === 'string' ? said : undefined
}
