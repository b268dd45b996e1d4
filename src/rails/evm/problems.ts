import type { Settlement } from '../../core/ports.ts'
import type { Code, Problem } from '../../core/problem.ts'
import { PaymentError, problem } from '../../core/problem.ts'
import type { Reason } from './forms.ts'
import type { Refused } from './rpc.ts'

/** A refusal with this rail's word for the cause. */
export function refusal(code: Code, reason: Reason, detail: string): Problem {
  return problem(code, detail, { reason })
}

/** The nonce is gone. */
export const spent: Problem = refusal(
  'payment-spent',
  'nonce-used',
  'This authorization has been used or cancelled. Sign a new one.',
)

/** The authorization can never be used any more. */
export const dead: Problem = refusal(
  'settlement-failed',
  'too-late',
  'The authorization expired before it could be collected. Nothing was taken.',
)

/** The transaction was mined and moved nothing. */
export const reverted: Problem = refusal(
  'settlement-failed',
  'transaction-failed',
  'The chain refused the transfer. Nothing was taken; make a new payment.',
)

/** The wallet's own code is too expensive. */
export const tooDear: Problem = refusal(
  'proof-invalid',
  'simulation-failed',
  'The wallet that signed needs more gas than is paid for here.',
)

/** The rail is being closed. */
export const closed: Problem = problem(
  'rail-unavailable',
  'The service is being stopped, and nothing was sent. Send the same payment again.',
)

/** The payer's payments failed too often, each at our cost. */
export function barred(retryAfterMs: number): Problem {
  const detail =
    'Payments of this account passed the check and failed in the block too often. None is taken from it for some minutes.'
  return problem('proof-invalid', detail, { reason: 'simulation-failed', retryAfterMs })
}

/** The gas that may be spent is spent. */
export function overBudget(retryAfterMs: number): Problem {
  const detail = 'The service takes no payments just now. Send the same payment again later.'
  return problem('rail-unavailable', detail, { retryAfterMs })
}

/** No node took the transaction. */
export function unsent(why: Refused): Problem {
  return refusal('settlement-failed', 'transaction-failed', sentences[why])
}

const sentences: Readonly<Record<Refused, string>> = {
  nonce: 'The payment could not be submitted in time. Nothing was taken.',
  funds: 'The service cannot submit payments now. Nothing was taken.',
  fee: 'The chain’s fees rose too fast. Nothing was taken.',
  gas: 'The chain does not take transactions of this size. Nothing was taken.',
  invalid: 'The chain does not take this transaction. Nothing was taken.',
}

/** Nothing moved, and nothing will. */
export function failed(why: Problem): Settlement {
  return { state: 'failed', problem: why }
}

/** Nobody can tell yet. */
export function unknown(detail: string): Settlement {
  return { state: 'unknown', detail }
}

/** A fault of the chain before anything was sent: nothing moved. Any other error is thrown on. */
export function beforeSending(error: unknown): Settlement {
  throwOthers(error)
  return failed(
    problem('rail-unavailable', 'The chain cannot be reached now. Send the same payment again.'),
  )
}

/** A fault of the chain when something may have been sent: nobody can tell. Any other error is thrown on. */
export function afterSending(error: unknown): Settlement {
  throwOthers(error)
  return unknown('The chain cannot be asked now.')
}

function throwOthers(error: unknown): void {
  if (!(error instanceof PaymentError) || error.code !== 'rail-unavailable') throw error
}
