import type { Offer } from '../../core/offer.ts'
import type { Settlement } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { PaymentError, problem } from '../../core/problem.ts'
import { isFor, settledBy } from './charge.ts'
import type { Call } from './client.ts'
import type { Intent } from './intent.ts'
import { isBoundTo } from './intent.ts'
import { readAnew } from './look.ts'
import { refusal, unknown } from './problems.ts'

/** What looking at payments needs. */
export interface PaidParts {
  readonly call: Call
  readonly network: string
  readonly live: boolean
}

/** Payments that were made before they are shown. Each look reads Stripe anew. */
export interface Paid {
  /** Why it does not pay the offer. @throws {PaymentError} when Stripe cannot be asked. */
  refuses(offer: Offer, id: string): Promise<Problem | undefined>
  settle(offer: Offer, id: string): Promise<Settlement>
  /** Undefined while it may yet be paid. @throws {PaymentError} when Stripe cannot be asked. */
  find(offer: Offer, id: string): Promise<Settlement | undefined>
}

/** How soon a payment that is not there yet may be asked for again. */
const RETRY_MS = 1_000

/** Makes the look. */
export function createPaid({ call, network, live }: PaidParts): Paid {
  async function look(id: string): Promise<Intent | undefined> {
    const found = await readAnew(call, id)
    return found?.live === live ? found : undefined
  }

  function explain(offer: Offer, intent: Intent | undefined): Problem | undefined {
    if (!intent) return noIntent
    if (!isBoundTo(intent, offer)) return foreign
    if (!isFor(intent, offer)) return wrongAmount
    if (intent.status === 'canceled') return canceled
    if (intent.status !== 'succeeded') return notYet
    if (intent.received < offer.amount.amount) return wrongAmount
    // What went back before it bought anything buys nothing.
    const { charge } = intent
    return !charge || charge.refunded > 0n || charge.disputed ? returned : undefined
  }

  async function find(offer: Offer, id: string): Promise<Settlement | undefined> {
    const intent = await look(id)
    const why = explain(offer, intent)
    if (why === notYet) return undefined
    if (why || !intent) return { state: 'failed', problem: why ?? noIntent }
    return settledBy(intent, network)
  }

  return {
    refuses: async (offer, id) => explain(offer, await look(id)),
    async settle(offer, id) {
      try {
        return (await find(offer, id)) ?? unknown
      } catch (error) {
        if (error instanceof PaymentError) return unknown
        throw error
      }
    },
    find,
  }
}

const noIntent = refusal(
  'proof-invalid',
  'intent-unknown',
  'There is no such payment for this seller.',
)
const foreign = refusal(
  'proof-invalid',
  'intent-foreign',
  'This payment was made for something else.',
)
const wrongAmount = refusal(
  'amount-mismatch',
  'amount-wrong',
  'The payment is of another amount or currency than the price.',
)
const canceled = refusal(
  'proof-invalid',
  'intent-unpaid',
  'The payment was canceled. Make a new one.',
)
const returned = refusal(
  'proof-invalid',
  'intent-returned',
  'The payment was given back or is disputed.',
)
const notYet = problem(
  'payment-in-flight',
  'The payment is not complete yet. Send the same request again when it is.',
  { reason: 'intent-unpaid', retryAfterMs: RETRY_MS },
)
