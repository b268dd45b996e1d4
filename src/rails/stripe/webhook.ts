import { createHmac, timingSafeEqual } from 'node:crypto'
import { systemClock } from '../../core/clock.ts'
import { createInbox } from '../../core/inbox.ts'
import { isObject, readJson } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Answered, Asked, Clock, Ledger, Service } from '../../core/ports.ts'
import { isIntent } from './forms.ts'
import type { Intent } from './intent.ts'
import { callOf, keyPrefix, networkOf } from './account.ts'
import type { AccountSettings } from './account.ts'
import { readAnew } from './look.ts'

/** Where Stripe tells us what happened, if the settings do not say. */
export const WEBHOOK_PATH = '/.well-known/tolsey/stripe/webhook'
/** Longest event, in bytes. */
export const EVENT_BYTES_MAX = 262_144
/** How old a signature may be, and how far ahead of our clock. */
export const SIGNATURE_AGE_MS = 300_000
/** Longest `Stripe-Signature` that is read. */
const SIGNATURE_CHARS_MAX = 1_024
/** Most secrets: one, and those that it is changed from. */
export const SECRETS_MAX = 3

/** What the service is made of. */
export interface WebhookSettings extends AccountSettings {
  /** `whsec_…`; several while they are changed. */
  readonly secrets: string | readonly string[]
  /** In which the ids of events stand, so that none is told twice. */
  readonly ledger: Ledger
  /**
   * Told of each event once it was checked, with what Stripe says of the payment now: events come late, twice and in any order. What
   * it throws makes Stripe send the event again. Calling `recover` of the gate is enough.
   */
  readonly told: (news: News) => Promise<void> | void
  readonly path?: string
  readonly clock?: Clock
}

/** What there is to say of a payment. */
export interface News {
  /** Stripe's id of the event. */
  readonly id: string
  /** For instance `charge.refunded`: why it is told now. What holds now, `state` says. */
  readonly type: string
  /** What the books call the payment, if it was shown as a PaymentIntent. */
  readonly key: string
  /** The PaymentIntent. */
  readonly reference: string
  /** As it is now, and not when the event was made. */
  readonly state: 'open' | 'paid' | 'canceled' | 'returned' | 'disputed'
}

/**
 * Receives Stripe's events: signature over the bytes as they came, its age, each id once, and the object read anew.
 * @throws {RangeError} without a secret, or with too many.
 */
export function stripeWebhook(settings: WebhookSettings): Service {
  const { ledger, told, path = WEBHOOK_PATH, mode, clock = systemClock } = settings
  const network = networkOf(settings)
  const call = callOf(settings)
  const inbox = createInbox(ledger, clock, keyPrefix(network).slice(0, -1))
  const secrets = [settings.secrets].flat()
  if (secrets.length === 0 || secrets.length > SECRETS_MAX || secrets.some((one) => one.length < 8))
    throw new RangeError(`Give between one and ${SECRETS_MAX} webhook secrets ("whsec_…").`)

  async function answer(asked: Asked): Promise<Answered> {
    if (asked.method !== 'POST') return said(405, 'Events are posted.')
    const text = await asked.text(EVENT_BYTES_MAX)
    if (text === undefined) return said(413, 'No event is that long.')
    const signature = asked.fields.get('Stripe-Signature') ?? ''
    if (!isSigned(text, signature, secrets, clock.now()))
      return said(400, 'The signature does not hold.')
    const event = readEvent(readJson(text, EVENT_BYTES_MAX))
    if (!event || event.live !== (mode === 'live')) return said(400, 'This is no event for here.')
    // Of what is not about a payment there is nothing to say.
    if (event.intent === undefined) return said(200, 'ignored')
    return deal(event, event.intent)
  }

  async function deal({ id, type }: Event, intent: string): Promise<Answered> {
    const taken = await inbox.take(id, async () => {
      const now = await readAnew(call, intent)
      if (!now) return
      await told({
        id,
        type,
        key: keyPrefix(network) + intent,
        reference: intent,
        state: stateOf(now),
      })
    })
    // Whoever is at it may die: Stripe asks again.
    return taken === 'busy' ? said(409, 'It is being dealt with.') : said(200, taken)
  }

  return { paths: [path], answer }
}

interface Event {
  readonly id: string
  readonly type: string
  readonly live: boolean
  /** The payment that it is about. */
  readonly intent: string | undefined
}

function readEvent(json: unknown): Event | undefined {
  if (!isObject(json)) return undefined
  const { id, type, livemode, data } = json
  const object = isObject(data) ? data['object'] : undefined
  if (typeof id !== 'string' || !/^evt_\w{1,96}$/.test(id)) return undefined
  if (typeof type !== 'string' || !/^[\w.]{1,96}$/.test(type) || !isObject(object)) return undefined
  return { id, type, live: livemode === true, intent: intentOf(object) }
}

function intentOf({ object, id, payment_intent: of }: JsonObject): string | undefined {
  const named = object === 'payment_intent' ? id : of
  return isIntent(named) ? named : undefined
}

function stateOf({ status, charge }: Intent): News['state'] {
  if (charge?.disputed) return 'disputed'
  if (charge && charge.refunded > 0n) return 'returned'
  if (status === 'succeeded') return 'paid'
  return status === 'canceled' ? 'canceled' : 'open'
}

/** Whether one of the secrets signed these very bytes, lately (docs.stripe.com/webhooks, scheme `v1`). */
export function isSigned(
  text: string,
  signature: string,
  secrets: readonly string[],
  now: number,
): boolean {
  if (signature.length > SIGNATURE_CHARS_MAX) return false
  const parts = signature.split(',').map((part) => part.trim().split('=', 2))
  const at = parts.find(([name]) => name === 't')?.[1] ?? ''
  if (!/^\d{1,12}$/.test(at) || Math.abs(now - Number(at) * 1000) > SIGNATURE_AGE_MS) return false
  const given = parts.flatMap(([name, value = '']) => (name === 'v1' ? [Buffer.from(value)] : []))
  return secrets.some((secret) => {
    const wanted = Buffer.from(createHmac('sha256', secret).update(`${at}.${text}`).digest('hex'))
    return given.some((one) => one.length === wanted.length && timingSafeEqual(one, wanted))
  })
}

function said(status: number, body: string): Answered {
  return { status, fields: { 'content-type': 'text/plain; charset=utf-8' }, body }
}
