import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { resolve } from 'node:path'
import { createAdmin, createHub } from '../admin/index.ts'
import type { Admin } from '../admin/index.ts'
import type { Document } from '../config/document.ts'
import type { NatsEntry } from '../config/document-entries.ts'
import { createSecrets } from '../config/registry.ts'
import type { Secrets, Source } from '../config/registry.ts'
import type { Event, Observe } from '../core/event.ts'
import { systemClock } from '../core/clock.ts'
import type { Clock, Ledger, Rail } from '../core/ports.ts'
import { file, gaugesOf, nats, openOutbox, webhook } from '../outbox/index.ts'
import type { Outbox, Sink } from '../outbox/index.ts'
import { createReconciler, createRefundLooks } from '../reconcile/index.ts'
import { metrics, observers } from '../watch/index.ts'
import type { SharedParts } from './open.ts'

/** How often it is looked whether a sweep is due. */
export const SWEEP_EVERY_MS = 300_000
/** How often it is looked what payers of channels have promised, and whether one wants the end: a small part of its grace. */
export const COLLECT_EVERY_MS = 60_000

/** What the operator sees of a gateway: metrics, the dashboard, and what is told to others. */
export interface Office {
  /** Goes into the seller, beside what else listens. */
  readonly observe: Observe
  /** Answers what is asked at the admin listener beside health. */
  serve(request: IncomingMessage, response: ServerResponse): void
  /** Works with these parts from now on; at the first call and after each reload. */
  use(parts: SharedParts): void
  /** Before the books are closed. */
  close(): Promise<void>
}

/**
 * Opens the office that a document asks for. Metrics are always there; the dashboard where it has a token; events where they
 * have somewhere to go.
 * @throws {DocumentError} when a secret is not there, {RangeError} with a sentence for what cannot be meant.
 */
export async function openOffice(
  source: Source,
  { clock = systemClock }: { readonly clock?: Clock } = {},
): Promise<Office> {
  const { document } = source
  const secrets = createSecrets(source)
  const sinks = await sinksOf(source, secrets)
  const hub = createHub()
  let outbox: Outbox | undefined
  let ledger: Ledger | undefined
  let parts: SharedParts | undefined
  const counted = metrics({ gauges: gaugesOf({ status: () => outbox?.status() ?? [] }) })
  const { dashboard } = document
  const admin = dashboard && openDashboard(dashboard, await secrets.text(dashboard.token, tokenAt))
  // What other sellers of this process do is counted, and seen at their own desks.
  const own = observers(hub.observe, (event: Event) => outbox?.observe(event))
  const observe: Observe = (event) => {
    counted.observe(event)
    if (event.tenant === undefined) own(event)
  }

  function openDashboard(
    { hosts, explorers }: NonNullable<Document['dashboard']>,
    token: string,
  ): Admin {
    const { limits } = document
    return createAdmin({
      token,
      hub,
      observe: counted.observe,
      shop() {
        if (!parts) throw new Error('The gateway is not open yet.')
        const { seller, rails, ledger: books } = parts
        return {
          ...{ gate: seller.gate, ledger: books, rails, source: [document.origin].flat()[0] ?? '' },
          ...(seller.plans && { plans: seller.plans }),
          ...(limits && { limits }),
        }
      },
      ...(hosts && { hosts }),
      ...(explorers && { explorers }),
    })
  }

  async function follow(books: Ledger): Promise<void> {
    await outbox?.close()
    const [name = ''] = [document.origin].flat()
    outbox = openOutbox({ ledger: books, source: name, sinks, observe: counted.observe })
  }

  let stop = new AbortController()
  let following = Promise.resolve()

  /** Looks after the money, for as long as these parts are in use. */
  function tend({ ledger: books, rails }: SharedParts): void {
    stop.abort()
    stop = new AbortController()
    const { signal } = stop
    const fault = (where: string) => (error: unknown) =>
      observe({ type: 'fault', at: clock.now(), where, error })
    createReconciler({ ledger: books, rails, observe, clock }).run(signal).catch(fault('reconcile'))
    createRefundLooks({ ledger: books, rails, observe, clock }).run(signal).catch(fault('refunds'))
    const sweeps = rails.filter(isSweeping).map((rail) => () => rail.sweep())
    const collects = rails.filter(isCollecting).map((rail) => () => rail.collect())
    // Each by itself: a chain that is slow must not keep us from those that are not.
    for (const sweep of sweeps)
      often(sweep, SWEEP_EVERY_MS, signal, fault('sweep')).catch(fault('sweep'))
    for (const collect of collects)
      often(collect, COLLECT_EVERY_MS, signal, fault('collect')).catch(fault('collect'))
  }

  async function often(
    work: () => Promise<unknown>,
    everyMs: number,
    signal: AbortSignal,
    fault: (error: unknown) => void,
  ): Promise<void> {
    while (!signal.aborted) {
      await work().catch(fault)
      await clock.sleep(everyMs, signal)
    }
  }

  return {
    observe,
    serve(request, response) {
      // Not read as a URL: what is none would throw, and nobody is there to catch it.
      const path = (request.url ?? '').replace(/\?.*$/, '')
      if (path === '/metrics' && request.method === 'GET') {
        const { contentType, text } = counted.write(request.headers.accept)
        return void response.writeHead(200, { 'Content-Type': contentType }).end(text)
      }
      if (admin) return admin.handle(request, response)
      const there = 'There are /healthz, /readyz and /metrics.\n'
      return void response.writeHead(404, { 'Content-Type': 'text/plain' }).end(there)
    },
    use(next) {
      if (parts !== next) tend(next)
      parts = next
      if (sinks.length === 0 || ledger === next.ledger) return
      ledger = next.ledger
      const books = ledger
      following = following.then(() => follow(books))
    },
    async close() {
      stop.abort()
      admin?.close()
      await following
      await outbox?.close()
    },
  }
}

