import type { Offer } from '../../core/offer.ts'
import type { Code, Problem } from '../../core/problem.ts'
import type { CallAnswer } from './abi.ts'
import { decodeText } from './abi.ts'
import type { Details, Reason } from './forms.ts'
import { CHARGE } from './forms.ts'
import type { Hex } from './hex.ts'
import type { Network } from './networks.ts'
import { tokenAt } from './networks.ts'
import { refusal } from './problems.ts'
import type { Proof } from './proof.ts'

/** How much life an authorization must have left beyond the work: to be sent, and to get into a block. */
export const LIFE_MIN_MS = 6_000

/** What can be said of a proof without asking a chain; undefined if nothing is wrong with it. */
export function check(
  offer: Offer<Details>,
  proof: Proof,
  network: Network,
  now: number,
  payableForMs: number,
): Problem | undefined {
  if (offer.network !== network.id || offer.intent !== CHARGE)
    return refusal(
      'credential-unsupported',
      'network-mismatch',
      `Only single payments on ${network.id} are taken here.`,
    )
  if (!tokenAt(network, offer.details.asset))
    return refusal('credential-unsupported', 'token-unknown', 'This token is not taken here.')
  if (proof.to !== offer.payee.toLowerCase())
    return refusal(
      'payee-mismatch',
      'payee-mismatch',
      'The authorization pays another account than the offer names.',
    )
  if (proof.value !== offer.amount.amount)
    return refusal(
      'amount-mismatch',
      'amount-mismatch',
      'The authorization is over another amount than the offer. It must be exactly the same.',
    )
  return checkTime(proof, now, payableForMs)
}

function checkTime(proof: Proof, now: number, payableForMs: number): Problem | undefined {
  const at = BigInt(Math.floor(now / 1000))
  if (proof.validAfter > at)
    return refusal(
      'proof-expired',
      'too-early',
      'The authorization is not valid yet. Look at your clock.',
    )
  const least = BigInt(Math.ceil((now + payableForMs + LIFE_MIN_MS) / 1000))
  if (proof.validBefore < least)
    return refusal(
      'proof-expired',
      'too-late',
      'The authorization has expired, or would before the payment can be collected. Sign one that lives longer.',
    )
  return undefined
}

/** What the chain said of a payment: the nonce, the balance, and the transfer itself, tried. */
export interface Findings {
  readonly balance: bigint | undefined
  readonly transfer: CallAnswer
  /** The wallet's making, if it had to be made first. */
  readonly factory: CallAnswer | undefined
}

/** Why a transfer of an unused nonce cannot be; undefined if it can. */
export function diagnose(
  { balance, transfer, factory }: Findings,
  value: bigint,
): Problem | undefined {
  // Even where the transfer seems to work: not every token reverts when it should.
  if (balance !== undefined && balance < value)
    return refusal(
      'funds-insufficient',
      'funds-insufficient',
      'The account that signed holds less than the amount.',
    )
  if (transfer.ok) return undefined
  if (factory && !factory.ok)
    return refusal(
      'proof-invalid',
      'deployment-failed',
      'The wallet that signed does not exist and cannot be made as the signature says.',
    )
  return explain(transfer.data)
}

/** The words of Circle's contract, which nearly all EIP-3009 tokens share, and what they mean for the payer. */
const causes: readonly (readonly [RegExp, Code, Reason, string])[] = [
  [
    /signature/i,
    'proof-invalid',
    'signature-invalid',
    'The signature is not the payer’s, or not over this authorization, token and chain.',
  ],
  [/expired/i, 'proof-expired', 'too-late', 'The authorization has expired by the chain’s clock.'],
  [
    /not yet valid/i,
    'proof-expired',
    'too-early',
    'The authorization is not valid yet by the chain’s clock.',
  ],
  [
    /exceeds balance/i,
    'funds-insufficient',
    'funds-insufficient',
    'The account that signed holds less than the amount.',
  ],
  [
    /blacklist|blocked|frozen/i,
    'proof-invalid',
    'simulation-failed',
    'The token refuses one of the two accounts: its issuer has it on a list. Nothing was taken; pay from another account, or in another way.',
  ],
  [
    /paused/i,
    'proof-invalid',
    'simulation-failed',
    'The token is paused by its issuer. Nothing was taken; send the same payment again later, or pay in another way.',
  ],
]

/** The token's text is only matched, never passed on. */
function explain(reverted: Hex): Problem {
  const text = decodeText(`0x${reverted.slice(10)}`) ?? ''
  const row = causes.find(([pattern]) => pattern.test(text))
  if (row) return refusal(row[1], row[2], row[3])
  return refusal(
    'proof-invalid',
    'simulation-failed',
    'The token refuses this transfer. Most often the signature is not over this authorization, token and chain.',
  )
}
