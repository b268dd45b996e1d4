import type { Price, PriceItem } from '../core/money.ts'
import { readPrice, rescale, writePrice } from '../core/money.ts'
import type { Measure, Plan } from '../core/plan.ts'
import type { Fields, Sale, SettlePoint } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import type { Tiers } from './rates.ts'
import { TASK_MS, TASK_MS_MAX } from './tasks.ts'

/** Longest path that is looked at, in characters. */
export const PATH_CHARS_MAX = 8_192
/** Most segments of a pattern; they are counted in the bits of one number. */
export const PATTERN_SEGMENTS_MAX = 30

/** What a price function is told of the request. */
export interface PriceRequest {
  readonly method: string
  /** The address as the payer wrote it. */
  readonly url: string
  readonly path: string
  /** Without the question mark. */
  readonly query: string
  /** What stood in the place of each `:name`, decoded. */
  readonly params: Readonly<Record<string, string>>
  readonly fields: Fields
  /** The body, where the route binds it and the request brought one. */
  readonly body?: Uint8Array
}

/** A price as it is written: `0.01 USD`, or the same in several currencies, `['0.01 USD', '15 SAT']`. */
export type PriceText = string | readonly string[]

/** One line of what a price is made of: `{ what: 'pages', quantity: 3, unit: 'page', amount: '0.03 USD' }`. */
export interface PriceLine {
  readonly what: string
  readonly quantity: string | number | bigint
  readonly unit: string
  readonly amount: string
}

/** A price with what it is made of. The lines are in one currency, and add up to the price in that. */
export interface Priced {
  readonly price: PriceText
  readonly breakdown?: readonly PriceLine[]
}

/**
 * Decides the price of one request. One of which it cannot be told is refused by throwing a `PaymentError` of the code
 * `request-unpriced`, whose message is sent to who asks.
 */
export type PriceOf = (request: PriceRequest) => PriceText | Priced | Promise<PriceText | Priced>

/** A paid route with all that can be said of it. */
export interface Paid {
  /** Absent where a plan is sold. */
  readonly price?: PriceText | PriceOf
  /** The plan that is sold here: paid by a token of it, and whoever has none is offered one. */
  readonly plan?: string
  /** Plans whose tokens pay too. Those with a balance pay wherever there is a price in its currency. */
  readonly takes?: readonly string[]
  /**
   * The price is known at the end: the work counts by `meterOf(request)`. `unit` is held at a time, `most` is the most that a
   * request may cost. What is sold is then a `plan` with a balance in the same currency.
   */
  readonly meter?: { readonly unit: string; readonly most?: string }
  /**
   * The request is answered 202 and its work goes on (`startTask`): its result is fetched where the answer says, and what was
   * charged for work that fails goes back, less the part that was done. Money moves before the work. `withinMs`: how long it
   * may take; an hour if absent. Needs a seller with a vault. `perhaps`: the work may as well be done at once, and its answer is
   * then paid like any other, `before-response`.
   */
  readonly task?: boolean | { readonly withinMs: number; readonly perhaps?: boolean }
  /** When the money moves; `before-response` if absent. */
  readonly settle?: SettlePoint
  /** `automatic`: money that moved before the work goes back by itself when the work fails. Else the payment stays good. */
  readonly refund?: 'automatic'
  /** Which answers are charged; 200 to 299 if absent. */
  readonly success?: (status: number) => boolean
  /** `bind` (the default): a payment holds for this very body, which the door reads. `free`: any body, unread. */
  readonly body?: 'bind' | 'free'
  /**
   * Whether an answer of up to a mebibyte is held back until it is whole, and kept for whoever lost it: the same proof
   * fetches the same bytes. Needs a seller with a vault. Offers are then made one by one, which costs a little.
   */
  readonly keep?: boolean
  /** What each caller has for nothing: `3/d`. Who it is, the seller's `limits` say. */
  readonly free?: string
  /** Limits of this route by tier, beside those of the seller: `{ unpaid: '10/m' }`. */
  readonly limits?: Tiers
  /** What is sold, for people. */
  readonly description?: string
  /** Media type of what is sold. */
  readonly mimeType?: string
  /** Names of the rails that may be used; all if absent. */
  readonly rails?: readonly string[]
  /** The account that earns; `sales/` and the route's key if absent. */
  readonly account?: string
}

