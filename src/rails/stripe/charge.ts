import { hash } from 'node:crypto'
import { assert } from '../../core/assert.ts'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Settlement } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Answer, Call } from './client.ts'
import { PREVIEW_VERSION, queryOf } from './client.ts'
import type { Details } from './forms.ts'
import type { Intent } from './intent.ts'
import { isSpend, readIntent, spendOf } from './intent.ts'
import { readAnew } from './look.ts'
import { failed, unknown } from './problems.ts'
import { readAhead, readSearched, writeAhead, writeSearched } from './steps.ts'

/**
 * How long the same call is sent again with the same key. Stripe forgets keys when they are a day old, and would charge anew;
 * after this its list of intents is the evidence.
 */
export const RESEND_MS = 3_600_000
/** How old what was written ahead may be when it is sent for the first time: whoever slept longer sends nothing. */
export const SEND_MS = 30_000
/** How long after the last sending an intent may still appear. */
export const LATE_MS = 600_000
/** Most pages of a hundred intents that are read in one look; the next look goes on behind them. */
export const PAGES_MAX = 50
/** How far Stripe's clock may be from ours: a charge that lies outside of what is read would be called none. */
const SKEW_MS = 600_000
const PAGE = 100

/** What charging a token needs. */
export interface ChargeParts {
  readonly call: Call
  readonly clock: Clock
  readonly network: string
}

/** Charges shared payment tokens: one intent for each spend, whatever gets lost. */
export interface Charging {
  settle(offer: Offer<Details>, token: string, key: string, log: Log): Promise<Settlement>
  find(offer: Offer<Details>, log: Log): Promise<Settlement | undefined>
}

/** What was written ahead. */
interface Order {
  readonly spend: string
  readonly at: number
  readonly params: JsonObject
}

/** Makes the charging. */
export function createCharging({ call, clock, network }: ChargeParts): Charging {
  async function send({ params, spend }: Order): Promise<Answer> {
    return call('POST', '/v1/payment_intents', params, {
      idempotencyKey: spend,
      apiVersion: PREVIEW_VERSION,
    })
  }

  async function settle(
    offer: Offer<Details>,
    token: string,
    key: string,
    log: Log,
  ): Promise<Settlement> {
    const order = orderOf(offer, token, spendKey(key), clock.now())
    await writeAhead(log, 'charge', { ...order })
    if (clock.now() > order.at + SEND_MS) return unknown
    const answer = await send(order)
    // No other call went before this one, so that its refusal is the whole story.
    return answer.kind === 'refused' && answer.type !== 'idempotency_error'
      ? declined(answer)
      : judgeAnswer(offer, order, answer, log)
  }

  async function find(offer: Offer<Details>, log: Log): Promise<Settlement | undefined> {
    const written = await readAhead(log, 'charge')
    if (!written) return undefined
    const order = readOrder(written)
    if (clock.now() > order.at + RESEND_MS) return search(offer, order, log)
    return judgeAnswer(offer, order, await send(order), log)
  }

  /** Stripe's word is taken only where it is about this spend: a card that was declined, or an intent. */
  async function judgeAnswer(
    offer: Offer<Details>,
    order: Order,
    answer: Answer,
    log: Log,
  ): Promise<Settlement> {
    if (answer.kind === 'refused' && answer.status === 402) return declined(answer)
    if (answer.kind !== 'done') return search(offer, order, log)
    const intent = readIntent(answer.object)
    return intent ? judge(offer, order, intent) : unknown
  }

  /** A replayed answer is as good as the first: which intent it names decides, and whom that was made for. */
  async function judge(
    offer: Offer<Details>,
    { spend }: Order,
    intent: Intent,
  ): Promise<Settlement> {
    if (!isSpend(intent, spend) || !isFor(intent, offer)) return foreign
    if (intent.status === 'succeeded') return settledBy(intent, network)
    // A replayed answer says how it was: what it is now is asked.
    const now = await readAnew(call, intent.id).catch(unlessFault)
    if (now?.status === 'succeeded') return settledBy(now, network)
    if (now?.status === 'canceled') return inapplicable
    return !now || now.status === 'processing' ? unknown : cancel(now)
  }

  /** Nobody is there who could confirm it, and nobody shall later. */
  async function cancel({ id }: Intent): Promise<Settlement> {
    const answer = await call('POST', `/v1/payment_intents/${id}/cancel`, {
      cancellation_reason: 'abandoned',
    })
    const now = answer.kind === 'done' ? readIntent(answer.object) : undefined
    return now?.status === 'canceled' ? inapplicable : unknown
  }

  /** Looks through all intents of the time in which ours may have been made. Only a whole look says that there is none. */
  async function search(offer: Offer<Details>, order: Order, log: Log): Promise<Settlement> {
    const isOver = clock.now() > order.at + RESEND_MS + LATE_MS
    // A list to which nothing comes any more is read in as many looks as it takes.
    const after = isOver ? await readSearched(log) : undefined
    const fits = (intent: Intent): boolean => isSpend(intent, order.spend)
    const found = await searchIntents(call, order.at, fits, after)
    if (found.kind === 'found') return judge(offer, order, found.intent)
    if (found.kind === 'more' && isOver) await writeSearched(log, found.after)
    return found.kind === 'none' && isOver
      ? failed(
          'settlement-failed',
          'stripe-refused',
          'The charge never reached the processor. Nothing was taken.',
        )
      : unknown
  }

  return { settle, find }
}

