import { fiat } from '../../core/fiat.ts'
import { isObject } from '../../core/json.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import type { Terms } from '../../core/offer.ts'
import type { Form } from '../../core/ports.ts'
import { AMOUNT_MAX, minimums } from './minimum.ts'

/** The rail's name. */
export const RAIL = 'stripe'
/** One payment of exactly the amount. */
export const CHARGE = 'charge'
/** How long a token should stay good that is issued for these terms: the work, and the charge after it. */
export const TIMEOUT_MS = 120_000

/** What the terms of this rail say beside the money. */
export interface Details {
  /** The seller's profile at Stripe, for which agents issue shared payment tokens; empty where none are taken. */
  readonly profile: string
  /** What may be paid with, in Stripe's words: `card`. */
  readonly types: readonly string[]
}

/**
 * How it is paid. `token`: a shared payment token (`spt_…`), charged when the answer is ready. `intent`: a PaymentIntent of ours
 * (`pi_…`), paid already.
 */
export type Proof =
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'intent'; readonly intent: string }

/** Why this rail refuses, in its own words. */
export type Reason =
  | 'token-unknown'
  | 'token-unfit'
  | 'intent-unknown'
  | 'intent-foreign'
  | 'intent-unpaid'
  | 'intent-returned'
  | 'amount-wrong'
  | 'card-declined'
  | 'action-required'
  | 'stripe-refused'

/** Terms as MPP says them (`stripe/charge`); the challenge's id and realm are the protocol's. */
export interface MppWords {
  readonly id: string
  readonly realm: string
  readonly method: string
  readonly intent: string
  readonly request: JsonObject
}

/** Terms as the gateway profile of `Bearer` says them. */
export interface BearerWords {
  readonly gateway: string
  readonly wallet_required: boolean
  readonly payment_url?: string
  readonly details: JsonObject
}

/** What a seller's forms know beside the terms. */
export interface FormSettings {
  /** A seller's own network; those of the sellers that a wallet knows. */
  readonly networks: readonly string[]
  /** Where the payment of an offer is begun. */
  readonly beginPath?: string
  /** Stripe's key for browsers. */
  readonly publishableKey?: string
}

/** What a network is called by those who know only that it is Stripe. */
export const ANYWHERE = 'stripe'
/** Longest word of a stranger's terms. */
const WORD_CHARS_MAX = 128
/** Most kinds of payment that terms may name. */
const TYPES_MAX = 16

/** This rail said in MPP. */
export function createMppForm(network: string = ANYWHERE): Form<Details, Proof, MppWords> {
  return {
    rail: RAIL,
    networks: [network],
    writeDetails: ({ amount, details: { profile, types } }) => ({
      id: '',
      realm: '',
      method: 'stripe',
      intent: CHARGE,
      request: {
        amount: amount.amount.toString(),
        currency: amount.asset.code.toLowerCase(),
        methodDetails: { networkId: profile, paymentMethodTypes: types },
      },
    }),
    readDetails: (said) => readRequest(said, network),
    writeProof: (proof) =>
      proof.kind === 'token' ? { payload: { spt: proof.token } } : { payload: {} },
    readProof(said) {
      const payload = isObject(said) ? said['payload'] : undefined
      const spt = isObject(payload) ? payload['spt'] : undefined
      return isToken(spt)
        ? { kind: 'token', token: spt }
        : 'The payload has no shared payment token ("spt": "spt_…").'
    },
    reasons,
  }
}

function readRequest(
  { method, intent, request }: MppWords,
  network: string,
): Terms<Details> | string {
  if (method !== 'stripe' || intent !== CHARGE) return 'This is no charge by Stripe.'
  const { amount, currency, methodDetails } = request
  if (!isObject(methodDetails)) return 'The terms name no profile.'
  const { networkId, paymentMethodTypes } = methodDetails
  if (!isWord(networkId) || !isTypes(paymentMethodTypes)) return 'The terms name no profile.'
  return readTerms({
    amount,
    currency,
    payee: networkId,
    network,
    profile: networkId,
    types: paymentMethodTypes,
  })
}

