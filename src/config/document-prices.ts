import * as v from 'valibot'
import type { PriceLine, PriceOf, PriceRequest } from '../adapters/routes.ts'
import type { Price as Amount } from '../core/money.ts'
import { readPrice, rescale, writePrice } from '../core/money.ts'
import type { Observe } from '../core/event.ts'
import type { Clock, Rates } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { eachOf, fixedRates, httpRates } from '../rates/index.ts'
import type { RatePair } from '../rates/index.ts'
import {
  Count,
  Decimal,
  Duration,
  FieldName,
  Flag,
  object,
  Price,
  say,
  SecretSchema,
  several,
  TextSchema,
  Url,
  Words,
} from './document-words.ts'
import { durationOf } from './document-words.ts'
import type { SecretRef, Several, TextRef } from './document-words.ts'

/** Most cases of one rule, and most things that are counted. */
export const CASES_MAX = 64
export const COUNTS_MAX = 8
/** Most units of one kind that a request may name, if its rule does not say. */
export const UNITS_MAX = 1_000_000

/** A price in a certain case. */
export interface CaseEntry {
  method?: string | undefined
  query?: Record<string, string> | undefined
  price: string
}

/** What is counted of a request, and what one of it costs. */
export interface CountEntry {
  unit: string
  price: string
  /** The parameter of the query that says how many. */
  query?: string | undefined
  /** The `:name` of the path that says it. */
  param?: string | undefined
  /** So many bytes of the request's body are one, each begun one counted. */
  bodyBytes?: number | undefined
  most?: number | undefined
  /** How many, where the request does not say. */
  otherwise?: number | undefined
}

/** A price by rules: a base, other ones in certain cases, and what is counted. */
export interface RuleEntry {
  base?: string | undefined
  when?: CaseEntry[] | undefined
  each?: Several<CountEntry> | undefined
}

/** A service that tells prices. */
export interface PriceServiceEntry {
  url: string
  secret: Several<SecretRef>
  headers?: string[] | undefined
  cache?: { by: string[]; for: string } | undefined
  timeout?: string | undefined
  plainHttp?: boolean | undefined
}

/** Where a rate is asked for. */
export interface RateSourceEntry {
  name?: string | undefined
  url: string
  pointer: string
  atPointer?: string | undefined
  headers?: Record<string, TextRef> | undefined
}

/** How the rate of a pair is found. */
export interface RatePairEntry {
  sources: RateSourceEntry[]
  sourcesMin?: number | undefined
  between?: [string, string] | undefined
}

/** What currencies are worth. */
export interface RatesEntry {
  fixed?: Record<string, string> | undefined
  fixedUntil?: string | undefined
  http?: Record<string, RatePairEntry> | undefined
  maxAge?: string | undefined
  refresh?: string | undefined
  timeout?: string | undefined
  spread?: string | undefined
}

const Case = v.pipe(
  object({
    method: v.optional(
      v.pipe(v.string(), v.regex(/^[A-Z][A-Z-]*$/, 'A method is written in capitals.')),
    ),
    query: v.optional(
      v.pipe(
        v.record(v.string(), v.string()),
        say('Parameters of the query, each with its value.'),
      ),
    ),
    price: Price,
  }),
  v.check(
    ({ method, query }) => method !== undefined || query !== undefined,
    'Say when this price holds: a "method", or a "query".',
  ),
)

/** Ways to say how many there are. */
const ways = ['query', 'param', 'bodyBytes'] as const
const Counted: v.GenericSchema<CountEntry> = v.pipe(
  object({
    unit: v.pipe(Words, v.maxLength(80), say('What one of it is called: "page".')),
    price: v.pipe(Price, say('What one of it costs.')),
    query: v.optional(v.pipe(Words, say('The parameter of the query that says how many.'))),
    param: v.optional(v.pipe(Words, say('The :name of the path that says how many.'))),
    bodyBytes: v.optional(v.pipe(Count, say('So many bytes of the body are one.'))),
    most: v.optional(v.pipe(Count, say('A request for more is refused (1000000).'))),
    otherwise: v.optional(v.pipe(Count, say('How many there are where nothing is said (1).'))),
  }),
  v.check(
    (said) => ways.filter((way) => said[way] !== undefined).length === 1,
    `Say in one way how many there are: ${ways.join(', ')}.`,
  ),
)

