import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { createCallers } from '../adapters/callers.ts'
import type { CallerSettings } from '../adapters/callers.ts'
import { createDoor } from '../adapters/http.ts'
import { send } from '../adapters/head.ts'
import type { Incoming, Open, Seller } from '../adapters/http.ts'
import { lend } from '../adapters/meter.ts'
import { afterWelcome, hasBody, incomingOf, pass } from '../adapters/node.ts'
import { createLocator } from '../adapters/origin.ts'
import { lastingOf, lendTask } from '../adapters/tasks.ts'
import { systemChance, uuid } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import type { Read } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { createMeters, createSocketMeters } from '../meters/meters.ts'
import type { Counter, Exchange, SocketCounter } from '../meters/meters.ts'
import { createFallbacks } from './fallback.ts'
import { createAnswerFields, createRequestFields } from './fields.ts'
import type { AnswerFields, FieldRules, RequestFields } from './fields.ts'
import { hostUnknown, refuse, sendRefusal, undeclared, unreadable } from './problems.ts'
import { relay } from './relay.ts'
import { relayTask } from './tasks.ts'
import type { Trip } from './relay.ts'
import type { GatewayRoutes, Passage, Way } from './routes.ts'
import { isSuccess, readWays, REQUEST_BYTES_MAX } from './routes.ts'
import { isForSocket } from './server.ts'
import { readTarget } from './target.ts'
import type { Target } from './target.ts'
import type { Trusted } from './trust.ts'
import { createQueue, QUEUE_DRAIN_MS } from './queue.ts'
import type { QueueWay, Sender } from './queue.ts'
import { refuseUpgrade, upgrade } from './upgrade.ts'
import type { Upstream, UpstreamSettings } from './upstream.ts'
import { openUpstream } from './upstream.ts'
import { createWatch } from './watch.ts'
import type { Brought, Paid, Watch } from './watch.ts'

/** What a gateway does with requests, whatever they come in by. */
export interface HouseSettings {
  readonly seller: Seller
  readonly routes: GatewayRoutes
  readonly upstreams: Readonly<Record<string, UpstreamSettings>>
  /** Proxies of ours in front of the gateway; nobody's word is believed if absent. */
  readonly proxies?: CallerSettings
  /** Has heard the gate's events, so that upstreams can be told who has paid; its own if absent. */
  readonly watch?: Watch
  /** Only to be looked at: what is queued is left to others. */
  readonly isTrial?: boolean
}

/** A gateway's inside: what one configuration has made. It serves until it is closed, and then ends what it has begun. */
export interface House {
  serve(request: IncomingMessage, response: ServerResponse): void
  /** For a payer that asks before it sends its body. */
  checkContinue(request: IncomingMessage, response: ServerResponse): void
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** Ends the tasks that run, whose work would be waited for: the process ends. */
  interrupt(): Promise<void>
  /** Ends the upstreams' connections, when they have nothing more to do. */
  close(): Promise<void>
}

/** A route's passage with what is needed for each request. */
interface OpenPassage extends Passage {
  readonly to: Upstream
  readonly takes: RequestFields
  readonly gives: AnswerFields
  readonly counters: ((exchange: Exchange) => Counter) | undefined
  readonly sockets: (() => SocketCounter) | undefined
}

/** One request, and what is known of it before the door. */
export interface Visit {
  readonly request: IncomingMessage
  readonly incoming: Incoming
  /** The fields of the same, by which it is known at the gate. */
  readonly brought: Brought
  readonly target: Target
}

/**
 * Makes the inside of a gateway.
 * @throws {RangeError} with a sentence, for what cannot be meant.
 */
