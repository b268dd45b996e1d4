import type { PriceServiceEntry, RatesEntry, RuleEntry } from './document-prices.ts'
import type { EvmEntry, LightningEntry, PayPalEntry, StripeEntry } from './document-rails.ts'
import type { SecretRef, Several, TextRef } from './document-words.ts'

// What a document says, as it is written. The schemas that read it are in document.ts.

/** What is sold as a token. */
export interface PlanEntry {
  price: Several<string>
  uses?: number | undefined
  balance?: string | undefined
  validFor?: string | undefined
  rights?: string[] | undefined
  tier?: string | undefined
  refund?: true | string | undefined
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
  grace?: string | undefined
}

/** What is paid waits for its upstream. */
export interface QueueEntry {
  queue: string
  repeat?: boolean | undefined
}

/** A route in full. */
export interface RouteEntry {
  price?: Several<string> | RuleEntry | undefined
  priceService?: PriceServiceEntry | undefined
  plan?: string | undefined
  takes?: string[] | undefined
  meter?: MeterEntry | undefined
  refund?: 'automatic' | undefined
  settle?: 'before-work' | 'before-response' | 'deferred' | undefined
  body?: 'bind' | 'free' | undefined
  bodyMax?: string | undefined
  keep?: boolean | undefined
  task?: boolean | string | undefined
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
  fallback?: 'queue' | { cached: string; charged?: boolean | undefined } | QueueEntry | undefined
}

/** Where a server listens. */
export interface ListenEntry {
  address: string | number
  tls?: { cert: string; key: string } | undefined
}

/** A NATS server with JetStream. */
export interface NatsEntry {
  servers: Several<string>
  stream?: string | undefined
  prefix?: string | undefined
  token?: SecretRef | undefined
  user?: string | undefined
  password?: SecretRef | undefined
  credentials?: SecretRef | undefined
  ca?: string | undefined
}

/** Taxes that prices contain: where we are taxed, and the rates there. */
export interface TaxEntry {
  place: string
  rates: Record<string, { name: string; percent: string }[]>
}

/** Where events of the books are posted to. */
export interface WebhookEntry {
  name?: string | undefined
  url: TextRef
  secret: SecretRef
  private?: boolean | undefined
}

/** How the page for people looks, and what it is called. */
export interface PageEntry {
  name?: string | undefined
  logo?: string | undefined
  light?: Record<string, string> | undefined
  dark?: Record<string, string> | undefined
  radiusPx?: number | undefined
  font?: string | undefined
  apps?: Record<string, string> | undefined
}

/** What a seller says for itself. */
export interface SellerEntry {
  admin?: string | number | undefined
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
  events?:
    | {
        webhooks?: WebhookEntry[] | undefined
        file?: string | undefined
        nats?: NatsEntry | undefined
      }
    | undefined
  tax?: TaxEntry | undefined
  vault?: string | { directory: string; size?: string | undefined } | undefined
  rails: {
    evm?: Several<EvmEntry> | undefined
    lightning?: LightningEntry | undefined
    stripe?: StripeEntry | undefined
    paypal?: PayPalEntry | undefined
  }
  protocols?: ('x402' | 'l402' | 'mpp' | 'bearer' | 'oauth')[] | undefined
  page?: boolean | PageEntry | undefined
  tokens?: { jwt?: Several<SecretRef> | undefined } | undefined
  plans?: Record<string, PlanEntry> | undefined
  limits?: Record<string, string> | undefined
  rates?: RatesEntry | undefined
  cors?: false | { origins: '*' | string[] } | undefined
  upstreams: Record<string, string | UpstreamEntry>
  routes: Record<string, string | string[] | RouteEntry>
  default?: 'closed' | 'free' | { upstream: string } | undefined
  most?: { requests?: number | undefined; invoices?: number | undefined } | undefined
}

/** One of several sellers behind a gateway. */
export interface TenantEntry extends SellerEntry {
  origin?: Several<string> | undefined
  path?: string | undefined
}

/** A gateway's configuration, as it is written. */
export interface Document extends SellerEntry {
  $schema?: string | undefined
  listen: string | number | ListenEntry
  origin: Several<string>
  ledger?: string | { postgres: TextRef; schema?: string | undefined } | undefined
  redis?: TextRef | undefined
  proxies?: { trusted: string[]; field?: 'forwarded' | 'x-forwarded-for' | undefined } | undefined
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
  tenants?: Record<string, TenantEntry> | undefined
}
