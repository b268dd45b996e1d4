import { Buffer } from 'node:buffer'
import { verify } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { systemClock } from '../../core/clock.ts'
import { createInbox } from '../../core/inbox.ts'
import { isObject, readJson } from '../../core/json.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import type { Answered, Asked, Fields, Ledger, Service } from '../../core/ports.ts'
import { createHttpClient } from '../../net/http.ts'
import { createCertificates } from './certificate.ts'
import type { AccountSettings, Mode } from './client.ts'
import { CALL_MS, createClient, unreachable } from './client.ts'
import { isOrder } from './forms.ts'
import type { Order } from './order.ts'
import { isOurs, isReturned, readOrder } from './order.ts'

/** Where PayPal tells us what happened, if the settings do not say. */
export const WEBHOOK_PATH = '/.well-known/tolsey/paypal/webhook'
/** Longest event, in bytes. */
export const EVENT_BYTES_MAX = 262_144
/** How old an event may be: PayPal repeats what was not taken for three days. Their ids stand in the books for good. */
export const TRANSMISSION_AGE_MS = 270_000_000
/** How far ahead of our clock. */
const SKEW_MS = 300_000
/** Longest file of certificates. */
const PEM_BYTES_MAX = 65_536
/** Longest signature, in characters. */
const SIGNATURE_CHARS_MAX = 1_024

/** Where certificates are, and what they are made out to. */
const certificatesOf: Readonly<Record<Mode, { readonly origin: string; readonly name: string }>> = {
  live: { origin: 'https://api.paypal.com', name: 'messageverificationcerts.paypal.com' },
  sandbox: {
    origin: 'https://api.sandbox.paypal.com',
    name: 'messageverificationcerts.sandbox.paypal.com',
  },
}

/** What the service is made of. */
export interface WebhookSettings extends AccountSettings {
  /** Of our webhook at PayPal: it is part of what is signed. */
  readonly webhookId: string
  /** In which the ids of events stand, so that none is told twice. */
  readonly ledger: Ledger
  /**
   * Told of each event once it was checked, with what PayPal says of the order now: events come late, twice and in any order. What
   * it throws makes PayPal send the event again. Calling `recover` of the gate is enough.
   */
  readonly told: (news: News) => Promise<void> | void
  readonly path?: string
  /** The one origin that certificates are fetched from; PayPal's if absent. */
  readonly certificateOrigin?: string
  /** What a certificate must be made out to; PayPal's name if absent. */
  readonly certificateName?: string
  /** Whose signature of it is taken, in PEM; the public authorities' if absent. */
  readonly ca?: string
}

/** What there is to say of a payment. */
export interface News {
  /** PayPal's id of the event. */
  readonly id: string
  /** For instance `PAYMENT.CAPTURE.REFUNDED`: why it is told now. What holds now, `state` says. */
  readonly type: string
  /** What the books call the payment, if it was shown as an order. */
  readonly key: string
  /** The order. */
  readonly reference: string
  /** As it is now, and not when the event was made. */
  readonly state: 'open' | 'approved' | 'paid' | 'voided' | 'returned' | 'declined'
}

