import { fiat } from '../../core/fiat.ts'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Form } from '../../core/ports.ts'
import { currencies } from './money.ts'

/** The rail's name. */
export const RAIL = 'paypal'
/** One payment of exactly the amount. */
export const CHARGE = 'charge'

/** What the terms of this rail say beside the money: nothing. */
export type Details = Readonly<Record<string, never>>

/**
 * How it is paid. `order`: an order of ours that a person has approved; it is captured when the answer is ready. `vault`: a
 * payment method that its owner has kept with us, by the handle that we gave him for it.
 */
export type Proof =
  | { readonly kind: 'order'; readonly order: string }
  | { readonly kind: 'vault'; readonly handle: string }

/** Why this rail refuses, in its own words. */
export type Reason =
  | 'order-unknown'
  | 'order-foreign'
  | 'order-unapproved'
  | 'order-returned'
  | 'amount-wrong'
  | 'vault-unknown'
  | 'payment-declined'

/** Terms as the gateway profile of `Bearer` says them. */
export interface BearerWords {
  readonly gateway: string
  readonly wallet_required: boolean
  readonly payment_url?: string
  readonly details: JsonObject
}

/** What an offer of ours begins with in `X-Payment-Intent`; all else there is a processor's. */
const OFFER = 'offer_'
const WORD_CHARS_MAX = 128

/** This rail said in the gateway profile. */
export function createForm(network: string, beginPath?: string): Form<Details, Proof, BearerWords> {
  return {
    rail: RAIL,
    networks: [network],
    writeDetails: ({ amount, payee }) => ({
      gateway: 'paypal',
      wallet_required: false,
      details: {
        network,
        payee,
        amount: amount.amount.toString(),
        currency: amount.asset.code,
        ...(beginPath !== undefined && { begin: beginPath }),
      },
    }),
    readDetails({ gateway, details }) {
      const { payee, amount, currency } = details
      if (gateway !== 'paypal' || details['network'] !== network)
        return 'This is for another gateway.'
      if (typeof payee !== 'string' || payee.length > WORD_CHARS_MAX)
        return 'The terms cannot be read.'
      if (typeof amount !== 'string' || !/^[1-9]\d{0,9}$/.test(amount))
        return 'The amount is no whole number of cents.'
      if (typeof currency !== 'string' || !currencies.has(currency))
        return 'The currency is not known.'
      return {
        rail: RAIL,
        network,
        intent: CHARGE,
        amount: { asset: fiat(currency), amount: BigInt(amount) },
        payee,
        timeoutMs: 0,
        details: {},
      }
    },
    writeProof: (proof) => ({ proof: proof.kind === 'order' ? proof.order : proof.handle }),
    readProof(said) {
      const { intent, proof } = isObject(said) ? said : {}
      const order = [proof, intent].find(isOrder)
      if (order !== undefined) return { kind: 'order', order }
      // A kept method is charged for the offer that it is shown with: without one it would pay again and again.
      if (isHandle(proof) && typeof intent === 'string' && intent.startsWith(OFFER))
        return { kind: 'vault', handle: proof }
      return 'Show the id of an approved order, or the handle of a kept payment method with the offer that it pays.'
    },
    reasons: {
      'order-unknown': 'invalid_order',
      'order-foreign': 'invalid_order',
      'order-unapproved': 'payment_not_completed',
      'order-returned': 'payment_refunded',
      'amount-wrong': 'amount_mismatch',
      'vault-unknown': 'invalid_token',
      'payment-declined': 'payment_declined',
    } satisfies Record<Reason, string>,
  }
}

/** Whether the value may be the id of an order. */
export function isOrder(value: unknown): value is string {
  return typeof value === 'string' && /^[A-Z0-9]{10,36}$/.test(value)
}

/** Whether the value may be a handle of ours. */
export function isHandle(value: unknown): value is string {
  return typeof value === 'string' && /^ppv_[a-z]{3,10}_[A-Za-z0-9-]{1,64}_[\w-]{43}$/.test(value)
}
