import type { Settlement } from '../../core/ports.ts'
import type { Code, Problem } from '../../core/problem.ts'
import { problem } from '../../core/problem.ts'
import type { Reason } from './forms.ts'

/** A refusal in the rail's own words. */
export function refusal(code: Code, reason: Reason, detail: string): Problem {
  return problem(code, detail, { reason })
}

/** Nobody knows yet. */
export const unknown: Settlement = {
  state: 'unknown',
  detail: 'PayPal has not said what became of the payment.',
}

/** PayPal said no. */
export const declined: Settlement = {
  state: 'failed',
  problem: refusal(
    'settlement-failed',
    'payment-declined',
    'PayPal did not take the payment. Nothing was taken; approve another.',
  ),
}

/** PayPal said no to a refund. */
export const kept: Settlement = {
  state: 'failed',
  problem: refusal(
    'settlement-failed',
    'payment-declined',
    'PayPal did not carry out the refund: too late, disputed, gone back by hand, or no money in the account. Nothing was sent; look at the payment there, and order it anew.',
  ),
}
