import type { Settlement } from '../../core/ports.ts'
import type { Code, Problem } from '../../core/problem.ts'
import { problem } from '../../core/problem.ts'
import type { Reason } from './forms.ts'

/** A refusal in the rail's own words. */
export function refusal(code: Code, reason: Reason, detail: string): Problem {
  return problem(code, detail, { reason })
}

/** It came to nothing, and never will. */
export function failed(code: Code, reason: Reason, detail: string): Settlement {
  return { state: 'failed', problem: refusal(code, reason, detail) }
}

/** Nobody knows yet. */
export const unknown: Settlement = {
  state: 'unknown',
  detail: 'Stripe has not said what became of the payment.',
}
