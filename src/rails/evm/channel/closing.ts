import { hash } from 'node:crypto'
import { assert } from '../../../core/assert.ts'
import { bookCost } from '../../../core/cost.ts'
import type { Money, Price } from '../../../core/money.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Clock, Ledger, Settlement } from '../../../core/ports.ts'
import type { Problem } from '../../../core/problem.ts'
import { PaymentError } from '../../../core/problem.ts'
import type { Voucher } from '../../../core/voucher.ts'
import { TRANSFER_TOPIC, padded, uint } from '../abi.ts'
import type { Final } from '../final.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import { assetOf } from '../networks.ts'
import { afterSending, failed, unknown, unsent } from '../problems.ts'
import { newest } from '../settling.ts'
import { written } from '../steps.ts'
import type { Mined, Reader } from '../token.ts'
import type { Books, Kept, Sending } from './books.ts'
import type { Escrow, State } from './escrow.ts'
import { collectCall, endIn, gas } from './escrow.ts'
import { exceeding, inexact, otherPayee } from './problems.ts'
import type { Landed, Send } from './sending.ts'
import type { Details, Shop } from './terms.ts'
import { RAIL, quote } from './terms.ts'

/** How long a channel may lie without a new voucher until what was promised is collected. */
export const IDLE_MS = 86_400_000
/** Most channels that are worked on at once. */
const AT_ONCE = 8
/** How long one look goes on with channels that are in no hurry: whoever wants the end meanwhile is seen by the next look. */
const LOOK_MS = 60_000
/** How long the last word of a payer is waited on, before more than it promises is collected. */
const LAST_WAIT_MS = 600_000

/** When what vouchers promise is collected before a channel is closed. */
export interface CollectRule {
  /** As soon as so much is promised and not collected; never for that alone if absent. */
  readonly from?: Price
  /** Less than that is not worth its gas, and is left. */
  readonly least?: Price
  readonly idleMs?: number
}

/** Something that was collected. */
export interface Collected {
  /** As the account is named. */
  readonly channel: string
  readonly amount: bigint
  readonly reference: string
}

/** What collecting and closing need. */
export interface ClosingParts {
  readonly shop: Shop
  readonly reader: Reader
  readonly escrow: Escrow
  readonly books: Books
  readonly ledger: Ledger
  readonly clock: Clock
  readonly send: Send
  readonly final: () => Promise<Final | undefined>
  readonly rule: CollectRule
  readonly fault: (error: unknown) => void
}

/** The verbs that bring the money home. */
export interface Closing {
  refund(offer: Offer<Details>, payer: string, amount: Money, key: string): Promise<Settlement>
  close(channel: string, sum?: bigint): Promise<{ readonly reference: string } | undefined>
  collect(): Promise<readonly Collected[]>
}

