import type { Credential, Session } from '../core/credential.ts'
import type { JsonObject } from '../core/json.ts'
import type { Account, Plan } from '../core/plan.ts'
import type { Ask, Gate } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import type { Receipt } from '../core/receipt.ts'
import type { Drawn } from '../core/voucher.ts'
import { grantOf, isSession, rightsOf } from '../gate/plans.ts'

/** What sessions are served with. */
export interface SessionParts {
  readonly gate: Pick<Gate, 'sell' | 'accounts' | 'channels' | 'refundRest'>
  readonly plans: ReadonlyMap<string, Plan>
}

/** A request that comes by a session. */
export type SessionAsk = Ask & { readonly credential: Credential & { readonly session: Session } }

/** What becomes of it: let in with the grant of its session, or answered here without any work. */
export type Attended =
  | { readonly kind: 'enter'; readonly credential: Credential }
  | {
      readonly kind: 'said'
      readonly body: JsonObject
      readonly receipt?: Receipt
      /** How a channel stands by it. */
      readonly stood?: Stood
    }

/** What became of a channel by a request that is answered here. */
export interface Stood {
  readonly drawn: Drawn
  /** Where the outside world keeps what was paid in, or the end. */
  readonly reference?: string
}

/** The payment that opens it buys the plan, into an account that is named after it. */
export function begin({ credential, sale }: SessionAsk): Attended | Problem {
  const { plan } = sale
  if (!plan || !isSession(sale)) return unsold
  const grant = { id: credential.session.id, rights: rightsOf(plan) }
  return { kind: 'enter', credential: { ...credential, grant } }
}

/** The grant of an account that stands. */
export function grantFor(
  { id, expiresAt, payerKeys }: Account,
  plan: Plan,
): NonNullable<Credential['grant']> {
  const rights = payerKeys ? { ...plan.rights, payerKeys } : plan.rights
  return grantOf({ ...plan, rights }, id, expiresAt)
}

const unsold = problem(
  'credential-unsupported',
  'No session is sold here. Nothing was taken; pay one of the offers given here.',
)
