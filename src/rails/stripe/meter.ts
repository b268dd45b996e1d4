import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Call } from './client.ts'
import { callOf } from './account.ts'
import type { AccountSettings } from './account.ts'

/** Most events that are told at once. */
const AT_ONCE = 20
/** Longest value of a meter event, in digits. */
const DIGITS_MAX = 15

/** What of the books is told to Stripe's meters. */
export interface MeterSettings extends AccountSettings {
  /** The meter's own name of its events, as it is set at Stripe. */
  readonly eventName: string
  /** What of a draw is counted: `uses`, or a currency such as `USD`. A request may draw on both. */
  readonly counts: string
  /** Whom it is told of: Stripe's customer (`cus_…`) for an account of the books; undefined for those it is not told of. */
  readonly customerOf: (account: string, data: JsonObject) => string | undefined
  /** Under which the books remember how far was told. */
  readonly name?: string
  /** Digits behind the point of what was drawn that a meter counts in: with 6, a meter's 1 is a millionth. */
  readonly scale?: number
}

/** An event of the books, as the outbox tells it. */
export interface Told {
  readonly sequence: number
  readonly at: number
  readonly event: { readonly id: string; readonly type: string; readonly data: JsonObject }
}

/** How far it came; as sinks of the outbox say it. */
export interface Delivery {
  readonly taken: number
  readonly trouble?: { readonly kind: 'down' | 'refused' | 'gone'; readonly why: string }
}

/** A sink for the outbox: what tokens drew becomes usage that Stripe bills. */
export interface MeterSink {
  readonly name: string
  readonly types: readonly string[]
  deliver(
    told: readonly Told[],
    until: { readonly deadlineAt: number; readonly signal: AbortSignal },
  ): Promise<Delivery>
  close(): Promise<void>
}

/**
 * Tells Stripe's meters of every draw, for prices that are too small for a card: they are added up on an invoice. The outbox tells
 * at least once, and Stripe leaves out what has the identifier of an event that it knows (for a day at least).
 *
 * @example
 * const outbox = openOutbox({ ledger, source, sinks: [stripeMeter({ client, mode: 'live', eventName: 'calls', counts: 'uses', customerOf })] })
 */
export function stripeMeter(settings: MeterSettings): MeterSink {
  const { eventName, counts, customerOf, name = 'stripe-meter', scale = 0 } = settings
  const call = callOf(settings)

  function paramsOf({
    at,
    event,
  }: Told): (JsonObject & { readonly identifier: string }) | undefined {
    const { account, amount } = event.data
    const { code, units, scale: from } = isObject(amount) ? amount : {}
    if (code !== counts) return undefined
    const customer = typeof account === 'string' ? customerOf(account, event.data) : undefined
    if (customer === undefined || typeof units !== 'string' || !/^\d+$/.test(units))
      return undefined
    const value = scaled(BigInt(units), typeof from === 'number' ? from : 0, scale)
    if (value === 0n || value.toString().length > DIGITS_MAX) return undefined
    return {
      event_name: eventName,
      identifier: event.id,
      timestamp: Math.floor(at / 1000),
      payload: { stripe_customer_id: customer, value: value.toString() },
    }
  }

  return {
    name,
    types: ['tolsey.draw.posted'],
    async deliver(told, { signal }) {
      let taken = 0
      while (taken < told.length && !signal.aborted) {
        const some = told.slice(taken, taken + AT_ONCE)
        const sent = await Promise.all(some.map((one) => tell(call, paramsOf(one))))
        const first = sent.findIndex((trouble) => trouble !== undefined)
        taken += first < 0 ? some.length : first
        const trouble = sent[first]
        if (trouble) return { taken, trouble }
      }
      return { taken }
    },
    async close() {},
  }
}

async function tell(
  call: Call,
  params: (JsonObject & { readonly identifier: string }) | undefined,
): Promise<Delivery['trouble']> {
  if (!params) return undefined
  const answer = await call('POST', '/v1/billing/meter_events', params, {
    idempotencyKey: `tolsey_meter_${params.identifier}`,
  })
  if (answer.kind === 'done') return undefined
  if (answer.kind !== 'refused') return { kind: 'down', why: 'Stripe does not answer' }
  // It has it already.
  if (answer.code === 'duplicate_meter_event') return undefined
  return { kind: 'refused', why: `Stripe answered ${answer.status} ${answer.code}` }
}

/** Rounded down: nobody is billed for what he did not use. */
function scaled(units: bigint, from: number, to: number): bigint {
  return to >= from ? units * 10n ** BigInt(to - from) : units / 10n ** BigInt(from - to)
}
