import { isObject } from '../../core/json.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import { purposeHash } from '../../core/fiat.ts'
import type { Offer } from '../../core/offer.ts'
import { isIntent } from './forms.ts'

/** A PaymentIntent, as far as it is looked at. */
export interface Intent {
  readonly id: string
  readonly status: string
  readonly amount: bigint
  readonly received: bigint
  /** In capital letters. */
  readonly currency: string
  readonly live: boolean
  readonly madeAt: number
  readonly metadata: JsonObject
  /** Of the charge that paid it, where Stripe was asked to tell of it. */
  readonly charge?: Charge
  /** Stripe's id of who paid. */
  readonly secret?: string
  readonly nextAction?: JsonObject
}

/** A charge, as far as it is looked at. */
export interface Charge {
  readonly refunded: bigint
  readonly disputed: boolean
  readonly paidAt: number
}

/** Reads a PaymentIntent; undefined for anything else. */
export function readIntent(said: JsonObject): Intent | undefined {
  const { id, status, amount, currency, livemode, created, metadata, latest_charge: charge } = said
  const { amount_received: received = 0, client_secret: secret, next_action: next } = said
  if (!isIntent(id) || typeof status !== 'string' || typeof currency !== 'string') return undefined
  if (!isCount(amount) || !isCount(received) || !isCount(created)) return undefined
  const found = readCharge(charge)
  return {
    id,
    status,
    amount: BigInt(amount),
    received: BigInt(received),
    currency: currency.toUpperCase(),
    live: livemode === true,
    madeAt: created * 1000,
    metadata: isObject(metadata) ? metadata : {},
    ...(found && { charge: found }),
    ...(typeof secret === 'string' && { secret }),
    ...(isObject(next) && { nextAction: next }),
  }
}

function readCharge(said: Json | undefined): Charge | undefined {
  if (!isObject(said)) return undefined
  const { amount_refunded: refunded, disputed, created } = said
  if (!isCount(refunded) || !isCount(created)) return undefined
  return { refunded: BigInt(refunded), disputed: disputed === true, paidAt: created * 1000 }
}

/** Whether the value is a whole number that an amount or a time may be. */
export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}

/** Names in the metadata of what we make at Stripe. */
const names = {
  kind: 'tolsey_kind',
  realm: 'tolsey_realm',
  purpose: 'tolsey_purpose',
  spend: 'tolsey_spend',
} as const

/** Longest value in metadata, in characters. */
const VALUE_CHARS_MAX = 500

/** What ties an intent that a person pays to the one request that it pays: another request, another seller, no match. */
export function bindingOf(offer: Offer): JsonObject {
  const { resource } = offer
  return {
    [names.kind]: 'intent',
    [names.realm]: resource.realm.slice(0, VALUE_CHARS_MAX),
    [names.purpose]: purposeHash(resource),
  }
}

/** Whether the intent was made by us for a person to pay this very request. */
export function isBoundTo(intent: Intent, offer: Offer): boolean {
  return (
    intent.metadata[names.kind] === 'intent' &&
    intent.metadata[names.purpose] === purposeHash(offer.resource)
  )
}

/** What ties the intent that a token is charged by to the one spend that it is for. */
export function spendOf(offer: Offer, spend: string): JsonObject {
  return {
    [names.kind]: 'token',
    [names.realm]: offer.resource.realm.slice(0, VALUE_CHARS_MAX),
    [names.spend]: spend,
  }
}

/** Whether the intent was made for that spend of a token. */
export function isSpend(intent: Intent, spend: string): boolean {
  return intent.metadata[names.kind] === 'token' && intent.metadata[names.spend] === spend
}
