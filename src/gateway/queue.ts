import { Buffer } from 'node:buffer'
import type { Dispatcher } from 'undici'
import { writeWhole } from '../adapters/kept.ts'
import { TASK_RESULT_BYTES_MAX, accepted, queueTask } from '../adapters/tasks.ts'
import type { Accepted, Lasting } from '../adapters/tasks.ts'
import type { Chance, Clock } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { Tasks, Turn } from '../core/task.ts'
import type { AnswerFields } from './fields.ts'
import { bodyTooLarge, refuse, refuseFor, sendRefusal } from './problems.ts'
import { relay } from './relay.ts'
import type { Trip } from './relay.ts'
import { bodyOf, pairsOf } from './tasks.ts'
import { TRUST_PREFIX } from './trust.ts'
import type { Trusted } from './trust.ts'
import type { Upstream } from './upstream.ts'

/** Largest body of a request on a route with a queue, in bytes: it is read before the upstream is asked. */
export const QUEUE_BODY_BYTES_MAX = 1_048_576
/** How long an upstream that is away is not asked, at first and at most; half of it is chance. */
export const QUEUE_PAUSE_MS = 1_000
export const QUEUE_PAUSE_MS_MAX = 30_000
/** How often a process looks for what waits. */
export const QUEUE_LOOK_MS = 1_000
/** Most queued requests that a process sends at once. */
export const QUEUE_AT_ONCE = 16
/** How long requests out of the queue may go on when the gateway stops. */
export const QUEUE_DRAIN_MS = 10_000

/** What a route does with paid requests while its upstream is away: they wait. */
export interface Queueing {
  /** How long at most; then what was paid goes back. */
  readonly withinMs: number
  /** Whether the upstream may be sent a request twice, whatever its method. */
  readonly repeat: boolean
}

/** Answers by which an upstream, or what stands before it, says that it is away. */
const away: ReadonlySet<number> = new Set([502, 503, 504])
/** Methods of which twice does no more than once (RFC 9110, 9.2.2). */
const idempotent: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])

/** Where a queued request goes, by the document of today. */
export interface QueueWay {
  readonly upstream: Upstream
  readonly answerFields: AnswerFields
  readonly headMs: number | undefined
  readonly isSuccess: (status: number) => boolean
}

/** What a queue is made of. */
export interface QueueParts {
  readonly tasks: Tasks
  readonly clock: Clock
  readonly chance: Chance
  /** Undefined where the route is not there any more, or has no queue. */
  readonly wayOf: (route: string) => QueueWay | undefined
  readonly fault: (where: string, error: unknown) => void
}

/** The queue of a gateway: what waits stands in the books, and every gateway that shares them works it off. */
export interface GatewayQueue {
  /** Asks the upstream; where it is away, and has surely not begun or may be asked twice, the request waits. */
  serve(trip: Trip, lasting: Lasting, queueing: Queueing, sender: Sender): Promise<void>
  /** Begins to work it off. */
  start(): void
  /** Takes up nothing more, and waits for what is under way; that time at most, where one is said. */
  stop(withinMs?: number): Promise<void>
}

/** What is said to an upstream of who asks. */
export interface Sender {
  /** The host that the payer has named. */
  readonly authority: string
  readonly trusted: Trusted
}

/** A request as it is kept. What says to whom it goes, and is signed, is written anew when it is sent. */
interface Kept extends Sender {
  readonly route: string
  readonly method: string
  readonly target: string
  readonly head: readonly string[]
}

