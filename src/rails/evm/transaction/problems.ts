import type { Moved, Problem } from '../../../core/problem.ts'
import { problem } from '../../../core/problem.ts'
import type { Code } from '../../../core/problem.ts'

/** Why this rail refuses, or bids to wait, in its own words. */
export type Reason =
  | 'network-mismatch'
  | 'asset-unknown'
  | 'not-mined'
  | 'not-final'
  | 'transaction-unknown'
  | 'transaction-failed'
  | 'transfer-missing'
  | 'payer-is-payee'
  | 'payer-unproven'
  | 'sent-by-another'
  | 'authorized'
  | 'too-early'
  | 'too-late'
  | 'amount-short'
  | 'offer-paid'
  | 'transaction-gone'
  | 'raw-unreadable'
  | 'transfer-inexact'
  | 'not-sendable'
  | 'funds-insufficient'
  | 'offer-over'

/** When to come back for a block. */
export const WAIT_MS = 3_000

function refusal(code: Code, reason: Reason, detail: string, moved?: Moved): Problem {
  return problem(code, detail, { reason, ...(moved && { moved }) })
}

function wait(reason: Reason, detail: string): Problem {
  return problem('payment-unknown', detail, { reason, retryAfterMs: WAIT_MS })
}

/** It may come yet. */
export const notMined: Problem = wait(
  'not-mined',
  'The transaction is in no block yet. Show it again in a moment; do not make a new payment.',
)
/** It is there, and may yet come undone. */
export const notFinal: Problem = wait(
  'not-final',
  'The transaction is in a block, and not as deep as this amount asks for. Show it again in a moment; do not make a new payment.',
)
/** What is said of it does not fit, as while the chain changes its mind. */
export const loose: Problem = wait(
  'not-final',
  'The chain is not sure where the transaction belongs. Show it again in a moment; do not make a new payment.',
)

