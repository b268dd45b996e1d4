import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Code } from './problem.ts'
import { PaymentError, problem, problems, writeProblem } from './problem.ts'

describe('the table of refusals', () => {
  // Clients act on these numbers, so that each stands here a second time.
  const statuses: Readonly<Record<number, readonly Code[]>> = {
    400: ['credential-malformed', 'path-ambiguous', 'request-unpriced'],
    401: ['token-invalid'],
    402: [
      'amount-mismatch',
      'credential-unsupported',
      'funds-insufficient',
      'offer-expired',
      'offer-foreign',
      'payee-mismatch',
      'payment-required',
      'payment-spent',
      'proof-expired',
      'proof-invalid',
      'settlement-failed',
      'token-exhausted',
    ],
    403: ['token-insufficient'],
    404: ['route-undeclared'],
    409: ['payment-in-flight'],
    410: ['payment-delivered', 'session-closed'],
    413: ['body-too-large'],
    421: ['host-unknown'],
    422: ['idempotency-conflict'],
    429: ['rate-limited'],
    500: ['internal'],
    503: [
      'misconfigured',
      'payment-unknown',
      'price-unavailable',
      'rail-unavailable',
      'store-unavailable',
    ],
    504: ['work-timed-out'],
  }

  test('gives every code the status that its clients act on', () => {
    const told: Record<number, string[]> = {}
    for (const [code, { status }] of Object.entries(problems)) (told[status] ??= []).push(code)
    for (const codes of Object.values(told)) codes.sort((a, b) => (a < b ? -1 : 1))
    assert.deepEqual(told, statuses)
  })

  test('never asks for a new payment where money may have moved', () => {
    for (const [code, { retry, moved }] of Object.entries(problems))
      if (moved !== 'no') assert.notEqual(retry, 'new', code)
  })

  test('asks for payment exactly where a new one may help', () => {
    for (const [code, { status, retry }] of Object.entries(problems))
      if (status === 402) assert.equal(retry, 'new', code)
  })
})

test('a problem is told with its row, and with what else is known of it', () => {
  const plain = writeProblem(problem('payment-unknown', 'Ask later.'), 'r-1')
  assert.deepEqual(plain, {
    type: 'urn:tolsey:problem:payment-unknown',
    title: 'The outcome of the payment is not known yet',
    status: 503,
    detail: 'Ask later.',
    code: 'payment-unknown',
    retry: 'same',
    moved: 'unknown',
    request: 'r-1',
  })
  const rest = { reason: 'nonce_used', statusUrl: 'http://api.test/status' }
  const whole = problem('payment-unknown', 'Ask later.', { ...rest, retryAfterMs: 1 })
  assert.deepEqual(writeProblem(whole, 'r-1'), { ...plain, ...rest })
})

test('a fault tells its code and its cause, and helps nobody by being tried again unless it says so', () => {
  const cause = new Error('socket')
  const fault = new PaymentError('rail-unavailable', 'No answer.', { cause, retryable: true })
  assert.deepEqual(
    [fault.name, fault.code, fault.retryable],
    ['PaymentError', 'rail-unavailable', true],
  )
  assert.equal(fault.cause, cause)
  assert.equal(new PaymentError('internal', 'x', {}).retryable, false)
  assert.equal(new PaymentError('internal', 'x').retryable, false)
})
