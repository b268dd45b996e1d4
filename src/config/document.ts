import * as v from 'valibot'
import { readPlans } from '../adapters/plans.ts'
import type { PlansSettings } from '../adapters/plans.ts'
import type { Paid, Routes, RouteValue } from '../adapters/routes.ts'
import { readRoutes } from '../adapters/routes.ts'
import type { Plan } from '../core/plan.ts'
import { createMeters } from '../meters/meters.ts'
import type { MeterSettings } from '../meters/meters.ts'
import { readText } from './document-text.ts'
import type { Mistake, Steps, Text } from './document-text.ts'
import { nearest } from './nearest.ts'

export type { Mistake } from './document-text.ts'

/** A secret, by where it stands: a document never holds one. */
export type SecretRef = { env: string } | { file: string }
/** A text that may be a secret. */
export type TextRef = string | SecretRef
type Several<T> = T | T[]

/** A facilitator that settles. */
export interface FacilitatorEntry {
  url: string
  headers?: Record<string, TextRef> | undefined
}

/** A chain on which stablecoins are taken. */
export interface EvmEntry {
  network: string
  payTo: string
  rpc?: Several<TextRef> | undefined
  signer?: Several<SecretRef> | undefined
  facilitator?: Several<string | FacilitatorEntry> | undefined
  confirmations?: number | undefined
  quorum?: number | undefined
  batcher?: string | undefined
  gasBudgetWei?: string | undefined
  refundSigner?: SecretRef | undefined
  sweep?: SweepEntry | undefined
}

/** By which rule money goes to a cold account. */
export interface SweepEntry {
  treasury: string
  above: string
  keep: string
  every?: string | undefined
  treasuryConfirmed?: string | undefined
}

/** A Lightning node; exactly one of its kinds. */
export interface LightningEntry {
  network?: string | undefined
  hold?: boolean | undefined
  lnd?: { url: string; macaroon: SecretRef; ca?: string | undefined } | undefined
  cln?: { url: string; rune: SecretRef; ca?: string | undefined } | undefined
  phoenixd?: { url: string; password: SecretRef; ca?: string | undefined } | undefined
  eclair?: { url: string; password: SecretRef; ca?: string | undefined } | undefined
  lnbits?: { url: string; key: SecretRef; ca?: string | undefined } | undefined
  nwc?: { uri: SecretRef } | undefined
  lnurl?: { address: string } | undefined
}

/** What is sold as a token. */
export interface PlanEntry {
  price: Several<string>
  uses?: number | undefined
  balance?: string | undefined
  validFor?: string | undefined
  rights?: string[] | undefined
  tier?: string | undefined
}

/** What fields are changed to on their way. */
export interface FieldsEntry {
  set?: Record<string, TextRef> | undefined
  remove?: string[] | undefined
}

/** Where requests go. */
export interface UpstreamEntry {
  url: string
  secret?: SecretRef | undefined
  host?: 'own' | 'public' | undefined
  http2?: boolean | undefined
  ca?: string | undefined
  connections?: number | undefined
  requests?: number | undefined
  timeouts?:
    | { connect?: string | undefined; head?: string | undefined; idle?: string | undefined }
    | undefined
}

/** What a route is counted by. */
export interface MeterEntry {
  unit: string
  most?: string | undefined
  per: 'token' | 'second' | 'byte' | 'event'
  price?: string | undefined
  input?: string | undefined
  cached?: string | undefined
  output?: string | undefined
}

/** A route in full. */
export interface RouteEntry {
  price?: Several<string> | undefined
  plan?: string | undefined
  takes?: string[] | undefined
  meter?: MeterEntry | undefined
  refund?: 'automatic' | undefined
  settle?: 'before-work' | 'before-response' | 'deferred' | undefined
  body?: 'bind' | 'free' | undefined
  bodyMax?: string | undefined
  keep?: boolean | undefined
  free?: string | undefined
  limits?: Record<string, string> | undefined
  description?: string | undefined
  mimeType?: string | undefined
  rails?: string[] | undefined
  account?: string | undefined
  upstream?: string | undefined
  rewrite?: string | undefined
  headers?: { request?: FieldsEntry | undefined; response?: FieldsEntry | undefined } | undefined
  timeout?: string | undefined
}

/** Where a server listens. */
export interface ListenEntry {
  address: string | number
  tls?: { cert: string; key: string } | undefined
}