/** Makes the queue. */
export function createQueue({ tasks, clock, chance, wayOf, fault }: QueueParts): GatewayQueue {
  const pauses = createPauses(clock, chance)
  const stopped = new AbortController()
  const cut = new AbortController()
  const active = new Set<Promise<void>>()
  let looking: Promise<void> | undefined

  function answer({ response }: Trip, { status, headers, body }: Accepted): void {
    if (!response.destroyed && !response.headersSent) response.writeHead(status, headers).end(body)
  }

  async function wait(
    trip: Trip,
    lasting: Lasting,
    work: Uint8Array,
    repeats: boolean,
  ): Promise<void> {
    try {
      const told = (error: unknown): void => fault('queue', error)
      answer(trip, await queueTask(lasting, { work, repeats }, told))
    } catch (error) {
      fault('queue', error)
      sendRefusal(trip.response, refuseFor('queue-full', trip.id()))
    }
  }

  async function serve(
    trip: Trip,
    lasting: Lasting,
    { repeat }: Queueing,
    sender: Sender,
  ): Promise<void> {
    const { request, response, upstream } = trip
    // Its payer has lost the answer: what waits, or was done, is not asked for again.
    const there = await lasting.tasks.of(lasting)
    if (there) return answer(trip, accepted(there))
    const body = await bodyOf(request, Math.min(trip.bodyBytesMax, QUEUE_BODY_BYTES_MAX))
    if (body === 'gone') return void response.destroy()
    if (body === 'too-large') {
      response.shouldKeepAlive = false
      return sendRefusal(response, refuse(bodyTooLarge, trip.id()))
    }
    const repeats = repeat || idempotent.has(request.method ?? 'GET')
    const later = (): Promise<void> => wait(trip, lasting, writeKept(trip, sender, body), repeats)
    if (pauses.restMs(upstream.name) > 0) return await later()
    const instead = {
      ...{ body, repeats },
      isAway: (status: number) => away.has(status),
      reached: () => pauses.good(upstream.name),
      wait(isSent: boolean): void {
        if (!isSent) pauses.bad(upstream.name)
        void later()
      },
    }
    relay({ ...trip, instead })
  }

  async function look(): Promise<void> {
    while (!stopped.signal.aborted) {
      await takeUp().catch((error: unknown) => fault('queue', error))
      await clock.sleep(QUEUE_LOOK_MS, stopped.signal)
    }
  }

  async function takeUp(): Promise<void> {
    const room = QUEUE_AT_ONCE - active.size
    if (room <= 0) return
    for (const turn of await tasks.take(room)) {
      const done = work(turn)
        .catch((error: unknown) => fault('queue', error))
        .finally(() => active.delete(done))
      active.add(done)
    }
  }

  /** One try at one request. */
  async function work(turn: Turn): Promise<void> {
    const { kept, body } = readKept(turn.work)
    const way = wayOf(kept.route)
    const pauseMs = pauseOf(turn.tries, chance)
    if (!way || stopped.signal.aborted) return await turn.later(way ? 0 : QUEUE_PAUSE_MS_MAX)
    const { upstream } = way
    const restMs = pauses.restMs(upstream.name)
    if (restMs > 0) return await turn.later(restMs)
    if (!upstream.enter()) return await turn.later(pauseMs)
    try {
      if (!(await turn.begin())) {
        if (clock.now() >= turn.untilAt) await turn.fail('late')
        return
      }
      await send(turn, way, kept, body, pauseMs)
    } finally {
      upstream.leave()
    }
  }

  async function send(
    turn: Turn,
    way: QueueWay,
    kept: Kept,
    body: Buffer,
    pauseMs: number,
  ): Promise<void> {
    const { name } = way.upstream
    const said = await ask(way, kept, body, clock, AbortSignal.any([turn.signal, cut.signal]))
    if ('error' in said) {
      fault(`upstream ${name}`, said.error)
      if (!said.isSent) pauses.bad(name)
      if (clock.now() >= turn.untilAt) return await turn.fail('late')
      if (said.error instanceof PaymentError) return await turn.fail(said.error.code)
      return await (turn.repeats || !said.isSent ? turn.later(pauseMs) : turn.fail('interrupted'))
    }
    const { status } = said
    if (turn.repeats && away.has(status)) return await turn.later(pauseMs)
    pauses.good(name)
    if (!way.isSuccess(status)) return await turn.fail(`status-${status}`)
    const head = Object.entries(pairsOf(way.answerFields(said.head)))
    await turn.done(writeWhole({ status, head, body: said.body }))
  }

  return {
    serve,
    start() {
      looking ??= look()
    },
    async stop(withinMs) {
      stopped.abort('stopped')
      await looking
      const over = new AbortController()
      const all = Promise.all(active).finally(() => over.abort('over'))
      if (withinMs !== undefined) await Promise.race([all, clock.sleep(withinMs, over.signal)])
      if (withinMs !== undefined) cut.abort('stopped')
      await all
    },
  }
}