/** Makes the verbs. A channel is closed once, whoever asks for it, and with what was fixed before anything was sent. */
export function createClosing(parts: ClosingParts): Closing {
  const { shop, reader, escrow, books, ledger, clock, send, final, rule, fault } = parts
  const { network, place } = shop
  /** Channels that are not over, and where the list goes on. */
  const open = new Set<Hex>()
  let next = ''

  /**
   * What the channel is to be closed with for so much to go back; a problem where it cannot be. Where nothing was fixed, nothing tells
   * what else will go back: it must be exactly this.
   */
  async function endFor(channel: Hex, amount: bigint): Promise<Voucher | Problem> {
    const [fixed, credited] = await Promise.all([books.end(channel), books.credited(channel)])
    if (fixed) return fixed
    const kept = credited - amount
    const said = kept < (await books.published(channel)) ? undefined : await over(channel, kept)
    return said?.cumulative === kept ? await books.fixEnd(channel, said) : inexact
  }

  /** The voucher over that sum; the lowest above where there is none. */
  async function over(channel: Hex, sum: bigint): Promise<Voucher | undefined> {
    return sum < 0n ? undefined : await books.atLeast(channel, sum)
  }

  async function refund(
    offer: Offer<Details>,
    payer: string,
    { asset, amount }: Money,
    key: string,
  ): Promise<Settlement> {
    const channel = channelIn(key)
    const known = await books.known(channel)
    assert(known && asset.id === offer.amount.asset.id, 'what goes back was deposited')
    if (lower(payer as Hex) !== known.payer) return failed(otherPayee)
    const end = await endFor(channel, amount)
    if ('code' in end) return failed(end)
    const most = (await books.credited(channel)) - end.cumulative
    if (!(await books.giveBack(channel, hash('sha256', key, 'hex'), amount, most)))
      return failed(exceeding)
    const closed = await closeBy(channel, end)
    if (!closed) return waiting
    // Each deposit has evidence of its own, and one transaction closes for all.
    const reference = `${closed.hash}/${hash('sha256', key, 'hex').slice(0, 8)}`
    return { state: 'settled', reference, payer: known.payer, settledAt: clock.now() }
  }

  function channelIn(key: string): Hex {
    const [, id] = new RegExp(`/channel:${place.escrow}/(0x[0-9a-f]{64})/`).exec(key) ?? []
    assert(id !== undefined, 'a refund is of a deposit')
    return id as Hex
  }

  /** The transaction that has ended it; sent if it was not. Undefined while that is not to be told. */
  async function closeBy(channel: Hex, end: Voucher): Promise<Mined | undefined> {
    const state = await escrow.state(channel)
    if (state?.isFinal) return await endOf(channel)
    return await books.inTurn(channel, () => sendClose(channel, end))
  }

  async function sendClose(channel: Hex, end: Voucher): Promise<Mined | undefined> {
    const sending = await books.sending(channel, 'close', end.cumulative)
    const call = { to: escrow.address, data: collectCall('close', channel, end), gas: gas.close }
    const landed = landedOf(await send({ ...call, kind: 'refund' }, sending.log))
    if (!landed) return undefined
    await bookGas(sending, landed)
    if (endIn(landed, escrow.address, channel)) return await arrived(channel, landed)
    const state = await escrow.state(channel)
    if (state?.isFinal) return await endOf(channel)
    // The token pays its payer nothing, who may be blocked there: what was promised is collected all the same.
    if (!landed.ok && state && state.settled < end.cumulative)
      await sendBy(channel, end, await books.sending(channel, 'collect', end.cumulative))
    return undefined
  }

  /** That nothing can be sent is for the operator to hear. */
  function landedOf(landed: Landed): Mined | undefined {
    if (!landed || !('unsent' in landed)) return landed
    const { code, detail } = unsent(landed.unsent)
    fault(new PaymentError(code, `${shop.payee} could not collect: ${detail}`))
    return undefined
  }

  /** Books what a transaction has brought to the payee. */
  async function arrived(channel: Hex, mined: Mined): Promise<Mined> {
    const [payee, from] = [lower(shop.payee), escrow.address]
    for (const token of network.tokens) {
      const amount = movedIn(mined, lower(token.address), from, payee)
      const { id: asset } = assetOf(network, token)
      const what = { asset, amount, payee: shop.payee, reference: mined.hash }
      if (amount > 0n) await books.collected(channel, what)
    }
    return mined
  }

  /** The transaction that has ended it, whoever sent it. */
  async function endOf(channel: Hex): Promise<Mined | undefined> {
    const { log, isOpen, key } = await books.sending(channel, 'close', 0n)
    if (isOpen) await books.sent({ log, isOpen, key })
    const own = await newest(reader, await written(log, 'refund'))
    if (own && isEnd(own, channel)) return await arrived(channel, own)
    const other = await escrow.find(channel, 'end', (mined) => isEnd(mined, channel))
    return other && (await arrived(channel, other))
  }

  function isEnd(mined: Mined, channel: Hex): boolean {
    return endIn(mined, escrow.address, channel) !== undefined
  }

  async function bookGas({ key }: Sending, { hash: transaction, cost }: Mined): Promise<void> {
    const where = { rail: RAIL, network: network.id }
    await bookCost({ ledger, clock }, `costs/${transaction}`, { key }, where, cost)
  }

  async function close(
    id: string,
    sum?: bigint,
  ): Promise<{ readonly reference: string } | undefined> {
    const channel: Hex = `0x${id}`
    const end = (await books.end(channel)) ?? (await fix(channel, sum))
    if (!end) return undefined
    const closed = await closeBy(channel, end)
    return closed && { reference: closed.hash }
  }

  /** No less than was collected before. What its payer has said last counts only where the caller says so: he may have drawn more. */
  async function fix(channel: Hex, sum: bigint | undefined): Promise<Voucher | undefined> {
    const least = await books.published(channel)
    const said =
      sum === undefined ? await books.best(channel) : await over(channel, sum < least ? least : sum)
    return said && (await books.fixEnd(channel, said))
  }

  async function collect(): Promise<readonly Collected[]> {
    await readOn()
    const channels = [...open]
    const states = await escrow.states(channels)
    const found: Collected[] = []
    const rows = channels.map((channel, i) => ({ channel, state: states[i] }))
    // Those whose time runs out first.
    const sorted = rows.toSorted((a, b) => hurry(b.state) - hurry(a.state))
    const untilAt = clock.now() + LOOK_MS
    for (let i = 0; i < sorted.length; i += AT_ONCE) {
      const some = sorted.slice(i, i + AT_ONCE)
      if (clock.now() >= untilAt && some.every(({ state }) => hurry(state) === 0)) break
      some.forEach(({ channel }) => putLast(channel))
      const done = some.map(({ channel, state }) => collectOf(channel, state).catch(fault))
      found.push(...(await Promise.all(done)).filter((one) => one !== undefined))
    }
    return found
  }

  /** The next look comes to the others first. */
  function putLast(channel: Hex): void {
    open.delete(channel)
    open.add(channel)
  }

  /** Other processes have made some. */
  async function readOn(): Promise<void> {
    for (;;) {
      const { channels, next: after } = await books.list(next)
      const isEnd = channels.length === 0 || after === next
      for (const channel of channels)
        if (!open.has(channel) && (await books.known(channel))?.isOver === false) open.add(channel)
      next = isEnd ? books.earlier(next) : after
      if (isEnd) return
    }
  }

  async function collectOf(channel: Hex, state: State | undefined): Promise<Collected | undefined> {
    if (!state) return undefined
    const isFinished = await finish(channel)
    const end = await books.end(channel)
    if (state.isFinal && isFinished) await leave(channel)
    else if (end && !state.isFinal) await closeBy(channel, end)
    if (state.isFinal || end) return undefined
    const [best, last] = await Promise.all([books.best(channel), books.last(channel)])
    if (!best || !isDue(state, best, last)) return undefined
    return await books.inTurn(channel, () => sendCollect(channel, best))
  }

  /** What was begun to be collected is ended first: what has come must be booked. False where that takes longer. */
  async function finish(channel: Hex): Promise<boolean> {
    const begun = await books.unsent(channel)
    const voucher = begun && (await books.atLeast(channel, begun.sum))
    if (!begun || voucher?.cumulative !== begun.sum) return !begun
    await books.inTurn(channel, () => sendBy(channel, voucher, begun))
    return (await books.unsent(channel)) === undefined
  }

  /** Nothing is done for it any more, once no block can undo its end. */
  async function leave(channel: Hex): Promise<void> {
    const [end, mined] = [await final(), await endOf(channel)]
    if (!end || !mined || mined.block > end.block) return
    await books.over(channel)
    open.delete(channel)
  }

  function isDue(
    { isClosing, settled, token }: State,
    best: Kept,
    last: Kept | undefined,
  ): boolean {
    const owed = best.cumulative - settled
    if (owed <= 0n || owed < (unitsOf(rule.least, token) ?? 0n)) return false
    if (isClosing) return true
    // It is being closed, perhaps with less.
    if (last && clock.now() - last.at < LAST_WAIT_MS) return false
    const isIdle = clock.now() - best.at >= (rule.idleMs ?? IDLE_MS)
    const from = unitsOf(rule.from, token)
    return isIdle || (from !== undefined && owed >= from)
  }

  /** Undefined where the rule says nothing of this token. */
  function unitsOf(price: Price | undefined, token: Hex): bigint | undefined {
    const terms = price && quote(shop, price)
    return terms?.find(({ details }) => lower(details.token) === token)?.amount.amount
  }

  /** Its state once more: somebody else may have had the turn before. */
  async function sendCollect(channel: Hex, best: Voucher): Promise<Collected | undefined> {
    const state = await escrow.state(channel)
    const amount = state && best.cumulative - state.settled
    if (!state || state.isFinal || !amount || amount <= 0n || (await books.end(channel)))
      return undefined
    const sending = await books.sending(channel, 'collect', best.cumulative)
    const landed = await sendBy(channel, best, sending)
    return landed && { channel: channel.slice(2), amount, reference: landed.hash }
  }

  /** The transaction that has collected; undefined while there is none. */
  async function sendBy(
    channel: Hex,
    voucher: Voucher,
    sending: Sending,
  ): Promise<Mined | undefined> {
    const data = collectCall('settle', channel, voucher)
    const call = { to: escrow.address, data, gas: gas.settle }
    const landed = landedOf(await send({ ...call, kind: 'sweep' }, sending.log))
    if (!landed) return undefined
    await bookGas(sending, landed)
    if (landed.ok) await arrived(channel, landed)
    const state = await escrow.state(channel)
    // Refused for good, since as much was collected otherwise, or the channel has ended.
    const isOver = state !== undefined && (state.isFinal || state.settled >= voucher.cumulative)
    if (landed.ok || isOver) await books.sent(sending)
    return landed.ok ? landed : undefined
  }

  return {
    refund: (offer, payer, amount, key) => refund(offer, payer, amount, key).catch(afterSending),
    close,
    collect,
  }
}

function hurry(state: State | undefined): number {
  return state?.isClosing ? 1 : 0
}

/** What a transaction has moved of a token between these two. */
function movedIn({ ok, logs }: Mined, token: Hex, from: Hex, to: Hex): bigint {
  const lines = logs.filter(
    ({ address, topics: [topic, sender, receiver] }) =>
      lower(address as Hex) === token &&
      topic === TRANSFER_TOPIC &&
      sender === `0x${padded(from)}` &&
      receiver === `0x${padded(to)}`,
  )
  return ok ? lines.reduce((sum, { data }) => sum + (uint(data as Hex) ?? 0n), 0n) : 0n
}

const waiting: Settlement = unknown('The channel is being closed.')