/** A price by rules. */
export const Rule: v.GenericSchema<RuleEntry> = v.pipe(
  object({
    base: v.optional(v.pipe(Price, say('What holds where no case does.'))),
    when: v.optional(
      v.pipe(
        v.array(Case),
        v.minLength(1),
        v.maxLength(CASES_MAX),
        say('The first case that fits takes the place of the base.'),
      ),
    ),
    each: v.optional(
      v.pipe(several(Counted, 'This is { unit, price, query }, or a list of them.'), say('Added.')),
    ),
  }),
  v.check(
    ({ base, each }) => base !== undefined || each !== undefined,
    'A rule has a "base", or something that it counts: "each".',
  ),
)

/** A service that tells prices. */
export const PriceService: v.GenericSchema<PriceServiceEntry> = object({
  url: Url,
  secret: v.pipe(
    several(
      SecretSchema,
      'A secret is written by where it stands: { env: NAME } or { file: PATH }.',
    ),
    say('Signs what is asked, as Standard Webhooks says: "whsec_…".'),
  ),
  headers: v.optional(v.pipe(v.array(FieldName), say('Header fields that it is told of.'))),
  cache: v.optional(
    object({
      by: v.pipe(v.array(Words), v.minLength(1), say('On what the price depends: "query.pages".')),
      for: Duration,
    }),
  ),
  timeout: v.optional(Duration),
  plainHttp: v.optional(v.pipe(Flag, say('Allows http: to another machine.'))),
})

const Source = object({
  name: v.optional(Words),
  url: Url,
  pointer: v.pipe(Words, say('Where the number stands in the answer (RFC 6901).')),
  atPointer: v.optional(v.pipe(Words, say('Where its time stands.'))),
  headers: v.optional(v.record(FieldName, TextSchema)),
})
const Pair = object({
  sources: v.pipe(v.array(Source), v.minLength(1, 'Name a source.')),
  sourcesMin: v.optional(v.pipe(Count, say('How many must agree (more than half).'))),
  between: v.optional(v.pipe(v.tuple([Decimal, Decimal]), say('What is outside is not believed.'))),
})

/** What currencies are worth. */
export const RatesSchema: v.GenericSchema<RatesEntry> = v.pipe(
  object({
    fixed: v.optional(v.pipe(v.record(v.string(), Decimal), say('{ EUR/USD: "1.08" }.'))),
    fixedUntil: v.optional(
      v.pipe(v.string(), v.isoTimestamp('A moment is written like "2027-01-01T00:00:00Z".')),
    ),
    http: v.optional(v.pipe(v.record(v.string(), Pair), say('{ BTC/USD: { sources: […] } }.'))),
    maxAge: v.optional(v.pipe(Duration, say('From then on a rate is too old (2m).'))),
    refresh: v.optional(v.pipe(Duration, say('How often sources are asked (15s).'))),
    timeout: v.optional(v.pipe(Duration, say('How long one may take (5s).'))),
    spread: v.optional(v.pipe(Decimal, say('How far one may be from the middle ("0.02").'))),
  }),
  v.check(
    ({ fixed, http }) => fixed !== undefined || http !== undefined,
    'Say what currencies are worth: "fixed", or asked for over "http".',
  ),
  v.check(
    ({ fixed, fixedUntil }) => fixed !== undefined || fixedUntil === undefined,
    'There is nothing "fixed" that could end.',
  ),
)

/** Prices of one rule, as whole numbers of one scale. */
interface Rules {
  readonly base: Amount
  readonly cases: readonly (CaseEntry & { readonly amount: Amount })[]
  readonly counted: readonly (CountEntry & { readonly amount: Amount })[]
}

/**
 * The price of each request by a rule. A request of which the price cannot be told, because it names no whole number or too
 * large a one, is refused.
 * @throws {RangeError} with a sentence, for what cannot be meant.
 */
export function priceByRule(rule: RuleEntry): PriceOf {
  const { base, cases, counted } = readRule(rule)
  return (request) => {
    checkOnce(cases, request.query)
    const found = cases.find((one) => fits(one, request))?.amount ?? base
    if (counted.length === 0) return writePrice(found)
    const parts = counted.map((one) => ({ one, count: countOf(one, request) }))
    const amount = parts.reduce(
      (sum, { one, count }) => sum + one.amount.amount * BigInt(count),
      found.amount,
    )
    const own: PriceLine[] =
      found.amount === 0n
        ? []
        : [{ what: 'request', quantity: 1, unit: 'request', amount: writePrice(found) }]
    const lines = parts.map(({ one, count }): PriceLine => ({
      what: one.query ?? one.param ?? 'body',
      quantity: count,
      unit: one.unit,
      amount: writePrice({ ...one.amount, amount: one.amount.amount * BigInt(count) }),
    }))
    return { price: writePrice({ ...found, amount }), breakdown: [...own, ...lines] }
  }
}

