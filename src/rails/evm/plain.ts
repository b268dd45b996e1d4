import type { Clock, Log, Settlement } from '../../core/ports.ts'
import { assert } from '../../core/assert.ts'
import { encode, padded, selectors, word } from './abi.ts'
import type { Flight, Flights, Landing } from './flights.ts'
import type { Hex } from './hex.ts'
import type { Lane } from './lane.ts'
import { afterSending, beforeSending, failed, refusal, unknown, unsent } from './problems.ts'
import type { Rpc } from './rpc.ts'
import { readHex, readNumber } from './rpc.ts'
import { newest } from './settle.ts'
import type { Kind, Written } from './steps.ts'
import { ahead, written } from './steps.ts'
import type { Reader } from './token.ts'
import { moved } from './token.ts'

/** Gas of a plain transfer. */
const TRANSFER_GAS = 120_000

/** What plain transfers need. */
export interface PlainParts {
  /** The account that sends. */
  readonly sender: Lane
  readonly rpc: Rpc
  readonly reader: Reader
  readonly clock: Clock
  readonly flights: Flights
  /** How long a transfer waits for its block. */
  readonly waitMs: number
}

/** What is moved, and to whom. */
export interface Plain {
  readonly token: Hex
  readonly to: Hex
  readonly amount: bigint
}

/** Moves what is ours by a plain transfer, once per log: what was written ahead keeps its number. */
export function createPlain(
  parts: PlainParts,
  kind: Kind,
): (plain: Plain, log: Log) => Promise<Settlement> {
  const { sender, rpc, reader, clock, flights, waitMs } = parts

  async function send(
    { token, to, amount }: Plain,
    log: Log,
  ): Promise<Settlement | { readonly flight: Flight }> {
    const data = dataOf({ to, amount })
    const call = { from: sender.address, to: token, data }
    const tried = await rpc.ask('eth_call', [call, 'latest'], readHex)
    if ('reverted' in tried)
      return failed(
        refusal('settlement-failed', 'funds-insufficient', `The ${kind} cannot be paid now.`),
      )
    const sent = await sender.send({ to: token, data, gas: TRANSFER_GAS }, ahead(log, kind))
    assert(sent.state !== 'displaced', 'a new transaction has a free number')
    return sent.state === 'refused' ? failed(unsent(sent.why)) : sent
  }

  /** A plain transfer can be made twice, so that it keeps its number: another is never signed for it. */
  async function resume(
    plain: Plain,
    last: Written,
    before: readonly Written[],
    log: Log,
  ): Promise<Settlement> {
    // It may be signed anew with a higher fee, and then must be what was ordered.
    assert(last.to === plain.token && last.data === dataOf(plain), 'what was written is the order')
    const mined = await newest(reader, before)
    if (mined) return judge(plain, mined)
    const sent = await sender.again(last, ahead(log, kind))
    if (sent.state !== 'sent') return buried(plain, before)
    const landing = await flights.wait(sent.flight, waitMs)
    return landing === 'displaced' ? buried(plain, before) : judge(plain, landing)
  }

  /** Its number went to another transaction. Once that is final and ours is in no block, ours is dead. */
  async function buried(plain: Plain, before: readonly Written[]): Promise<Settlement> {
    const params = [sender.address, 'finalized'] as const
    const final = await rpc.read('eth_getTransactionCount', params, readNumber)
    const mined = await newest(reader, before)
    if (mined) return judge(plain, mined)
    return before.every(({ nonce }) => final > BigInt(nonce))
      ? failed(refusal('settlement-failed', 'transaction-failed', `The ${kind} was not sent.`))
      : waiting
  }

  function judge({ token, to, amount }: Plain, mined: Landing): Settlement {
    if (!mined || mined === 'displaced') return waiting
    const { hash, cost } = mined
    if (moved(mined, token, sender.address, to, amount))
      return { state: 'settled', reference: hash, payer: to, settledAt: clock.now(), cost }
    const why = refusal('settlement-failed', 'transaction-failed', `The chain refused the ${kind}.`)
    return { state: 'failed', problem: why, cost }
  }

  const waiting = unknown(`The ${kind} is in no block yet.`)

  return async (plain, log) => {
    const before = await written(log, kind)
    const last = before.at(-1)
    if (last) return resume(plain, last, before, log).catch(afterSending)
    const sent = await send(plain, log).catch(beforeSending)
    return 'flight' in sent ? judge(plain, await flights.wait(sent.flight, waitMs)) : sent
  }
}

function dataOf({ to, amount }: Pick<Plain, 'to' | 'amount'>): Hex {
  return encode(selectors.transfer, padded(to), word(amount))
}
