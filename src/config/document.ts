import * as v from 'valibot'
import { readPlans } from '../adapters/plans.ts'
import type { PlansSettings } from '../adapters/plans.ts'
import type { Paid, PriceOf, Routes, RouteValue } from '../adapters/routes.ts'
import { readRoutes } from '../adapters/routes.ts'
import { TASK_MS_MAX } from '../adapters/tasks.ts'
import type { Plan } from '../core/plan.ts'
import { PaymentError } from '../core/problem.ts'
import { createMeters, createSocketMeters } from '../meters/meters.ts'
import type { MeterSettings } from '../meters/meters.ts'
import { readText } from './document-text.ts'
import type { Mistake, Steps, Text } from './document-text.ts'
import { nearest } from './nearest.ts'

import type {
  Document,
  MeterEntry,
  PageEntry,
  RouteEntry,
  TenantEntry,
} from './document-entries.ts'
import { examineTenants, tenantsOf, within } from './document-tenants.ts'
import { PriceService, priceByRule, ratesBy, RatesSchema, Rule } from './document-prices.ts'
import type { RuleEntry } from './document-prices.ts'
import { Evm, Lightning, PayPalSchema, StripeSchema } from './document-rails.ts'
import {
  Address,
  Ca,
  Count,
  Duration,
  durationOf,
  FieldName,
  Flag,
  object,
  Origin,
  Price,
  Prices,
  say,
  SecretSchema,
  several,
  Size,
  TextSchema,
  Url,
  Words,
  isQueue,
} from './document-words.ts'

export type {
  FieldsEntry,
  UpstreamEntry,
  MeterEntry,
  RouteEntry,
  ListenEntry,
  Document,
} from './document-entries.ts'
export type {
  EvmEntry,
  LightningEntry,
  PayPalEntry,
  StripeEntry,
  ChannelsEntry,
  SweepEntry,
} from './document-rails.ts'
export { durationOf, sizeOf } from './document-words.ts'
export type { SecretRef, TextRef } from './document-words.ts'
export type { Mistake } from './document-text.ts'

const PlanInFull = object({
  price: Prices,
  uses: v.optional(Count),
  balance: v.optional(Price),
  validFor: v.optional(Duration),
  rights: v.optional(v.array(Words)),
  tier: v.optional(Words),
  refund: v.optional(
    v.pipe(
      v.union([v.literal(true), Words], 'This is true, or a fee like "2%" or "0.05 USD".'),
      say('Holders may have back what is left, for nothing or for a fee.'),
    ),
  ),
})

const Fields = object({
  set: v.optional(v.record(FieldName, TextSchema)),
  remove: v.optional(v.array(FieldName)),
})

const Upstream = object({
  url: v.pipe(Url, say('Where it answers; a path in it stands before all others.')),
  secret: v.optional(v.pipe(SecretSchema, say('Signs what the upstream is told of a payment.'))),
  host: v.optional(v.picklist(['own', 'public'], 'This is "own" or "public".')),
  http2: v.optional(Flag),
  ca: Ca,
  connections: v.optional(Count),
  requests: v.optional(Count),
  timeouts: v.optional(
    object({
      connect: v.optional(Duration),
      head: v.optional(Duration),
      idle: v.optional(Duration),
    }),
  ),
})

const Meter = object({
  unit: v.pipe(Price, say('Held at a time.')),
  most: v.optional(v.pipe(Price, say('Most that one request may cost.'))),
  per: v.picklist(
    ['token', 'second', 'byte', 'event'],
    'This is "token", "second", "byte" or "event".',
  ),
  price: v.optional(v.pipe(Price, say('Of a second, a byte or an event.'))),
  input: v.optional(v.pipe(Price, say('Of a token that the model reads.'))),
  cached: v.optional(v.pipe(Price, say('Of one that it has read before.'))),
  output: v.optional(v.pipe(Price, say('Of one that it writes.'))),
  grace: v.optional(
    v.pipe(Duration, say('How long a WebSocket waits for a top-up where the balance ends (none).')),
  ),
})