/** A price (`0.01 USD`), `free`, or a paid route in full. */
export type RouteValue = string | Paid

/**
 * What is sold where. A key is a verb, a space and a pattern: `GET /report/:id`. No verb, or `*`, means all verbs; `:name`
 * stands for one segment, a last segment `*` for any rest. `HEAD` follows `GET`. A path that matches nothing is closed;
 * `{ '* /*': 'free' }` opens all the rest.
 */
export type Routes = Readonly<Record<string, RouteValue>>

/** A paid route, read and checked. */
export interface Route {
  readonly key: string
  /** The verb in capitals, or `*`. */
  readonly verb: string
  readonly prices: readonly Price[] | PriceOf
  readonly success: (status: number) => boolean
  readonly body: 'bind' | 'free'
  /** The sale without its price. */
  readonly sale: Omit<Sale, 'prices'>
  readonly free?: string
  readonly limits?: Tiers
  /** How long the work may go on after its answer, in milliseconds. */
  readonly task?: number
  /** A path that matches. */
  readonly sample: string
}

/** The route table, ready to be asked. */
export interface Table {
  /** The paid route of a request, `free`, or why it is refused. `HEAD` asks for `GET`, `OPTIONS` for every verb. */
  find(method: string, path: string): Route | 'free' | Problem
  /** What stands in the place of each `:name`. */
  params(route: Route, path: string): Readonly<Record<string, string>>
  readonly paid: readonly Route[]
}

type Segment =
  | { readonly kind: 'text'; readonly text: string; readonly wide: string }
  | { readonly kind: 'param'; readonly name: string }

interface Pattern {
  readonly key: string
  readonly verb: string
  readonly path: string
  readonly segments: readonly Segment[]
  readonly tail: boolean
}

interface Entry extends Pattern {
  readonly value: Route | 'free'
}

/**
 * Reads a route table.
 *
 * A paid pattern matches every spelling that any router could take for it: other case, percent-encoding, repeated or
 * trailing slashes, what stands before a semicolon. A path that routers read differently is refused. Paid wins over free,
 * with one exception: a free path without `:name` or `*`, sent exactly as declared, is free below a paid pattern.
 * Without the plans their names are not looked up, and no prices are known of what sells them.
 * @throws {RangeError} with a sentence, for a price, key or member that cannot be meant.
 */
export function readRoutes(routes: Routes, plans?: ReadonlyMap<string, Plan>): Table {
  const entries = Object.entries(routes).map(([key, value]) => readEntry(key, value, plans))
  checkTwins(entries)
  const ordered = entries.toSorted(bySpecificity)
  const paid = ordered.filter(isPaid)
  const free = ordered.filter((entry) => !isPaid(entry))
  const exact = new Map(entries.filter(isLiteral).map((e) => [`${e.verb} ${e.path}`, e.value]))

  function look(method: string, path: string): Route | 'free' | Problem {
    const segments = readPath(path)
    if ('code' in segments) return segments
    const matches = (wide: boolean) => (entry: Entry) =>
      takes(entry.verb, method) && fits(entry, segments, wide)
    const found = paid.find(matches(true))
    const literal = found && paid.find(matches(false))
    if (literal && literal !== found) return ambiguous(TWO_ROUTES)
    return (found ?? free.find(matches(true)))?.value ?? undeclared
  }

  return {
    paid: paid.map((entry) => entry.value),
    find(method, path) {
      const verb = method === 'HEAD' ? 'GET' : method
      const known = exact.get(`${verb} ${path}`) ?? exact.get(`* ${path}`)
      if (known) return known
      const found = look(verb, path)
      const cut = path.indexOf(';')
      if (cut < 0 || (isProblem(found) && found.code === 'path-ambiguous')) return found
      // Some routers end the path at a semicolon.
      const shorter = look(verb, path.slice(0, cut))
      if (!isRoute(shorter) || shorter === found) return found
      return isRoute(found) ? ambiguous(TWO_ROUTES) : shorter
    },
    params(route, path) {
      const entry = paid.find((entry) => entry.value === route)
      const segments = readPath(path)
      if (!entry || 'code' in segments) return {}
      return named(entry, segments)
    },
  }
}