/** Receives PayPal's events: certificate, signature over the bytes as they came, each id once, and the order read anew. */
export function paypalWebhook(settings: WebhookSettings): Service {
  const { webhookId, ledger, told, mode, fetch, clock = systemClock } = settings
  const { path = WEBHOOK_PATH, certificateOrigin, certificateName, ca } = settings
  const { call } = createClient(settings)
  const inbox = createInbox(ledger, clock, `paypal/${mode}`)
  const known = certificatesOf[mode]
  const certificates = createCertificates({
    http: createHttpClient({
      timeoutMs: CALL_MS,
      bytesMax: PEM_BYTES_MAX,
      clock,
      ...(fetch && { fetch }),
    }),
    clock,
    origin: certificateOrigin ?? known.origin,
    name: certificateName ?? known.name,
    ...(ca !== undefined && { ca }),
  })

  async function answer(asked: Asked): Promise<Answered> {
    if (asked.method !== 'POST') return said(405, 'Events are posted.')
    const text = await asked.text(EVENT_BYTES_MAX)
    if (text === undefined) return said(413, 'No event is that long.')
    const signed = await isSigned(asked.fields, text)
    if (signed === 'silent') return said(503, 'The certificate cannot be fetched now.')
    if (!signed) return said(400, 'The signature does not hold.')
    const event = readEvent(readJson(text, EVENT_BYTES_MAX))
    if (!event) return said(400, 'This is no event for here.')
    return deal(event)
  }

  async function isSigned(fields: Fields, text: string): Promise<boolean | 'silent'> {
    const [id, time, signature, address, algorithm] = NAMES.map((name) => fields.get(name) ?? '')
    if (!id || !time || !signature || !address || algorithm !== 'SHA256withRSA') return false
    if (id.length > 128 || signature.length > SIGNATURE_CHARS_MAX || !isLately(time)) return false
    const certificate = await certificates.find(address)
    if (typeof certificate === 'string') return certificate === 'silent' ? 'silent' : false
    if (certificate.publicKey.asymmetricKeyType !== 'rsa') return false
    const message = Buffer.from(`${id}|${time}|${webhookId}|${crc32(text)}`)
    return verify('sha256', message, certificate.publicKey, Buffer.from(signature, 'base64'))
  }

  function isLately(time: string): boolean {
    const at = /^\d{4}-\d\d-\d\dT[\d:.]{5,16}(?:Z|[+-]\d\d:?\d\d)$/.test(time)
      ? Date.parse(time)
      : NaN
    const now = clock.now()
    return at >= now - TRANSMISSION_AGE_MS && at <= now + SKEW_MS
  }

  async function deal({ id, type, resource }: Event): Promise<Answered> {
    const taken = await inbox.take(id, async () => {
      const order = await orderOf(resource)
      // Of what others sell by the same account there is nothing to say.
      if (!order || !isOurs(order)) return
      const key = `paypal/${mode}/${order.id}`
      await told({ id, type, key, reference: order.id, state: stateOf(order) })
    })
    // Whoever is at it may die: PayPal asks again.
    return taken === 'busy' ? said(409, 'It is being dealt with.') : said(200, taken)
  }

  /** The order that it is about, read anew; undefined where it is about none. */
  async function orderOf(resource: JsonObject): Promise<Order | undefined> {
    const id = namedIn(resource) ?? (await orderOfCapture(resource))
    if (id === undefined) return undefined
    const found = await call('GET', `/v2/checkout/orders/${id}`)
    if (found.kind === 'refused' && found.status === 404) return undefined
    if (found.kind !== 'done') throw unreachable(found)
    return readOrder(found.object)
  }

  /** A refund says of which capture it is, and the capture of which order. */
  async function orderOfCapture({ links }: JsonObject): Promise<string | undefined> {
    const list = Array.isArray(links) ? (links as readonly Json[]).filter(isObject) : []
    const href = list.find(({ rel }) => rel === 'up')?.['href']
    const id =
      typeof href === 'string' ? /\/captures\/([A-Z0-9]{10,36})$/.exec(href)?.[1] : undefined
    if (id === undefined) return undefined
    const found = await call('GET', `/v2/payments/captures/${id}`)
    if (found.kind === 'refused' && found.status === 404) return undefined
    if (found.kind !== 'done') throw unreachable(found)
    return namedIn(found.object)
  }

  return { paths: [path], answer }
}

const NAMES = [
  'PayPal-Transmission-Id',
  'PayPal-Transmission-Time',
  'PayPal-Transmission-Sig',
  'PayPal-Cert-Url',
  'PayPal-Auth-Algo',
] as const

interface Event {
  readonly id: string
  readonly type: string
  readonly resource: JsonObject
}

function readEvent(json: Json | undefined): Event | undefined {
  if (!isObject(json)) return undefined
  const { id, event_type: type, resource } = json
  if (typeof id !== 'string' || !/^WH-[\w-]{1,96}$/.test(id)) return undefined
  if (typeof type !== 'string' || !/^[\w.-]{1,96}$/.test(type) || !isObject(resource))
    return undefined
  return { id, type, resource }
}

/** Captures and refunds name their order beside themselves. */
function namedIn({
  id,
  purchase_units: units,
  supplementary_data: said,
}: JsonObject): string | undefined {
  const ids = isObject(said) ? said['related_ids'] : undefined
  const named = isObject(ids) ? ids['order_id'] : Array.isArray(units) ? id : undefined
  return isOrder(named) ? named : undefined
}

function stateOf(order: Order): News['state'] {
  const { status, capture } = order
  if (isReturned(order)) return 'returned'
  if (capture?.status === 'COMPLETED') return 'paid'
  if (capture?.status === 'DECLINED' || capture?.status === 'FAILED') return 'declined'
  if (status === 'APPROVED') return 'approved'
  return status === 'VOIDED' ? 'voided' : 'open'
}

function said(status: number, body: string): Answered {
  return { status, fields: { 'content-type': 'text/plain; charset=utf-8' }, body }
}
