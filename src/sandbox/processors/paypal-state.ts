import { isObject } from '../../core/json.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import type { Chance, Clock } from '../../core/ports.ts'
import type { Reply } from './server.ts'

/** Most objects of each kind. */
export const OBJECTS_MAX = 10_000
/** How long an order that nobody pays is there. */
const ORDER_MS = 10_800_000
const LETTERS = '0123456789ABCDEFGHJKLMNPQRSTUVWX'
const ID_CHARS = 17

/** It was not done. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly reply: Reply
  constructor(status: number, issue: string) {
    super(issue)
    const name = status === 422 ? 'UNPROCESSABLE_ENTITY' : issue
    const body = status === 422 ? { name, details: [{ issue }] } : { name }
    this.reply = { status, body }
  }
}

/** Money as it is written. */
export interface Amount {
  readonly currency_code: string
  readonly value: string
}

/** An order. */
export interface Order {
  readonly id: string
  readonly amount: Amount
  readonly custom_id: string
  readonly madeAt: number
  readonly returnUrl: string | undefined
  status: 'CREATED' | 'PAYER_ACTION_REQUIRED' | 'APPROVED' | 'COMPLETED' | 'VOIDED'
  capture?: Capture
  /** What its payer will have become of the capture. */
  fate: Fate
}

/** What becomes of a capture. */
export type Fate = 'COMPLETED' | 'DECLINED' | 'PENDING'

/** A capture. */
export interface Capture {
  readonly id: string
  readonly order: string
  readonly at: number
  status: string
  refunded: number
  /** What becomes of refunds of it. */
  returns: Return
}

/** What becomes of a refund. */
export type Return = 'COMPLETED' | 'PENDING' | 'FAILED' | 'CANCELLED'

/** A refund. */
export interface Refund {
  readonly id: string
  readonly capture: string
  readonly amount: Amount
  readonly custom_id: string
  status: Return
}

/** What stands at the stand-in. */
export interface PayPalState {
  readonly orders: ReadonlyMap<string, Order>
  readonly captures: ReadonlyMap<string, Capture>
  readonly refunds: ReadonlyMap<string, Refund>
  id(): string
  /** Somebody approves it; answers where he is sent back to. */
  approve(order: string, fate?: Fate): string | undefined
  /** A method that somebody keeps with the seller, with what becomes of charges to it. */
  keep(fate?: Fate): string
  /** A capture that was pending is decided. */
  decide(capture: string, status: 'COMPLETED' | 'DECLINED'): void
  /** What becomes of refunds of the capture from now on. */
  returns(capture: string, fate: Return): void
  /** A refund that was pending is decided. */
  decideRefund(refund: string, status: Return): void
  /** Does it, or throws {@link Refused}. */
  answer(method: string, path: string, json: JsonObject): unknown
  /** What an answer that was given before says now. */
  latest(body: unknown): unknown
}

/** What the state is made of. */
export interface PayPalStateParts {
  readonly clock: Clock
  readonly chance: Chance
  readonly tell: (type: string, resource: unknown) => void
  /** Where the stand-in is. */
  readonly here: () => string
}

/** Members that each call may say; anything else is a mistake, and is refused. */
const known: Readonly<Record<string, readonly string[]>> = {
  order: ['intent', 'purchase_units', 'payment_source'],
  unit: ['custom_id', 'amount', 'payee', 'description', 'invoice_id'],
  capture: ['payment_source'],
  refund: ['amount', 'custom_id', 'note_to_payer', 'invoice_id'],
  setup: ['payment_source'],
}

/** Currencies without decimals. */
const WHOLE: ReadonlySet<string> = new Set(['HUF', 'JPY', 'TWD'])

