import { hash } from 'node:crypto'
import { systemClock } from '../../core/clock.ts'
import { isObject } from '../../core/json.ts'
import type { Price } from '../../core/money.ts'
import type { Offer, Terms } from '../../core/offer.ts'
import type { Clock, Form, Log, Rail, Settlement, Verdict } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { PaymentError, problem } from '../../core/problem.ts'
import { createCharging } from './charge.ts'
import { callOf, anonymous, keyPrefix, makeIntent, networkOf, openAccount } from './account.ts'
import type { AccountSettings } from './account.ts'
import { PREVIEW_VERSION, unreachable } from './client.ts'
import type { Details, FormSettings, Proof } from './forms.ts'
import { CHARGE, RAIL, TIMEOUT_MS, createBearerForm, createMppForm, isIntent } from './forms.ts'
import { isCount } from './intent.ts'
import { amountOf, readCurrencies } from './minimum.ts'
import { createPaid } from './paid.ts'
import { refusal } from './problems.ts'
import { createRefund } from './refund.ts'

/** What the rail is made of. */
export interface StripeSettings extends AccountSettings {
  /** Currencies that are sold in, `USD` alone if absent. */
  readonly currencies?: readonly string[]
  /** Our profile (`profile_…`), for which agents issue shared payment tokens. Without it none are taken. */
  readonly profile?: string
  /** Stripe's key for browsers (`pk_…`), which a page needs. */
  readonly publishableKey?: string
  /** Where a page begins the payment of an offer, told to programs too. */
  readonly beginPath?: string
  readonly clock?: Clock
}

/**
 * Cards by Stripe: shared payment tokens that agents show, and PaymentIntents of ours that persons have paid.
 * @throws {RangeError} with what to do, when the settings cannot be.
 */
export function stripe(settings: StripeSettings): Rail<Details, Proof> {
  const { mode, account, profile = '', publishableKey, clock = systemClock } = settings
  const sold = readCurrencies(settings.currencies ?? ['USD'])
  const network = networkOf(settings)
  const call = callOf(settings)
  const charging = createCharging({ call, clock, network })
  const paid = createPaid({ call, network, live: mode === 'live' })
  const payer = anonymous(network)

  function quote(price: Price): readonly Terms<Details>[] {
    const found = amountOf(price, sold)
    if (!found) return []
    const amount = { asset: found.sold.asset, amount: found.amount }
    const details = { profile, types: ['card'] }
    const payee = profile || (account ?? mode)
    const terms = { rail: RAIL, network, intent: CHARGE, timeoutMs: TIMEOUT_MS }
    return [{ ...terms, amount, payee, details }]
  }

  function identify(offer: Offer<Details>, proof: Proof): { key: string; payer: string } {
    // Keys are told to others; tokens and offers are not.
    const name =
      proof.kind === 'intent'
        ? proof.intent
        : `spt_${hash('sha256', `${proof.token}/${offer.id}`, 'hex')}`
    return { key: keyPrefix(network) + name, payer }
  }

  async function verify(offer: Offer<Details>, proof: Proof): Promise<Verdict> {
    const { key } = identify(offer, proof)
    const why =
      proof.kind === 'intent'
        ? await paid.refuses(offer, proof.intent)
        : (untimely(offer) ?? (await unfit(offer, proof.token)))
    return why ? { ok: false, problem: why, key, payer } : { ok: true, key, payer }
  }

  /** A token is charged for an offer that stands. */
  function untimely({ expiresAt }: Offer<Details>): Problem | undefined {
    if (profile === '') return noTokens
    return clock.now() < expiresAt ? undefined : tooLate
  }

  /** What Stripe says of the token before any work is done for it. */
  async function unfit({ amount }: Offer<Details>, token: string): Promise<Problem | undefined> {
    const path = `/v1/shared_payment/granted_tokens/${token}`
    const answer = await call('GET', path, undefined, { apiVersion: PREVIEW_VERSION })
    if (answer.kind === 'refused' && answer.status === 404) return noToken
    if (answer.kind !== 'done') throw unreachable(answer)
    const { usage_limits: limits, deactivated_at: deactivatedAt } = answer.object
    // What cannot be told now, the charge will.
    if (!isObject(limits)) return undefined
    const { currency, max_amount: most, expires_at: end } = limits
    if (isCount(deactivatedAt) || (isCount(end) && end * 1000 <= clock.now())) return deadToken
    const isEnough = isCount(most) && BigInt(most) >= amount.amount
    const isSame = typeof currency === 'string' && currency.toUpperCase() === amount.asset.code
    return isEnough && isSame ? undefined : smallToken
  }

  async function settle(
    offer: Offer<Details>,
    proof: Proof,
    key: string,
    log: Log,
  ): Promise<Settlement> {
    return proof.kind === 'intent'
      ? paid.settle(offer, proof.intent)
      : charging.settle(offer, proof.token, key, log)
  }

  async function find(
    offer: Offer<Details>,
    key: string,
    log: Log,
  ): Promise<Settlement | undefined> {
    const id = key.slice(keyPrefix(network).length)
    return isIntent(id) ? paid.find(offer, id) : charging.find(offer, log)
  }

  return {
    name: RAIL,
    network,
    forms: formsOf(settings, network),
    // Persons have paid before they show it. Tokens are charged in time or not at all.
    prepaid: true,
    units: sold.map(({ asset }) => ({ asset: asset.id, currency: asset.code, scale: asset.scale })),
    quote,
    identify,
    seen: (intent) => (isIntent(intent) ? { kind: 'intent', intent } : undefined),
    open: () => openAccount(call, mode),
    verify,
    settle,
    find,
    refund: createRefund({ call, clock }),
    async begin(offer) {
      const { id, secret } = await makeIntent(call, offer, {
        automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
      })
      if (secret === undefined)
        throw new PaymentError('rail-unavailable', 'Stripe made an intent without a secret.')
      return {
        payment_intent: id,
        client_secret: secret,
        ...(publishableKey !== undefined && { publishable_key: publishableKey }),
      }
    },
    async close() {},
  }
}

function formsOf(
  { profile, beginPath, publishableKey }: StripeSettings,
  network: string,
): Readonly<Record<string, Form<Details, Proof>>> {
  const said: FormSettings = {
    networks: [network],
    ...(beginPath !== undefined && { beginPath }),
    ...(publishableKey !== undefined && { publishableKey }),
  }
  const bearer = { bearer: createBearerForm(said) }
  const forms = profile === undefined ? bearer : { ...bearer, mpp: createMppForm(network) }
  return forms
}

const noTokens = refusal(
  'credential-unsupported',
  'token-unknown',
  'This service takes no shared payment tokens.',
)
const noToken = refusal(
  'proof-invalid',
  'token-unknown',
  'There is no such shared payment token for this seller.',
)
const deadToken = refusal(
  'proof-expired',
  'token-unfit',
  'The shared payment token is not good any more.',
)
const smallToken = refusal(
  'amount-mismatch',
  'token-unfit',
  'The shared payment token does not cover the price.',
)
const tooLate = problem(
  'offer-expired',
  'The offer that this payment accepts has expired. Nothing was taken; pay one of the offers given here.',
)
