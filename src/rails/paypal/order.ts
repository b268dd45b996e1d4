import { purposeHash } from '../../core/fiat.ts'
import { isObject } from '../../core/json.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import { isOrder } from './forms.ts'
import { isAmount, writeAmount } from './money.ts'

/** An order, as far as it is looked at. */
export interface Order {
  readonly id: string
  readonly status: string
  /** What we wrote on it. */
  readonly mark: string
  readonly amount: Json | undefined
  /** The account that is paid. */
  readonly merchant: string
  readonly capture?: Capture
  /** Marks of the refunds of it, and how they stand. */
  readonly refunds: readonly Refunded[]
  /** Where a person approves it. */
  readonly approveUrl?: string
}

/** A capture: the money has moved, or is said to. */
export interface Capture {
  readonly id: string
  readonly status: string
  readonly amount: Json | undefined
  readonly at: number
}

/** A refund. */
export interface Refunded {
  readonly id: string
  readonly status: string
  readonly mark: string
}

/** Reads an order; undefined for anything else. */
export function readOrder(said: JsonObject): Order | undefined {
  const { id, status, purchase_units: units, links } = said
  const unit =
    Array.isArray(units) && units.length === 1 ? (units as readonly Json[])[0] : undefined
  if (!isOrder(id) || typeof status !== 'string' || !isObject(unit)) return undefined
  const { payee, payments } = unit
  const captures = listOf(isObject(payments) ? payments['captures'] : undefined)
  const refunds = listOf(isObject(payments) ? payments['refunds'] : undefined)
  // One that was declined may stand beside one that was not.
  const found = captures.map(readCapture).filter((one) => one !== undefined)
  const capture =
    found.find((one) => one.status !== 'DECLINED' && one.status !== 'FAILED') ?? found[0]
  const approve = listOf(links).find(({ rel }) => rel === 'payer-action' || rel === 'approve')
  return {
    id,
    status,
    mark: textOf(unit['custom_id']),
    amount: unit['amount'],
    merchant: isObject(payee) ? textOf(payee['merchant_id']) : '',
    ...(capture && { capture }),
    refunds: refunds.map(readRefund).filter((one) => one !== undefined),
    ...(approve && { approveUrl: textOf(approve['href']) }),
  }
}

function readCapture({ id, status, amount, create_time: time }: JsonObject): Capture | undefined {
  if (typeof id !== 'string' || typeof status !== 'string') return undefined
  const at = typeof time === 'string' ? Date.parse(time) : NaN
  return Number.isNaN(at) ? undefined : { id, status, amount, at }
}

/** Reads a refund; undefined for anything else. */
export function readRefund({ id, status, custom_id: mark }: JsonObject): Refunded | undefined {
  return typeof id === 'string' && typeof status === 'string'
    ? { id, status, mark: textOf(mark) }
    : undefined
}

/** Whether a refund has come to nothing: the money is still there. */
export function isVoid({ status }: Refunded): boolean {
  return status === 'FAILED' || status === 'CANCELLED'
}

/** Whether something of it went back, or is about to. */
export function isReturned({ capture, refunds }: Order): boolean {
  return !refunds.every(isVoid) || /REFUNDED$/.test(capture?.status ?? '')
}

/** Whether we made it: others may sell by the same account. */
export function isOurs({ mark }: Order): boolean {
  return mark.startsWith(MARK)
}

function listOf(said: Json | undefined): readonly JsonObject[] {
  return Array.isArray(said) ? (said as readonly Json[]).filter(isObject) : []
}

function textOf(value: Json | undefined): string {
  return typeof value === 'string' ? value : ''
}

/** How all that we write on orders begins. */
const MARK = 'tolsey-'

/** What ties an order to the one request that a person pays by it. */
export function markOf(offer: Offer): string {
  return `${MARK}order-${purposeHash(offer.resource)}`
}

/** Whether the order is over the money that the offer asks for. */
export function isFor(order: Order, { amount }: Offer): boolean {
  return (
    isAmount(order.amount, amount) && (!order.capture || isAmount(order.capture.amount, amount))
  )
}

/** An order over what the offer asks for, in PayPal's words. */
export function orderOf(
  offer: Offer,
  mark: string,
  source: JsonObject,
  merchant?: string,
): JsonObject {
  const unit = {
    custom_id: mark,
    amount: { ...writeAmount(offer.amount) },
    ...(merchant !== undefined && { payee: { merchant_id: merchant } }),
  }
  return { intent: 'CAPTURE', purchase_units: [unit], payment_source: source }
}
