import { fiat, toFiat } from '../../core/fiat.ts'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Money, Price } from '../../core/money.ts'
import type { Terms } from '../../core/offer.ts'
import type { Form, Rail, Settlement } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { systemClock } from '../../core/clock.ts'
import type { Clock } from '../../core/ports.ts'
import { anonymous, callOf, keyPrefix, makeIntent, networkOf, openAccount } from './account.ts'
import type { AccountSettings } from './account.ts'
import type { Answer } from './client.ts'
import { PREVIEW_VERSION, unreachable } from './client.ts'
import type { BearerWords } from './forms.ts'
import { CHARGE, isIntent } from './forms.ts'
import { AMOUNT_MAX } from './minimum.ts'
import { createPaid } from './paid.ts'
import { createRefund } from './refund.ts'

/** The rail's name. */
export const CRYPTO_RAIL = 'stripe-crypto'
/** Networks on which stablecoins are taken, in Stripe's words. */
export const CRYPTO_NETWORKS: readonly string[] = ['base', 'tempo', 'solana']

/** What the terms of this rail say beside the money. */
export interface CryptoDetails {
  /** Networks on which it may be paid, in Stripe's words. */
  readonly networks: readonly string[]
}

/** A PaymentIntent of ours, to one of whose addresses the money went. */
export interface CryptoProof {
  readonly intent: string
}

/** What the rail is made of. */
export interface StripeCryptoSettings extends AccountSettings {
  /** In Stripe's words, `base` if absent. */
  readonly networks?: readonly string[]
  readonly beginPath?: string
  readonly clock?: Clock
}

/**
 * Stablecoins that Stripe takes for us: each payment has addresses of its own, and what arrives there pays its PaymentIntent
 * (`mode: deposit`, in preview). From one cent on, in dollars.
 * @throws {RangeError} for a network that is not known.
 */
export function stripeCrypto(settings: StripeCryptoSettings): Rail<CryptoDetails, CryptoProof> {
  const { mode, account, networks = ['base'], beginPath, clock = systemClock } = settings
  const unknown = networks.find((one) => !CRYPTO_NETWORKS.includes(one))
  if (unknown !== undefined || networks.length === 0)
    throw new RangeError(`"networks" are of ${CRYPTO_NETWORKS.join(', ')}.`)
  const asset = fiat('USD')
  const network = networkOf(settings)
  const call = callOf(settings)
  const paid = createPaid({ call, network, live: mode === 'live' })
  const payer = anonymous(network)

  function quote(price: Price): readonly Terms<CryptoDetails>[] {
    const amount = toFiat(price, asset)
    if (amount === undefined || amount <= 0n || amount > AMOUNT_MAX) return []
    const terms = { rail: CRYPTO_RAIL, network, intent: CHARGE, timeoutMs: 0 }
    return [{ ...terms, amount: { asset, amount }, payee: account ?? mode, details: { networks } }]
  }

  const identify = (_: unknown, { intent }: CryptoProof) => ({
    key: keyPrefix(network) + intent,
    payer,
  })
  const refund = createRefund({ call, clock })
  return {
    name: CRYPTO_RAIL,
    network,
    forms: { bearer: formOf(network, beginPath) },
    prepaid: true,
    units: [{ asset: asset.id, currency: asset.code, scale: asset.scale }],
    quote,
    identify,
    open: () => openAccount(call, mode),
    async verify(offer, proof) {
      const { key } = identify(offer, proof)
      const why = await paid.refuses(offer, proof.intent)
      return why ? { ok: false, problem: why, key, payer } : { ok: true, key, payer }
    },
    settle: (offer, { intent }): Promise<Settlement> => paid.settle(offer, intent),
    async find(offer, key) {
      const id = key.slice(keyPrefix(network).length)
      return isIntent(id) ? paid.find(offer, id) : undefined
    },
    refund,
    async begin(offer) {
      const made = await makeIntent(call, offer, depositOf(networks), {
        apiVersion: PREVIEW_VERSION,
      })
      const addresses = addressesOf(made.nextAction)
      if (!addresses) throw new PaymentError('rail-unavailable', 'Stripe names no addresses.')
      return { payment_intent: made.id, deposit_addresses: addresses }
    },
    async close() {},
  }
}

function depositOf(networks: readonly string[]): { readonly [name: string]: unknown } {
  return {
    confirm: true,
    payment_method_types: ['crypto'],
    payment_method_data: { type: 'crypto' },
    payment_method_options: { crypto: { mode: 'deposit', deposit_options: { networks } } },
  }
}

function addressesOf(next: JsonObject | undefined): JsonObject | undefined {
  const said = next?.['crypto_display_details']
  const addresses = isObject(said) ? said['deposit_addresses'] : undefined
  return isObject(addresses) ? addresses : undefined
}

