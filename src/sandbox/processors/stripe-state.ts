import type { Chance, Clock } from '../../core/ports.ts'
import { minimums } from '../../rails/stripe/minimum.ts'
import type { Form } from './form.ts'
import { formAt, listAt, textAt } from './form.ts'
import type { Reply } from './server.ts'

/** Most objects of each kind. */
export const OBJECTS_MAX = 10_000
/** Characters of an id behind its prefix. */
const ID_BYTES = 12
/** Most of a list in one answer. */
const LIST_MAX = 100

/** It was not done. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly reply: Reply
  constructor(status: number, type: string, code: string, param?: string) {
    super(code)
    const error = { type, ...(code !== '' && { code }), ...(param !== undefined && { param }) }
    this.reply = { status, body: { error } }
  }
}

/** A PaymentIntent, as it is written. */
export interface PaymentIntent {
  readonly id: string
  readonly object: 'payment_intent'
  readonly amount: number
  readonly currency: string
  readonly created: number
  readonly livemode: false
  readonly client_secret: string
  readonly metadata: Form
  amount_received: number
  status: string
  latest_charge: string | null
  next_action: unknown
  cancellation_reason: string | null
}

/** A charge, as it is written. */
export interface Charge {
  readonly id: string
  readonly object: 'charge'
  readonly amount: number
  readonly currency: string
  readonly created: number
  readonly payment_intent: string
  amount_refunded: number
  refunded: boolean
  disputed: boolean
}

/** A refund, as it is written. */
export interface Refund {
  readonly id: string
  readonly object: 'refund'
  readonly amount: number
  readonly currency: string
  readonly created: number
  readonly payment_intent: string
  readonly metadata: Form
  status: string
}

/** A shared payment token, as its seller sees it. */
export interface Token {
  readonly id: string
  readonly object: 'shared_payment.granted_token'
  readonly usage_limits: {
    readonly currency: string
    readonly max_amount: number
    readonly expires_at: number
  }
  captured: number
  /** Whose it is: decides what becomes of a charge. */
  readonly card: string
  deactivated_at: number | null
}

/** A meter event, as it is written. */
export interface MeterEvent {
  readonly identifier: string
  readonly event_name: string
  readonly payload: Form
  readonly timestamp: number
}

/** A call that may be answered. */
export interface StripeRequest {
  readonly method: string
  readonly path: string
  readonly form: Form
  /** Whether its version says that it knows of what is in preview. */
  readonly isPreview: boolean
  /** It has only the key for browsers. */
  readonly isBrowser: boolean
}

/** What stands at the stand-in. */
export interface StripeState {
  readonly intents: ReadonlyMap<string, PaymentIntent>
  readonly charges: ReadonlyMap<string, Charge>
  readonly refunds: ReadonlyMap<string, Refund>
  readonly meterEvents: ReadonlyMap<string, MeterEvent>
  id(prefix: string): string
  /** A token that an agent has issued for the seller. */
  grant(
    most: number,
    change?: { readonly currency?: string; readonly validForMs?: number; readonly card?: string },
  ): string
  /** Somebody disputes a charge of the intent. */
  dispute(intent: string): void
  /** Does it, or throws {@link Refused}. */
  answer(request: StripeRequest): unknown
}

/** What the state is made of. */
export interface StripeStateParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly tell: (type: string, object: unknown) => void
}

/** Cards by their number, as Stripe's test cards behave. */
const cards: Readonly<Record<string, string>> = {
  '4242424242424242': 'pm_card_visa',
  '4000000000000002': 'pm_card_chargeDeclined',
  '4000002760003184': 'pm_card_authenticationRequired',
  '4000000000000259': 'pm_card_createDispute',
}

/** Names that each call may say; anything else is a mistake, and is refused. */
const known: Readonly<Record<string, readonly string[]>> = {
  create:
    'amount currency confirm payment_method payment_method_data payment_method_types payment_method_options automatic_payment_methods metadata description customer expand shared_payment_granted_token'.split(
      ' ',
    ),
  confirm: 'client_secret key payment_method payment_method_data return_url expand'.split(' '),
  cancel: 'cancellation_reason expand'.split(' '),
  look: 'client_secret key expand'.split(' '),
  list: 'created limit starting_after expand'.split(' '),
  refund: 'payment_intent amount metadata reason expand'.split(' '),
  refunds: 'payment_intent limit starting_after'.split(' '),
  meter: 'event_name payload identifier timestamp'.split(' '),
  token: 'usage_limits payment_method customer seller_details return_url'.split(' '),
  deposit: 'transaction_hash network token_currency buyer_wallet'.split(' '),
  address: 'network limit'.split(' '),
  none: [],
}