function readRule({ base, when = [], each = [] }: RuleEntry): Rules {
  const counts = [each].flat()
  if (counts.length > COUNTS_MAX)
    throw new RangeError(`A rule counts at most ${COUNTS_MAX} things.`)
  const said = [...(base === undefined ? [] : [base]), ...when.map(({ price }) => price)]
  const all = [...said, ...counts.map(({ price }) => price)].map((text) => readPrice(text))
  const [{ currency } = { currency: '' }] = all
  if (all.some((one) => one.currency !== currency))
    throw new RangeError('The prices of one rule are in one currency.')
  if (all.some(({ amount }) => amount === 0n))
    throw new RangeError('A price of nothing is written "free", and not in a rule.')
  const scale = Math.max(...all.map((one) => one.scale))
  const read = (text: string): Amount => {
    const one = readPrice(text)
    return { currency, scale, amount: rescale(one.amount, one.scale, scale, currency) }
  }
  return {
    base: base === undefined ? { currency, scale, amount: 0n } : read(base),
    cases: when.map((one) => ({ ...one, amount: read(one.price) })),
    counted: counts.map((one) => ({ ...one, amount: read(one.price) })),
  }
}

/** What a case looks at is said once or not at all: of two values nobody can tell which one the upstream takes. */
function checkOnce(cases: Rules['cases'], query: string): void {
  const said = new URLSearchParams(query)
  const names = cases.flatMap((one) => Object.keys(one.query ?? {}))
  const twice = names.find((name) => said.getAll(name).length > 1)
  if (twice !== undefined)
    throw new PaymentError('request-unpriced', `"${twice}" decides what this costs: write it once.`)
}

function fits({ method, query = {} }: CaseEntry, request: PriceRequest): boolean {
  if (method !== undefined && request.method !== method) return false
  const said = new URLSearchParams(request.query)
  return Object.entries(query).every(([name, value]) => said.get(name) === value)
}

function countOf(
  { query, param, bodyBytes, most = UNITS_MAX, otherwise = 1, unit }: CountEntry,
  { query: text, params, body }: PriceRequest,
): number {
  if (bodyBytes !== undefined) return Math.max(1, Math.ceil((body?.length ?? 0) / bodyBytes))
  const name = query ?? param ?? ''
  const all = query === undefined ? [params[name] ?? ''] : new URLSearchParams(text).getAll(name)
  if (all.length === 0) return otherwise
  const [said = ''] = all
  const count = Number(said)
  if (all.length === 1 && /^[1-9]\d{0,8}$/.test(said) && count <= most) return count
  throw new PaymentError(
    'request-unpriced',
    `"${name}" says how many of "${unit}" are asked for: write it once, as a whole number from 1 to ${most}.`,
  )
}

/** What rates are made with, beside what a document says. */
export interface RatesParts {
  /** The header fields with which a source is asked, by its pair and its place there. */
  readonly headers: (pair: string, place: number) => Readonly<Record<string, string>> | undefined
  readonly clock?: Clock
  readonly observe?: Observe
}

/**
 * Makes the rates: what is given holds before what is asked for.
 * @throws {RangeError} with a sentence, for what cannot be meant.
 */
export function ratesBy(entry: RatesEntry, { headers, clock, observe }: RatesParts): Rates {
  const { fixed, fixedUntil, http, maxAge, refresh, timeout, spread } = entry
  const timed = { ...(clock && { clock }) }
  const pairs = Object.entries(http ?? {}).map(([name, { sources, sourcesMin, between }]) => {
    const pair: RatePair = {
      sources: sources.map(({ name: called, url, pointer, atPointer }, i) => {
        const own = headers(name, i)
        return {
          ...{ url, pointer },
          ...(called !== undefined && { name: called }),
          ...(atPointer !== undefined && { atPointer }),
          ...(own && { headers: own }),
        }
      }),
      ...(sourcesMin !== undefined && { sourcesMin }),
      ...(between && { between }),
    }
    return [name, pair] as const
  })
  const untilAt = fixedUntil === undefined ? {} : { untilAt: Date.parse(fixedUntil) }
  return eachOf(
    ...(fixed ? [fixedRates(fixed, { ...untilAt, ...timed })] : []),
    ...(pairs.length > 0
      ? [
          httpRates({
            pairs: Object.fromEntries(pairs),
            ...(maxAge !== undefined && { maxAgeMs: durationOf(maxAge) }),
            ...(refresh !== undefined && { refreshMs: durationOf(refresh) }),
            ...(timeout !== undefined && { timeoutMs: durationOf(timeout) }),
            ...(spread !== undefined && { spreadMax: spread }),
            ...timed,
            ...(observe && { observe }),
          }),
        ]
      : []),
  )
}