/** Makes an empty one. */
export function createPayPalState({ clock, chance, tell, here }: PayPalStateParts): PayPalState {
  const orders = new Map<string, Order>()
  const captures = new Map<string, Capture>()
  const refunds = new Map<string, Refund>()
  const methods = new Map<string, Fate>()
  const setups = new Map<string, 'PAYER_ACTION_REQUIRED' | 'APPROVED'>()

  const id = (): string =>
    [...chance(ID_CHARS)].map((byte) => LETTERS[byte % LETTERS.length]).join('')

  function keep<T extends { readonly id: string }>(into: Map<string, T>, one: T): T {
    if (into.size >= OBJECTS_MAX) throw new Refused(429, 'RATE_LIMIT_REACHED')
    into.set(one.id, one)
    return one
  }

  function create(json: JsonObject): unknown {
    check(json, 'order')
    const { intent, purchase_units: units, payment_source: source } = json
    const unit =
      Array.isArray(units) && units.length === 1 ? (units as readonly Json[])[0] : undefined
    if (intent !== 'CAPTURE' || !isObject(unit)) throw new Refused(400, 'INVALID_REQUEST')
    check(unit, 'unit')
    const paypal = isObject(source) && isObject(source['paypal']) ? source['paypal'] : {}
    const { vault_id: method, experience_context: context } = paypal
    const order: Order = {
      id: id(),
      amount: readAmount(unit['amount']),
      custom_id: typeof unit['custom_id'] === 'string' ? unit['custom_id'] : '',
      madeAt: clock.now(),
      returnUrl:
        isObject(context) && typeof context['return_url'] === 'string'
          ? context['return_url']
          : undefined,
      status: source === undefined ? 'CREATED' : 'PAYER_ACTION_REQUIRED',
      fate: 'COMPLETED',
    }
    if (order.custom_id.length > 127) throw new Refused(400, 'INVALID_STRING_LENGTH')
    if (method === undefined) return written(keep(orders, order))
    const fate = typeof method === 'string' ? methods.get(method) : undefined
    if (fate === undefined) throw new Refused(422, 'VAULT_ID_NOT_FOUND')
    if (fate === 'DECLINED') throw new Refused(422, 'INSTRUMENT_DECLINED')
    keep(orders, order).fate = fate
    settle(order)
    return written(order)
  }

  function settle(order: Order): Capture {
    const { fate } = order
    const capture = keep(captures, {
      id: id(),
      order: order.id,
      at: clock.now(),
      status: fate,
      refunded: 0,
      returns: 'COMPLETED',
    })
    order.capture = capture
    order.status = 'COMPLETED'
    tell(`PAYMENT.CAPTURE.${fate}`, writtenCapture(capture))
    return capture
  }

  function capture(order: Order, json: JsonObject): unknown {
    check(json, 'capture')
    if (order.status === 'COMPLETED') throw new Refused(422, 'ORDER_ALREADY_CAPTURED')
    if (order.status !== 'APPROVED') throw new Refused(422, 'ORDER_NOT_APPROVED')
    if (order.fate === 'DECLINED') throw new Refused(422, 'INSTRUMENT_DECLINED')
    settle(order)
    return written(order)
  }

  function refund(of: Capture, json: JsonObject): unknown {
    check(json, 'refund')
    const order = orderAt(of.order)
    const whole = unitsOf(order.amount)
    if (of.status !== 'COMPLETED' && of.status !== 'PARTIALLY_REFUNDED')
      throw new Refused(
        422,
        of.status === 'REFUNDED' ? 'CAPTURE_FULLY_REFUNDED' : 'REFUND_NOT_ALLOWED',
      )
    const left = whole - of.refunded
    const amount = json['amount'] === undefined ? undefined : readAmount(json['amount'])
    const units = amount ? unitsOf(amount) : left
    if (units > left) throw new Refused(422, 'REFUND_AMOUNT_EXCEEDED')
    const made = keep(refunds, {
      id: id(),
      capture: of.id,
      amount: amount ?? amountOf(order.amount.currency_code, left),
      custom_id: typeof json['custom_id'] === 'string' ? json['custom_id'] : '',
      status: of.returns,
    })
    count(of)
    if (of.returns === 'COMPLETED') tell('PAYMENT.CAPTURE.REFUNDED', writtenRefund(made))
    else tell(`PAYMENT.REFUND.${of.returns}`, writtenRefund(made))
    return writtenRefund(made)
  }

  /** What has gone back of it, or is about to. */
  function count(of: Capture): void {
    const whole = unitsOf(orderAt(of.order).amount)
    const back = [...refunds.values()].filter((one) => one.capture === of.id && isBack(one))
    of.refunded = back.reduce((sum, { amount }) => sum + unitsOf(amount), 0)
    if (of.refunded === 0) of.status = 'COMPLETED'
    else of.status = of.refunded === whole ? 'REFUNDED' : 'PARTIALLY_REFUNDED'
  }

  /** Forgotten after a time when nobody has paid it. */
  function orderAt(name: string): Order {
    const order = orders.get(name)
    const isGone = order && !order.capture && clock.now() > order.madeAt + ORDER_MS
    if (!order || isGone) throw new Refused(404, 'RESOURCE_NOT_FOUND')
    return order
  }

  function captureAt(name: string): Capture {
    const found = captures.get(name)
    if (!found) throw new Refused(404, 'RESOURCE_NOT_FOUND')
    return found
  }

  function written(order: Order): JsonObject {
    const { capture: paid } = order
    const back = [...refunds.values()].filter((one) => one.capture === paid?.id)
    const payments = paid && {
      captures: [writtenCapture(paid)],
      ...(back.length > 0 && { refunds: back.map(writtenRefund) }),
    }
    const unit = {
      reference_id: 'default',
      amount: { ...order.amount },
      custom_id: order.custom_id,
      payee: { merchant_id: 'MERCHANTSTANDIN' },
      ...(payments && { payments }),
    }
    return {
      id: order.id,
      intent: 'CAPTURE',
      status: order.status,
      purchase_units: [unit],
      create_time: new Date(order.madeAt).toISOString(),
      links: [
        { rel: 'payer-action', method: 'GET', href: `${here()}/checkoutnow?token=${order.id}` },
      ],
    }
  }

  function writtenCapture(one: Capture): JsonObject {
    return {
      id: one.id,
      status: one.status,
      amount: { ...orderAt(one.order).amount },
      create_time: new Date(one.at).toISOString(),
      supplementary_data: { related_ids: { order_id: one.order } },
    }
  }

  function writtenRefund({ id: name, status, amount, custom_id, capture: of }: Refund): JsonObject {
    const links = [{ rel: 'up', method: 'GET', href: `${here()}/v2/payments/captures/${of}` }]
    return { id: name, status, amount: { ...amount }, custom_id, links }
  }

  function answer(method: string, path: string, json: JsonObject): unknown {
    const [, kind = '', name = '', verb = ''] =
      /^\/v2\/(checkout\/orders|payments\/captures)\/([A-Z0-9]+)(?:\/(\w+))?$/.exec(path) ?? []
    switch (`${method} ${kind === '' ? path : kind}${verb && `/${verb}`}`) {
      case 'POST /v2/checkout/orders':
        return create(json)
      case 'GET checkout/orders':
        return written(orderAt(name))
      case 'POST checkout/orders/capture':
        return capture(orderAt(name), json)
      case 'GET payments/captures':
        return writtenCapture(captureAt(name))
      case 'POST payments/captures/refund':
        return refund(captureAt(name), json)
      case 'POST /v3/vault/setup-tokens': {
        check(json, 'setup')
        const setup = id()
        setups.set(setup, 'PAYER_ACTION_REQUIRED')
        const href = `${here()}/checkoutnow?token=${setup}`
        return { id: setup, status: 'PAYER_ACTION_REQUIRED', links: [{ rel: 'approve', href }] }
      }
      case 'POST /v3/vault/payment-tokens': {
        check(json, 'setup')
        const source = isObject(json['payment_source'])
          ? json['payment_source']['token']
          : undefined
        const setup = isObject(source) ? source['id'] : undefined
        if (typeof setup !== 'string' || setups.get(setup) !== 'APPROVED')
          throw new Refused(422, 'INVALID_SETUP_TOKEN_STATUS')
        return { id: kept('COMPLETED'), payment_source: { paypal: {} } }
      }
      default:
        throw new Refused(404, 'RESOURCE_NOT_FOUND')
    }
  }

  function kept(fate: Fate): string {
    const name = id().toLowerCase()
    methods.set(name, fate)
    return name
  }

  return {
    orders,
    captures,
    refunds,
    id,
    approve(name, fate = 'COMPLETED') {
      if (setups.has(name)) {
        setups.set(name, 'APPROVED')
        return undefined
      }
      const order = orderAt(name)
      if (order.status !== 'CREATED' && order.status !== 'PAYER_ACTION_REQUIRED')
        throw new Refused(422, 'ORDER_ALREADY_APPROVED')
      order.status = 'APPROVED'
      order.fate = fate
      tell('CHECKOUT.ORDER.APPROVED', written(order))
      return order.returnUrl
    },
    keep: (fate = 'COMPLETED') => kept(fate),
    decide(name, status) {
      const found = captureAt(name)
      found.status = status
      tell(`PAYMENT.CAPTURE.${status}`, writtenCapture(found))
    },
    returns: (name, fate) => void (captureAt(name).returns = fate),
    decideRefund(name, status) {
      const found = refunds.get(name)
      if (!found) throw new Refused(404, 'RESOURCE_NOT_FOUND')
      found.status = status
      count(captureAt(found.capture))
      tell(`PAYMENT.REFUND.${status}`, writtenRefund(found))
    },
    answer,
    latest(body) {
      const again = isObject(body) && typeof body['id'] === 'string' && refunds.get(body['id'])
      if (again) return writtenRefund(again)
      const name = isObject(body) && 'purchase_units' in body ? body['id'] : undefined
      const order = typeof name === 'string' ? orders.get(name) : undefined
      return order ? written(order) : body
    },
  }
}

function isBack({ status }: Refund): boolean {
  return status === 'COMPLETED' || status === 'PENDING'
}

function check(json: JsonObject, call: string): void {
  if (!Object.keys(json).every((name) => known[call]?.includes(name)))
    throw new Refused(400, 'INVALID_REQUEST')
}

function readAmount(said: Json | undefined): Amount {
  const { currency_code: code, value } = isObject(said) ? said : {}
  if (typeof code !== 'string' || typeof value !== 'string')
    throw new Refused(400, 'INVALID_REQUEST')
  const digits = WHOLE.has(code) ? /^\d{1,10}$/ : /^\d{1,10}\.\d\d$/
  if (!digits.test(value)) throw new Refused(422, 'DECIMAL_PRECISION')
  return { currency_code: code, value }
}

function amountOf(code: string, units: number): Amount {
  const value = WHOLE.has(code) ? `${units}` : (units / 100).toFixed(2)
  return { currency_code: code, value }
}

function unitsOf({ value }: Amount): number {
  return Number(value.replace('.', ''))
}
