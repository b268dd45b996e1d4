import type { Challenge } from '../core/challenge.ts'
import type { Offer } from '../core/offer.ts'
import type { Plan } from '../core/plan.ts'
import type { Ask, Held, Refusal, Sale } from '../core/ports.ts'
import type { Code, Problem } from '../core/problem.ts'
import { PaymentError, problem, problems } from '../core/problem.ts'
import { RETRY_MS } from './limits.ts'
import { isSession, rightsOf } from './plans.ts'
import type { Quoting } from './quoting.ts'
import type { House, Work } from './sale.ts'
import { receiptOf } from './sale.ts'

/** All that a gate says instead of letting in. */
export interface Refusals {
  /** Offers, and why they are needed. */
  challenge(ask: Ask, why?: Problem): Refusal | Promise<Refusal>
  /** Offers go out again exactly when a new payment may help and none has moved. */
  refuse(ask: Ask, why: Problem): Refusal | Promise<Refusal>
  inFlight(work: Work, retryAfterMs?: number): Refusal
  unknown(work: Work): Refusal
  delivered(work: Work, held: Held): Refusal
  /** It has bought a token, and does not come with the offer that was paid. Its money has moved: no new bill. */
  unnamed(work: Work, held: Held): Refusal
  /** A fault becomes a refusal that gives nothing away; a bug stays a bug. */
  trouble(ask: Ask, where: string, error: unknown): Refusal | Promise<Refusal>
}

/** Makes the refusals. Each is told to whoever observes. */
export function createRefusals(
  { clock, observe, fault }: Pick<House, 'clock' | 'observe' | 'fault'>,
  quote: Quoting['quote'],
): Refusals {
  function challenge(ask: Ask, why?: Problem): Refusal | Promise<Refusal> {
    const offers = quote(ask, why)
    return offers instanceof Promise
      ? offers.then((made) => offered(ask, why ?? (made.length > 0 ? undefined : unanswered), made))
      : offered(ask, why, offers)
  }

  function offered(ask: Ask, why: Problem | undefined, offers: readonly Offer[]): Refusal {
    const { description, mimeType, plan, breakdown } = ask.sale
    if (offers.length === 0) return refused(ask, why ?? unpayable)
    const reason = why ?? required
    const said: Challenge = {
      resource: ask.resource,
      offers,
      problem: reason,
      ...(description !== undefined && { description }),
      ...(mimeType !== undefined && { mimeType }),
      ...(breakdown && { breakdown }),
      ...(plan && { plan: toldOf(plan, ask.sale) }),
    }
    const { request } = ask
    const { url } = ask.resource
    if (why) tell(ask, why)
    else observe({ type: 'challenged', at: clock.now(), request, url, code: reason.code })
    return { kind: 'refused', problem: reason, challenge: said }
  }

  function refuse(ask: Ask, why: Problem): Refusal | Promise<Refusal> {
    return problems[why.code].status === 402 ? challenge(ask, why) : refused(ask, why)
  }

  function refused(ask: Ask, why: Problem): Refusal {
    tell(ask, why)
    return { kind: 'refused', problem: why }
  }

  function tell({ request, resource: { url } }: Ask, { code, detail }: Problem): void {
    observe({ type: 'refused', at: clock.now(), request, url, code, detail })
  }

  return {
    challenge,
    refuse,
    inFlight({ ask }, retryAfterMs = RETRY_MS) {
      const detail =
        'The same payment is being worked on. Send it again in a moment; do not make a new one.'
      return refused(ask, problem('payment-in-flight', detail, { retryAfterMs }))
    },
    unknown({ ask, key, offer }) {
      observe({ type: 'unknown', at: clock.now(), request: ask.request, key })
      const statusUrl = ask.statusUrl?.(key)
      const detail = `The payment was sent to ${offer.network} and its outcome is not known yet. Send the same payment again later; do not make a new one.`
      const rest = { retryAfterMs: RETRY_MS, ...(statusUrl !== undefined && { statusUrl }) }
      return refused(ask, problem('payment-unknown', detail, rest))
    },
    delivered({ ask }, held) {
      const detail = 'What this payment bought has been delivered. Pay again to have it again.'
      return refused(ask, problem('payment-delivered', detail, { receipt: receiptOf(held) }))
    },
    unnamed({ ask }, held) {
      const detail =
        'This payment has bought a token, which is handed out to whoever names the very offer that was paid. Send it as it was sent first, or tell the operator of this service.'
      return refused(ask, problem('payment-delivered', detail, { receipt: receiptOf(held) }))
    },
    trouble(ask, where, error) {
      fault(where, error)
      const code =
        error instanceof PaymentError && error.code in problems ? (error.code as Code) : 'internal'
      const detail = faults[code] ?? 'Nothing was served. Send the same payment again later.'
      return refuse(ask, problem(code, detail, { retryAfterMs: RETRY_MS }))
    },
  }
}

/** What a challenge tells of the plan that it sells. */
function toldOf(plan: Plan, sale: Sale): NonNullable<Challenge['plan']> {
  const { name, balance } = plan
  const { measure } = sale
  return {
    name,
    rights: rightsOf(plan),
    ...(balance && measure && isSession(sale) && { session: { balance, unit: measure.unit } }),
  }
}

const required = problem(
  'payment-required',
  'Pay one of the offers and send the request again with the proof.',
)
/** Every rail that makes its offers one by one was asked in vain. */
const unanswered = problem(
  'rail-unavailable',
  'No payment can be taken just now. Nothing was taken; send the same request again later.',
  { retryAfterMs: RETRY_MS },
)
const unpayable = problem(
  'misconfigured',
  'No payment rail can take this price. Tell the operator of this service.',
)

/** A credential without a payment. */
export const unpaid: Problem = problem(
  'credential-unsupported',
  'This service takes a payment, and the credential has none.',
)
/** One payment is booked once, into one account. */
export const bookedElsewhere: Problem = problem(
  'payment-spent',
  'This payment has bought another token, or was booked into another one. Show that one; this buys nothing more.',
)
/** Checked before the money is taken. */
export const unfitting: Problem = problem(
  'token-insufficient',
  'This token cannot be topped up with this plan any more. Nothing was taken; buy a new one.',
)
/** The payment was locked and has been taken, so that its payer has the proof. */
export const provenNow: Problem = problem(
  'token-invalid',
  'The payment for this token has been taken. Show the preimage with it.',
)
/** The payment was claimed for another request. */
export const foreign: Problem = problem(
  'payment-spent',
  'This payment was used for another request. It pays nothing here; pay one of the offers given.',
)
/** There is evidence that it was not taken, and never will be. */
export const uncollected: Problem = problem(
  'settlement-failed',
  'The payment could not be collected and never will be. Make a new one.',
)
/** It was taken, and the network has taken that back for good. */
export const undone: Problem = problem(
  'settlement-failed',
  'The network took this payment back, and it can never be collected any more. Nothing was taken; make a new one.',
)
/** It was taken, and goes back. */
export const givenBack: Problem = problem(
  'settlement-failed',
  'This payment was given back, and pays nothing any more. Make a new one.',
)

/** What a payer is told of a fault. */
const faults: Partial<Record<Code, string>> = {
  'rail-unavailable':
    'The network that this payment uses cannot be asked just now. Send the same payment again later; do not make a new one.',
  'store-unavailable':
    'The books cannot be written just now, so nothing is sold. Send the same payment again later; do not make a new one.',
  misconfigured: 'The service is not set up to take this payment. Tell its operator.',
  internal: 'Something went wrong here. Send the same payment again later; do not make a new one.',
}
