import type { Offer } from '../../../core/offer.ts'
import type { Problem } from '../../../core/problem.ts'
import { LIFE_MIN_MS } from '../check.ts'
import { lower } from '../hex.ts'
import { tokenAt } from '../networks.ts'
import { challengeHash } from './permit2.ts'
import { refusal } from './problems.ts'
import type { Proof } from './proof.ts'
import type { Details, Shop } from './terms.ts'
import { CHARGE, transfersOf } from './terms.ts'

/** How long after the end of its offer a permit may be good: until then its outcome may be unknown. */
export const VALID_AFTER_MS = 300_000

/** What can be said of a permit without asking a chain; undefined if nothing is wrong with it. */
export function check(
  offer: Offer<Details>,
  proof: Proof,
  { network, spender }: Shop,
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
  if (lower(offer.details.spender) !== spender)
    return refusal(
      'credential-unsupported',
      'spender-unknown',
      'The key that this permit is for is not in use any more. Sign one for a new offer.',
    )
  return checkWhole(offer, proof) ?? checkTime(offer, proof, now, payableForMs)
}

function checkWhole(offer: Offer<Details>, proof: Proof): Problem | undefined {
  const { witness, permitted, transfers } = proof
  const wanted = transfersOf(offer)
  if (witness.challengeHash !== challengeHash(offer.id + realmOf(offer)) || witness.externalId)
    return refusal(
      'proof-invalid',
      'witness-mismatch',
      'The witness is not the Keccak-256 of the id and the realm of this challenge.',
    )
  if (permitted.length !== wanted.length || transfers.length !== wanted.length)
    return refusal(
      'amount-mismatch',
      'permitted-mismatch',
      `The permit is for ${permitted.length} and ${transfers.length} transfers; the offer asks for ${wanted.length}.`,
    )
  const token = lower(offer.details.asset)
  for (const [i, { to, amount }] of wanted.entries()) {
    if (permitted[i]?.token !== token || permitted[i].amount < amount)
      return refusal(
        'amount-mismatch',
        'permitted-mismatch',
        `The permit does not allow ${amount} of the token for transfer ${i}.`,
      )
    if (transfers[i]?.to !== to)
      return refusal(
        'payee-mismatch',
        'payee-mismatch',
        `Transfer ${i} goes to another account than the offer names.`,
      )
    if (transfers[i].amount !== amount)
      return refusal(
        'amount-mismatch',
        'amount-mismatch',
        `Transfer ${i} is over another amount than the offer. It must be exactly ${amount}.`,
      )
  }
  return undefined
}

function checkTime(
  { expiresAt }: Offer<Details>,
  { deadline }: Proof,
  now: number,
  payableForMs: number,
): Problem | undefined {
  if (deadline < BigInt(Math.ceil((now + payableForMs + LIFE_MIN_MS) / 1000)))
    return refusal(
      'proof-expired',
      'too-late',
      'The permit has expired, or would before the payment can be collected. Sign one that lives longer.',
    )
  if (deadline > BigInt(Math.floor((expiresAt + VALID_AFTER_MS) / 1000)))
    return refusal(
      'proof-invalid',
      'too-long',
      'The permit is good for too long after the end of its offer. Let it end with the challenge.',
    )
  return undefined
}

/** What MPP calls the realm of an offer: the host as the payer names it, without its port. */
function realmOf({ resource }: Offer): string {
  return resource.authority.replace(/:\d*$/, '')
}