/** This rail said in the gateway profile. */
export function createBearerForm(settings: FormSettings): Form<Details, Proof, BearerWords> {
  const { networks, beginPath, publishableKey } = settings
  return {
    rail: RAIL,
    networks,
    writeDetails({ network, amount, payee, details: { profile, types } }) {
      const { code } = amount.asset
      const least = minimums[code]
      return {
        gateway: 'stripe',
        wallet_required: false,
        details: {
          network,
          payee,
          amount: amount.amount.toString(),
          currency: code.toLowerCase(),
          payment_method_types: types,
          ...(profile !== '' && { profile }),
          ...(least !== undefined && { amount_min: least.toString() }),
          ...(beginPath !== undefined && { begin: beginPath }),
          ...(publishableKey !== undefined && { publishable_key: publishableKey }),
        },
      }
    },
    readDetails({ gateway, details }) {
      const { network, payee, amount, currency } = details
      const { profile = '', payment_method_types: types } = details
      if (gateway !== 'stripe' || !isWord(network) || !networks.includes(network))
        return 'This is for another gateway.'
      if (!isWord(payee) || !isTypes(types) || (profile !== '' && !isWord(profile)))
        return 'The terms cannot be read.'
      return readTerms({ amount, currency, payee, network, profile, types })
    },
    writeProof: (proof) => ({ proof: proof.kind === 'intent' ? proof.intent : proof.token }),
    readProof: readShown,
    reasons,
  }
}

/** `X-Payment-Proof`, or a PaymentIntent in `X-Payment-Intent`. */
function readShown(said: unknown): Proof | string {
  if (!isObject(said)) return 'The proof is no object.'
  const { intent, proof } = said
  const shown = [proof, intent].find(isIntent)
  if (shown !== undefined) return { kind: 'intent', intent: shown }
  // A token is charged for the offer that it is shown with: without one, the same token would pay again and again.
  if (isToken(proof) && typeof intent === 'string' && intent.startsWith(OFFER))
    return { kind: 'token', token: proof }
  return 'Show a PaymentIntent (pi_…), or a shared payment token (spt_…) with the offer that it pays.'
}

/** What an offer of ours begins with in `X-Payment-Intent`; all else there is a processor's. */
const OFFER = 'offer_'

interface Said {
  readonly amount: Json | undefined
  readonly currency: Json | undefined
  readonly payee: string
  readonly network: string
  readonly profile: string
  readonly types: readonly string[]
}

function readTerms({
  amount,
  currency,
  payee,
  network,
  profile,
  types,
}: Said): Terms<Details> | string {
  if (typeof amount !== 'string' || !/^[1-9]\d{0,7}$/.test(amount) || BigInt(amount) > AMOUNT_MAX)
    return 'The amount is no whole number of cents.'
  if (typeof currency !== 'string' || !/^[a-z]{3}$/i.test(currency))
    return 'The currency is not known.'
  return {
    rail: RAIL,
    network,
    intent: CHARGE,
    amount: { asset: fiat(currency.toUpperCase()), amount: BigInt(amount) },
    payee,
    timeoutMs: TIMEOUT_MS,
    details: { profile, types },
  }
}

const reasons = {
  'token-unknown': 'invalid_token',
  'token-unfit': 'token_limit',
  'intent-unknown': 'invalid_payment_intent',
  'intent-foreign': 'invalid_payment_intent',
  'intent-unpaid': 'payment_not_completed',
  'intent-returned': 'payment_refunded',
  'amount-wrong': 'amount_mismatch',
  'card-declined': 'card_declined',
  'action-required': 'payment_action_required',
  'stripe-refused': 'payment_refused',
} satisfies Record<Reason, string>

/** Whether the value is the id of a PaymentIntent; its secret for browsers is longer, and is none. */
export function isIntent(value: unknown): value is string {
  return typeof value === 'string' && /^pi_[A-Za-z0-9]{8,64}$/.test(value)
}

/** Whether the value is a shared payment token. */
export function isToken(value: unknown): value is string {
  return typeof value === 'string' && /^spt_[A-Za-z0-9_]{1,120}$/.test(value)
}

function isWord(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= WORD_CHARS_MAX
}

function isTypes(value: Json | undefined): value is readonly string[] {
  return (
    Array.isArray(value) && value.length > 0 && value.length <= TYPES_MAX && value.every(isWord)
  )
}
