import type { Account, Plan } from '../core/plan.ts'
import type { Refusal } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import type { RestOutcome } from '../core/refund.ts'
import { attendChannel, isChannel } from './channels.ts'
import { begin, grantFor } from './session.ts'
import type { Attended, SessionAsk, SessionParts } from './session.ts'

/** When to ask again whether what is left has gone back. */
const CLOSE_RETRY_MS = 1_000
const MSAT_PER_SAT = 1_000n

/**
 * Attends to what a payer does with a session. Who sends it has proved to know the preimage. An account is a session only if it
 * was opened as one: whoever was handed a narrowed token of another account knows its preimage too.
 * @param isBare whether there is no work to be done, whatever is paid: the request is a `HEAD`.
 */
export async function attend(
  ask: SessionAsk,
  parts: SessionParts,
  isBare = false,
): Promise<Attended | Problem | Refusal> {
  const { session } = ask.credential
  const account = await parts.gate.accounts.find(session.id)
  if (isChannel(session, account)) return await attendChannel(ask, parts, isBare, account)
  if (isBare) return bare
  if (session.act === 'open' && !account) return begin(ask)
  const plan = account?.returnTo === undefined ? undefined : parts.plans.get(account.plan)
  if (!account || !plan) return unknown
  if (session.act === 'close') return await close(account, plan, parts)
  if (account.revoked) return closed
  if (session.act === 'top-up') return await topUp(ask, plan, parts)
  return { kind: 'enter', credential: { session, grant: grantFor(account, plan) } }
}

async function topUp(
  ask: SessionAsk,
  plan: Plan,
  { gate }: SessionParts,
): Promise<Attended | Problem | Refusal> {
  // The plan that the challenge sold is the one that was paid for.
  if (ask.sale.plan?.name !== plan.name) return otherPlan
  const bought = await gate.sell(ask)
  if (bought.kind === 'refused') return bought
  return { kind: 'said', body: { status: 'ok' }, receipt: bought.receipt }
}

/** What is left goes back, and nothing is drawn any more. Said twice it is the same, and moves nothing twice. */
async function close(
  { id, returnTo, revoked }: Account,
  { refund: terms }: Plan,
  { gate }: SessionParts,
): Promise<Attended | Problem> {
  const outcome =
    terms &&
    (await gate.refundRest({ account: id, terms, ...(returnTo !== undefined && { to: returnTo }) }))
  if (outcome?.kind === 'open') return closing
  if (revoked && outcome?.kind === 'denied' && outcome.code === 'order-invalid') return closed
  await gate.accounts.revoke(id)
  const refundSats = outcome?.kind === 'refunded' ? satsOf(outcome) : 0
  const { balance } = await gate.accounts.left(id)
  // Of several payments one may have found no way back.
  const isPart = outcome?.kind === 'refunded' && balance !== undefined && balance.amount > 0n
  const refundStatus = isPart ? 'failed' : statusOf(outcome)
  return { kind: 'said', body: { status: 'closed', refundSats, refundStatus } }
}

function satsOf({ parts }: RestOutcome & { readonly kind: 'refunded' }): number {
  return Number(parts.reduce((sum, { amount }) => sum + amount.amount, 0n) / MSAT_PER_SAT)
}

/** What has not gone back though it should have is in the books of the account still: its operator can give it back. */
function statusOf(outcome: RestOutcome | undefined): 'succeeded' | 'failed' | 'skipped' {
  if (outcome?.kind === 'refunded') return 'succeeded'
  return outcome?.kind === 'denied' && outcome.code !== 'amount-exceeded' ? 'failed' : 'skipped'
}

const bare = problem(
  'payment-required',
  'A HEAD has no answer that could be paid for. Send the request itself.',
)
const unknown = problem('proof-invalid', 'There is no session of this name here. Open a new one.', {
  reason: 'session-not-found',
})
// Who knows its preimage is offered another.
const closed = problem('token-exhausted', 'The session is closed. Open a new one.', {
  reason: 'session-closed',
})
const otherPlan = problem(
  'credential-unsupported',
  'The session is topped up where it was opened, and this sells something else. Nothing was taken.',
)
const closing = problem(
  'payment-in-flight',
  'What is left is on its way back. Send the same request again to hear how it stands.',
  { retryAfterMs: CLOSE_RETRY_MS },
)
