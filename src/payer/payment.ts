import type { JsonObject } from '../core/json.ts'
import type { Money } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Problem } from '../core/problem.ts'
import type { Receipt } from '../core/receipt.ts'
import type { Purchase } from './purchases.ts'

/** What was paid for a response. */
export interface Payment {
  /** The purchase in the payer's books. */
  readonly key: string
  /** Name of the protocol over which it was paid. */
  readonly protocol: string
  readonly offer: Offer
  /**
   * `posted`: the seller served or showed a good receipt, the money is spent. `held`: the payment is signed and may still
   * be taken; it counts as spent until it is known to be paid or dead. `voided`: the seller gave back what was locked.
   */
  readonly state: 'posted' | 'held' | 'voided'
  /** Whether the wallet itself saw the money move, and the receipt says the same. */
  readonly verified: boolean
  /** Why it is not verified, a sentence. */
  readonly why?: string
  /** What paying has cost beside the amount, where it costs something; of a payment that is held, what it may. */
  readonly fee?: Money
  /** What proves that the money moved, where paying moves it: over Lightning the `preimage`. */
  readonly evidence?: JsonObject
  /** What the seller says about it. */
  readonly receipt?: Receipt
  /** Why the seller did not take it. */
  readonly problem?: Problem
}

const payments = new WeakMap<Response, Payment>()

/** The payment behind a response of `payer.fetch`; undefined if nothing was paid for it. */
export function paymentOf(response: Response): Payment | undefined {
  return payments.get(response)
}

const byToken = new WeakSet<Response>()

/** Whether a response of `payer.fetch` was served for a token that was bought before. */
export function isByToken(response: Response): boolean {
  return byToken.has(response)
}

/** Notes that a token paid for a response. */
export function setByToken(response: Response): Response {
  byToken.add(response)
  return response
}

/** Notes the payment behind a response. */
export function setPayment(response: Response, payment: Payment): Response {
  payments.set(response, payment)
  return response
}

/** What the wallet tells of a payment that it has made itself. */
export function evidenceOf({
  wallet,
  form,
  offer,
  proof,
}: Purchase): Pick<Payment, 'fee' | 'evidence'> {
  if (!wallet.moves) return {}
  const { asset } = offer.amount
  const fee = wallet.fee && { fee: { asset, amount: wallet.fee(proof) } }
  return { evidence: form.writeProof(proof), ...fee }
}

/** Undefined if the receipt is for this purchase, otherwise a sentence what is wrong with it. */
export function faultOf(receipt: Receipt, { offer, wallet, proof }: Purchase): string | undefined {
  const payer = wallet.payer?.(proof)
  const { asset, amount } = offer.amount
  if (receipt.reference === '') return 'The receipt names no transaction.'
  if (receipt.rail !== offer.rail || receipt.network !== offer.network)
    return 'The receipt is for another network.'
  if (!isSame(receipt.payee, offer.payee)) return 'The receipt is for another payee.'
  if (!isSame(receipt.amount.asset.id, asset.id) || receipt.amount.amount !== amount)
    return 'The receipt is for another amount.'
  // Not every protocol's receipt names the payer.
  if (payer !== undefined && receipt.payer !== '' && !isSame(receipt.payer, payer))
    return 'The receipt is for another payer.'
  return undefined
}

/** Hex addresses are written in upper and lower case. */
function isSame(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase()
}
