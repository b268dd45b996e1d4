import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import { problem } from '../../core/problem.ts'
import type { Problem } from '../../core/problem.ts'
import type { Receipt } from '../../core/receipt.ts'
import { readTime, writeTime } from './encode.ts'

/** Longest receipt that is read, in characters. */
export const RECEIPT_CHARS_MAX = 8_192

/** What a receipt says. */
export function sayReceipt(receipt: Receipt, id: string, method: string): JsonObject {
  const chainId = /^eip155:(\d{1,15})$/.exec(receipt.network)?.[1]
  return {
    status: 'success',
    method,
    timestamp: writeTime(receipt.settledAt),
    reference: receipt.reference,
    challengeId: id,
    ...(chainId !== undefined && { chainId: Number(chainId) }),
  }
}

/** Reads the seller's answer to a payment. What cannot be believed is `payment-unknown`: never a reason to pay again. */
export function readSaid(said: JsonObject | undefined, offer: Offer): Receipt | Problem {
  if (!isObject(said)) return unsure('The receipt cannot be read.')
  const { status, reference, timestamp, challengeId } = said
  if (status !== 'success' || typeof reference !== 'string' || typeof timestamp !== 'string')
    return unsure('The receipt says no success, no reference or no time.')
  if (challengeId !== undefined && challengeId !== offer.id)
    return unsure('The receipt is for another challenge.')
  return {
    rail: offer.rail,
    network: offer.network,
    reference,
    // MPP does not say who has paid.
    payer: '',
    payee: offer.payee,
    amount: offer.amount,
    settledAt: readTime(timestamp) ?? 0,
    settled: true,
  }
}

function unsure(why: string): Problem {
  return problem('payment-unknown', why)
}
