import { assert } from '../core/assert.ts'
import type { JsonObject } from '../core/json.ts'
import { writePrice } from '../core/money.ts'
import type { Held, Leg, Transfer } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { givenBack } from '../core/refund.ts'
import type { RefundDenial, RefundOrder } from '../core/refund.ts'
import { DESTINATION_CHARS_MAX, REASON_CHARS_MAX } from './limits.ts'
import { readNote } from './note.ts'

/** What the books keep of a refund: enough to carry it out after a crash, and to tell a person what it was. */
export interface RefundNote {
  /** The key of the sale. */
  readonly of: string
  readonly to: string
  /** What was ordered, in words: the same order may come again. */
  readonly asked: string
}

/** What refunds are for in the books. */
export const REFUND = 'refund'
const TURN = 'refund-turn'

/** Whether the books hold a refund here. */
export function isRefund({ note }: Held): boolean {
  return note['kind'] === REFUND
}

/** Whether the books hold the right to work on a refund here. */
export function isRefundTurn({ note }: Held): boolean {
  return note['kind'] === TURN
}

/** Reads what {@link refundOf} wrote. The books are ours and hashed, so another shape is a bug. */
export function readRefund({ of, to, asked }: JsonObject): RefundNote {
  assert(typeof of === 'string' && typeof to === 'string', 'a refund names its sale and its payee')
  assert(typeof asked === 'string', 'a refund tells what was asked for')
  return { of, to, asked }
}

/** The key of an order. One idempotency key names one order for each sale. */
export function keyOf({ key, idempotencyKey }: RefundOrder): string {
  return `${key}/refund/${idempotencyKey}`
}

/** What the order says of the amount and of whom to pay. */
export function askedOf({ amount, to }: RefundOrder): string {
  return JSON.stringify([amount ? writePrice(amount) : 'rest', to ?? ''])
}

/** The refund as a transfer: the sale is booked back, under the ceiling of what it brought. */
export function refundOf(
  order: RefundOrder,
  sale: Held,
  amount: bigint,
  leaseUntilAt: number,
): Transfer {
  const { offer, payer, request } = readNote(sale.note)
  const { reason, to = payer } = order
  const { rate, tax } = sale.note
  const counted: Leg = {
    debit: `${WORLD}refunds`,
    credit: givenBack(sale.key),
    ceiling: sale.posted,
  }
  return {
    key: keyOf(order),
    purpose: REFUND,
    asset: sale.asset,
    amount,
    legs: [counted, ...sale.legs.map(({ debit, credit }) => ({ debit: credit, credit: debit }))],
    leaseUntilAt,
    note: {
      kind: REFUND,
      of: sale.key,
      to,
      asked: askedOf(order),
      payer,
      request,
      rail: offer.rail,
      network: offer.network,
      money: { ...offer.amount.asset },
      ...(reason !== undefined && { reason }),
      ...(rate !== undefined && { rate }),
      ...(tax !== undefined && { tax, charged: sale.posted.toString() }),
    },
  }
}

/** The right to work on a refund, as a claim that is leased like any other. */
export function turnOf(key: string, leaseUntilAt: number): Transfer {
  return {
    key: `${key}/turn`,
    purpose: TURN,
    asset: TURN,
    amount: 0n,
    legs: [{ debit: `${WORLD}refunds`, credit: `${WORLD}turns` }],
    leaseUntilAt,
    note: { kind: TURN },
  }
}

/** What is wrong with an order, whatever the books say. */
export function checkOrder({
  key,
  idempotencyKey,
  reason = '',
  to = 'x',
}: RefundOrder): RefundDenial | undefined {
  if (!/^[\w.:-]{1,128}$/.test(idempotencyKey))
    return denied(
      'order-invalid',
      'Name the order: up to 128 letters, digits and ._:- as its idempotency key.',
    )
  if (!isText(key, KEY_CHARS_MAX) || key === '') return unknownSale
  if (!isText(reason, REASON_CHARS_MAX))
    return denied('order-invalid', `A reason has at most ${REASON_CHARS_MAX} characters.`)
  if (!isText(to, DESTINATION_CHARS_MAX) || to === '')
    return denied('order-invalid', 'The destination is empty or too long.')
  return undefined
}

/** Longest key of a sale that can be given back: what is made of it must be a name in the books too. */
const KEY_CHARS_MAX = 800

function isText(text: string, charsMax: number): boolean {
  return text.length <= charsMax && text.isWellFormed() && !/\p{Cc}/u.test(text)
}

/** A refusal for the operator. */
export function denied(code: RefundDenial['code'], detail: string): RefundDenial {
  return { kind: 'denied', code, detail }
}

/** Nothing was sold under the key. */
export const unknownSale: RefundDenial = denied(
  'sale-unknown',
  'There is no sale with this key in these books. Keys are listed with the payments.',
)
/** What was sold is not settled. */
export const openSale: RefundDenial = denied(
  'sale-open',
  'It is not known yet whether this was paid. Order the refund again when the payment is settled.',
)
/** Nothing was taken, or it was taken back. */
export const unpaidSale: RefundDenial = denied(
  'sale-unpaid',
  'Nothing was taken for this sale, so that there is nothing to give back.',
)
/** Another order has the same name. */
export const conflict: RefundDenial = denied(
  'order-conflict',
  'This idempotency key was used for another amount or destination. Choose a new one for a new refund.',
)
/** All that was charged has gone back or is on its way. */
export const exceeded: RefundDenial = denied(
  'amount-exceeded',
  'No more is given back than was charged: less than this is left of the sale. Order less, or leave the amount out for the rest.',
)
/** What was earned is not there any more. */
export const fundsShort: RefundDenial = denied(
  'funds-short',
  'What this route has earned was taken out of its account in the books. Book money into it, and order the refund again.',
)
/** The rail has no way back. */
export const unable: RefundDenial = denied(
  'rail-unable',
  'The rail of this payment cannot send money back from here: give it the key of the account that earned, or a node that pays, and order the refund again. What you send by hand these books do not show.',
)
/** What was paid into a channel. */
export const inChannel: RefundDenial = denied(
  'rail-unable',
  'This payment went into a channel, of which only what no voucher has promised goes back, when it is closed: give back what is left of its account.',
)
/** The rail does not take it. */
export const unpayable: string =
  'The rail cannot pay this. Nothing was sent; look whether the destination is one that it knows.'
/** It came to nothing before, and its key is free. */
export const unsent: RefundDenial = denied(
  'failed',
  'This refund failed, and nothing was sent. Order it again.',
)
/** The evidence belongs to another refund. */
export const paidBefore: RefundDenial = denied(
  'failed',
  'What was named to be paid was paid for another refund. Nothing was sent for this one; name a new destination.',
)