const Route = object({
  price: v.optional(
    v.union(
      [v.literal('free'), Prices, Rule],
      'A price is written like "0.01 USD", several as a list, or "free"; by rules { base, when, each }.',
    ),
  ),
  priceService: v.optional(v.pipe(PriceService, say('A service of yours tells the price.'))),
  plan: v.optional(Words),
  takes: v.optional(v.array(Words)),
  meter: v.optional(v.pipe(Meter, say('The price is known at the end; a "plan" pays it.'))),
  refund: v.optional(v.literal('automatic', 'This is "automatic".')),
  settle: v.optional(
    v.picklist(
      ['before-work', 'before-response', 'deferred'],
      'This is "before-work", "before-response" or "deferred".',
    ),
  ),
  body: v.optional(v.picklist(['bind', 'free'], 'This is "bind" or "free".')),
  bodyMax: v.optional(Size),
  keep: v.optional(Flag),
  task: v.optional(
    v.pipe(
      v.union([Flag, Duration], 'This is true, or a time like "2h".'),
      say('Answered 202 and worked on, for an hour or so long. Needs a "vault".'),
    ),
  ),
  free: v.optional(v.pipe(Words, say('What each caller has for nothing: "3/d".'))),
  limits: v.optional(v.record(v.string(), Words)),
  description: v.optional(Words),
  mimeType: v.optional(Words),
  rails: v.optional(v.pipe(v.array(Words), v.minLength(1, 'Name a rail, or leave this out.'))),
  account: v.optional(Words),
  upstream: v.optional(Words),
  rewrite: v.optional(v.pipe(Words, say('The path at the upstream: "/api/*".'))),
  headers: v.optional(object({ request: v.optional(Fields), response: v.optional(Fields) })),
  timeout: v.optional(v.pipe(Duration, say('Until the head of the upstream’s answer.'))),
  fallback: v.optional(
    v.pipe(
      v.union(
        [
          v.literal('queue'),
          object({
            cached: v.pipe(Duration, say('How old the last good answer may be.')),
            charged: v.optional(v.pipe(Flag, say('Whether it costs the same (true).'))),
          }),
          object({
            queue: v.pipe(
              Duration,
              say('How long it may wait (1h); then what was paid goes back.'),
            ),
            repeat: v.optional(
              v.pipe(Flag, say('Whether the upstream may be sent any of them twice (false).')),
            ),
          }),
        ],
        'This is { cached: 10m }, or "queue" or { queue: 1h }.',
      ),
      say('While the upstream is away: a paid GET is given the last answer, or any waits for it.'),
    ),
  ),
})

const Webhook = object({
  name: v.optional(v.pipe(Words, say('Its place in the books: another name begins anew.'))),
  url: TextSchema,
  secret: v.pipe(SecretSchema, say('Signs them, as Standard Webhooks says: "whsec_…".')),
  private: v.optional(v.pipe(Flag, say('Whether it may be in a private network.'))),
})

const Nats = object({
  servers: v.pipe(
    several(Words, 'A server is written like "nats://127.0.0.1:4222".'),
    say('nats://127.0.0.1:4222, or tls://…; any of several.'),
  ),
  stream: v.optional(v.pipe(Words, say('The stream that must take them. Make it yourself.'))),
  prefix: v.optional(v.pipe(Words, say('Stands before the type of an event in its subject.'))),
  token: v.optional(SecretSchema),
  user: v.optional(Words),
  password: v.optional(SecretSchema),
  credentials: v.optional(v.pipe(SecretSchema, say('What a credentials file holds.'))),
  ca: v.optional(v.pipe(Words, say('A file: whose signature of its certificate is taken.'))),
})

const Tax = object({
  place: v.pipe(Words, say('Where sales are taxed: "DE", "CA-QC".')),
  rates: v.record(v.string(), v.array(object({ name: Words, percent: Words }))),
})

const Listen = object({
  address: Address,
  tls: v.optional(object({ cert: Words, key: Words })),
})