/** Which upstreams are away: each is asked again after a pause that grows. */
interface Pauses {
  /** How long it is not asked; nothing when it may be. */
  restMs(name: string): number
  good(name: string): void
  bad(name: string): void
}

function createPauses(clock: Clock, chance: Chance): Pauses {
  const paused = new Map<string, { readonly times: number; readonly untilAt: number }>()
  return {
    restMs: (name) => Math.max((paused.get(name)?.untilAt ?? 0) - clock.now(), 0),
    good: (name) => void paused.delete(name),
    bad(name) {
      const { times = 0, untilAt = 0 } = paused.get(name) ?? {}
      // Those that were under way together have failed once.
      if (clock.now() < untilAt) return
      paused.set(name, { times: times + 1, untilAt: clock.now() + pauseOf(times, chance) })
    },
  }
}

/** Doubles with each try; half of it is chance, so that many do not come back as one. */
function pauseOf(tries: number, chance: Chance): number {
  const most = Math.min(QUEUE_PAUSE_MS * 2 ** Math.min(tries, 16), QUEUE_PAUSE_MS_MAX)
  const [byte = 0] = chance(1)
  return Math.round(most * (0.5 + byte / 512))
}

type Said =
  | { readonly status: number; readonly head: readonly (Buffer | string)[]; readonly body: Buffer }
  | { readonly error: Error; readonly isSent: boolean }

/** The whole answer, or why there is none. */
function ask(
  { upstream, headMs }: QueueWay,
  { method, target, head, authority, trusted }: Kept,
  body: Buffer,
  clock: Clock,
  signal: AbortSignal,
): Promise<Said> {
  const { promise, resolve } = Promise.withResolvers<Said>()
  const time = Math.floor(clock.now() / 1000)
  const signed = upstream.sign?.(method, target, { ...trusted, time }) ?? []
  const options: Dispatcher.DispatchOptions = {
    ...{ method, path: target, body: body.length > 0 ? body : null },
    headers: [...head, 'host', upstream.host ?? authority, ...signed],
    ...(headMs !== undefined && { headersTimeout: headMs }),
  }
  const chunks: Buffer[] = []
  let bytes = 0
  let isSent = false
  let abort: ((why: Error) => void) | undefined
  let begun: { readonly status: number; readonly head: readonly (Buffer | string)[] } | undefined
  const end = (): void => abort?.(new Error('The turn at this request is over.'))
  signal.addEventListener('abort', end, { once: true })
  const told = (said: Said): void => {
    signal.removeEventListener('abort', end)
    resolve(said)
  }
  upstream.dispatcher.dispatch(options, {
    onConnect(stop) {
      abort = stop
      if (signal.aborted) end()
      else isSent = true
    },
    onHeaders(status, raw) {
      if (status >= 200) begun = { status, head: raw }
      return true
    },
    onData(chunk) {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes > TASK_RESULT_BYTES_MAX) abort?.(tooLarge())
      return true
    },
    onComplete() {
      if (begun) told({ ...begun, body: Buffer.concat(chunks) })
    },
    onError: (error) => told({ error, isSent }),
  })
  return promise
}

function tooLarge(): PaymentError {
  return new PaymentError('body-too-large', 'The answer to a queued request is too long.')
}

function writeKept(trip: Trip, sender: Sender, body: Buffer): Uint8Array {
  const { route, target, request } = trip
  const own = (name: string): boolean => name === 'host' || name.startsWith(TRUST_PREFIX)
  const head = trip.head.filter((_, i) => !own((trip.head[i - (i % 2)] ?? '').toLowerCase()))
  const kept: Kept = { ...sender, route, target, head, method: request.method ?? 'GET' }
  return Buffer.concat([Buffer.from(`${JSON.stringify(kept)}\n`), body])
}

/** Reads back what was sealed by us and is whole. */
function readKept(work: Uint8Array): { readonly kept: Kept; readonly body: Buffer } {
  const bytes = Buffer.from(work)
  const end = bytes.indexOf(10)
  return {
    kept: JSON.parse(bytes.subarray(0, end).toString()) as Kept,
    body: bytes.subarray(end + 1),
  }
}
