import type { Offer } from '../../core/offer.ts'
import { nonceOf } from '../../core/offers.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Call, StripeClient, StripeOptions } from './client.ts'
import { createCall, unreachable } from './client.ts'
import type { Intent } from './intent.ts'
import { bindingOf, readIntent } from './intent.ts'

/** Whose money it is, and by whom Stripe is asked. */
export interface AccountSettings {
  /** `new Stripe(key)` of npm `stripe`, or anything with its `rawRequest`. */
  readonly client: StripeClient
  /** Whether money is real. A key of the other kind is refused when the rail is opened. */
  readonly mode: 'test' | 'live'
  /** The connected account (`acct_…`) in whose name is sold; that of the key if absent. */
  readonly account?: string
}

/**
 * The network: the account in whose books the money lies, or what kind of money it is.
 * @throws {RangeError} when the account cannot be one.
 */
export function networkOf({ account, mode }: Omit<AccountSettings, 'client'>): string {
  if (account !== undefined && !/^acct_[A-Za-z0-9]{4,64}$/.test(account))
    throw new RangeError('"account" is an id of Stripe’s, like "acct_1AbC…".')
  return `stripe:${account ?? mode}`
}

/** What keys of what is paid there begin with, whichever rail and protocol says it. */
export function keyPrefix(network: string): string {
  return `${network.replace(':', '/')}/`
}

/** Stripe does not tell us who its customers are, and we do not ask. */
export function anonymous(network: string): string {
  return `${network}/anonymous`
}

/** Asks in the name of the account. */
export function callOf({ client, account }: AccountSettings): Call {
  return createCall(client, account === undefined ? {} : { stripeAccount: account })
}

/**
 * Looks whether the key is one, and for that kind of money.
 * @throws {PaymentError} `misconfigured` or `rail-unavailable`.
 */
export async function openAccount(call: Call, mode: 'test' | 'live'): Promise<void> {
  const answer = await call('GET', '/v1/balance')
  if (answer.kind !== 'done') throw unreachable(answer)
  if (answer.object['livemode'] !== (mode === 'live'))
    throw new PaymentError('misconfigured', `The key of Stripe is not for "${mode}".`)
}

/**
 * Makes an intent that pays the offer and nothing else.
 * @throws {PaymentError} `rail-unavailable` or `misconfigured`.
 */
export async function makeIntent(
  call: Call,
  offer: Offer,
  rest: { readonly [name: string]: unknown },
  options: StripeOptions = {},
): Promise<Intent> {
  const { amount, asset } = offer.amount
  const params = {
    amount: Number(amount),
    currency: asset.code.toLowerCase(),
    metadata: bindingOf(offer),
    ...rest,
  }
  // Where two buyers may have equal offers, they must not have the same intent.
  const isOne = nonceOf(offer) !== undefined
  const key = isOne ? { idempotencyKey: `tolsey_intent_${offer.id}` } : {}
  const answer = await call('POST', '/v1/payment_intents', params, { ...options, ...key })
  if (answer.kind !== 'done') throw unreachable(answer)
  const made = readIntent(answer.object)
  if (!made) throw new PaymentError('rail-unavailable', 'Stripe answers with something else.')
  return made
}
