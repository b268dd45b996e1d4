import { assert } from '../../core/assert.ts'
import type { Money } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Settlement } from '../../core/ports.ts'
import { encode, padded, selectors, word } from './abi.ts'
import type { Flight, Flights, Landing } from './flights.ts'
import type { Details } from './forms.ts'
import type { Hex } from './hex.ts'
import { isAddress, lower } from './hex.ts'
import type { Lane } from './lane.ts'
import { afterSending, beforeSending, failed, refusal, unknown, unsent } from './problems.ts'
import type { Queues } from './queue.ts'
import type { Rpc } from './rpc.ts'
import { readHex, readNumber } from './rpc.ts'
import { newest } from './settle.ts'
import type { Written } from './steps.ts'
import { ahead, written } from './steps.ts'
import type { Reader } from './token.ts'
import { moved } from './token.ts'

/** Gas of a plain transfer back. */
const REFUND_GAS = 120_000

/** What refunds need. */
export interface RefundParts {
  /** The account that pays back. */
  readonly sender: Lane
  readonly rpc: Rpc
  readonly reader: Reader
  readonly clock: Clock
  readonly queues: Queues
  readonly flights: Flights
  /** How long a refund waits for its block. */
  readonly waitMs: number
}

/** Sends money back, once per key. */
export type Refund = (
  offer: Offer<Details>,
  payer: string,
  amount: Money,
  key: string,
  log: Log,
) => Promise<Settlement>

interface Back {
  readonly token: Hex
  readonly payer: Hex
  readonly amount: bigint
}

/** Makes the verb that sends money back by a plain transfer. */
export function createRefund(parts: RefundParts): Refund {
  const { sender, rpc, reader, clock, queues, flights, waitMs } = parts

  async function refund(back: Back, log: Log): Promise<Settlement> {
    const before = await written(log, 'refund')
    const last = before.at(-1)
    if (last) return resume(back, last, before, log).catch(afterSending)
    const sent = await send(back, log).catch(beforeSending)
    return 'flight' in sent ? judge(back, await flights.wait(sent.flight, waitMs)) : sent
  }

  async function send(
    { token, payer, amount }: Back,
    log: Log,
  ): Promise<Settlement | { readonly flight: Flight }> {
    const data = encode(selectors.transfer, padded(payer), word(amount))
    const call = { from: sender.address, to: token, data }
    const tried = await rpc.ask('eth_call', [call, 'latest'], readHex)
    if ('reverted' in tried)
      return failed(
        refusal('settlement-failed', 'funds-insufficient', 'This cannot be paid back now.'),
      )
    const sent = await sender.send({ to: token, data, gas: REFUND_GAS }, ahead(log, 'refund'))
    assert(sent.state !== 'displaced', 'a new transaction has a free number')
    return sent.state === 'refused' ? failed(unsent(sent.why)) : sent
  }

  /** A plain transfer can be made twice, so that it keeps its number: another is never signed for it. */
  async function resume(
    back: Back,
    last: Written,
    before: readonly Written[],
    log: Log,
  ): Promise<Settlement> {
    const mined = await newest(reader, before)
    if (mined) return judge(back, mined)
    const sent = await sender.again(last, ahead(log, 'refund'))
    if (sent.state !== 'sent') return buried(back, before)
    const landing = await flights.wait(sent.flight, waitMs)
    return landing === 'displaced' ? buried(back, before) : judge(back, landing)
  }

  /** Its number went to another transaction. Once that is final and ours is in no block, ours is dead. */
  async function buried(back: Back, before: readonly Written[]): Promise<Settlement> {
    const params = [sender.address, 'finalized'] as const
    const final = await rpc.read('eth_getTransactionCount', params, readNumber)
    const mined = await newest(reader, before)
    if (mined) return judge(back, mined)
    return before.every(({ nonce }) => final > BigInt(nonce))
      ? failed(refusal('settlement-failed', 'transaction-failed', 'The refund was not sent.'))
      : unknown('The refund is in no block yet.')
  }

  function judge({ token, payer, amount }: Back, mined: Landing): Settlement {
    if (!mined || mined === 'displaced') return unknown('The refund is in no block yet.')
    const { hash, cost } = mined
    if (moved(mined, token, sender.address, payer, amount))
      return { state: 'settled', reference: hash, payer, settledAt: clock.now(), cost }
    const why = refusal('settlement-failed', 'transaction-failed', 'The chain refused the refund.')
    return { state: 'failed', problem: why, cost }
  }

  return async (offer, payer, amount, key, log) => {
    assert(isAddress(payer), 'a refund goes to an address')
    assert(amount.asset.id === offer.amount.asset.id, 'a refund is in the asset that was paid')
    assert(amount.amount > 0n && amount.amount <= offer.amount.amount, 'no more than was paid')
    const token = lower(offer.details.asset)
    const back = { token, payer: lower(payer), amount: amount.amount }
    return queues.run(`refund/${key}`, () => refund(back, log))
  }
}