const Colours = v.pipe(v.record(v.string(), Words), say('accent, background, text, …'))
const Page: v.GenericSchema<PageEntry> = object({
  name: v.optional(Words),
  logo: v.optional(v.pipe(v.string(), v.regex(/^data:image\//, 'A logo is a data: address.'))),
  light: v.optional(Colours),
  dark: v.optional(Colours),
  radiusPx: v.optional(v.number('A number belongs here.')),
  font: v.optional(Words),
  apps: v.optional(
    v.pipe(v.record(v.string(), Url), say('Payment apps, by the name of their rail.')),
  ),
})

/** What every seller of a gateway says for itself. */
const seller = {
  admin: v.optional(
    v.pipe(Address, say('Where /healthz and /readyz are. Keep it from strangers.')),
  ),
  realm: v.optional(Words),
  secret: v.pipe(
    several(
      SecretSchema,
      'A secret is written by where it stands: { env: NAME } or { file: PATH }.',
    ),
    say('Signs offers: at least 32 random bytes. With several the first signs.'),
  ),
  dashboard: v.optional(
    v.pipe(
      object({
        token: v.pipe(SecretSchema, say('What the operator logs in with: at least 20 characters.')),
        hosts: v.optional(v.pipe(v.array(Words), say('Names under which it is reached.'))),
        explorers: v.optional(
          v.pipe(v.record(v.string(), Words), say('Where transactions are looked at, by network.')),
        ),
      }),
      say('The dashboard, at the admin address.'),
    ),
  ),
  events: v.optional(
    v.pipe(
      object({
        webhooks: v.optional(v.array(Webhook)),
        file: v.optional(v.pipe(Words, say('Events as lines of JSON.'))),
        nats: v.optional(v.pipe(Nats, say('Events to a stream of NATS JetStream.'))),
      }),
      say('What happens in the books, told to others.'),
    ),
  ),
  tax: v.optional(v.pipe(Tax, say('Taxes that prices contain, written with each sale.'))),
  restoredAt: v.optional(
    v.pipe(
      v.string(),
      v.isoTimestamp('A moment is written like "2026-11-21T10:00:00Z".'),
      say('When the books were restored from a backup: what was offered before buys nothing more.'),
    ),
  ),
  vault: v.optional(
    v.pipe(
      v.union(
        [Words, object({ directory: Words, size: v.optional(Size) })],
        'The vault is a directory.',
      ),
      say('Where answers of routes with "keep" lie, sealed.'),
    ),
  ),
  rails: v.pipe(
    object({
      evm: v.optional(several(Evm, 'A chain, or a list of them, belongs here.')),
      lightning: v.optional(Lightning),
      stripe: v.optional(StripeSchema),
      paypal: v.optional(PayPalSchema),
    }),
    v.check(
      (said) => Object.keys(said).length > 0,
      'Name a rail: evm, lightning, stripe or paypal.',
    ),
    say('How money comes.'),
  ),
  protocols: v.optional(
    v.pipe(
      v.array(
        v.picklist(
          ['x402', 'l402', 'mpp', 'bearer', 'oauth'],
          'There are x402, l402, mpp, bearer and oauth.',
        ),
      ),
      v.minLength(1, 'Name a protocol, or leave this out.'),
      say('Those that the rails need, if absent: name mpp and bearer to speak them beside others.'),
    ),
  ),
  page: v.optional(
    v.pipe(
      v.union([Flag, Page], 'This is true, or { name, light, dark, … }.'),
      say('Shown to people who ask with a browser and have not paid.'),
    ),
  ),
  tokens: v.optional(
    object({
      jwt: v.optional(
        v.pipe(
          several(
            SecretSchema,
            'A key is written by where it stands: { env: NAME } or { file: PATH }.',
          ),
          say('JWKs that sign access tokens, for OAuth clients.'),
        ),
      ),
    }),
  ),
  plans: v.optional(v.record(v.string(), PlanInFull)),
  limits: v.optional(v.pipe(v.record(v.string(), Words), say('By tier: { unpaid: "100/h" }.'))),
  rates: v.optional(
    v.pipe(RatesSchema, say('What currencies are worth, to turn prices into what rails take.')),
  ),
  cors: v.optional(
    v.union(
      [v.literal(false), object({ origins: v.union([v.literal('*'), v.array(Origin)]) })],
      'This is false, or { origins: "*" } or a list of origins.',
    ),
  ),
  upstreams: v.pipe(
    v.record(v.string(), v.union([Url, Upstream], 'An upstream is an address, or { url, … }.')),
    v.check((said) => Object.keys(said).length > 0, 'Name an upstream.'),
    say('What stands behind the gateway.'),
  ),
  routes: v.pipe(
    v.record(
      v.string(),
      v.union(
        [v.literal('free'), Prices, Route],
        'A route is a price like "0.01 USD", "free", or { price, … }.',
      ),
    ),
    say('What is sold where: "GET /report/:id": 0.01 USD. What is not named is closed.'),
  ),
  default: v.optional(
    v.pipe(
      v.union(
        [v.picklist(['closed', 'free']), object({ upstream: Words })],
        'This is "closed", "free", or { upstream: NAME }.',
      ),
      say('What becomes of a path that no route names: closed (404), or open to all.'),
    ),
  ),
  most: v.optional(
    v.pipe(
      object({
        requests: v.optional(v.pipe(Count, say('Requests at once; more are told to come back.'))),
        invoices: v.optional(v.pipe(Count, say('Invoices in a minute (6000).'))),
      }),
      say('What one seller may take of what all share.'),
    ),
  ),
} as const

const Tenant: v.GenericSchema<TenantEntry> = object({
  ...seller,
  origin: v.optional(
    v.pipe(
      several(Origin, 'An origin is written like "https://api.example.com".'),
      say('How payers name this seller: hosts that no other has.'),
    ),
  ),
  path: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^(?:\/[a-z0-9-]{1,64}){1,4}$/, 'A path is written like "/acme".'),
      say('Below which all its routes are, at the hosts of the document.'),
    ),
  ),
})

