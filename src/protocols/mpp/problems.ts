import { problems } from '../../core/problem.ts'
import type { Code, Problem } from '../../core/problem.ts'

/** Where the types of problems are. */
export const PROBLEMS = 'https://paymentauth.org/problems/'

/** Why a credential could not be read, so that the answer is still a challenge. */
export const MALFORMED = 'malformed-credential'
/** Why its payload could not. */
export const PAYLOAD = 'invalid-payload'

/** Why what is done with a session is refused, by the words of rails and of those who keep sessions. */
const reasons: Readonly<Record<string, string>> = {
  'session-not-found': 'lightning/session-not-found',
  'session-closed': 'lightning/session-closed',
  'session-exhausted': 'lightning/insufficient-balance',
  'invalid-signature': 'session/invalid-signature',
  'signer-mismatch': 'session/signer-mismatch',
  'amount-exceeds-deposit': 'session/amount-exceeds-deposit',
  'delta-too-small': 'session/delta-too-small',
  'channel-not-found': 'session/channel-not-found',
  'channel-finalized': 'session/channel-finalized',
  'close-requested': 'session/channel-finalized',
  'insufficient-balance': 'session/insufficient-balance',
}

/** The words of MPP for refusals of ours that have one. */
const types: Readonly<Partial<Record<Code, string>>> = {
  'payment-required': 'payment-required',
  'token-exhausted': 'payment-required',
  'credential-unsupported': 'method-unsupported',
  'offer-foreign': 'invalid-challenge',
  'payment-spent': 'invalid-challenge',
  'payment-delivered': 'invalid-challenge',
  'offer-expired': 'payment-expired',
  'proof-expired': 'payment-expired',
  'proof-invalid': 'verification-failed',
  'payee-mismatch': 'verification-failed',
  'amount-mismatch': 'payment-insufficient',
  'funds-insufficient': 'payment-insufficient',
  'settlement-failed': 'settlement-failed',
}

/** The type of a problem, as MPP names it. */
export function typeOf({ code, reason }: Pick<Problem, 'code' | 'reason'>): string {
  if (reason === MALFORMED || reason === PAYLOAD) return PROBLEMS + reason
  const named = sessionTypeOf({ ...(reason !== undefined && { reason }) })
  if (named !== undefined) return named
  const rest = problems[code].status < 500 ? 'bad-request' : 'internal-payment-error'
  return PROBLEMS + (types[code] ?? rest)
}

/** The same where something is wrong with what is done with a session: what a payer does next hangs on it. */
export function sessionTypeOf({ reason }: Pick<Problem, 'reason'>): string | undefined {
  const known = reason !== undefined && Object.hasOwn(reasons, reason)
  return known ? PROBLEMS + reasons[reason] : undefined
}

/** Our word for a type, so that a payer knows whether to pay anew. */
const codes: Readonly<Record<string, Code>> = {
  'payment-required': 'payment-required',
  [MALFORMED]: 'proof-invalid',
  [PAYLOAD]: 'proof-invalid',
  'invalid-challenge': 'offer-foreign',
  'payment-expired': 'offer-expired',
  'verification-failed': 'proof-invalid',
  'payment-insufficient': 'amount-mismatch',
  'method-unsupported': 'credential-unsupported',
  'settlement-failed': 'settlement-failed',
}

/** Why a seller asks, where it says so in words of MPP. */
export function codeOf(type: unknown): Code | undefined {
  if (typeof type !== 'string' || !type.startsWith(PROBLEMS)) return undefined
  const name = type.slice(PROBLEMS.length)
  return Object.hasOwn(codes, name) ? codes[name] : undefined
}