/** Where events of the books are posted to. */
export interface WebhookEntry {
  name?: string | undefined
  url: TextRef
  secret: SecretRef
  private?: boolean | undefined
}

/** A gateway's configuration, as it is written. */
export interface Document {
  $schema?: string | undefined
  listen: string | number | ListenEntry
  admin?: string | number | undefined
  origin: Several<string>
  realm?: string | undefined
  secret: Several<SecretRef>
  restoredAt?: string | undefined
  dashboard?:
    | {
        token: SecretRef
        hosts?: string[] | undefined
        explorers?: Record<string, string> | undefined
      }
    | undefined
  events?: { webhooks?: WebhookEntry[] | undefined; file?: string | undefined } | undefined
  ledger?: string | { postgres: TextRef; schema?: string | undefined } | undefined
  vault?: string | { directory: string; size?: string | undefined } | undefined
  rails: { evm?: Several<EvmEntry> | undefined; lightning?: LightningEntry | undefined }
  protocols?: ('x402' | 'l402' | 'oauth')[] | undefined
  tokens?: { jwt?: Several<SecretRef> | undefined } | undefined
  plans?: Record<string, PlanEntry> | undefined
  limits?: Record<string, string> | undefined
  proxies?: { trusted: string[]; field?: 'forwarded' | 'x-forwarded-for' | undefined } | undefined
  cors?: false | { origins: '*' | string[] } | undefined
  upstreams: Record<string, string | UpstreamEntry>
  routes: Record<string, string | string[] | RouteEntry>
  default?: 'closed' | 'free' | { upstream: string } | undefined
  timeouts?:
    | {
        request?: string | undefined
        requestHead?: string | undefined
        keepAlive?: string | undefined
        work?: string | undefined
        drain?: string | undefined
        notice?: string | undefined
      }
    | undefined
  sizes?: { requestHead?: string | undefined; body?: string | undefined } | undefined
}

/** An object without any other member, with the names that it may have at hand for whoever mistypes one. */
function object<const E extends v.ObjectEntries>(entries: E) {
  const names = Object.keys(entries)
  return v.strictObject(entries, (issue) => {
    if (issue.expected !== 'never') {
      const missing = /^"(.+)"$/.exec(issue.expected ?? '')?.[1]
      return missing === undefined ? 'An object belongs here.' : `"${missing}" is missing here.`
    }
    const said = String(issue.path?.at(-1)?.key)
    const near = nearest(said, names)
    const hint = near ? `Did you mean "${near}"?` : `There are ${names.join(', ')}.`
    return `There is no "${said}" here. ${hint}`
  })
}

const say = v.description
const Words = v.pipe(
  v.string('A text belongs here.'),
  v.nonEmpty('This text is empty.'),
  v.maxLength(8_192, 'This text is too long.'),
)
const Flag = v.boolean('This is true or false.')
const Count = v.pipe(
  v.number('A number belongs here.'),
  v.integer('This is a whole number.'),
  v.minValue(1, 'This is a number above zero.'),
)
const Duration = v.pipe(
  v.string('A time is written like "30s".'),
  v.regex(/^\d{1,9}(?:ms|s|m|h|d)$/, 'A time is written like "500ms", "30s", "5m", "1h" or "30d".'),
)
const Size = v.pipe(
  v.string('A size is written like "10MB".'),
  v.regex(/^\d{1,9}(?:B|kB|MB|GB)$/, 'A size is written like "32kB", "10MB" or "1GB".'),
)
const Url = v.pipe(
  v.string('An address belongs here.'),
  v.regex(/^https?:\/\/[^\s/]+/, 'An address begins with http:// or https://.'),
)
const Env = object({ env: v.pipe(Words, say('The name of an environment variable.')) })
const File = object({ file: v.pipe(Words, say('A file that holds nothing else.')) })
const SecretRef = v.pipe(
  v.union([Env, File], 'A secret is written by where it stands: { env: NAME } or { file: PATH }.'),
  say('A secret, by where it stands.'),
)
const TextRef = v.union(
  [Words, Env, File],
  'A text belongs here, or where it stands: { env: NAME } or { file: PATH }.',
)
const Price = v.pipe(
  v.string('A price is written like "0.01 USD".'),
  v.regex(/^\d{1,30}(?:\.\d{1,18})? [A-Z][A-Z0-9]{1,15}$/, 'A price is written like "0.01 USD".'),
)
const Prices = v.union(
  [Price, v.pipe(v.array(Price), v.minLength(1), v.maxLength(8))],
  'A price is written like "0.01 USD", several as a list.',
)
const ADDRESS =
  'Write a port, or an address like "0.0.0.0:8402"; a port alone is on this machine only.'