export function createHouse(settings: HouseSettings): House {
  const { watch = createWatch(), proxies = {} } = settings
  const seller = watch.seller(settings.seller)
  const { clock = systemClock, chance = systemChance, observe, protocols } = seller
  const upstreams = new Map(
    Object.entries(settings.upstreams).map(([name, said]) => [name, openUpstream(name, said)]),
  )
  const brought = protocols.flatMap((one) => one.fields.request.map((name) => name.toLowerCase()))
  const shared = brought.filter((name) => isShared.has(name))
  const payment = brought.filter((name) => !isShared.has(name))
  const sharing = protocols.filter(({ fields }) =>
    fields.request.some((name) => name.toLowerCase() === 'authorization'),
  )
  /** Where queued requests go. */
  const queueWays = new Map<string, QueueWay>()
  const ways = readWays(settings.routes, seller.plans ?? new Map(), openPassage)
  const door = createDoor(seller, ways.routes)
  const locate = createLocator(seller.origin)
  const fallbacks = createFallbacks()
  const isProxy = createProxyCheck(proxies)
  const newId = (): string => uuid(chance)
  const { tasks } = seller.gate
  const queue =
    tasks && queueWays.size > 0
      ? createQueue({
          ...{ tasks, clock, chance },
          wayOf: (route) => queueWays.get(route),
          fault: (where, error) => observe?.({ type: 'fault', at: clock.now(), where, error }),
        })
      : undefined
  if (!settings.isTrial) queue?.start()

  function openPassage(passage: Passage, key: string): OpenPassage {
    const name = passage.upstream ?? (upstreams.size === 1 ? [...upstreams.keys()][0] : undefined)
    const to = upstreams.get(name ?? '')
    if (!to)
      throw new RangeError(
        name === undefined
          ? `The route "${key}" must say which upstream it goes to: there are ${upstreams.size}.`
          : `The route "${key}" goes to an upstream "${name}" that is not there.`,
      )
    const gives = createAnswerFields(passage.answerFields)
    const { queueing, headMs } = passage
    const sale = settings.routes[key]?.sale
    if (queueing && sale)
      queueWays.set(key, {
        ...{ upstream: to, answerFields: gives, headMs },
        isSuccess: isSuccess(sale),
      })
    return {
      ...{ ...passage, to, gives },
      takes: createRequestFields(payment, shared, readable(passage)),
      counters: passage.counts && createMeters(passage.counts),
      sockets: passage.counts && createSocketMeters(passage.counts),
    }
  }

  /** What must be known before the door, or why it is closed already. */
  function enter(request: IncomingMessage): Visit | Problem {
    const target = readTarget(request.url ?? '')
    if (!target) return unreadable
    const { method = 'GET' } = request
    // It would show the payer what the upstream alone is told.
    if (method === 'TRACE' || method === 'CONNECT') return undeclared
    const said = incomingOf(request, target.whole)
    const brought = watch.bring(said.fields)
    return { request, brought, incoming: { ...said, fields: brought }, target }
  }

  /** Where what the door has let in goes, or why it is closed. */
  function find({ incoming, target }: Visit): Way<OpenPassage> | Problem {
    if (!locate(incoming)) return hostUnknown
    return ways.find(incoming.method, target.path) ?? undeclared
  }

  function forward(visit: Visit, response: ServerResponse, open?: Open): unknown {
    const { request } = visit
    const way = find(visit)
    if ('code' in way) return sendRefusal(response, refuse(way, newId()))
    if (way.passage.counters) lend(request, open?.meter)
    const own = isOwn(visit)
    if (open) lendTask(request, open.lasting)
    const lasting = lastingOf(request)
    const go = (isOurs: boolean): unknown => {
      const trip = { ...tripOf(visit, way, request, response, isOurs), open }
      const { fallback, queueing } = way.passage
      // What is given for nothing does not wait.
      if (queue && queueing && lasting && lasting.holder !== '')
        return queue.serve(trip, lasting, queueing, senderOf(visit, trip.id()))
      if (lasting && !queueing) return relayTask(trip, lasting)
      const isGet = visit.incoming.method === 'GET'
      return fallback && isGet ? fallbacks.serve(trip, fallback) : relay(trip)
    }
    return own instanceof Promise ? own.then(go) : go(own)
  }

  function tripOf(
    visit: Visit,
    way: Way<OpenPassage>,
    request: IncomingMessage,
    response: ServerResponse,
    own: boolean,
  ): Omit<Trip, 'open'> {
    const { passage } = way
    const { paid } = visit.brought
    let made: string | undefined
    const id = (): string => paid?.request ?? (made ??= newId())
    return {
      ...{ request, response, upstream: passage.to, route: way.key, id },
      ...dressed(visit, way, id, own),
      answerFields: passage.gives,
      keeps: paid?.keeps ?? false,
      isFree: paid === undefined,
      bodyBytesMax: passage.bodyBytesMax ?? REQUEST_BYTES_MAX,
      headMs: passage.headMs,
      counters: passage.counters,
      clock,
      fault: (where, error) =>
        observe?.({ type: 'fault', at: clock.now(), request: id(), where, error }),
    }
  }

  /** The request as the upstream sees it. */
  function dressed(
    { request, incoming, brought, target: { path, query, whole } }: Visit,
    { passage, rewrite }: Way<OpenPassage>,
    id: () => string,
    own: boolean,
  ): { readonly target: string; readonly head: string[] } {
    const { to } = passage
    const { method } = incoming
    const target = rewrite || to.base ? to.base + (rewrite?.(path) ?? path) + query : whole
    const head = passage.takes.pick(request, own)
    const { authority = '', scheme = 'http' } = locate(incoming) ?? {}
    head.push('host', to.host ?? authority)
    head.push('x-forwarded-for', callersOf(request))
    head.push('x-forwarded-host', authority, 'x-forwarded-proto', scheme)
    if (to.sign) head.push(...to.sign(method, target, trustedOf(brought.paid, id())))
    return { target, head }
  }

  function senderOf({ incoming, brought: { paid } }: Visit, id: string): Sender {
    return { authority: locate(incoming)?.authority ?? '', trusted: trustedOf(paid, id) }
  }

  function trustedOf(paid: Paid | undefined, request: string): Trusted {
    const time = Math.floor(clock.now() / 1000)
    return {
      request,
      time,
      key: paid?.key,
      payer: paid?.payer,
      account: paid?.account,
      plan: paid?.plan,
    }
  }

  /** Who asks, as far as we believe those who say so. */
  function callersOf({ socket, headers }: IncomingMessage): string {
    const peer = socket.remoteAddress ?? 'unknown'
    // Proxies that write the other field let this one through as a stranger wrote it.
    const said = proxies.field === 'forwarded' ? undefined : headers['x-forwarded-for']
    return said !== undefined && isProxy(socket.remoteAddress) ? `${String(said)}, ${peer}` : peer
  }

  /** Whether what stands in `Authorization` is of ours, which no upstream needs to see. */
  function isOwn({ incoming, brought: { paid } }: Visit): boolean | Promise<boolean> {
    const { fields } = incoming
    if (fields.get('authorization') === undefined) return false
    if (sharing.some((protocol) => protocol.name === paid?.by.name)) return true
    const { method, target } = incoming
    const [path = '', query = ''] = target.split('?', 2)
    const { authority = '', scheme = 'http' } = locate(incoming) ?? {}
    const url = `${scheme}://${authority}${target}`
    const resource = { realm: seller.realm, method, authority, path, query, url }
    return isRead(
      sharing.map((protocol) => protocol.readCredential(fields, resource)),
      0,
    )
  }

  function admit(request: IncomingMessage, response: ServerResponse, welcome?: () => void): void {
    const visit = enter(request)
    if ('code' in visit) {
      if (hasBody(request)) response.shouldKeepAlive = false
      return sendRefusal(response, refuse(visit, newId()))
    }
    const incoming = welcome ? afterWelcome(visit.incoming, welcome) : visit.incoming
    const entered = door.enter(incoming)
    // The hot path: nothing is settled, so that the head can be made in one go.
    if (!(entered instanceof Promise) && (entered.kind === 'go' || entered.kind === 'free')) {
      welcome?.()
      return letIn(visit, response, entered.kind === 'go' ? entered : undefined)
    }
    return pass({ ...door, enter: () => entered }, request, response, incoming, () => {
      welcome?.()
      return forward(visit, response)
    })
  }

  /** What goes wrong here costs this request alone. */
  function letIn(visit: Visit, response: ServerResponse, open: Open | undefined): void {
    const broken = (error: unknown): void => {
      if (response.headersSent) response.destroy()
      else send(response, door.fault('gateway', error))
    }
    try {
      const done = forward(visit, response, open)
      if (done instanceof Promise) done.catch(broken)
    } catch (error) {
      broken(error)
    }
  }

  return {
    serve: (request, response) => admit(request, response),
    checkContinue(request, response) {
      let welcomed = false
      admit(request, response, () => {
        if (!welcomed) response.writeContinue()
        welcomed = true
      })
    },
    upgrade(request, socket, head) {
      // Its body would be taken for what comes after the upgrade.
      if (!isForSocket(request) || hasBody(request))
        return refuseUpgrade(socket, { status: 501, head: ['Content-Length', '0'], body: '' })
      const visit = enter(request)
      if ('code' in visit) return refuseUpgrade(socket, refuse(visit, newId()))
      const way = find(visit)
      if ('code' in way) return refuseUpgrade(socket, refuse(way, newId()))
      return void upgrade({
        ...{ door, request, socket, head, incoming: visit.incoming, upstream: way.passage.to },
        answerFields: way.passage.gives,
        headMs: way.passage.headMs,
        counters: way.passage.sockets,
        plan: () => visit.brought.paid?.plan,
        ...{ clock, chance, newId },
        async dress() {
          const id = visit.brought.paid?.request ?? newId()
          return dressed(visit, way, () => id, await isOwn(visit))
        },
        fault: (where, error) => observe?.({ type: 'fault', at: clock.now(), where, error }),
      })
    },
    async interrupt() {
      await Promise.all([queue?.stop(QUEUE_DRAIN_MS), seller.gate.tasks?.close()])
    },
    async close() {
      await queue?.stop()
      await Promise.all([...upstreams.values()].map((upstream) => upstream.close()))
    },
  }
}

