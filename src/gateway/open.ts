import { countsOf, readDocument, durationOf, isEntry, saleOf, sizeOf } from '../config/document.ts'
import type {
  Document,
  FieldsEntry,
  ListenEntry,
  RouteEntry,
  UpstreamEntry,
} from '../config/document.ts'
import type { Steps } from '../config/document-text.ts'
import {
  createSecrets,
  DocumentError,
  fingerprint,
  openParts,
  openPrice,
  readBeside,
  whom,
} from '../config/registry.ts'
import type { OpenParts, Secrets, Source } from '../config/registry.ts'
import { STATUS_PATH, WORK_TIMEOUT_MS } from '../adapters/http.ts'
import { TASK_MS } from '../adapters/tasks.ts'
import type { Observe } from '../core/event.ts'
import type { Clock, Ledger } from '../core/ports.ts'
import type { FieldRules } from './fields.ts'
import type { OpenHouse } from './gateway.ts'
import { createHouse } from './house.ts'
import type { GatewayRoute, GatewayRoutes } from './routes.ts'
import type { ListenSettings, Tls } from './server.ts'
import { HEAD_MS } from './upstream.ts'
import type { UpstreamSettings } from './upstream.ts'
import { createWatch } from './watch.ts'
import type { Watch } from './watch.ts'

/** What a document is opened with. */
export interface OpenHouseOptions {
  readonly clock?: Clock
  readonly observe?: Observe
  /** The house before, whose parts go on where the document has not changed them. */
  readonly before?: DocumentHouse
  /** Books in the place of those that the document names. */
  readonly ledger?: Ledger
  /** Only to be looked at: nothing listens beside it, and nothing is told to others. */
  readonly isTrial?: boolean
}

/** What one seller's house is opened with. */
export interface OpenOneOptions extends OpenHouseOptions {
  /** Below which all that it answers is. */
  readonly path?: string
}

/** A house that a document has made. */
export interface DocumentHouse extends OpenHouse {
  readonly document: Document
  readonly parts: SharedParts
}

/** The parts that money goes through, which several houses may have after each other. */
export interface SharedParts extends OpenParts {
  readonly print: string
  readonly watch: Watch
  users: number
}

/**
 * Reads the text of a document as a source of parts.
 * @throws {DocumentError} with every mistake and its line.
 */
export function readSource(
  text: string,
  name: string,
  place: Pick<Source, 'directory' | 'variable'>,
): Source {
  const read = readDocument(text, name)
  if (!read.ok) throw new DocumentError(name, read.mistakes)
  return { document: read.document, text: read.text, ...place }
}

/**
 * Opens what a document says of one seller: parts, upstreams, routes. Parts that are the same as before are not opened again, so that rails
 * and books go on while routes change.
 * @throws {DocumentError} for what the document says and is not so, {PaymentError} for what the world says.
 */
export async function openOne(
  source: Source,
  options: OpenOneOptions = {},
): Promise<DocumentHouse> {
  const { document } = source
  const print = await fingerprint(source)
  const parts = await share(source, print, options)
  try {
    const secrets = createSecrets(source)
    const { clock, observe } = options
    const routes = await routesOf(source, secrets, clock)
    const house = createHouse({
      // Work may take as long as its slowest route.
      seller: {
        ...parts.seller,
        workTimeoutMs: workMsOf(document),
        ...(options.path !== undefined && { statusPath: options.path + STATUS_PATH }),
      },
      ...{ routes, watch: parts.watch, proxies: whom(document) },
      upstreams: await upstreamsOf(source, secrets),
      ...(clock && { clock }),
      ...(observe && { observe }),
      ...(options.isTrial && { isTrial: true }),
    })
    return {
      ...{ document, house, parts },
      close: () => release(parts),
      async ready() {
        await parts.ledger.find('ready')
        return undefined
      },
    }
  } catch (error) {
    await release(parts)
    throw error instanceof RangeError ? wrong(source, error) : error
  }
}

function wrong({ text }: Source, error: RangeError): DocumentError {
  return new DocumentError('', [text.mistake(['routes'], error.message)])
}

async function share(
  source: Source,
  print: string,
  { before, clock, observe, ledger, path }: OpenOneOptions,
): Promise<SharedParts> {
  const kept = before?.parts
  if (kept && kept.print === print) {
    kept.users++
    return kept
  }
  const watch = createWatch()
  const parts = await openParts(source, {
    observe(event) {
      watch.observe(event)
      observe?.(event)
    },
    ...(clock && { clock }),
    ...(ledger && { ledger }),
    ...(path !== undefined && { path }),
  })
  return { ...parts, print, watch, users: 1 }
}

async function release(parts: SharedParts): Promise<void> {
  if (--parts.users === 0) await parts.close()
}

function workMsOf({ routes, upstreams, timeouts }: Document): number {
  const said = timeouts?.work
  if (said !== undefined) return durationOf(said)
  const heads = [
    ...Object.values(upstreams).map((one) => (isText(one) ? undefined : one.timeouts?.head)),
    ...Object.values(routes).map((one) => (isEntry(one) ? one.timeout : undefined)),
  ]
  return Math.max(WORK_TIMEOUT_MS, ...heads.map((head) => durationOf(head ?? `${HEAD_MS}ms`)))
}

function isText(said: string | UpstreamEntry): said is string {
  return typeof said === 'string'
}