const Address = v.union(
  [
    v.pipe(v.number(), v.integer(ADDRESS), v.minValue(0, ADDRESS), v.maxValue(65_535, ADDRESS)),
    v.pipe(
      v.string(),
      v.regex(/^(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]*):\d{1,5}$/, ADDRESS),
      v.check((said) => Number(said.slice(said.lastIndexOf(':') + 1)) <= 65_535, ADDRESS),
    ),
  ],
  ADDRESS,
)
const Origin = v.pipe(
  v.string('An origin is written like "https://api.example.com".'),
  v.regex(
    /^https?:\/\/(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/,
    'An origin is written like "https://api.example.com": nothing follows the name.',
  ),
)

function several<const S extends v.GenericSchema>(one: S, sentence: string) {
  return v.union([one, v.pipe(v.array(one), v.minLength(1), v.maxLength(64))], sentence)
}

const Facilitator = object({ url: Url, headers: v.optional(v.record(v.string(), TextRef)) })
const Account = v.pipe(
  v.string('An account is written like "0x…" with 40 digits.'),
  v.regex(/^0x[0-9a-fA-F]{40}$/, 'An account is written like "0x…" with 40 digits.'),
)
const Sweep = object({
  treasury: v.pipe(Account, say('The cold account. Sealed in the books at its first use.')),
  above: v.pipe(Price, say('More than this lies there when a sweep is made.')),
  keep: v.pipe(Price, say('What stays, for refunds.')),
  every: v.optional(v.pipe(Duration, say('At most one sweep in this time (1d).'))),
  treasuryConfirmed: v.optional(
    v.pipe(Words, say('The fingerprint of another treasury than the books know.')),
  ),
})
const Evm = v.pipe(
  object({
    network: v.pipe(Words, say('base, base-sepolia, or CAIP-2 such as eip155:8453.')),
    payTo: v.pipe(Account, say('The account that earns.')),
    rpc: v.optional(
      v.pipe(
        several(TextRef, 'An endpoint belongs here, or a list of them.'),
        say('JSON-RPC endpoints, the preferred one first.'),
      ),
    ),
    signer: v.optional(
      v.pipe(
        several(SecretRef, 'A key is written by where it stands: { env: NAME } or { file: PATH }.'),
        say('The keys that send payments and pay their gas, in hex.'),
      ),
    ),
    facilitator: v.optional(
      v.pipe(
        several(
          v.union([Url, Facilitator], 'A facilitator is an address.'),
          'A facilitator is an address.',
        ),
        say('Who settles, where there is no signer of ours.'),
      ),
    ),
    confirmations: v.optional(Count),
    quorum: v.optional(Count),
    batcher: v.optional(Words),
    gasBudgetWei: v.optional(
      v.pipe(v.string(), v.regex(/^\d{1,30}$/, 'Gas is a whole number of wei, as text.')),
    ),
    refundSigner: v.optional(
      v.pipe(SecretRef, say('The key that gives money back: that of "payTo", for sweeps too.')),
    ),
    sweep: v.optional(
      v.pipe(Sweep, say('Moves what is above a floor to a cold account. Needs "refundSigner".')),
    ),
  }),
  v.check(
    ({ signer, facilitator }) => (signer === undefined) !== (facilitator === undefined),
    'Say who settles: a "signer" of yours with an "rpc", or a "facilitator".',
  ),
  v.check(
    ({ signer, rpc }) => signer === undefined || rpc !== undefined,
    'A "signer" needs an "rpc": the endpoint of its chain.',
  ),
  v.check(
    ({ sweep, refundSigner }) => sweep === undefined || refundSigner !== undefined,
    'A "sweep" needs a "refundSigner": the key of "payTo".',
  ),
  v.check(
    ({ facilitator, rpc }) => facilitator === undefined || rpc === undefined,
    'A "facilitator" needs no "rpc". Leave one of them out.',
  ),
)

/** Kinds of Lightning nodes. */
const kinds = ['lnd', 'cln', 'phoenixd', 'eclair', 'lnbits', 'nwc', 'lnurl'] as const
const Ca = v.optional(v.pipe(Words, say('A file with the certificate, in PEM.')))
const Lightning = v.pipe(
  object({
    network: v.optional(v.pipe(Words, say('bitcoin if absent; regtest, signet, testnet.'))),
    hold: v.optional(v.pipe(Flag, say('Payments are locked until the work is done.'))),
    lnd: v.optional(object({ url: Url, macaroon: SecretRef, ca: Ca })),
    cln: v.optional(object({ url: Url, rune: SecretRef, ca: Ca })),
    phoenixd: v.optional(object({ url: Url, password: SecretRef, ca: Ca })),
    eclair: v.optional(object({ url: Url, password: SecretRef, ca: Ca })),
    lnbits: v.optional(object({ url: Url, key: SecretRef, ca: Ca })),
    nwc: v.optional(object({ uri: SecretRef })),
    lnurl: v.optional(object({ address: Words })),
  }),
  v.check(
    (said) => kinds.filter((kind) => said[kind] !== undefined).length === 1,
    `Name one node: ${kinds.join(', ')}.`,
  ),
)

const PlanInFull = object({
  price: Prices,
  uses: v.optional(Count),
  balance: v.optional(Price),
  validFor: v.optional(Duration),
  rights: v.optional(v.array(Words)),
  tier: v.optional(Words),
})

const FieldName = v.pipe(
  v.string(),
  v.regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'This is no name of a header field.'),
)
const Fields = object({
  set: v.optional(v.record(FieldName, TextRef)),
  remove: v.optional(v.array(FieldName)),
})