function formOf(
  network: string,
  beginPath: string | undefined,
): Form<CryptoDetails, CryptoProof, BearerWords> {
  return {
    rail: CRYPTO_RAIL,
    networks: [network],
    writeDetails: ({ amount, payee, details: { networks } }) => ({
      gateway: CRYPTO_RAIL,
      wallet_required: true,
      details: {
        network,
        payee,
        amount: amount.amount.toString(),
        networks,
        ...(beginPath !== undefined && { begin: beginPath }),
      },
    }),
    readDetails({ gateway, details }) {
      const { payee, amount, networks } = details
      if (gateway !== CRYPTO_RAIL || details['network'] !== network)
        return 'This is for another gateway.'
      if (typeof payee !== 'string' || typeof amount !== 'string' || !/^[1-9]\d{0,7}$/.test(amount))
        return 'The terms cannot be read.'
      if (
        !Array.isArray(networks) ||
        !networks.every((one) => CRYPTO_NETWORKS.includes(String(one)))
      )
        return 'The terms name no network that is known here.'
      return {
        rail: CRYPTO_RAIL,
        network,
        intent: CHARGE,
        amount: { asset: fiat('USD'), amount: BigInt(amount) },
        payee,
        timeoutMs: 0,
        details: { networks: networks.map(String) },
      }
    },
    writeProof: ({ intent }) => ({ proof: intent }),
    readProof(said) {
      const { proof, intent } = isObject(said) ? said : {}
      const shown = [proof, intent].find(isIntent)
      return shown === undefined ? 'Show the PaymentIntent (pi_…).' : { intent: shown }
    },
    reasons: {
      'intent-unknown': 'invalid_payment_intent',
      'intent-foreign': 'invalid_payment_intent',
      'intent-unpaid': 'payment_not_completed',
      'intent-returned': 'payment_refunded',
      'amount-wrong': 'amount_mismatch',
      'stripe-refused': 'payment_refused',
    },
  }
}

/** A transfer that was settled elsewhere, to an address that Stripe keeps for us. */
export interface Transferred {
  /** In Stripe's words. */
  readonly network: string
  readonly transaction: string
  /** In dollars; cents are told, and what is below a cent is rounded to the nearest. */
  readonly amount: Money
}

/** Tells Stripe of stablecoins that came to a deposit address without an intent (`mode: transaction_verification`, in preview). */
export interface Recorder {
  /** The standing address on that network, which another rail then names as its payee; made if there is none. */
  depositAddress(network: string): Promise<string>
  /**
   * Once for each transaction, however often it is called. `skipped`: it is less than half a cent; `refused`: Stripe does not take
   * it for what it was said to be.
   * @throws {PaymentError} when it cannot be told now: call again.
   */
  record(transferred: Transferred): Promise<'recorded' | 'skipped' | 'refused'>
}

/** Makes the recorder. */
export function createRecorder(settings: AccountSettings): Recorder {
  const call = callOf(settings)
  const preview = { apiVersion: PREVIEW_VERSION }

  return {
    async depositAddress(network) {
      const listed = await call('GET', '/v1/crypto/deposit_addresses', undefined, preview)
      if (listed.kind !== 'done') throw unreachable(listed)
      const { data } = listed.object
      const list = Array.isArray(data) ? data.filter(isObject) : []
      const known = list.find((one) => one['network'] === network)?.['address']
      if (typeof known === 'string') return known
      const made = await call('POST', '/v1/crypto/deposit_addresses', { network }, preview)
      const address = made.kind === 'done' ? made.object['address'] : undefined
      if (typeof address === 'string') return address
      throw made.kind === 'done' ? noAddress : unreachable(made)
    },
    async record({ network, transaction, amount }) {
      const cents = centsOf(amount)
      if (cents === 0n) return 'skipped'
      const answer = await call(
        'POST',
        '/v1/payment_intents',
        recordOf(network, transaction, cents),
        {
          ...preview,
          idempotencyKey: `tolsey_record_${network}_${transaction}`,
        },
      )
      return recorded(answer)
    },
  }
}

function recordOf(
  network: string,
  transaction: string,
  cents: bigint,
): { readonly [name: string]: unknown } {
  const verification = { network, transaction_hash: transaction }
  return {
    amount: Number(cents),
    currency: 'usd',
    confirm: true,
    payment_method_types: ['crypto'],
    payment_method_data: { type: 'crypto' },
    payment_method_options: {
      crypto: { mode: 'transaction_verification', transaction_verification_options: verification },
    },
    // So that it is never taken for a payment of ours that buys something.
    metadata: { tolsey_kind: 'record' },
  }
}

function recorded(answer: Answer): 'recorded' | 'refused' {
  if (answer.kind === 'done') return 'recorded'
  // The key is older than Stripe remembers, and the transaction is in its books.
  if (answer.kind === 'refused' && answer.code === 'crypto_transaction_already_used')
    return 'recorded'
  if (answer.kind === 'refused' && (answer.status === 400 || answer.status === 402))
    return 'refused'
  throw unreachable(answer)
}

function centsOf({ asset, amount }: Money): bigint {
  const step = 10n ** BigInt(Math.max(asset.scale - 2, 0))
  return (amount + step / 2n) / step
}

const noAddress = new PaymentError('rail-unavailable', 'Stripe made no address.')