/** The document; JSON Schema is made from it. */
export const DocumentSchema: v.GenericSchema<Document> = object({
  $schema: v.optional(v.string()),
  listen: v.pipe(
    v.union(
      [Address, Listen],
      'Write a port, an address like "0.0.0.0:8402", or { address, tls }.',
    ),
    say('Where payers ask.'),
  ),
  origin: v.pipe(
    several(Origin, 'An origin is written like "https://api.example.com".'),
    say('How payers name this service. Requests for other hosts are refused.'),
  ),
  ...seller,
  ledger: v.optional(
    v.pipe(
      v.union(
        [Words, object({ postgres: TextSchema, schema: v.optional(Words) })],
        'The books are a file, or { postgres: URL }.',
      ),
      say('The books: a file of SQLite (tolsey.sqlite if absent), or PostgreSQL.'),
    ),
  ),
  redis: v.optional(
    v.pipe(
      TextSchema,
      say('Where gateways count limits together; PostgreSQL if absent. No money.'),
    ),
  ),
  proxies: v.optional(
    object({
      trusted: v.pipe(v.array(Words), say('Addresses and prefixes of proxies of yours in front.')),
      field: v.optional(v.picklist(['forwarded', 'x-forwarded-for'])),
    }),
  ),
  timeouts: v.optional(
    object({
      request: v.optional(v.pipe(Duration, say('Until a request is whole (5m).'))),
      requestHead: v.optional(v.pipe(Duration, say('Until its head is whole (10s).'))),
      keepAlive: v.optional(v.pipe(Duration, say('How long an idle connection is kept (65s).'))),
      work: v.optional(v.pipe(Duration, say('Until the work has answered (60s).'))),
      drain: v.optional(v.pipe(Duration, say('For answers in progress at the end (30s).'))),
      notice: v.optional(v.pipe(Duration, say('Not ready, but open, before the end (none).'))),
    }),
  ),
  sizes: v.optional(
    object({
      requestHead: v.optional(v.pipe(Size, say('Head of a request (32kB).'))),
      body: v.optional(v.pipe(Size, say('Body of a request that is not bound (1GB).'))),
    }),
  ),
  tenants: v.optional(
    v.pipe(
      v.record(
        v.pipe(
          v.string(),
          v.regex(/^[a-z][a-z0-9-]{0,31}$/, 'A tenant is named in small letters, like "acme".'),
        ),
        Tenant,
      ),
      say('Other sellers behind the same gateway, each with all that is its own.'),
    ),
  ),
})

/** A document that was read, or what is wrong with it. */
export type ReadDocument =
  | { readonly ok: true; readonly document: Document; readonly text: Text }
  | { readonly ok: false; readonly mistakes: readonly Mistake[] }

/**
 * Reads a document: YAML, or by its name JSON, also with comments. It is looked at whole: every mistake is told with its line.
 */
export function readDocument(source: string, name: string): ReadDocument {
  const text = readText(source, name)
  if (text.mistakes.length > 0) return { ok: false, mistakes: text.mistakes }
  const read = v.safeParse(DocumentSchema, text.value)
  const mistakes = read.success
    ? examineAll(read.output, text)
    : read.issues.flatMap((issue) => flatten(issue, [])).map(([at, why]) => text.mistake(at, why))
  return read.success && mistakes.length === 0
    ? { ok: true, document: read.output, text }
    : { ok: false, mistakes: sorted(mistakes) }
}

function sorted(mistakes: readonly Mistake[]): readonly Mistake[] {
  const seen = new Map(mistakes.map((one) => [`${one.line} ${one.path} ${one.sentence}`, one]))
  return [...seen.values()].toSorted((a, b) => a.line - b.line || a.column - b.column)
}

type Found = readonly [at: Steps, sentence: string]