/** Whether a look-up ended in a refusal. */
export function isProblem(found: Route | 'free' | Problem): found is Problem {
  return typeof found === 'object' && 'code' in found
}

function isRoute(found: Route | 'free' | Problem): found is Route {
  return typeof found === 'object' && !('code' in found)
}

const undeclared = problem(
  'route-undeclared',
  'This service declares nothing at this path and method. Look up its address again.',
)

const TWO_ROUTES = 'It is two different routes of this service.'

function ambiguous(why: string): Problem {
  return problem('path-ambiguous', `The path can be read in more than one way. ${why}`)
}

/** The path's segments, decoded once; a problem if two routers could differ on them. */
function readPath(path: string): readonly string[] | Problem {
  if (path.length > PATH_CHARS_MAX)
    return ambiguous(`It has more than ${PATH_CHARS_MAX} characters.`)
  if (!path.startsWith('/')) return ambiguous('It has to begin with a slash.')
  if (!/^[!-~]*$/.test(path) || /[\\#?]/.test(path))
    return ambiguous('It holds a character that must be percent-encoded.')
  const segments = path.slice(1).split('/').map(decode)
  if (segments.includes(undefined))
    return ambiguous('It has a segment that does not decode to one plain name.')
  return segments as readonly string[]
}

/** One segment as a name: undefined for slashes, controls, dots, a second encoding, or bytes that are not UTF-8. */
function decode(segment: string): string | undefined {
  try {
    const name = segment.includes('%') ? decodeURIComponent(segment) : segment
    // oxlint-disable-next-line no-control-regex
    const strange = /[/\\\u0000-\u001f\u007f-\u009f]|%[0-9a-f]{2}|^\.{1,2}(;|$)/i
    return strange.test(name) ? undefined : name
  } catch {
    return undefined
  }
}

/** Wider than any router's way to ignore case. */
function fold(text: string): string {
  return text.toUpperCase().toLowerCase()
}

/**
 * Whether the segments fit. Bit i of `at` says that the first i segments of the pattern may be used up: an empty segment
 * (a repeated or trailing slash) may count as nothing, and to some routers also as an empty `:name`.
 */
function fits({ segments, tail }: Pattern, path: readonly string[], wide: boolean): boolean {
  const end = 1 << segments.length
  let at = 1
  for (const name of path) {
    if (tail && at & end) return true
    let next = name === '' && (wide || segments.length === 0) ? at : 0
    const said = wide ? fold(name) : name
    for (const [i, segment] of segments.entries())
      if (
        at & (1 << i) &&
        (segment.kind === 'param'
          ? wide || name !== ''
          : said === (wide ? segment.wide : segment.text))
      )
        next |= 1 << (i + 1)
    if (next === 0) return false
    at = next
  }
  return (at & end) !== 0
}

function takes(verb: string, method: string): boolean {
  return verb === '*' || verb === method || method === 'OPTIONS'
}

function named({ segments }: Pattern, path: readonly string[]): Readonly<Record<string, string>> {
  const names = path.filter((name) => name !== '')
  return Object.fromEntries(
    segments.flatMap((segment, i) =>
      segment.kind === 'param' ? [[segment.name, names[i] ?? '']] : [],
    ),
  )
}

function readEntry(key: string, value: RouteValue, plans?: ReadonlyMap<string, Plan>): Entry {
  const pattern = readKey(key)
  return { ...pattern, value: value === 'free' ? 'free' : readPaid(pattern, value, plans) }
}

function readKey(key: string): Pattern {
  const [, verb = '*', path = ''] = /^(?:(\S+) )?(\S+)$/.exec(key) ?? []
  const no = (why: string): RangeError =>
    new RangeError(`The route "${key}" is not one: ${why} Write it like "GET /report/:id".`)
  if (!path.startsWith('/')) throw no('its path does not begin with a slash.')
  if (!/^(\*|[A-Z][A-Z-]*)$/.test(verb)) throw no(`"${verb}" is not a verb in capitals.`)
  if (verb === 'HEAD') throw no('HEAD follows GET.')
  if (verb === 'OPTIONS') throw no('OPTIONS is never sold.')
  const tail = path.endsWith('/*')
  const trimmed = path.replace(/\/\*?$/, '')
  const names = trimmed === '' ? [] : trimmed.slice(1).split('/')
  if (names.length > PATTERN_SEGMENTS_MAX)
    throw no(`it has more than ${PATTERN_SEGMENTS_MAX} segments.`)
  const segments = names.map((name) => readSegment(name, no))
  const params = segments.flatMap((s) => (s.kind === 'param' ? [s.name] : []))
  if (new Set(params).size < params.length) throw no('two of its segments have the same name.')
  return { key, verb, path: trimmed === '' ? '/' : trimmed, segments, tail }
}

function readSegment(name: string, no: (why: string) => RangeError): Segment {
  if (/^:[A-Za-z_]\w*$/.test(name)) return { kind: 'param', name: name.slice(1) }
  if (name === '') throw no('it has an empty segment.')
  if (/[:*?#[\](){}\\;]/.test(name))
    throw no(`"${name}" is neither plain text nor :name, and * may only be the last segment.`)
  const text = decode(name)
  if (text === undefined) throw no(`"${name}" can be read in more than one way.`)
  return { kind: 'text', text, wide: fold(text) }
}

const members: ReadonlySet<string> = new Set<keyof Paid>([
  'price',
  'plan',
  'takes',
  'meter',
  'free',
  'limits',
  'settle',
  'task',
  'refund',
  'success',
  'body',
  'description',
  'mimeType',
  'rails',
  'account',
  'keep',
])

function readPaid(pattern: Pattern, value: RouteValue, plans?: ReadonlyMap<string, Plan>): Route {
  const { key, verb } = pattern
  const said: Paid = typeof value === 'string' ? { price: value } : value
  checkPaid(key, said)
  for (const name of [said.plan ?? [], said.takes ?? []].flat())
    if (plans && !plans.has(name))
      throw new RangeError(`The route "${key}" names a plan "${name}" that is not there.`)
  const plan = plans?.get(said.plan ?? '')
  const measure = said.meter && readMeasure(key, said.meter)
  checkBalance(key, plan, measure)
  const task = readTask(key, said)
  const isFirst = task !== undefined && !isPerhaps(said)
  const { price = [], settle = isFirst ? 'before-work' : 'before-response', body = 'bind' } = said
  const { account = plan ? `sales/plans/${plan.name}` : `sales/${key}` } = said
  const { description, mimeType, rails, takes, free, limits, refund } = said
  // The answer of a task is its address, which must not be lost.
  const keep = said.keep ?? (task !== undefined && !measure)
  return {
    key,
    verb,
    prices: plan ? plan.prices : typeof price === 'function' ? price : readTexts(key, price),
    success: said.success ?? ((status) => status >= 200 && status < 300),
    body,
    sale: {
      settle,
      account,
      ...(description !== undefined && { description }),
      ...(mimeType !== undefined && { mimeType }),
      ...(rails && { rails }),
      ...(keep && { keep }),
      ...(plan && { plan }),
      ...(takes && { takes }),
      ...(measure && { measure }),
      ...(refund && { refund }),
    },
    sample: sampleOf(pattern),
    ...(task !== undefined && { task }),
    ...(free !== undefined && { free }),
    ...(limits && { limits }),
  }
}

/** Whether the work of a task may be done at once. */
function isPerhaps({ task }: Paid): boolean {
  return typeof task === 'object' && task.perhaps === true
}

function readTask(key: string, said: Paid): number | undefined {
  const { task, settle } = said
  if (task === undefined || task === false) return undefined
  const no = (why: string): RangeError => new RangeError(`The task of the route "${key}" ${why}`)
  const point = isPerhaps(said) ? 'before-response' : 'before-work'
  if (settle !== undefined && settle !== point) throw no(`is paid "${point}".`)
  const withinMs = task === true ? TASK_MS : task.withinMs
  if (!Number.isSafeInteger(withinMs) || withinMs <= 0 || withinMs > TASK_MS_MAX)
    throw no(`takes whole milliseconds, up to ${TASK_MS_MAX}: say { withinMs: 3600000 }.`)
  return withinMs
}

function readMeasure(key: string, { unit, most, ...more }: NonNullable<Paid['meter']>): Measure {
  const no = (why: string): RangeError => new RangeError(`The meter of the route "${key}" ${why}`)
  const [stranger] = Object.keys(more)
  if (stranger !== undefined) throw no(`has a member "${stranger}" that means nothing.`)
  const said = { unit: readPrice(unit), ...(most !== undefined && { most: readPrice(most) }) }
  if (said.unit.amount === 0n) throw no('has a unit of nothing.')
  if (said.most && said.most.currency !== said.unit.currency)
    throw no('has a unit and a "most" in two currencies.')
  return said
}

function checkBalance(key: string, plan: Plan | undefined, measure: Measure | undefined): void {
  if (plan?.balance && !measure)
    throw new RangeError(
      `The route "${key}" sells the plan "${plan.name}", which is a balance. Give the route a price: the balance pays it. Or a "meter".`,
    )
  if (!measure || !plan) return
  const { currency } = measure.unit
  if (plan.balance?.currency !== currency)
    throw new RangeError(
      `The route "${key}" is metered in ${currency}, and its plan "${plan.name}" is no balance in that.`,
    )
}

/** Types do not hold for a table that was read from a file. */
function checkPaid(key: string, said: Paid): void {
  const no = (why: string): RangeError => new RangeError(`The route "${key}" ${why}`)
  if (typeof said !== 'object' || said === null)
    throw no('needs a price like "0.01 USD", or "free".')
  const stranger = Object.keys(said).find((name) => !members.has(name))
  if (stranger !== undefined) throw no(`has a member "${stranger}" that means nothing.`)
  if (said.plan !== undefined && said.price !== undefined)
    throw no('sells a plan, which has its price. Leave "price" out, or name the plan in "takes".')
  if (said.meter !== undefined && (typeof said.meter !== 'object' || said.plan === undefined))
    throw no('has a "meter": say { unit: "0.001 USD" }, and which "plan" with a balance pays it.')
  if (said.plan !== undefined && said.keep) throw no('sells a plan, whose answers are not kept.')
  if (said.plan === undefined && !isPrice(said.price))
    throw no(
      'needs a price: a text like "0.01 USD", several of them, or a function of the request.',
    )
  if (!['before-work', 'before-response', 'deferred', undefined].includes(said.settle))
    throw no('settles "before-work", "before-response" or "deferred".')
  if (!['automatic', undefined].includes(said.refund)) throw no('has a refund that is "automatic".')
  if (said.refund && said.settle !== 'before-work')
    throw no('gives money back by itself: that is for routes that settle "before-work".')
  if (!['bind', 'free', undefined].includes(said.body))
    throw no('has a body that is "bind" or "free".')
  if (said.rails && said.rails.length === 0)
    throw no('names no rail. Leave "rails" out to allow all.')
  if (![true, false, undefined].includes(said.keep)) throw no('has a "keep" that is true or false.')
  if (said.success !== undefined && typeof said.success !== 'function')
    throw no('has a "success" that is not a function of the status.')
}

function isPrice(said: unknown): boolean {
  const texts = Array.isArray(said) ? (said as readonly unknown[]) : [said]
  const all = texts.length > 0 && texts.every((text) => typeof text === 'string')
  return all || typeof said === 'function'
}

/** One price or several, in as many currencies. */
function readPrices(said: PriceText): readonly Price[] {
  const prices = [said].flat().map((text) => readPrice(text))
  if (new Set(prices.map(({ currency }) => currency)).size < prices.length)
    throw new RangeError('There are two prices in one currency. Leave one out.')
  return prices
}

/** Most lines of a breakdown, and most characters of each of its words. */
export const LINES_MAX = 32
export const WORD_CHARS_MAX = 80

/**
 * What a price function says, checked.
 * @throws {RangeError} for what is no price, and for a breakdown that does not add up.
 */
export function readPriced(said: PriceText | Priced): {
  readonly prices: readonly Price[]
  readonly breakdown?: readonly PriceItem[]
} {
  const { price, breakdown }: Priced = isPriced(said) ? said : { price: said }
  const prices = readPrices(price)
  if (!breakdown) return { prices }
  const items = readLines(breakdown)
  const [{ currency } = { currency: '' }] = items.map(({ amount }) => amount)
  const whole = prices.find((one) => one.currency === currency)
  const scale = Math.max(...items.map(({ amount }) => amount.scale), whole?.scale ?? 0)
  const unitsOf = (one: Price): bigint => rescale(one.amount, one.scale, scale, currency)
  const sum = items.reduce((count, { amount }) => count + unitsOf(amount), 0n)
  if (!whole || items.some(({ amount }) => amount.currency !== currency) || sum !== unitsOf(whole))
    throw new RangeError(
      `The breakdown of a price comes to ${writePrice({ currency, amount: sum, scale })}, and the price does not.`,
    )
  return { prices, breakdown: items.map((one) => ({ ...one, amount: writePrice(one.amount) })) }
}

function isPriced(said: PriceText | Priced): said is Priced {
  return typeof said === 'object' && 'price' in said
}

interface Line extends Omit<PriceItem, 'amount'> {
  readonly amount: Price
}

function readLines(said: readonly PriceLine[]): readonly Line[] {
  if (!Array.isArray(said) || said.length === 0 || said.length > LINES_MAX)
    throw new RangeError(`A breakdown has between one and ${LINES_MAX} lines.`)
  return said.map((line: PriceLine) => {
    const { what, quantity: count, unit, amount } = line
    const quantity = String(count)
    const words = [what, unit, quantity]
    const fits = words.every((word) => typeof word === 'string' && word.length <= WORD_CHARS_MAX)
    if (!fits || !/^\d+(?:\.\d+)?$/.test(quantity))
      throw new RangeError(
        'A line of a breakdown has "what", a "quantity", a "unit" and an "amount".',
      )
    return { what, quantity, unit, amount: readPrice(amount) }
  })
}

function readTexts(key: string, said: PriceText): readonly Price[] {
  try {
    const prices = readPrices(said)
    if (prices.some(({ amount }) => amount === 0n))
      throw new RangeError('A price of nothing is written "free".')
    return prices
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : ''
    throw new RangeError(`The route "${key}" has no good price. ${why}`, { cause })
  }
}

function sampleOf({ segments, tail }: Pattern): string {
  const names = segments.map((s) => (s.kind === 'param' ? 'probe' : encodeURIComponent(s.text)))
  return `/${[...names, ...(tail ? ['probe'] : [])].join('/')}`
}

function isPaid(entry: Entry): entry is Entry & { readonly value: Route } {
  return entry.value !== 'free'
}

function isLiteral({ segments, tail }: Pattern): boolean {
  return !tail && segments.every((segment) => segment.kind === 'text')
}

/** Two keys that mean the same to some router, so that nobody can tell which one holds. */
function checkTwins(entries: readonly Entry[]): void {
  const seen = new Map<string, string>()
  for (const { key, verb, segments, tail } of entries) {
    const shape = segments.map((s) => (s.kind === 'param' ? ':' : s.wide))
    const same = `${verb} /${[...shape, ...(tail ? ['*'] : [])].join('/')}`
    const twin = seen.get(same)
    if (twin !== undefined)
      throw new RangeError(`The routes "${twin}" and "${key}" are the same to a router. Keep one.`)
    seen.set(same, key)
  }
}

/** Text before names before the rest, segment by segment; then a verb before all verbs. */
function bySpecificity(a: Entry, b: Entry): number {
  const rank = (entry: Entry, i: number): number => {
    const segment = entry.segments[i]
    if (segment) return segment.kind === 'text' ? 0 : 1
    return entry.tail ? 2 : 3
  }
  for (let i = 0; i <= Math.max(a.segments.length, b.segments.length); i++) {
    const order = rank(a, i) - rank(b, i)
    if (order !== 0) return order
  }
  return Number(a.verb === '*') - Number(b.verb === '*')
}
