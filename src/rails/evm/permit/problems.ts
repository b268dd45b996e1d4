import type { Code, Problem } from '../../../core/problem.ts'
import { problem } from '../../../core/problem.ts'
import { PERMIT2_SAID } from './terms.ts'

/** Why this rail refuses, in its own words. */
export type Reason =
  | 'network-mismatch'
  | 'token-unknown'
  | 'spender-unknown'
  | 'witness-mismatch'
  | 'permitted-mismatch'
  | 'payee-mismatch'
  | 'amount-mismatch'
  | 'too-late'
  | 'too-long'
  | 'nonce-used'
  | 'funds-insufficient'
  | 'allowance-missing'
  | 'signature-invalid'
  | 'simulation-failed'
  | 'transaction-failed'

/** The rail's reasons as MPP says them. */
export const reasons: Readonly<Record<Reason, string>> = {
  'network-mismatch': 'verification-failed',
  'token-unknown': 'verification-failed',
  'spender-unknown': 'verification-failed',
  'witness-mismatch': 'verification-failed',
  'permitted-mismatch': 'verification-failed',
  'payee-mismatch': 'verification-failed',
  'amount-mismatch': 'verification-failed',
  'too-late': 'payment-expired',
  'too-long': 'verification-failed',
  'nonce-used': 'verification-failed',
  'funds-insufficient': 'payment-insufficient',
  'allowance-missing': 'verification-failed',
  'signature-invalid': 'verification-failed',
  'simulation-failed': 'verification-failed',
  'transaction-failed': 'verification-failed',
}

/** A refusal with this rail's word for the cause. */
export function refusal(code: Code, reason: Reason, detail: string): Problem {
  return problem(code, detail, { reason })
}

/** Permit2 may move nothing, or too little, of the token. */
export function unapproved(token: string, amount: bigint): Problem {
  return refusal(
    'funds-insufficient',
    'allowance-missing',
    `Permit2 may not move so much of the payer’s token. Approve it once, by a transaction of the payer’s: approve(${PERMIT2_SAID}, amount) at ${token}, of at least ${amount}; then send the same payment again.`,
  )
}

/** The account holds too little. */
export const poor: Problem = refusal(
  'funds-insufficient',
  'funds-insufficient',
  'The account that signed holds less than the amount.',
)

/** The signature is not good for this permit. */
export const unsigned: Problem = refusal(
  'proof-invalid',
  'signature-invalid',
  'The signature is not the payer’s, or not over this permit: chain, spender, token, amounts, nonce, deadline and the witness of this challenge must all be as they were signed.',
)

/** All is as it should be, and yet it does not go through. */
export const untransferable: Problem = refusal(
  'proof-invalid',
  'simulation-failed',
  'The token refuses this transfer. Perhaps it is paused, or refuses one of the accounts.',
)

/** It worked when it was looked at, and does not any more. */
export const unusable: Problem = refusal(
  'settlement-failed',
  'simulation-failed',
  'The permit cannot be used any more. Nothing was taken.',
)

/** The offer or the permit is for elsewhere. */
export const foreign: Problem = refusal(
  'credential-unsupported',
  'network-mismatch',
  'The permit is for another chain or payee than is paid here.',
)
