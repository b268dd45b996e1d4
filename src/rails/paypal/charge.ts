import { hash } from 'node:crypto'
import { assert } from '../../core/assert.ts'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Settlement } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { PaymentError, problem } from '../../core/problem.ts'
import type { Answer, PayPalClient } from './client.ts'
import { unreachable } from './client.ts'
import type { Order } from './order.ts'
import { isFor, isReturned, markOf, orderOf, readOrder } from './order.ts'
import { declined, refusal, unknown } from './problems.ts'
import { readAhead, readOrderId, writeAhead, writeOrderId } from './steps.ts'

/** How long the same order is sent again with the same id: PayPal forgets ids of orders after six hours. */
export const RESEND_MS = 18_000_000
/** How old what was written ahead may be when it is sent for the first time: whoever slept longer sends nothing. */
export const SEND_MS = 30_000
/** How soon an order that is not approved yet may be asked for again. */
const RETRY_MS = 1_000

/** What charging needs. */
export interface ChargeParts {
  readonly call: PayPalClient['call']
  readonly clock: Clock
  readonly network: string
  /** The account that must be paid, where one is named. */
  readonly merchant?: string
}

/** A payment method that is kept with us. */
export interface Method {
  readonly source: string
  readonly id: string
}

/** Charges orders that were approved, and methods that were kept. */
export interface Charging {
  /** Why the order does not pay the offer. @throws {PaymentError} when PayPal cannot be asked. */
  refuses(offer: Offer, id: string): Promise<Problem | undefined>
  capture(offer: Offer, id: string, key: string, log: Log): Promise<Settlement>
  charge(offer: Offer, method: Method, key: string, log: Log): Promise<Settlement>
  /** @throws {PaymentError} when PayPal cannot be asked. */
  findOrder(offer: Offer, id: string, log: Log): Promise<Settlement | undefined>
  findCharge(offer: Offer, log: Log): Promise<Settlement | undefined>
}