/** Makes an empty one. */
export function createStripeState({ clock, chance, tell }: StripeStateParts): StripeState {
  const intents = new Map<string, PaymentIntent>()
  const charges = new Map<string, Charge>()
  const refunds = new Map<string, Refund>()
  const tokens = new Map<string, Token>()
  const meterEvents = new Map<string, MeterEvent>()
  const addresses = new Map<string, unknown>()
  const recorded = new Set<string>()

  const now = (): number => Math.floor(clock.now() / 1000)
  const id = (prefix: string): string =>
    `${prefix}_${Buffer.from(chance(ID_BYTES)).toString('hex')}`

  function keep<T extends { readonly id: string }>(into: Map<string, T>, one: T): T {
    if (into.size >= OBJECTS_MAX) throw new Refused(429, 'invalid_request_error', 'rate_limit')
    into.set(one.id, one)
    return one
  }

  function needsPreview({ isPreview }: StripeRequest, param: string): void {
    if (!isPreview) throw new Refused(400, 'invalid_request_error', 'parameter_unknown', param)
  }

  /** Makes an intent, and with `confirm` pays it. Nothing is kept of what cannot be. */
  function create(request: StripeRequest): PaymentIntent {
    const { form } = request
    check(form, 'create')
    const amount = wholeOf(form, 'amount')
    const currency = textAt(form, 'currency')?.toLowerCase() ?? ''
    const least = minimums[currency.toUpperCase()]
    if (least === undefined)
      throw new Refused(400, 'invalid_request_error', 'invalid_currency', 'currency')
    const crypto = formAt(form, 'payment_method_options', 'crypto')
    const isCrypto = listAt(form, 'payment_method_types').includes('crypto')
    if (isCrypto) needsPreview(request, 'payment_method_types')
    if (amount < (isCrypto ? 1n : least))
      throw new Refused(400, 'invalid_request_error', 'amount_too_small', 'amount')
    const named = 'shared_payment_granted_token'
    // Older samples, and mppx, say it at the top.
    const token = textAt(formAt(form, 'payment_method_data'), named) ?? textAt(form, named)
    if (token !== undefined)
      needsPreview(request, 'payment_method_data[shared_payment_granted_token]')
    const intent: PaymentIntent = {
      id: id('pi'),
      object: 'payment_intent',
      amount: Number(amount),
      amount_received: 0,
      currency,
      status: 'requires_payment_method',
      created: now(),
      livemode: false,
      client_secret: '',
      metadata: formAt(form, 'metadata'),
      latest_charge: null,
      next_action: null,
      cancellation_reason: null,
    }
    const made = {
      ...intent,
      client_secret: `${intent.id}_secret_${Buffer.from(chance(ID_BYTES)).toString('hex')}`,
    }
    if (textAt(form, 'confirm') !== 'true') return told(keep(intents, made), 'created')
    if (token !== undefined) spendToken(made, token)
    else if (isCrypto) confirmCrypto(made, crypto)
    else pay(made, cardOf(form))
    return told(keep(intents, made), 'created')
  }

  function told(intent: PaymentIntent, what: string): PaymentIntent {
    tell(`payment_intent.${what}`, written(intent))
    if (intent.status === 'succeeded' && what === 'created')
      tell('payment_intent.succeeded', written(intent))
    return intent
  }

  function spendToken(intent: PaymentIntent, name: string): void {
    const token = tokens.get(name)
    if (!token) throw new Refused(400, 'invalid_request_error', 'resource_missing')
    const { currency, max_amount: most, expires_at: end } = token.usage_limits
    if (token.deactivated_at !== null || end <= now())
      throw new Refused(402, 'card_error', 'expired_payment_method')
    if (currency !== intent.currency || token.captured + intent.amount > most)
      throw new Refused(402, 'card_error', 'card_declined')
    pay(intent, token.card)
    if (intent.status === 'succeeded') token.captured += intent.amount
  }

  function pay(intent: PaymentIntent, card: string): void {
    if (card === 'pm_card_chargeDeclined') throw new Refused(402, 'card_error', 'card_declined')
    if (card === 'pm_card_authenticationRequired') {
      intent.status = 'requires_action'
      intent.next_action = { type: 'use_stripe_sdk' }
      return
    }
    succeed(intent)
    const charge = charges.get(intent.latest_charge ?? '')
    if (charge && card === 'pm_card_createDispute') charge.disputed = true
  }

  function succeed(intent: PaymentIntent): void {
    const charge = keep(charges, {
      id: id('ch'),
      object: 'charge',
      amount: intent.amount,
      currency: intent.currency,
      created: now(),
      payment_intent: intent.id,
      amount_refunded: 0,
      refunded: false,
      disputed: false,
    })
    intent.status = 'succeeded'
    intent.amount_received = intent.amount
    intent.latest_charge = charge.id
    intent.next_action = null
  }

  function confirmCrypto(intent: PaymentIntent, crypto: Form): void {
    const mode = textAt(crypto, 'mode')
    if (mode === 'deposit') {
      const networks = listAt(crypto, 'deposit_options', 'networks')
      intent.status = 'requires_action'
      intent.next_action = {
        type: 'crypto_display_details',
        crypto_display_details: {
          deposit_addresses: Object.fromEntries(networks.map((network) => [network, addressFor()])),
        },
      }
      return
    }
    const { network, transaction_hash: transaction } = formAt(
      crypto,
      'transaction_verification_options',
    )
    if (
      mode !== 'transaction_verification' ||
      typeof network !== 'string' ||
      typeof transaction !== 'string'
    )
      throw new Refused(400, 'invalid_request_error', 'parameter_missing')
    if (recorded.has(`${network} ${transaction}`))
      throw new Refused(400, 'invalid_request_error', 'crypto_transaction_already_used')
    recorded.add(`${network} ${transaction}`)
    succeed(intent)
  }

  function addressFor() {
    return {
      address: `0x${Buffer.from(chance(20)).toString('hex')}`,
      supported_tokens: [{ token_currency: 'usdc', token_contract_address: `0x${'0'.repeat(40)}` }],
    }
  }

  function confirm(request: StripeRequest, intent: PaymentIntent): PaymentIntent {
    check(request.form, 'confirm')
    owned(request, intent)
    if (intent.status !== 'requires_payment_method' && intent.status !== 'requires_action')
      throw new Refused(400, 'invalid_request_error', 'payment_intent_unexpected_state')
    // A person at the screen has confirmed it.
    if (intent.status === 'requires_action') succeed(intent)
    else pay(intent, cardOf(request.form))
    if (intent.latest_charge !== null) tell('payment_intent.succeeded', written(intent))
    return intent
  }

  /** A browser shows the secret of the one intent that it was given. */
  function owned({ form, isBrowser }: StripeRequest, intent: PaymentIntent): void {
    if (isBrowser && textAt(form, 'client_secret') !== intent.client_secret)
      throw new Refused(404, 'invalid_request_error', 'resource_missing')
  }

  function cancel({ form }: StripeRequest, intent: PaymentIntent): PaymentIntent {
    check(form, 'cancel')
    if (intent.status === 'succeeded' || intent.status === 'canceled')
      throw new Refused(400, 'invalid_request_error', 'payment_intent_unexpected_state')
    intent.status = 'canceled'
    intent.cancellation_reason = textAt(form, 'cancellation_reason') ?? null
    tell('payment_intent.canceled', written(intent))
    return intent
  }

  function refund({ form }: StripeRequest): Refund {
    check(form, 'refund')
    const intent = intents.get(textAt(form, 'payment_intent') ?? '')
    const charge = charges.get(intent?.latest_charge ?? '')
    if (!intent || !charge) throw new Refused(404, 'invalid_request_error', 'resource_missing')
    const left = charge.amount - charge.amount_refunded
    if (left === 0) throw new Refused(400, 'invalid_request_error', 'charge_already_refunded')
    if (charge.disputed) throw new Refused(400, 'invalid_request_error', 'charge_disputed')
    const amount = form['amount'] === undefined ? left : Number(wholeOf(form, 'amount'))
    if (amount > left || amount === 0)
      throw new Refused(400, 'invalid_request_error', 'amount_too_large', 'amount')
    const made = keep<Refund>(refunds, {
      id: id('re'),
      object: 'refund',
      amount,
      currency: charge.currency,
      created: now(),
      payment_intent: intent.id,
      metadata: formAt(form, 'metadata'),
      status: 'succeeded',
    })
    charge.amount_refunded += amount
    charge.refunded = charge.amount_refunded === charge.amount
    tell('charge.refunded', { ...charge })
    tell('refund.created', { ...made })
    return made
  }

  function meter({ form }: StripeRequest): MeterEvent {
    check(form, 'meter')
    const name = textAt(form, 'event_name')
    const payload = formAt(form, 'payload')
    if (
      name === undefined ||
      name === '' ||
      typeof payload['stripe_customer_id'] !== 'string' ||
      !/^\d{1,15}$/.test(textAt(payload, 'value') ?? '')
    )
      throw new Refused(400, 'invalid_request_error', 'parameter_missing')
    const identifier = textAt(form, 'identifier') ?? id('mev')
    if (meterEvents.has(identifier))
      throw new Refused(400, 'invalid_request_error', 'duplicate_meter_event')
    const timestamp = Number(textAt(form, 'timestamp') ?? now())
    return keep(meterEvents as Map<string, MeterEvent & { id: string }>, {
      id: identifier,
      identifier,
      event_name: name,
      payload,
      timestamp,
    })
  }

  function grant(
    most: number,
    {
      currency = 'usd',
      validForMs = 3_600_000,
      card = 'pm_card_visa',
    }: Parameters<StripeState['grant']>[1] = {},
  ): string {
    const expiresAt = Math.floor((clock.now() + validForMs) / 1000)
    return keep<Token>(tokens, {
      id: id('spt'),
      object: 'shared_payment.granted_token',
      usage_limits: { currency, max_amount: most, expires_at: expiresAt },
      captured: 0,
      card,
      deactivated_at: null,
    }).id
  }

  /** What an agent asks for, or a test does in an agent's place. */
  function issue(request: StripeRequest): unknown {
    const { form } = request
    check(form, 'token')
    needsPreview(request, 'usage_limits')
    const limits = formAt(form, 'usage_limits')
    const end = Number(wholeOf(limits, 'expires_at')) * 1000
    const name = grant(Number(wholeOf(limits, 'max_amount')), {
      currency: textAt(limits, 'currency') ?? 'usd',
      validForMs: end - clock.now(),
      card: textAt(form, 'payment_method') ?? 'pm_card_visa',
    })
    return grantedOf(name)
  }

  function grantedOf(name: string): unknown {
    const token = tokens.get(name)
    if (!token) throw new Refused(404, 'invalid_request_error', 'resource_missing')
    const { captured: _, card: __, ...rest } = token
    return rest
  }

  function deposited({ form }: StripeRequest, intent: PaymentIntent): PaymentIntent {
    check(form, 'deposit')
    if (intent.status !== 'requires_action')
      throw new Refused(400, 'invalid_request_error', 'payment_intent_unexpected_state')
    succeed(intent)
    tell('payment_intent.succeeded', written(intent))
    return intent
  }

  function list<T extends { readonly id: string; readonly created: number }>(
    all: Iterable<T>,
    form: Form,
    fits: (one: T) => boolean,
  ): unknown {
    const limit = Math.min(Number(textAt(form, 'limit') ?? 10), LIST_MAX)
    const sorted = [...all].filter(fits).toReversed()
    const after = textAt(form, 'starting_after')
    const rest = sorted.slice(
      after === undefined ? 0 : sorted.findIndex((one) => one.id === after) + 1,
    )
    return { object: 'list', data: rest.slice(0, limit), has_more: rest.length > limit }
  }

  function listIntents({ form }: StripeRequest): unknown {
    check(form, 'list')
    const { gte = '0', lte = '9999999999' } = formAt(form, 'created')
    return list(
      intents.values(),
      form,
      ({ created }) => created >= Number(gte) && created <= Number(lte),
    )
  }

  /** As it is told of: with the charge in it where that was asked for. */
  function written(intent: PaymentIntent, form: Form = {}): unknown {
    const charge = listAt(form, 'expand').includes('latest_charge')
      ? charges.get(intent.latest_charge ?? '')
      : undefined
    return { ...intent, ...(charge && { latest_charge: { ...charge } }) }
  }

  function intentOf(name: string): PaymentIntent {
    const intent = intents.get(name)
    if (!intent) throw new Refused(404, 'invalid_request_error', 'resource_missing')
    return intent
  }

  function answer(request: StripeRequest): unknown {
    const { method, path, form, isBrowser } = request
    const [, first = '', name = '', verb = ''] =
      /^\/v1\/(payment_intents|test_helpers\/payment_intents|shared_payment\/granted_tokens)\/(\w+)(?:\/(\w+))?$/.exec(
        path,
      ) ?? []
    const call = `${method} ${first === '' ? path : first}${verb && `/${verb}`}`
    if (isBrowser && !/payment_intents(?:\/confirm)?$/.test(call))
      throw new Refused(403, 'invalid_request_error', 'secret_key_required')
    switch (call) {
      case 'POST /v1/payment_intents':
        if (isBrowser) throw new Refused(403, 'invalid_request_error', 'secret_key_required')
        return written(create(request), form)
      case 'GET /v1/payment_intents':
        if (isBrowser) throw new Refused(403, 'invalid_request_error', 'secret_key_required')
        return listIntents(request)
      case 'GET payment_intents':
        check(form, 'look')
        owned(request, intentOf(name))
        return written(intentOf(name), form)
      case 'POST payment_intents/confirm':
        return written(confirm(request, intentOf(name)), form)
      case 'POST payment_intents/cancel':
        return written(cancel(request, intentOf(name)), form)
      case 'POST test_helpers/payment_intents/simulate_crypto_deposit':
        needsPreview(request, 'transaction_hash')
        return written(deposited(request, intentOf(name)))
      case 'POST /v1/refunds':
        return refund(request)
      case 'GET /v1/refunds': {
        check(form, 'refunds')
        const of = textAt(form, 'payment_intent')
        return list(refunds.values(), form, (one) => of === undefined || one.payment_intent === of)
      }
      case 'POST /v1/billing/meter_events':
        return meter(request)
      case 'POST /v1/shared_payment/issued_tokens':
      case 'POST /v1/test_helpers/shared_payment/granted_tokens':
        return issue(request)
      case 'GET shared_payment/granted_tokens':
        needsPreview(request, 'granted_token')
        return grantedOf(name)
      case 'POST /v1/crypto/deposit_addresses': {
        needsPreview(request, 'network')
        check(form, 'address')
        const made = {
          id: id('cda'),
          object: 'crypto.deposit_address',
          network: textAt(form, 'network'),
          ...addressFor(),
        }
        addresses.set(made.id, made)
        return made
      }
      case 'GET /v1/crypto/deposit_addresses':
        needsPreview(request, 'network')
        return { object: 'list', data: [...addresses.values()], has_more: false }
      case 'GET /v1/balance':
        return { object: 'balance', livemode: false, available: [], pending: [] }
      default:
        throw new Refused(404, 'invalid_request_error', 'url_invalid')
    }
  }

  return {
    intents,
    charges,
    refunds,
    meterEvents,
    id,
    grant,
    dispute(name) {
      const charge = charges.get(intentOf(name).latest_charge ?? '')
      if (charge) charge.disputed = true
      tell('charge.dispute.created', { id: id('dp'), object: 'dispute', payment_intent: name })
    },
    answer,
  }
}

function check(form: Form, call: string): void {
  const wrong = Object.keys(form).find((name) => !known[call]?.includes(name))
  if (wrong !== undefined)
    throw new Refused(400, 'invalid_request_error', 'parameter_unknown', wrong)
}

function wholeOf(form: Form, name: string): bigint {
  const text = textAt(form, name)
  if (text === undefined) throw new Refused(400, 'invalid_request_error', 'parameter_missing', name)
  if (!/^\d{1,12}$/.test(text))
    throw new Refused(400, 'invalid_request_error', 'parameter_invalid_integer', name)
  return BigInt(text)
}

function cardOf(form: Form): string {
  const named = textAt(form, 'payment_method')
  if (named !== undefined && Object.values(cards).includes(named)) return named
  const typed = textAt(formAt(form, 'payment_method_data', 'card'), 'number')?.replaceAll(' ', '')
  const found = cards[typed ?? '']
  if (found === undefined) throw new Refused(402, 'card_error', 'incorrect_number')
  return found
}
