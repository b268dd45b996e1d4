import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Offer } from '../../core/offer.ts'
import { problem } from '../../core/problem.ts'
import type { Problem } from '../../core/problem.ts'
import type { Receipt } from '../../core/receipt.ts'
import type { ChannelReceipt } from '../../core/voucher.ts'
import { readTime, writeTime } from './encode.ts'
import { SESSION } from './part.ts'

/** Longest receipt that is read, in characters. */
export const RECEIPT_CHARS_MAX = 8_192

/** What a receipt says. */
export function sayReceipt(receipt: Receipt, id: string, method: string): JsonObject {
  const chainId = chainOf(receipt.network)
  return {
    status: 'success',
    method,
    timestamp: writeTime(receipt.settledAt),
    reference: receipt.reference,
    challengeId: id,
    ...(chainId !== undefined && { chainId }),
  }
}

/** What a payer by vouchers is told (draft-evm-session-00). Without a transaction it is named after its channel, as other sellers do. */
export function sayChannel(receipt: ChannelReceipt, method: string): JsonObject {
  const { channel, challenge, accepted, spent, units, network, reference, at } = receipt
  const chainId = chainOf(network)
  const channelId = `0x${channel}`
  return {
    method,
    intent: SESSION,
    status: 'success',
    timestamp: writeTime(at),
    reference: reference ?? channelId,
    challengeId: challenge,
    channelId,
    acceptedCumulative: accepted.toString(),
    spent: spent.toString(),
    ...(units !== undefined && { units: Number(units) }),
    ...(chainId !== undefined && { chainId }),
  }
}

function chainOf(network: string): number | undefined {
  const chainId = /^eip155:(\d{1,15})$/.exec(network)?.[1]
  return chainId === undefined ? undefined : Number(chainId)
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