/** What a look through the list has brought. `more`: it goes on behind the intent that is named. */
type Search =
  | { readonly kind: 'found'; readonly intent: Intent }
  | { readonly kind: 'more'; readonly after: string }
  | { readonly kind: 'none' | 'silent' }

/** Looks for the intent that fits, among those made since then until sending was over, behind the one that is named. */
async function searchIntents(
  call: Call,
  since: number,
  fits: (intent: Intent) => boolean,
  begin: string | undefined,
): Promise<Search> {
  let after = begin
  for (let page = 0; page < PAGES_MAX; page++) {
    const query = queryOf({
      'created[gte]': `${Math.floor((since - SKEW_MS) / 1000)}`,
      'created[lte]': `${Math.ceil((since + RESEND_MS + LATE_MS) / 1000)}`,
      limit: `${PAGE}`,
      ...(after !== undefined && { starting_after: after }),
    })
    const answer = await call('GET', `/v1/payment_intents?${query}`)
    const data = answer.kind === 'done' ? answer.object['data'] : undefined
    if (answer.kind !== 'done' || !Array.isArray(data)) return { kind: 'silent' }
    const list = data.filter(isObject).map(readIntent)
    const intent = list.find((one) => one && fits(one))
    if (intent) return { kind: 'found', intent }
    if (answer.object['has_more'] !== true) return { kind: 'none' }
    after = list.at(-1)?.id
    if (after === undefined) return { kind: 'silent' }
  }
  return after === undefined ? { kind: 'silent' } : { kind: 'more', after }
}

/** One spend, one key: the offer and the token are in it, and the account that is paid. */
function spendKey(key: string): string {
  return `tolsey_${hash('sha256', key, 'hex')}`
}

function orderOf(offer: Offer<Details>, token: string, spend: string, at: number): Order {
  const { amount } = offer
  const params = {
    amount: Number(amount.amount),
    currency: amount.asset.code.toLowerCase(),
    confirm: true,
    payment_method_data: { shared_payment_granted_token: token },
    automatic_payment_methods: { enabled: true, allow_redirects: 'never' },
    metadata: spendOf(offer, spend),
  }
  return { spend, at, params }
}

/** Reads back what was written ahead. The books are ours and hashed, so another shape is a bug. */
function readOrder({ spend, at, params }: JsonObject): Order {
  assert(typeof spend === 'string' && typeof at === 'number', 'an order has its key and its time')
  assert(isObject(params), 'an order says what is asked')
  return { spend, at, params }
}

/** Whether the intent is of the amount that the offer asks for. */
export function isFor(intent: Intent, { amount }: Offer): boolean {
  return intent.amount === amount.amount && intent.currency === amount.asset.code
}

/** A payment that is there. */
export function settledBy({ id, madeAt, charge }: Intent, network: string): Settlement {
  const payer = `${network}/anonymous`
  return { state: 'settled', reference: id, payer, settledAt: charge?.paidAt ?? madeAt }
}

/** What Stripe does not answer now, it is asked again later. */
function unlessFault(error: unknown): undefined {
  if (!(error instanceof PaymentError)) throw error
}

const foreign: Settlement = failed(
  'payment-spent',
  'intent-foreign',
  'The processor names a payment that was made for something else.',
)
const inapplicable: Settlement = failed(
  'settlement-failed',
  'action-required',
  'The card asks its holder to confirm, and nobody is there to do it. Nothing was taken; use another.',
)

function declined({ status }: Extract<Answer, { kind: 'refused' }>): Settlement {
  return status === 402
    ? failed(
        'settlement-failed',
        'card-declined',
        'The card was declined, or the token does not cover this. Nothing was taken.',
      )
    : failed(
        'settlement-failed',
        'stripe-refused',
        'The processor refused the charge. Nothing was taken.',
      )
}