/** Whether one of them has found something of its own. */
function isRead(
  reads: readonly (Read | Promise<Read>)[],
  from: number,
): boolean | Promise<boolean> {
  for (const [i, read] of reads.entries()) {
    if (i < from) continue
    if (read instanceof Promise)
      return read.then((found) => found !== undefined || isRead(reads, i + 1))
    if (read) return true
  }
  return false
}

/** Fields in which a credential may be ours or the upstream's own. */
const isShared: ReadonlySet<string> = new Set(['authorization', 'dpop'])

/** What is counted must be read: such an answer is not compressed. */
function readable({ counts, fallback, requestFields = {} }: Passage): FieldRules {
  const { set, ...rest } = requestFields
  return (counts ?? fallback)
    ? { ...rest, set: { ...set, 'Accept-Encoding': 'identity' } }
    : requestFields
}

/** An address that nobody has (RFC 5737): who is called so was believed. */
const NOBODY = '192.0.2.1'

function createProxyCheck(proxies: CallerSettings): (address: string | undefined) => boolean {
  const nameOf = createCallers(proxies)
  const fields = { get: () => (proxies.field === 'forwarded' ? `for=${NOBODY}` : NOBODY) }
  return (address) => nameOf({ address, fields }) === `ip:${NOBODY}`
}
