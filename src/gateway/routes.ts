import type { Routes, RouteValue } from '../adapters/routes.ts'
import { readRoutes } from '../adapters/routes.ts'
import type { Plan } from '../core/plan.ts'
import type { MeterSettings } from '../meters/meters.ts'
import { GIVEN } from './fallback.ts'
import type { Fallback } from './fallback.ts'
import type { FieldRules } from './fields.ts'
import type { Queueing } from './queue.ts'
import { createRewrite } from './target.ts'

/** Largest body of a request that a route takes unread (`body: 'free'`), and of free routes: a gibibyte. */
export const REQUEST_BYTES_MAX = 1_073_741_824

/** Where a route's requests go, beside what they cost. */
export interface Passage {
  /** The upstream's name; the only one if absent. */
  readonly upstream?: string
  /** The path there: `/api/*`. As it came if absent. */
  readonly rewrite?: string
  readonly requestFields?: FieldRules
  readonly answerFields?: FieldRules
  /** How long the upstream may take until the head of its answer. */
  readonly headMs?: number
  /** What its answers are counted by, where the sale has a `meter`. */
  readonly counts?: MeterSettings
  /** What a paid `GET` is answered while the upstream is away. Not together with `counts`. */
  readonly fallback?: Fallback
  /** Paid requests wait while the upstream is away. Not together with `counts`, `fallback` and a `task`. */
  readonly queueing?: Queueing
  /** {@link REQUEST_BYTES_MAX} if absent. Bodies that a payment is bound to are smaller by the door's own limit. */
  readonly bodyBytesMax?: number
}

/** A route of a gateway: a price or `free`, what the door is told of a sale, and where it goes. */
export interface GatewayRoute extends Passage {
  readonly sale: RouteValue
}

/** What is sold where, and where it goes. Keys are those of `Routes`. */
export type GatewayRoutes = Readonly<Record<string, GatewayRoute>>

/** Where a request goes. */
export interface Way<T> {
  /** The route's key. */
  readonly key: string
  readonly passage: T
  /** The path at the upstream, where it is another. */
  readonly rewrite: ((path: string) => string) | undefined
}

/** The ways of a gateway. */
export interface Ways<T> {
  /** What the door is told. */
  readonly routes: Routes
  /** Undefined where nothing is declared, or what is could be two things. */
  find(method: string, path: string): Way<T> | undefined
}

/**
 * Reads the routes, each with what `open` makes of its passage. An upgrade that was paid for has succeeded when it is made.
 * @throws {RangeError} with a sentence, for what cannot be meant.
 */
export function readWays<T>(
  routes: GatewayRoutes,
  plans: ReadonlyMap<string, Plan>,
  open: (passage: Passage, key: string) => T,
): Ways<T> {
  const entries = Object.entries(routes)
  const ways = new Map(
    entries.map(([key, route]) => {
      const { rewrite } = route
      const way: Way<T> = {
        key,
        passage: open(route, key),
        rewrite: rewrite === undefined ? undefined : createRewrite(key, rewrite),
      }
      return [key, way]
    }),
  )
  const sold: Routes = Object.fromEntries(entries.map(([key, route]) => [key, soldAs(key, route)]))
  const table = readRoutes(sold, plans)
  // The door's table does not say which free route it is, so these have a table of their own, at a price that nobody pays.
  const free = entries.filter(([, { sale }]) => sale === 'free')
  const priced = readRoutes(Object.fromEntries(free.map(([key]) => [key, '1 USD'])))
  return {
    routes: sold,
    find(method, path) {
      const found = table.find(method, path)
      const named = found === 'free' ? priced.find(method, path) : found
      return typeof named === 'object' && 'key' in named ? ways.get(named.key) : undefined
    },
  }
}

function soldAs(key: string, { sale, fallback, counts, queueing }: GatewayRoute): RouteValue {
  if (sale === 'free' && queueing)
    throw new RangeError(`The route "${key}" is free: only what is paid for waits in a queue.`)
  if (sale === 'free') return sale
  const said = typeof sale === 'string' ? { price: sale } : sale
  if (queueing) {
    if (fallback ?? counts ?? said.task)
      throw new RangeError(`The route "${key}" has a queue: it has no "meter" and no "task".`)
    return {
      success: isServed,
      ...said,
      task: { withinMs: queueing.withinMs, perhaps: true },
      description: [said.description, queuedFor(queueing)].filter(Boolean).join(' '),
    }
  }
  if (!fallback) return { success: isServed, ...said }
  if (counts ?? said.task)
    throw new RangeError(`The route "${key}" has a fallback: it has no "meter" and no "task".`)
  return {
    success: (status) => isServed(status) && (fallback.isCharged || status !== GIVEN),
    ...said,
    description: [said.description, termsOf(fallback)].filter(Boolean).join(' '),
  }
}

/** What a payer is told before he pays. */
function termsOf({ ageMs, isCharged }: Fallback): string {
  const age = `at most ${Math.ceil(ageMs / 1000)} seconds old`
  return `While the service behind is away, its last answer is given, ${age}, ${isCharged ? 'for the same price' : 'for nothing'}.`
}

function queuedFor({ withinMs }: Queueing): string {
  const seconds = Math.ceil(withinMs / 1000)
  return `While the service behind is away, the request is taken (202) and waits for it, ${seconds} seconds at most; what was not done by then is paid back.`
}

/** Which answers on a route are charged. */
export function isSuccess(sale: RouteValue): (status: number) => boolean {
  return (typeof sale === 'object' && 'success' in sale && sale.success) || isServed
}

/** Also a connection that was upgraded. */
function isServed(status: number): boolean {
  return (status >= 200 && status < 300) || status === 101
}
