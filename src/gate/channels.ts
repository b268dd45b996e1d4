import type { Price } from '../core/money.ts'
import type { Rail } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import type { Problem } from '../core/problem.ts'
import type { RestOrder, RestOutcome } from '../core/refund.ts'
import type { Allowance, Channels, Drawn, Voucher, Vouchers } from '../core/voucher.ts'
import { fine } from './account.ts'
import type { Known } from './account.ts'
import type { AccountBooks } from './accounts.ts'
import { boughtBy, promisedOf, unitsFor } from './channel.ts'
import type { Channel } from './channel.ts'
import { RETRY_MS } from './limits.ts'
import { denied } from './refund.ts'
import type { Rests } from './rest.ts'
import type { House } from './sale.ts'

/** Channels, for the gate. */
export interface ChannelBooks extends Channels {
  /** Gives back what is left in any account. A channel is closed by it, with the best voucher where its payer has sent no last one. */
  refundRest(order: RestOrder): Promise<RestOutcome>
}

/** An account that is a channel, with the rail whose vouchers it is drawn on by. */
interface Open {
  readonly account: Known & { readonly channel: Channel }
  readonly vouchers: Vouchers
}

/** Closes a channel with what was drawn of it; undefined while that is not done, and for an account that is none. */
export type Ends = (account: string) => Promise<{ readonly reference: string } | undefined>

/** Makes the end of channels. To be asked for when nothing can be drawn any more: what is held still counts as drawn. */
export function createEnds(
  { ledger, rails }: Pick<House, 'ledger' | 'rails'>,
  accounts: Pick<AccountBooks, 'look'>,
): Ends {
  return async (id) => {
    const { channel, unit } = (await accounts.look(id)) ?? {}
    const vouchers = channel && rails.find(channel)?.vouchers
    if (!channel || !vouchers) return undefined
    const standings = await ledger.balances(promisedOf(id))
    const { posted = 0n, pending = 0n } = standings.find(({ asset }) => asset === unit) ?? {}
    return await vouchers.close(id, unitsFor(channel, posted + pending))
  }
}

/**
 * Makes the channels. What may be drawn is asked of the rail for each draw and held to by a ceiling in the books (`accounts.ts`); here
 * vouchers come in, and channels end: what the last voucher promises is charged whole, since that is what the network will collect,
 * then all that is left is held, so that nothing is drawn any more, and goes back.
 */