async function upstreamsOf(
  source: Source,
  secrets: Secrets,
): Promise<Readonly<Record<string, UpstreamSettings>>> {
  const found = Object.entries(source.document.upstreams).map(async ([name, said]) => {
    if (isText(said)) return [name, { url: said }] as const
    const { url, secret, host, http2, ca, connections, requests, timeouts = {} } = said
    const at: Steps = ['upstreams', name]
    return [
      name,
      {
        url,
        ...(secret && { secret: await secrets.text(secret, [...at, 'secret']) }),
        ...(host && { host }),
        ...(http2 !== undefined && { http2 }),
        ...(ca !== undefined && { ca: await readBeside(source, ca, [...at, 'ca']) }),
        ...(connections !== undefined && { connectionsMax: connections }),
        ...(requests !== undefined && { requestsMax: requests }),
        ...ms('connectMs', timeouts.connect),
        ...ms('headMs', timeouts.head),
        ...ms('idleMs', timeouts.idle),
      },
    ] as const
  })
  return Object.fromEntries(await Promise.all(found))
}

function ms<K extends string>(name: K, text: string | undefined): { readonly [_ in K]?: number } {
  return (text === undefined ? {} : { [name]: durationOf(text) }) as { readonly [_ in K]?: number }
}

/** Every path that no route names, where the document opens them. */
const REST = '* /*'

async function routesOf(
  source: Source,
  secrets: Secrets,
  clock: Clock | undefined,
): Promise<GatewayRoutes> {
  const { routes, default: rest = 'closed', sizes } = source.document
  const bodyBytesMax = sizes?.body === undefined ? {} : { bodyBytesMax: sizeOf(sizes.body) }
  const found = Object.entries(routes).map(async ([key, said]) => {
    const at: Steps = ['routes', key, 'headers']
    const entry = isEntry(said) ? said : {}
    const { upstream, rewrite, headers, timeout, bodyMax, meter, priceService } = entry
    const { fallback } = entry
    const priced: Steps = ['routes', key, 'priceService']
    const service = priceService && (await openPrice(source, priceService, priced, clock))
    const route: GatewayRoute = {
      sale: saleOf(said, service),
      ...bodyBytesMax,
      ...(upstream !== undefined && { upstream }),
      ...(rewrite !== undefined && { rewrite }),
      ...(meter && { counts: countsOf(meter) }),
      ...ms('headMs', timeout),
      ...fallbackOf(fallback),
      ...(bodyMax !== undefined && { bodyBytesMax: sizeOf(bodyMax) }),
      ...(headers?.request && {
        requestFields: await rulesOf(headers.request, [...at, 'request'], secrets),
      }),
      ...(headers?.response && {
        answerFields: await rulesOf(headers.response, [...at, 'response'], secrets),
      }),
    }
    return [key, route] as const
  })
  const named: GatewayRoutes = Object.fromEntries(await Promise.all(found))
  if (rest === 'closed' || REST in named) return named
  const to = typeof rest === 'object' ? { upstream: rest.upstream } : {}
  return { ...named, [REST]: { sale: 'free', ...bodyBytesMax, ...to } }
}

function fallbackOf(said: RouteEntry['fallback']): Pick<GatewayRoute, 'fallback' | 'queueing'> {
  if (said === undefined) return {}
  if (said === 'queue') return { queueing: { withinMs: TASK_MS, repeat: false } }
  if ('cached' in said)
    return { fallback: { ageMs: durationOf(said.cached), isCharged: said.charged ?? true } }
  return { queueing: { withinMs: durationOf(said.queue), repeat: said.repeat ?? false } }
}

async function rulesOf(
  { set = {}, remove }: FieldsEntry,
  at: Steps,
  secrets: Secrets,
): Promise<FieldRules> {
  const read = Object.entries(set).map(
    async ([name, ref]) => [name, await secrets.text(ref, [...at, 'set', name])] as const,
  )
  return { set: Object.fromEntries(await Promise.all(read)), ...(remove && { remove }) }
}

/** Where a document says that payers ask, and with which certificate. */
export async function listenOf(source: Source): Promise<ListenSettings> {
  const { listen, timeouts = {}, sizes } = source.document
  const tls = await tlsOf(source)
  return {
    ...addressOf(isEntryOfListen(listen) ? listen.address : listen),
    ...(tls && { tls }),
    ...ms('requestMs', timeouts.request),
    ...ms('requestHeadMs', timeouts.requestHead),
    ...ms('keepAliveMs', timeouts.keepAlive),
    ...(sizes?.requestHead !== undefined && { requestHeadBytesMax: sizeOf(sizes.requestHead) }),
  }
}

/** Where health is asked. */
export function adminOf({ document: { admin } }: Source): ListenSettings | undefined {
  return admin === undefined ? undefined : addressOf(admin)
}

/** Certificate and key, read anew. */
export async function tlsOf(source: Source): Promise<Tls | undefined> {
  const { listen } = source.document
  const tls = isEntryOfListen(listen) ? listen.tls : undefined
  if (!tls) return undefined
  const at: Steps = ['listen', 'tls']
  return {
    cert: await readBeside(source, tls.cert, [...at, 'cert']),
    key: await readBeside(source, tls.key, [...at, 'key']),
  }
}

function isEntryOfListen(listen: Document['listen']): listen is ListenEntry {
  return typeof listen === 'object'
}

/** A port alone is on this machine only. */
function addressOf(said: string | number): { readonly host: string; readonly port: number } {
  if (typeof said === 'number') return { host: '127.0.0.1', port: said }
  const cut = said.lastIndexOf(':')
  const host = said.slice(0, cut).replaceAll(/^\[|\]$/g, '')
  return { host: host === '' ? '0.0.0.0' : host, port: Number(said.slice(cut + 1)) }
}