const Upstream = object({
  url: v.pipe(Url, say('Where it answers; a path in it stands before all others.')),
  secret: v.optional(v.pipe(SecretRef, say('Signs what the upstream is told of a payment.'))),
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
})

const Route = object({
  price: v.optional(
    v.union(
      [v.literal('free'), Prices],
      'A price is written like "0.01 USD", several as a list, or "free".',
    ),
  ),
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
})

const Webhook = object({
  name: v.optional(v.pipe(Words, say('Its place in the books: another name begins anew.'))),
  url: TextRef,
  secret: v.pipe(SecretRef, say('Signs them, as Standard Webhooks says: "whsec_…".')),
  private: v.optional(v.pipe(Flag, say('Whether it may be in a private network.'))),
})

const Listen = object({
  address: Address,
  tls: v.optional(object({ cert: Words, key: Words })),
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
  admin: v.optional(
    v.pipe(Address, say('Where /healthz and /readyz are. Keep it from strangers.')),
  ),
  origin: v.pipe(
    several(Origin, 'An origin is written like "https://api.example.com".'),
    say('How payers name this service. Requests for other hosts are refused.'),
  ),
  realm: v.optional(Words),
  secret: v.pipe(
    several(SecretRef, 'A secret is written by where it stands: { env: NAME } or { file: PATH }.'),
    say('Signs offers: at least 32 random bytes. With several the first signs.'),
  ),
  ledger: v.optional(
    v.pipe(
      v.union(
        [Words, object({ postgres: TextRef, schema: v.optional(Words) })],
        'The books are a file, or { postgres: URL }.',
      ),
      say('The books: a file of SQLite (tolsey.sqlite if absent), or PostgreSQL.'),
    ),
  ),
  dashboard: v.optional(
    v.pipe(
      object({
        token: v.pipe(SecretRef, say('What the operator logs in with: at least 20 characters.')),
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
      }),
      say('What happens in the books, told to others.'),
    ),
  ),
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
    }),
    v.check((said) => Object.keys(said).length > 0, 'Name a rail: evm or lightning.'),
    say('How money comes.'),
  ),
  protocols: v.optional(
    v.pipe(
      v.array(v.picklist(['x402', 'l402', 'oauth'], 'There are x402, l402 and oauth.')),
      v.minLength(1, 'Name a protocol, or leave this out.'),
      say('All that fit, if absent.'),
    ),
  ),
  tokens: v.optional(
    object({
      jwt: v.optional(
        v.pipe(
          several(
            SecretRef,
            'A key is written by where it stands: { env: NAME } or { file: PATH }.',
          ),
          say('JWKs that sign access tokens, for OAuth clients.'),
        ),
      ),
    }),
  ),
  plans: v.optional(v.record(v.string(), PlanInFull)),
  limits: v.optional(v.pipe(v.record(v.string(), Words), say('By tier: { unpaid: "100/h" }.'))),
  proxies: v.optional(
    object({
      trusted: v.pipe(v.array(Words), say('Addresses and prefixes of proxies of yours in front.')),
      field: v.optional(v.picklist(['forwarded', 'x-forwarded-for'])),
    }),
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
    ? examine(read.output, text)
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
  for (const [key, said] of Object.entries(document.routes)) {
    const before = found.length
    tried(['routes', key], () => readRoutes({ [key]: saleOf(said) }, plans))
    const { meter } = isEntry(said) ? said : {}
    if (meter) tried(['routes', key, 'meter'], () => createMeters(countsOf(meter)))
    const entry = isEntry(said) ? said : {}
    upstream(['routes', key, 'upstream'], entry.upstream)
    if (entry.keep === true && document.vault === undefined && before === found.length)
      found.push(
        text.mistake(['routes', key, 'keep'], 'Kept answers need a "vault" to lie in. Name one.'),
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

/** Whether a route is said in full. */
export function isEntry(said: Document['routes'][string]): said is RouteEntry {
  return typeof said === 'object' && !Array.isArray(said)
}

/** The plans as a seller is told them. */
export function plansOf({ plans = {} }: Document): PlansSettings {
  return Object.fromEntries(
    Object.entries(plans).map(([name, { validFor, uses, balance, rights, tier, price }]) => [
      name,
      {
        price,
        ...(uses !== undefined && { uses }),
        ...(balance !== undefined && { balance }),
        ...(rights && { rights }),
        ...(tier !== undefined && { tier }),
        ...(validFor !== undefined && { validForMs: durationOf(validFor) }),
      },
    ]),
  )
}

/** What a route costs, as a door is told it. */
export function saleOf(said: Document['routes'][string]): RouteValue {
  if (Array.isArray(said)) return { price: said }
  if (!isEntry(said)) return said
  const { upstream: _u, rewrite: _r, headers: _h, timeout: _t, bodyMax: _b, meter, ...rest } = said
  const sale = { ...rest, meter: meter && heldBy(meter) }
  if (sale.price === 'free') return 'free'
  // What is absent is not there: JSON has no other way to say so.
  return Object.fromEntries(Object.entries(sale).filter(([, value]) => value !== undefined))
}

function heldBy({ unit, most }: MeterEntry): NonNullable<Paid['meter']> {
  return { unit, ...(most !== undefined && { most }) }
}

/**
 * What the answers of a metered route are counted by.
 * @throws {RangeError} for what cannot be meant.
 */
export function countsOf({ per, price, input, cached, output }: MeterEntry): MeterSettings {
  const of = { input, cached, output }
  if (per === 'token') {
    if (price !== undefined)
      throw new RangeError('Tokens have prices for "input" and "output", not one "price".')
    return {
      per,
      ...Object.fromEntries(Object.entries(of).filter(([, text]) => text !== undefined)),
    }
  }
  if (price === undefined) throw new RangeError(`Say the "price" of one ${per}.`)
  if (Object.values(of).some((text) => text !== undefined))
    throw new RangeError('"input", "cached" and "output" are prices of tokens.')
  return { per, price }
}

/** All sales of a document. */
export function salesOf({ routes }: Document): Routes {
  return Object.fromEntries(Object.entries(routes).map(([key, said]) => [key, saleOf(said)]))
}

const msPer: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** A time like `30s`, in milliseconds. */
export function durationOf(text: string): number {
  const [, count = '', unit = ''] = /^(\d+)([a-z]+)$/.exec(text) ?? []
  return Number(count) * (msPer[unit] ?? Number.NaN)
}

const bytesPer: Readonly<Record<string, number>> = { B: 1, kB: 1_000, MB: 1e6, GB: 1e9 }

/** A size like `10MB`, in bytes. */
export function sizeOf(text: string): number {
  const [, count = '', unit = ''] = /^(\d+)([A-Za-z]+)$/.exec(text) ?? []
  return Number(count) * (bytesPer[unit] ?? Number.NaN)
}