type Sweeping = Rail & { sweep(): Promise<unknown> }

function isSweeping(rail: Rail): rail is Sweeping {
  return 'sweep' in rail
}

type Collecting = Rail & { collect(): Promise<unknown> }

function isCollecting(rail: Rail): rail is Collecting {
  return 'collect' in rail
}

const tokenAt = ['dashboard', 'token'] as const

async function sinksOf(
  { document: { events }, directory }: Source,
  secrets: Secrets,
): Promise<Sink[]> {
  const { webhooks = [], file: path, nats: stream } = events ?? {}
  const posts = webhooks.map(async ({ name, url, secret, private: isPrivateAllowed }, i) =>
    webhook({
      name: name ?? `webhook-${i + 1}`,
      url: await secrets.text(url, ['events', 'webhooks', i, 'url']),
      secrets: await secrets.text(secret, ['events', 'webhooks', i, 'secret']),
      ...(isPrivateAllowed !== undefined && { isPrivateAllowed }),
    }),
  )
  return [
    ...(await Promise.all(posts)),
    ...(path === undefined ? [] : [file({ name: 'file', path })]),
    ...(stream === undefined ? [] : [await natsOf(stream, directory, secrets)]),
  ]
}

async function natsOf(entry: NatsEntry, directory: string, secrets: Secrets): Promise<Sink> {
  const { servers, stream, prefix, user, ca } = entry
  const secretOf = async (
    name: 'token' | 'password' | 'credentials',
  ): Promise<Partial<Record<typeof name, string>>> => {
    const ref = entry[name]
    return ref ? { [name]: await secrets.text(ref, ['events', 'nats', name]) } : {}
  }
  return await nats({
    ...{ name: 'nats', servers },
    ...(stream !== undefined && { stream }),
    ...(prefix !== undefined && { prefix }),
    ...(user !== undefined && { user }),
    ...(ca !== undefined && { ca: await readFile(resolve(directory, ca), 'utf8') }),
    ...(await secretOf('token')),
    ...(await secretOf('password')),
    ...(await secretOf('credentials')),
  })
}