/** Of what may be one thing or another, what was meant is what it got furthest with. */
function flatten(issue: v.BaseIssue<unknown>, above: Steps): readonly Found[] {
  const own = (issue.path ?? []).map(({ key }) => (typeof key === 'number' ? key : String(key)))
  const at = [...above, ...own]
  const inner = (issue.issues ?? []) as readonly v.BaseIssue<unknown>[]
  const deeper = inner.filter(({ path, issues }) => path !== undefined || issues !== undefined)
  const found = issue.type === 'union' ? deeper.flatMap((one) => flatten(one, at)) : []
  const further = found.filter(([steps]) => steps.length > at.length)
  return further.length > 0 ? further : [[at, sentenceOf(issue.message)]]
}

/** The library's own words speak to programmers. */
function sentenceOf(message: string): string {
  return message.startsWith('Invalid ') ? 'This cannot be meant here.' : message
}

/** Each seller by itself, and then all of them together. */
function examineAll(document: Document, text: Text): readonly Mistake[] {
  const tenants = tenantsOf(document)
  const own = tenants.flatMap(({ name, document: one }) => examine(one, within(text, name)))
  return [...examine(document, text), ...own, ...examineTenants(document, text)]
}

/** What is wrong though every part of it is well formed. */
function examine(document: Document, text: Text): readonly Mistake[] {
  const found: Mistake[] = []
  const tried = <T>(steps: Steps, act: () => T): T | undefined => {
    try {
      return act()
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      found.push(text.mistake(steps, error.message))
      return undefined
    }
  }
  const plans = new Map<string, Plan>()
  for (const [name, said] of Object.entries(plansOf(document))) {
    const read = tried(['plans', name], () => readPlans({ [name]: said }))
    for (const [key, plan] of read ?? []) plans.set(key, plan)
  }
  const upstreams = Object.keys(document.upstreams)
  const upstream = (steps: Steps, name: string | undefined): void => {
    const near = nearest(name ?? '', upstreams)
    const hint = near ? `Did you mean "${near}"?` : `There are ${upstreams.join(', ')}.`
    if (name !== undefined && !upstreams.includes(name))
      found.push(text.mistake(steps, `There is no upstream "${name}". ${hint}`))
    if (name === undefined && upstreams.length > 1)
      found.push(text.mistake(steps, `Say which upstream this goes to: ${upstreams.join(' or ')}.`))
  }
  const { rates } = document
  if (rates) tried(['rates'], () => ratesBy(rates, { headers: () => undefined }))
  for (const [key, said] of Object.entries(document.routes)) {
    const before = found.length
    const { price, priceService, body } = isEntry(said) ? said : {}
    if (price !== undefined && priceService !== undefined)
      found.push(text.mistake(['routes', key, 'priceService'], 'Say "price" or "priceService".'))
    if (isRule(price)) {
      tried(['routes', key, 'price'], () => priceByRule(price))
      if (body === 'free' && [price.each ?? []].flat().some((one) => one.bodyBytes !== undefined))
        found.push(
          text.mistake(['routes', key, 'body'], 'A body that is priced is read: leave "body" out.'),
        )
    }
    if (found.length > before) continue
    tried(['routes', key], () => readRoutes({ [key]: saleOf(said) }, plans))
    const { meter } = isEntry(said) ? said : {}
    if (meter)
      tried(['routes', key, 'meter'], () => {
        createMeters(countsOf(meter))
        createSocketMeters(countsOf(meter))
      })
    const entry = isEntry(said) ? said : {}
    upstream(['routes', key, 'upstream'], entry.upstream)
    if (entry.fallback && (entry.meter ?? entry.task) !== undefined)
      found.push(
        text.mistake(
          ['routes', key, 'fallback'],
          'An answer that is counted as it passes, or fetched later, has no fallback.',
        ),
      )
    const queued = isQueue(entry.fallback) ? 'fallback' : undefined
    const unqueued = queued && unfitForQueue(entry)
    if (unqueued !== undefined) found.push(text.mistake(['routes', key, 'fallback'], unqueued))
    // Whoever pays less for what a field says would be answered what another has paid more for.
    if (entry.fallback && !queued && entry.priceService?.headers)
      found.push(
        text.mistake(
          ['routes', key, 'fallback'],
          'A price that depends on header fields has no fallback: answers are kept by address.',
        ),
      )
    const kept = entry.keep === true ? 'keep' : entry.task ? 'task' : queued
    if (kept !== undefined && document.vault === undefined && before === found.length)
      found.push(
        text.mistake(['routes', key, kept], 'Kept answers need a "vault" to lie in. Name one.'),
      )
  }
  if (document.dashboard && document.admin === undefined)
    found.push(text.mistake(['dashboard'], 'The dashboard is at the "admin" address. Name one.'))
  if (found.length === 0) tried(['routes'], () => readRoutes(salesOf(document), plans))
  if (typeof document.default === 'object')
    upstream(['default', 'upstream'], document.default.upstream)
  if (document.default === 'free') upstream(['default'], undefined)
  return found
}