export function createChannels(
  { ledger, rails }: Pick<House, 'ledger' | 'rails'>,
  accounts: Pick<AccountBooks, 'look' | 'free' | 'drawLast' | 'revoke'>,
  rests: Rests,
  ends: Ends,
): ChannelBooks {
  /** Who waits here for a voucher: other processes look by themselves. */
  const hearers = new Map<string, Set<() => void>>()

  function hear(id: string, wake: () => void): () => void {
    const all = hearers.get(id) ?? new Set()
    hearers.set(id, all.add(wake))
    return () => {
      all.delete(wake)
      if (all.size === 0 && hearers.get(id) === all) hearers.delete(id)
    }
  }

  async function find(id: string): Promise<Open | undefined> {
    const account = await accounts.look(id)
    if (!account?.channel) return undefined
    const { channel } = account
    const rail: Rail | undefined = rails.find(channel)
    return rail?.vouchers && { account: { ...account, channel }, vouchers: rail.vouchers }
  }

  async function drawnOf({ account }: Open, allowance: Allowance, more?: Price): Promise<Drawn> {
    const { id, unit, channel } = account
    const standings = await ledger.balances(promisedOf(id))
    const { posted = 0n, pending = 0n } = standings.find(({ asset }) => asset === unit) ?? {}
    const asked = more?.currency === unit ? fine(more) : 0n
    const spent = unitsFor(channel, posted)
    return {
      ...{ rail: channel.rail, network: channel.network },
      ...{ accepted: allowance.accepted, deposit: allowance.deposit, spent },
      held: unitsFor(channel, posted + pending) - spent,
      needed: unitsFor(channel, posted + pending + asked),
      ...(allowance.proves !== undefined && { proves: allowance.proves }),
    }
  }

  async function look(id: string, more?: Price): Promise<Drawn | undefined> {
    const open = await find(id)
    const allowance = await open?.vouchers.allowance(id)
    return open && allowance && (await drawnOf(open, allowance, more))
  }

  async function accept(id: string, voucher: Voucher): Promise<Drawn | Problem> {
    const open = await find(id)
    if (!open) return channelUnknown
    if (open.account.revoked) return channelClosed
    const taken = await open.vouchers.accept(id, voucher)
    if ('code' in taken) return taken
    for (const wake of hearers.get(id) ?? []) wake()
    return await drawnOf(open, taken)
  }

  /** Charges what a voucher promises beyond what was drawn. */
  async function fill({ account }: Open, { cumulative }: Voucher, spent: bigint): Promise<boolean> {
    const { channel } = account
    const bought = boughtBy(channel, cumulative)
    // Where a unit of the asset is finer than one of the account, what is rounded away must not go back.
    const most = unitsFor(channel, bought) < cumulative ? bought + 1n : bought
    return most <= spent || (await accounts.drawLast(account, most - spent, most))
  }

  async function postedOf({ account: { id, unit } }: Open): Promise<bigint> {
    const standings = await ledger.balances(promisedOf(id))
    return standings.find(({ asset }) => asset === unit)?.posted ?? 0n
  }

  const close: Channels['close'] = async (id, voucher) => {
    const open = await find(id)
    if (!open) return channelUnknown
    const why = (await isEnded(open)) ? undefined : await end(open, voucher)
    if (why) return why
    const closed = await ends(id)
    if (!closed) return closing
    const allowance = await open.vouchers.allowance(id)
    const { cumulative } = voucher
    const last = allowance ?? { accepted: cumulative, deposit: cumulative }
    return { ...(await drawnOf(open, last)), ...closed }
  }

  /** Nothing is drawn on it any more, and nothing is left that could go back: who has closed it may hear how that went. */
  async function isEnded({ account: { id, unit, revoked } }: Open): Promise<boolean> {
    const { left, held } = await accounts.free(id, unit)
    return revoked && left <= 0n && held === 0n
  }

  async function end(open: Open, voucher: Voucher): Promise<Problem | undefined> {
    const { id } = open.account
    const taken = await open.vouchers.accept(id, voucher, true)
    if ('code' in taken) return taken
    if (taken.proves === false) return known
    const { spent, held } = await drawnOf(open, taken)
    if (voucher.cumulative < spent + held) return held > 0n ? atWork : tooLittle(spent)
    if (held > 0n) return atWork
    if (!(await fill(open, voucher, await postedOf(open)))) return atWork
    const outcome = await rests.refund({ account: id })
    if (outcome.kind === 'open') return closing
    // Nothing may be left to go back.
    if (outcome.kind === 'denied' && outcome.code !== 'amount-exceeded')
      return outcome.code === 'sale-open' ? atWork : undelivered
    await accounts.revoke(id)
    return undefined
  }

  return {
    accept,
    look,
    hear,
    close,
    async refundRest(order) {
      const open = await find(order.account)
      if (!open || open.account.revoked) return await rests.refund(order)
      const allowance = await open.vouchers.allowance(order.account)
      if (!allowance) return notOurs
      // Of a channel no fee is kept: what no voucher promises is nobody's but its payer's.
      const best = { cumulative: allowance.accepted, signature: '' }
      if (!(await fill(open, best, await postedOf(open)))) return busy
      const { terms: _, ...whole } = order
      const outcome = await rests.refund(whole)
      // All of it was spent.
      if (outcome.kind === 'denied' && outcome.code === 'amount-exceeded')
        await accounts.revoke(order.account)
      return outcome
    },
  }

  function tooLittle(spent: bigint): Problem {
    const detail = `The voucher does not cover what was drawn: ${spent} of the smallest unit. Close the channel with one that promises that.`
    return problem('proof-invalid', detail, { reason: 'insufficient-balance' })
  }
}

/** A channel that was never opened here, or by another plan. */
export const channelUnknown: Problem = problem(
  'session-closed',
  'There is no channel of this name here. Open a new one.',
  {
    reason: 'channel-not-found',
  },
)
/** A channel that has ended. */
export const channelClosed: Problem = problem(
  'session-closed',
  'The channel is closed. Open a new one.',
  {
    reason: 'channel-finalized',
  },
)
const known = problem(
  'proof-invalid',
  'This voucher was collected and is known to everybody. Close the channel with one that promises a little more.',
  { reason: 'insufficient-balance' },
)
const atWork = problem(
  'payment-in-flight',
  'Requests that draw on this channel are being worked on. Close it when they have ended.',
  { retryAfterMs: RETRY_MS },
)
const closing = problem(
  'payment-in-flight',
  'The channel is being closed. Send the same request again to hear how it stands.',
  { retryAfterMs: RETRY_MS },
)
const undelivered = problem(
  'payment-unknown',
  'The channel could not be closed. What is left of it stands in the books; send the same request again.',
  { retryAfterMs: RETRY_MS },
)
const busy = denied('sale-open', atWork.detail)
const notOurs = denied('rail-unable', 'The network does not know this channel.')