/** Makes the charging. */
export function createCharging({ call, clock, network, merchant }: ChargeParts): Charging {
  /** @throws {PaymentError} when PayPal cannot be asked. */
  async function look(id: string): Promise<Order | undefined> {
    const answer = await call('GET', `/v2/checkout/orders/${id}`)
    if (answer.kind === 'refused' && answer.status === 404) return undefined
    if (answer.kind !== 'done') throw unreachable(answer)
    const found = readOrder(answer.object)
    if (found?.id === id) return found
    throw new PaymentError('rail-unavailable', 'PayPal answers for another order.')
  }

  function explain(offer: Offer, order: Order | undefined): Problem | undefined {
    if (!order) return noOrder
    if (order.mark !== markOf(offer) || (merchant !== undefined && order.merchant !== merchant))
      return foreign
    if (!isFor(order, offer)) return wrongAmount
    if (isReturned(order)) return returned
    if (order.status === 'VOIDED') return voided
    return order.status === 'APPROVED' || order.status === 'COMPLETED' ? undefined : notYet
  }

  /** What an order of which the money may have moved says. */
  function judge(order: Order): Settlement {
    const { capture } = order
    if (isReturned(order)) return { state: 'failed', problem: returned }
    if (capture?.status === 'COMPLETED') {
      const payer = `${network}/anonymous`
      return { state: 'settled', reference: capture.id, payer, settledAt: capture.at }
    }
    return capture?.status === 'DECLINED' || capture?.status === 'FAILED' ? declined : unknown
  }

  async function capture(offer: Offer, id: string, key: string, log: Log): Promise<Settlement> {
    const at = clock.now()
    await writeAhead(log, 'charge', { order: id, request: idOf(key), at })
    if (clock.now() > at + SEND_MS) return unknown
    return send(offer, id, idOf(key)).catch(unlessFault)
  }

  /** An order is captured once, whatever the id: what it says afterwards is the truth. */
  async function send(offer: Offer, id: string, request: string): Promise<Settlement> {
    const answer = await call('POST', `/v2/checkout/orders/${id}/capture`, {}, request)
    const said = answer.kind === 'done' ? readOrder(answer.object) : undefined
    if (said?.capture && isFor(said, offer)) return judge(said)
    const order = await look(id)
    if (order?.capture) return judge(order)
    return answer.kind === 'refused' && DECLINES.has(answer.issue) ? declined : unknown
  }

  async function findOrder(offer: Offer, id: string, log: Log): Promise<Settlement | undefined> {
    const written = await readAhead(log, 'charge')
    const order = await look(id)
    const why = explain(offer, order)
    if (order?.capture) return why ? { state: 'failed', problem: why } : judge(order)
    if (!written) return undefined
    // Orders that nobody paid are forgotten, and those that were paid are not.
    if (why && why !== notYet) return { state: 'failed', problem: why }
    const { request } = written
    assert(typeof request === 'string', 'a capture has its id')
    return send(offer, id, request)
  }

  async function charge(offer: Offer, method: Method, key: string, log: Log): Promise<Settlement> {
    const at = clock.now()
    const request = idOf(key)
    const source = { [method.source]: { vault_id: method.id } }
    const body = orderOf(offer, request, source, merchant)
    await writeAhead(log, 'charge', { request, at, body })
    if (clock.now() > at + SEND_MS) return unknown
    const answer = await call('POST', '/v2/checkout/orders', body, request)
    // No other call went before this one, so that its refusal is the whole story.
    return answer.kind === 'refused' ? declined : charged(offer, request, answer, log)
  }

  async function charged(
    offer: Offer,
    request: string,
    answer: Answer,
    log: Log,
  ): Promise<Settlement> {
    if (answer.kind !== 'done') return unknown
    const order = readOrder(answer.object)
    if (!order || order.mark !== request || !isFor(order, offer)) return unknown
    if (order.capture) {
      const found = judge(order)
      if (found.state === 'unknown') await writeOrderId(log, order.id)
      return found
    }
    // Nobody is there to approve it, and nobody but us could capture it.
    return order.status === 'COMPLETED' ? unknown : declined
  }

  async function findCharge(offer: Offer, log: Log): Promise<Settlement | undefined> {
    const written = await readAhead(log, 'charge')
    if (!written) return undefined
    const known = await readOrderId(log)
    if (known !== undefined) {
      const order = await look(known)
      return order ? judge(order) : unknown
    }
    const { request, at, body } = readCharge(written)
    if (clock.now() > at + RESEND_MS) return unknown
    return charged(offer, request, await call('POST', '/v2/checkout/orders', body, request), log)
  }

  return {
    refuses: async (offer, id) => explain(offer, await look(id)),
    capture,
    charge,
    findOrder,
    findCharge,
  }
}

/** Why a capture will never be, in PayPal's words. What else it says may be about another capture that is under way. */
const DECLINES: ReadonlySet<string> = new Set([
  'CARD_EXPIRED',
  'COMPLIANCE_VIOLATION',
  'INSTRUMENT_DECLINED',
  'MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED',
  'ORDER_EXPIRED',
  'ORDER_NOT_APPROVED',
  'PAYEE_BLOCKED_TRANSACTION',
  'PAYER_ACCOUNT_LOCKED_OR_CLOSED',
  'PAYER_ACCOUNT_RESTRICTED',
  'PAYER_ACTION_REQUIRED',
  'PAYER_CANNOT_PAY',
  'TRANSACTION_REFUSED',
])

/** One spend, one id: the order, or the method and the offer, are in it. */
function idOf(key: string): string {
  return `tolsey-${hash('sha256', key, 'hex')}`
}

function readCharge({ request, at, body }: JsonObject) {
  assert(typeof request === 'string' && typeof at === 'number', 'a charge has its id and its time')
  assert(isObject(body), 'a charge says what is asked')
  return { request, at, body }
}

function unlessFault(error: unknown): Settlement {
  if (error instanceof PaymentError) return unknown
  throw error
}

const noOrder = refusal('proof-invalid', 'order-unknown', 'There is no such order for this seller.')
const foreign = refusal('proof-invalid', 'order-foreign', 'This order was made for something else.')
const wrongAmount = refusal(
  'amount-mismatch',
  'amount-wrong',
  'The order is over another amount or currency than the price.',
)
const returned = refusal('proof-invalid', 'order-returned', 'The payment was given back.')
const voided = refusal('proof-invalid', 'order-unknown', 'The order was voided. Make a new one.')
const notYet = problem(
  'payment-in-flight',
  'The order is not approved yet. Send the same request again when it is.',
  { reason: 'order-unapproved', retryAfterMs: RETRY_MS },
)
