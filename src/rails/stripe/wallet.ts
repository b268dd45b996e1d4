import { systemClock } from '../../core/clock.ts'
import type { Clock, Wallet } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Details, Proof } from './forms.ts'
import { RAIL, createBearerForm, createMppForm, isToken } from './forms.ts'

/** What a token is to be good for. */
export interface TokenOrder {
  /** The seller's profile: nobody else can charge it. */
  readonly profile: string
  /** In the currency's smallest unit. */
  readonly amountMax: bigint
  /** Small letters, for instance `usd`. */
  readonly currency: string
  /** Milliseconds since 1970. */
  readonly expiresAt: number
}

/** What the wallet is made of. */
export interface SharedTokensSettings {
  /** Issues a shared payment token, at Stripe or wherever the card is kept, and answers its id. */
  readonly issue: (order: TokenOrder, signal?: AbortSignal) => Promise<string>
  /** Networks of sellers that are paid in the gateway profile, for instance `stripe:live`; MPP names none. */
  readonly networks?: readonly string[]
  readonly clock?: Clock
}

/** How much longer than the payment a token stands: clocks differ. */
const TOKEN_MS_MIN = 60_000

/** Pays sellers by shared payment tokens: each is for one seller, one amount and a short time. */
export function sharedTokens(settings: SharedTokensSettings): Wallet<Details, Proof> {
  const { issue, networks = [], clock = systemClock } = settings
  const ends = new WeakMap<Proof, number>()
  const forms = { mpp: createMppForm(), bearer: createBearerForm({ networks }) }
  return {
    rail: RAIL,
    forms,
    refuses({ rail, details }) {
      if (rail !== RAIL) return 'This wallet pays by Stripe alone.'
      return details.profile === '' ? 'The seller takes no shared payment tokens.' : undefined
    },
    async pay({ amount: { amount, asset }, details: { profile } }, validForMs, signal) {
      const expiresAt = clock.now() + validForMs + TOKEN_MS_MIN
      const currency = asset.code.toLowerCase()
      const token = await issue({ profile, amountMax: amount, currency, expiresAt }, signal)
      if (!isToken(token))
        throw new PaymentError('rail-unavailable', 'No shared payment token was issued.')
      const proof: Proof = { kind: 'token', token }
      ends.set(proof, expiresAt)
      return proof
    },
    expiresAt: (proof) => ends.get(proof) ?? Number.MAX_SAFE_INTEGER,
  }
}
