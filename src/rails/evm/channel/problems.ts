import type { Code, Problem } from '../../../core/problem.ts'
import { problem } from '../../../core/problem.ts'
import type { Reason } from './forms.ts'

/** A refusal with this rail's word for the cause. */
export function no(code: Code, reason: Reason, detail: string): Problem {
  return problem(code, detail, { reason })
}

/** The books know no such channel. */
export const notFound: Problem = no(
  'session-closed',
  'channel-not-found',
  'There is no channel of this id here. Open a new one.',
)
/** It has ended, or its end is fixed. */
export const finalized: Problem = no(
  'session-closed',
  'channel-finalized',
  'The channel has ended. Open a new one.',
)
/** Its payer wants the end. */
export const closing: Problem = no(
  'session-closed',
  'close-requested',
  'The payer has asked the chain for the end of the channel, so that no voucher is taken any more. Top it up, or open a new one.',
)
/** It is no signature of the one form that the contract takes. */
export const garbled: Problem = no(
  'proof-invalid',
  'invalid-signature',
  'The signature of the voucher does not hold.',
)
/** Somebody else has signed. */
export const stranger: Problem = no(
  'proof-invalid',
  'signer-mismatch',
  'The voucher is signed by somebody who may not sign for this channel.',
)
/** More than was deposited. */
export const tooMuch: Problem = no(
  'funds-insufficient',
  'amount-exceeds-deposit',
  'The voucher promises more than was deposited. Top the channel up first.',
)
/** Its payer has said too many last words. */
export const tooManyWords: Problem = no(
  'proof-invalid',
  'channel-finalized',
  'The channel was closed with too many different sums.',
)

/** Promises too little more than the voucher before. */
export function tooSmall(least: bigint): Problem {
  return no(
    'amount-mismatch',
    'delta-too-small',
    `The voucher promises too little: the next one must promise at least ${least}, or all that was deposited.`,
  )
}

/** Closes with less than was collected. */
export function collected(sum: bigint): Problem {
  return no(
    'amount-mismatch',
    'delta-too-small',
    `So much was promised and collected before: the last voucher must promise at least ${sum}.`,
  )
}

/** The nonce of the authorization is gone. */
export const used: Problem = no(
  'payment-spent',
  'deposit-used',
  'This deposit has been made or cancelled before. Sign a new one.',
)
/** The deposit counts for another sale. */
export const taken: Problem = no(
  'payment-spent',
  'deposit-used',
  'This deposit has bought something else before.',
)
/** The id does not follow from what is said of the channel. */
export const otherChannel: Problem = no(
  'proof-invalid',
  'deposit-mismatch',
  'The id is not that of a channel from this payer to this payee, with this salt and signer.',
)
/** The nonce is for another deposit. */
export const otherNonce: Problem = no(
  'proof-invalid',
  'deposit-mismatch',
  'The nonce of the authorization does not name this deposit: it must be the Keccak-256 of the channel and of what was deposited before.',
)
/** What is on the chain is not what was asked for. */
export const otherTerms: Problem = no(
  'proof-invalid',
  'deposit-mismatch',
  'The deposit is for another payee, of another token, or by another payer.',
)
/** Not the amount of the offer. */
export const otherAmount: Problem = no(
  'amount-mismatch',
  'deposit-mismatch',
  'The deposit is of another amount than the offer. It must be exactly the same.',
)
/** The transaction that was named is none. */
export const missing: Problem = no(
  'proof-invalid',
  'deposit-missing',
  'The transaction has made no deposit into this channel.',
)
/** The contract would refuse it. */
export const refused: Problem = no(
  'proof-invalid',
  'simulation-failed',
  'The contract refuses this deposit. Most often the signature is not a ReceiveWithAuthorization of this token for this escrow.',
)
/** The payer has not so much. */
export const short: Problem = no(
  'funds-insufficient',
  'funds-insufficient',
  'The account that signed holds less than the deposit.',
)
/** The chain’s clock is past the end of the authorization. */
export const expired: Problem = no(
  'proof-expired',
  'too-late',
  'The authorization has expired by the clock of the chain. Sign one that lives longer.',
)
/** The chain does not show it yet. */
export const notYet: Problem = problem(
  'payment-unknown',
  'The transaction is in no block yet that is deep enough. Send the same payment again in a moment.',
  { retryAfterMs: 1_000 },
)

/** The transaction was mined and moved nothing. */
export const reverted: Problem = no(
  'settlement-failed',
  'transaction-failed',
  'The chain refused the deposit. Nothing was taken; make a new one.',
)
/** The authorization can never be used any more. */
export const dead: Problem = no(
  'settlement-failed',
  'too-late',
  'The authorization expired before the deposit was made. Nothing was taken.',
)

/** There is no voucher to close with. */
export const inexact: Problem = no(
  'settlement-failed',
  'transaction-failed',
  'No voucher promises exactly what would be kept, so that the channel cannot be closed with it. Its payer closes the session, or asks the chain for its end.',
)
/** More would go back than is left over. */
export const exceeding: Problem = no(
  'settlement-failed',
  'transaction-failed',
  'More would go back than the last voucher leaves over.',
)
/** The contract pays nobody but the payer. */
export const otherPayee: Problem = no(
  'settlement-failed',
  'transaction-failed',
  'What is left of a channel goes back to its payer, and to nobody else.',
)
