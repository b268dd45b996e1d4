import type { Code, Problem } from '../../core/problem.ts'

/** What x402 says for each of our problems; our own word where x402 has none. */
const words = {
  'payment-required': 'Payment required',
  'credential-malformed': 'invalid_payload',
  'credential-unsupported': 'unsupported_scheme',
  'offer-foreign': 'invalid_payment_requirements',
  'offer-expired': 'offer_expired',
  'proof-invalid': 'invalid_payment',
  'proof-expired': 'payment_expired',
  'amount-mismatch': 'amount_mismatch',
  'payee-mismatch': 'recipient_mismatch',
  'funds-insufficient': 'insufficient_funds',
  'payment-spent': 'duplicate_settlement',
  'payment-in-flight': 'settlement_pending',
  'payment-delivered': 'payment_delivered',
  'payment-unknown': 'settlement_pending',
  'settlement-failed': 'invalid_transaction_state',
  'rail-unavailable': 'unexpected_verify_error',
  'price-unavailable': 'price_unavailable',
  'request-unpriced': 'request_unpriced',
  'store-unavailable': 'unexpected_settle_error',
  'idempotency-conflict': 'idempotency_conflict',
  'path-ambiguous': 'path_ambiguous',
  'route-undeclared': 'route_undeclared',
  'host-unknown': 'host_unknown',
  'body-too-large': 'body_too_large',
  misconfigured: 'misconfigured',
  'work-timed-out': 'unexpected_error',
  'token-invalid': 'token_invalid',
  'token-insufficient': 'token_insufficient',
  'token-exhausted': 'token_exhausted',
  'session-closed': 'session_closed',
  'rate-limited': 'rate_limited',
  internal: 'unexpected_error',
} satisfies Record<Code, string>

/** The one reason that is the protocol's own and no rail's. */
export const ECHO_MISMATCH = 'extension_echo_mismatch'

/** What x402's strings mean once the prefix that names scheme and chain is off. */
const meanings = new Map<string, Code>([
  ...(Object.entries(words) as [Code, string][]).map(([code, word]) => [word, code] as const),
  ['settlement_pending', 'payment-unknown'],
  ['unexpected_settle_error', 'payment-unknown'],
  ['No matching payment requirements', 'offer-foreign'],
  [ECHO_MISMATCH, 'offer-foreign'],
  ['insufficient_balance', 'funds-insufficient'],
  ['nonce_already_used', 'payment-spent'],
  ['invalid_nonce', 'payment-spent'],
  ['authorization_valid_before', 'proof-expired'],
  ['authorization_valid_after', 'proof-expired'],
  ['deadline_expired', 'proof-expired'],
  ['not_yet_valid', 'proof-expired'],
  ['payment_too_early', 'proof-expired'],
  ['authorization_value_mismatch', 'amount-mismatch'],
  ['authorization_value', 'amount-mismatch'],
  ['signature', 'proof-invalid'],
  ['failed_to_parse_signature', 'proof-invalid'],
  ['missing_eip712_domain', 'proof-invalid'],
  ['token_name_mismatch', 'proof-invalid'],
  ['token_version_mismatch', 'proof-invalid'],
  ['token_mismatch', 'proof-invalid'],
  ['transaction_simulation_failed', 'proof-invalid'],
  ['simulation_failed', 'proof-invalid'],
  ['spender', 'proof-invalid'],
  ['allowance_required', 'funds-insufficient'],
  ['scheme', 'credential-unsupported'],
  ['network', 'credential-unsupported'],
  ['x402_version', 'credential-unsupported'],
  ['network_mismatch', 'credential-unsupported'],
  ['unsupported_payload_type', 'credential-unsupported'],
  ['eip3009_not_supported', 'credential-unsupported'],
  ['asset_not_deployed_contract', 'credential-unsupported'],
  ['eip6492_factory_not_allowed', 'credential-unsupported'],
])

const prefixes =
  /^(?:invalid_)?(?:exact_|upto_|batch_settlement_|)(?:evm_|svm_|)(?:permit2_|)(?:payload_|)/

/** The code for an x402 error string; undefined for free text and everything that is not known. */
export function codeOf(reason: string): Code | undefined {
  return meanings.get(reason) ?? meanings.get(reason.replace(prefixes, ''))
}

/** A stranger's error string, if it is fit to be kept and shown. */
export function fit(reason: string | null | undefined): string | undefined {
  return reason && /^[ -~]{1,128}$/.test(reason) ? reason : undefined
}

/** What x402 says for the problem: the rail's own word if its form has one, otherwise the code's. */
export function wordOf(
  problem: Problem,
  forms: Iterable<{ readonly reasons: Readonly<Record<string, string>> }>,
): string {
  const { reason } = problem
  if (reason === undefined) return words[problem.code]
  if (reason === ECHO_MISMATCH) return reason
  for (const { reasons } of forms) {
    const word = Object.hasOwn(reasons, reason) ? reasons[reason] : undefined
    if (word !== undefined) return word
  }
  return words[problem.code]
}