/** What the payer did not bring. */
export function offChain(network: string): Problem {
  const detail = `Only single payments on ${network} are taken here.`
  return refusal('credential-unsupported', 'network-mismatch', detail)
}
/** Nothing of that is taken. */
export const assetUnknown: Problem = refusal(
  'credential-unsupported',
  'asset-unknown',
  'This token or coin is not taken here.',
)
/** The time to pay is over, and no node has heard of it. */
export const transactionUnknown: Problem = refusal(
  'proof-invalid',
  'transaction-unknown',
  'No node of the chain knows this transaction, and the time to pay is over. Look whether it was sent, and on which chain; if it was not, pay one of the offers given.',
  'unknown',
)
/** It was mined and moved nothing. */
export const transactionFailed: Problem = refusal(
  'proof-invalid',
  'transaction-failed',
  'The transaction has failed on the chain, and moved nothing. Make a new payment.',
)
/** There is no log of a payment to us. */
export const transferMissing: Problem = refusal(
  'payee-mismatch',
  'transfer-missing',
  'The transaction does not pay what the offer asks for to whom it names: there is no transfer of exactly that token to that account in its log.',
  'unknown',
)
/** The same for the coin. */
export const coinMissing: Problem = refusal(
  'payee-mismatch',
  'transfer-missing',
  'The transaction neither pays the account of the offer itself nor goes through the receiver that the offer names. Coin that another contract sends on leaves no record that could be shown; if it has arrived, its operator can give it back by hand.',
  'unknown',
)
/** The payee paid himself. */
export const payerIsPayee: Problem = refusal(
  'proof-invalid',
  'payer-is-payee',
  'The transaction moves money from the payee to himself, which pays nothing.',
)
/** Anybody can read a hash. */
export const payerUnproven: Problem = refusal(
  'proof-invalid',
  'payer-unproven',
  'Nothing shows that whoever asks has made this payment: sign the claim with the account that paid, or let the calldata of the payment end with the tag of the offer.',
)
/** It may be the settlement of another payment. */
export const sentByAnother: Problem = refusal(
  'proof-invalid',
  'sent-by-another',
  'Somebody else than the payer has sent this transaction, as where a signed payment is submitted by its payee. Show that payment by its own protocol, or send the money yourself.',
)
/** It is a spend of another kind, with a name of its own. */
export const authorized: Problem = refusal(
  'proof-invalid',
  'authorized',
  'The transaction uses an authorization that the payer has signed (EIP-3009). Such a payment is shown by its authorization, where that is taken, and not by its transaction.',
)
/** The same by Permit2. */
export const permitted: Problem = refusal(
  'proof-invalid',
  'authorized',
  'The transaction uses a permit that the payer has signed (Permit2). Such a payment is shown by its permit, where that is taken, and not by its transaction.',
)
/** The same on Tempo: both rails would take it, each under its own key. */
export const attributed: Problem = refusal(
  'proof-invalid',
  'authorized',
  'The memo of the transfer names a challenge. Such a payment is shown to that challenge, where that is taken, and to no other offer.',
)
/** It was made for something else. */
export const tooEarly: Problem = refusal(
  'proof-expired',
  'too-early',
  'The payment is older than the offer, and was not made for it. Pay one of the offers given.',
)
/** The offer has its payment. */
export const offerPaid: Problem = refusal(
  'payment-spent',
  'offer-paid',
  'The offer was paid by another transfer before. This one pays nothing here; show it with another offer, made before it was sent.',
  'yes',
)
/** The log has its offer. */
export const transferTaken: Problem = refusal(
  'payment-spent',
  'offer-paid',
  'This transfer was taken for something else before. Pay one of the offers given.',
)
/** These are not the bytes of a transaction. */
export const rawUnreadable: Problem = refusal(
  'proof-invalid',
  'raw-unreadable',
  'The signed transaction cannot be read: it must be one by the rules of EIP-1559, without an access list.',
)
/** It does something else than was asked for. */
export const notExact: Problem = refusal(
  'proof-invalid',
  'transfer-inexact',
  'The signed transaction is not exactly the transfer that the offer asks for, on its chain. It was not sent.',
)
/** It would wait for another, or never come. */
export const numberWrong: Problem = refusal(
  'proof-invalid',
  'not-sendable',
  'The signed transaction has not the next number (nonce) of its sender. It was not sent; sign it anew.',
)
/** No block takes it. */
export const feeTooLow: Problem = refusal(
  'proof-invalid',
  'not-sendable',
  'The signed transaction pays less for gas than the chain takes now. It was not sent; sign it anew.',
)
/** The token, or the sender's own code, would refuse it. */
export const simulationFailed: Problem = refusal(
  'proof-invalid',
  'not-sendable',
  'The signed transaction would fail: look at the sender’s balance of the token, at its gas, and whether the token refuses one of the accounts or is paused. It was not sent.',
)
/** There is nothing to pay the gas with. */
export const fundsShort: Problem = refusal(
  'funds-insufficient',
  'funds-insufficient',
  'The sender of the signed transaction cannot pay its gas. It was not sent.',
)
/** It is too late to begin. */
export const offerOver: Problem = refusal(
  'offer-expired',
  'offer-over',
  'The offer ends too soon for the signed transaction to be sent. It was not sent; pay one of the offers given.',
)
/** No node took it. */
export const notSent: Problem = refusal(
  'settlement-failed',
  'not-sendable',
  'No node took the signed transaction. Make a new payment.',
)
/** It was sent and has failed. */
export const failedOnChain: Problem = refusal(
  'settlement-failed',
  'transaction-failed',
  'The chain refused the transfer. Nothing was taken; make a new payment.',
)
/** It vanished from the chain. */
export const transactionGone: Problem = refusal(
  'settlement-failed',
  'transaction-gone',
  'The chain has dropped the transaction, and it can never come back: another has its number. Nothing was taken; make a new payment.',
)
/** It came, and is not enough or too late. `key` names it in our books. */
export function stray(kind: 'late' | 'short', key: string): Problem {
  const why =
    kind === 'late'
      ? 'The payment came after the end of the offer'
      : 'The payment is less than the offer asks for'
  const code = kind === 'late' ? 'proof-expired' : 'amount-mismatch'
  const detail = `${why}, so that it buys nothing. It is not lost: it stands in the books as ${key}, and the operator can give it back.`
  return refusal(code, kind === 'late' ? 'too-late' : 'amount-short', detail, 'yes')
}
/** The same where nobody can say which offer was meant. */
export const shortUnbound: Problem = refusal(
  'amount-mismatch',
  'amount-short',
  'The payment is less than is asked for here now. Ask the operator of this service to give it back.',
  'yes',
)
