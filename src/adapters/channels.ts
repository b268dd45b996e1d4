import type { Session } from '../core/credential.ts'
import type { JsonObject } from '../core/json.ts'
import type { Price } from '../core/money.ts'
import type { Account, Plan } from '../core/plan.ts'
import type { Clock, Protocol, Refusal } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { problem } from '../core/problem.ts'
import type { ChannelReceipt, Channels, Drawn, Voucher } from '../core/voucher.ts'
import type { Attended, SessionAsk, SessionParts, Stood } from './session.ts'
import { begin, grantFor } from './session.ts'
import { channelClosed, channelUnknown } from '../gate/channels.ts'

/** Whether the session is a channel: its payer lets more be drawn as it goes. */
export function isChannel(session: Session, account?: Account): boolean {
  return session.isChannel === true || account?.isChannel === true
}

/**
 * Attends to what a payer does with a channel. What he signed is taken, and stands in the books, before anything is served for it.
 * A voucher that promises as much as the best one is shown again by whoever retries, and pays as far as it goes; one that promises less
 * is an old one that leaked, or came late, and buys nothing.
 * @param isBare whether there is no work to be done, whatever is paid: the request is a `HEAD`.
 */
export async function attendChannel(
  ask: SessionAsk,
  parts: SessionParts,
  isBare: boolean,
  account?: Account,
): Promise<Attended | Problem | Refusal> {
  const { act, id, voucher } = ask.credential.session
  if (act === 'open') return voucher ? await open(ask, voucher, parts, isBare) : unsigned
  const plan = account?.isChannel === true ? parts.plans.get(account.plan) : undefined
  if (!account || !plan) return channelUnknown
  if (act === 'close') return voucher ? await close(id, voucher, parts) : unsigned
  if (account.revoked) return channelClosed
  if (act === 'top-up') return await topUp(ask, plan, parts)
  if (!voucher) return unsigned
  const drawn = await parts.gate.channels.accept(id, voucher)
  if ('code' in drawn) return drawn
  return isBare || !isPaying(voucher, drawn) ? accepted({ drawn }) : enter(ask, account, plan)
}

/** Whether its sender may draw for it: an old voucher may have leaked, and one that was collected stands on the chain for all to see. */
function isPaying({ cumulative }: Voucher, { accepted, proves }: Drawn): boolean {
  return cumulative >= accepted && proves !== false
}

/** The deposit buys the plan; its first voucher may pay for the request that comes with it. */
async function open(
  ask: SessionAsk,
  voucher: Voucher,
  { gate, plans }: SessionParts,
  isBare: boolean,
): Promise<Attended | Problem | Refusal> {
  const before = await gate.accounts.find(ask.credential.session.id)
  if (before?.revoked) return channelClosed
  const begun = begin(ask)
  if ('code' in begun || begun.kind === 'said') return begun
  const bought = await gate.sell({ ...ask, credential: begun.credential })
  if (bought.kind === 'refused') return bought
  const { account, receipt } = bought
  const plan = plans.get(account.plan)
  if (!plan) return channelUnknown
  const drawn = await gate.channels.accept(account.id, voucher)
  if ('code' in drawn) return drawn
  const isSpent = voucher.cumulative <= drawn.spent + drawn.held
  return isBare || isSpent || !isPaying(voucher, drawn)
    ? accepted({ drawn, reference: receipt.reference })
    : enter(ask, account, plan)
}

async function topUp(
  ask: SessionAsk,
  plan: Plan,
  { gate }: SessionParts,
): Promise<Attended | Problem | Refusal> {
  if (ask.sale.plan?.name !== plan.name) return otherPlan
  const bought = await gate.sell(ask)
  if (bought.kind === 'refused') return bought
  const drawn = await gate.channels.look(ask.credential.session.id)
  return drawn ? accepted({ drawn, reference: bought.receipt.reference }) : channelUnknown
}

async function close(
  id: string,
  voucher: Voucher,
  { gate }: SessionParts,
): Promise<Attended | Problem> {
  const closed = await gate.channels.close(id, voucher)
  if ('code' in closed) return closed
  const { reference, ...drawn } = closed
  // Nothing is served by it.
  const body = { status: 'closed', spent: drawn.spent.toString(), reference }
  return { kind: 'said', body, stood: { drawn, reference } }
}

function accepted(stood: Stood): Attended {
  const { accepted: cumulative, spent } = stood.drawn
  const body: JsonObject = {
    status: 'ok',
    acceptedCumulative: cumulative.toString(),
    spent: spent.toString(),
  }
  return { kind: 'said', body, stood }
}

function enter({ credential: { session } }: SessionAsk, account: Account, plan: Plan): Attended {
  return { kind: 'enter', credential: { session, grant: grantFor(account, plan) } }
}

/** Tells the payer of a channel how it stands. */
export interface Teller {
  readonly channel: string
  /** How it stands; undefined where that cannot be told. */
  look(more?: Price): Promise<Drawn | undefined>
  /** Calls back when a voucher was taken here, until the function that it gives is called. */
  hear(wake: () => void): () => void
  /** What the protocol says of that. */
  write(drawn: Drawn, rest?: Pick<ChannelReceipt, 'units' | 'reference'>): ReturnType<Writing>
}

type Writing = NonNullable<Protocol['writeChannel']>

/** Undefined where the protocol has no words for it. */
export function createTeller(
  { id, challenge = '' }: Session,
  by: Protocol,
  channels: Channels,
  clock: Pick<Clock, 'now'>,
): Teller | undefined {
  if (!by.writeChannel) return undefined
  const write = by.writeChannel.bind(by)
  return {
    channel: id,
    look: (more) => channels.look(id, more),
    hear: (wake) => channels.hear(id, wake),
    write: (drawn, rest) => write({ ...drawn, ...rest, channel: id, challenge, at: clock.now() }),
  }
}

const unsigned = problem('proof-invalid', 'There is no voucher in the credential.', {
  reason: 'invalid-payload',
})
const otherPlan = problem(
  'credential-unsupported',
  'The channel is topped up where it was opened, and this sells something else. Nothing was taken.',
)
