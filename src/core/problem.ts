import type { Receipt } from './receipt.ts'

/** Whether money moved: `no`, `yes`, or nobody knows yet. */
export type Moved = 'no' | 'yes' | 'unknown'

/** What a payer may do next: make a new payment, send the same one again, or neither. */
export type Retry = 'new' | 'same' | 'none'

/** Why something is refused; {@link problems} says what each code means for the payer. */
export type Code =
  | 'payment-required'
  | 'credential-malformed'
  | 'credential-unsupported'
  | 'offer-foreign'
  | 'offer-expired'
  | 'proof-invalid'
  | 'proof-expired'
  | 'amount-mismatch'
  | 'payee-mismatch'
  | 'funds-insufficient'
  | 'payment-spent'
  | 'payment-in-flight'
  | 'payment-delivered'
  | 'payment-unknown'
  | 'settlement-failed'
  | 'rail-unavailable'
  | 'price-unavailable'
  | 'request-unpriced'
  | 'store-unavailable'
  | 'idempotency-conflict'
  | 'path-ambiguous'
  | 'route-undeclared'
  | 'host-unknown'
  | 'body-too-large'
  | 'misconfigured'
  | 'work-timed-out'
  | 'token-invalid'
  | 'token-insufficient'
  | 'token-exhausted'
  | 'session-closed'
  | 'rate-limited'
  | 'internal'

interface Row {
  readonly status: number
  readonly title: string
  readonly retry: Retry
  readonly moved: Moved
}

/** The one table of refusals. Each protocol maps every code to its own words. */
export const problems: Readonly<Record<Code, Row>> = {
  'payment-required': { status: 402, title: 'Payment required', retry: 'new', moved: 'no' },
  'credential-malformed': {
    status: 400,
    title: 'The payment cannot be read',
    retry: 'new',
    moved: 'no',
  },
  'credential-unsupported': {
    status: 402,
    title: 'The payment is of a kind that is not taken here',
    retry: 'new',
    moved: 'no',
  },
  'offer-foreign': {
    status: 402,
    title: 'The payment was made for another request',
    retry: 'new',
    moved: 'no',
  },
  'offer-expired': { status: 402, title: 'The offer has expired', retry: 'new', moved: 'no' },
  'proof-invalid': { status: 402, title: 'The payment does not hold', retry: 'new', moved: 'no' },
  'proof-expired': {
    status: 402,
    title: 'The payment is outside its time',
    retry: 'new',
    moved: 'no',
  },
  'amount-mismatch': {
    status: 402,
    title: 'The payment is of another amount',
    retry: 'new',
    moved: 'no',
  },
  'payee-mismatch': {
    status: 402,
    title: 'The payment is to somebody else',
    retry: 'new',
    moved: 'no',
  },
  'funds-insufficient': {
    status: 402,
    title: 'The payer has not the funds',
    retry: 'new',
    moved: 'no',
  },
  'payment-spent': {
    status: 402,
    title: 'The payment has been used for another request',
    retry: 'new',
    moved: 'no',
  },
  'payment-in-flight': {
    status: 409,
    title: 'The same payment is being worked on',
    retry: 'same',
    moved: 'unknown',
  },
  'payment-delivered': {
    status: 410,
    title: 'What this payment bought has been delivered',
    retry: 'none',
    moved: 'yes',
  },
  'payment-unknown': {
    status: 503,
    title: 'The outcome of the payment is not known yet',
    retry: 'same',
    moved: 'unknown',
  },
  'settlement-failed': {
    status: 402,
    title: 'The payment could not be settled',
    retry: 'new',
    moved: 'no',
  },
  'rail-unavailable': {
    status: 503,
    title: 'The payment rail cannot be reached',
    retry: 'same',
    moved: 'unknown',
  },
  'price-unavailable': {
    status: 503,
    title: 'The price cannot be told',
    retry: 'same',
    moved: 'unknown',
  },
  'request-unpriced': {
    status: 400,
    title: 'The request does not say what its price depends on',
    retry: 'none',
    moved: 'no',
  },
  'store-unavailable': {
    status: 503,
    title: 'The books cannot be reached',
    retry: 'same',
    moved: 'unknown',
  },
  'idempotency-conflict': {
    status: 422,
    title: 'The idempotency key was used for another request',
    retry: 'none',
    moved: 'no',
  },
  'path-ambiguous': {
    status: 400,
    title: 'The path can be read in more than one way',
    retry: 'none',
    moved: 'no',
  },
  'route-undeclared': {
    status: 404,
    title: 'Nothing is declared at this path',
    retry: 'none',
    moved: 'no',
  },
  'host-unknown': {
    status: 421,
    title: 'This host is not served here',
    retry: 'none',
    moved: 'no',
  },
  'body-too-large': {
    status: 413,
    title: 'The body is larger than a paid request may carry',
    retry: 'none',
    moved: 'no',
  },
  misconfigured: {
    status: 503,
    title: 'The service is not set up to take this payment',
    retry: 'none',
    moved: 'no',
  },
  'work-timed-out': {
    status: 504,
    title: 'The work took too long',
    retry: 'same',
    moved: 'unknown',
  },
  'token-invalid': { status: 401, title: 'The token does not hold', retry: 'new', moved: 'no' },
  'token-insufficient': {
    status: 403,
    title: 'The token does not allow this',
    retry: 'none',
    moved: 'no',
  },
  'token-exhausted': { status: 402, title: 'The token is used up', retry: 'new', moved: 'no' },
  'session-closed': { status: 410, title: 'The session is over', retry: 'new', moved: 'no' },
  'rate-limited': { status: 429, title: 'Too many requests', retry: 'same', moved: 'no' },
  internal: { status: 500, title: 'Something went wrong inside', retry: 'same', moved: 'unknown' },
}