/** Why a route cannot have a queue. */
function unfitForQueue({
  price,
  settle,
  keep,
  mimeType,
  fallback,
}: RouteEntry): string | undefined {
  if (price === 'free') return 'What is free is not queued: only what is paid for waits.'
  if (settle !== undefined && settle !== 'before-response')
    return 'What is queued is paid for when it is answered: leave "settle" out.'
  if (keep === false) return 'The address of what is queued must not be lost: leave "keep" out.'
  if (/^text\/event-stream/i.test(mimeType ?? '')) return 'A stream of events is not queued.'
  const isTimed = typeof fallback === 'object' && 'queue' in fallback
  const withinMs = isTimed ? durationOf(fallback.queue) : 1
  if (withinMs <= 0 || withinMs > TASK_MS_MAX) return 'It waits for a while: up to a day.'
  return undefined
}

/** Whether a route is said in full. */
export function isEntry(said: Document['routes'][string]): said is RouteEntry {
  return typeof said === 'object' && !Array.isArray(said)
}

/** The plans as a seller is told them. */
export function plansOf({ plans = {} }: Document): PlansSettings {
  return Object.fromEntries(
    Object.entries(plans).map(
      ([name, { validFor, uses, balance, rights, tier, refund, price }]) => [
        name,
        {
          price,
          ...(uses !== undefined && { uses }),
          ...(balance !== undefined && { balance }),
          ...(rights && { rights }),
          ...(tier !== undefined && { tier }),
          ...(refund !== undefined && { refund }),
          ...(validFor !== undefined && { validForMs: durationOf(validFor) }),
        },
      ],
    ),
  )
}

/**
 * What a route costs, as a door is told it. `service` tells the price where the document names one.
 * @throws {RangeError} with a sentence, for a rule that cannot be meant.
 */
export function saleOf(said: Document['routes'][string], service: PriceOf = unasked): RouteValue {
  if (Array.isArray(said)) return { price: said }
  if (!isEntry(said)) return said
  const { upstream: _u, rewrite: _r, headers: _h, timeout: _t, bodyMax: _b, ...entry } = said
  const { meter, price, priceService, task, fallback: _f, ...rest } = entry
  if (price === 'free') return 'free'
  const told = priceService ? service : isRule(price) ? priceByRule(price) : price
  const lasting = typeof task === 'string' ? { withinMs: durationOf(task) } : task
  const sale = { ...rest, price: told, meter: meter && heldBy(meter), task: lasting }
  // What is absent is not there: JSON has no other way to say so.
  return Object.fromEntries(Object.entries(sale).filter(([, value]) => value !== undefined))
}

/** Stands for a service in a document that is only looked at. */
const unasked: PriceOf = () => {
  throw new PaymentError('price-unavailable', 'The price service is not there.')
}

function isRule(price: RouteEntry['price']): price is RuleEntry {
  return typeof price === 'object' && !Array.isArray(price)
}

function heldBy({ unit, most }: MeterEntry): NonNullable<Paid['meter']> {
  return { unit, ...(most !== undefined && { most }) }
}

/**
 * What the answers of a metered route are counted by.
 * @throws {RangeError} for what cannot be meant.
 */
export function countsOf({ per, price, grace, input, cached, output }: MeterEntry): MeterSettings {
  const wait = grace === undefined ? {} : { graceMs: durationOf(grace) }
  const of = { input, cached, output }
  if (per === 'token') {
    if (price !== undefined)
      throw new RangeError('Tokens have prices for "input" and "output", not one "price".')
    return {
      ...{ per, ...wait },
      ...Object.fromEntries(Object.entries(of).filter(([, text]) => text !== undefined)),
    }
  }
  if (price === undefined) throw new RangeError(`Say the "price" of one ${per}.`)
  if (Object.values(of).some((text) => text !== undefined))
    throw new RangeError('"input", "cached" and "output" are prices of tokens.')
  return { per, price, ...wait }
}

/** All sales of a document. */
export function salesOf({ routes }: Document): Routes {
  return Object.fromEntries(Object.entries(routes).map(([key, said]) => [key, saleOf(said)]))
}