/** A refusal: a value that is returned, never thrown. Sent as RFC 9457 problem+json. */
export interface Problem {
  readonly code: Code
  /** One sentence for the payer: why, and what to do. Never an inner error, an address of ours or a secret. */
  readonly detail: string
  /** The rail's own word for the cause, which its forms turn into a protocol's word. */
  readonly reason?: string
  /** When to come back with the same payment. */
  readonly retryAfterMs?: number
  /** Where the outcome of this payment can be asked. */
  readonly statusUrl?: string
  /** What was paid already, when it was. */
  readonly receipt?: Receipt
  /** Whether money moved, where that is otherwise than its code says: a payment that came too late has moved. */
  readonly moved?: Moved
}

/** Makes a problem; `rest` holds the optional members. */
export function problem(
  code: Code,
  detail: string,
  rest: Omit<Problem, 'code' | 'detail'> = {},
): Problem {
  return { code, detail, ...rest }
}

/** The members of an RFC 9457 body, with ours beside the standard ones. */
export interface ProblemBody {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: Code
  readonly retry: Retry
  readonly moved: Moved
  readonly request: string
  readonly reason?: string
  readonly statusUrl?: string
}

/**
 * The body that tells a problem. `request` is the id that the event and the journal's row carry too; `status` is the one that it
 * is sent with, where a protocol has its own.
 */
export function writeProblem(
  p: Problem,
  request: string,
  status: number = problems[p.code].status,
): ProblemBody {
  const { title, retry, moved } = { ...problems[p.code], ...(p.moved && { moved: p.moved }) }
  const { code, detail, reason, statusUrl } = p
  return {
    type: `urn:tolsey:problem:${code}`,
    title,
    status,
    detail,
    code,
    retry,
    moved,
    request,
    ...(reason !== undefined && { reason }),
    ...(statusUrl !== undefined && { statusUrl }),
  }
}

/** What can stop a payer on its own side, beside the codes of a seller. */
export type PayerCode =
  | 'budget-exceeded'
  | 'offers-unacceptable'
  | 'body-unrepeatable'
  | 'declined'
  | 'task-failed'

/** A fault of the world: thrown, with a code and its cause. Its text never goes to a payer. */
export class PaymentError extends Error {
  override readonly name = 'PaymentError'
  readonly code: Code | PayerCode
  /** Whether trying the same again may help. */
  readonly retryable: boolean
  constructor(
    code: Code | PayerCode,
    message: string,
    options: { cause?: unknown; retryable?: boolean } = {},
  ) {
    super(message, { cause: options.cause })
    this.code = code
    this.retryable = options.retryable ?? false
  }
}
