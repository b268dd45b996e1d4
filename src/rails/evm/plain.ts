import type { Clock, Log, Settlement } from '../../core/ports.ts'
import { assert } from '../../core/assert.ts'
import type { Problem } from '../../core/problem.ts'
import { encode, padded, selectors, word } from './abi.ts'
import type { Flight, Flights, Landing } from './flights.ts'
import type { Hex } from './hex.ts'
import { quantity } from './hex.ts'
import type { Lane } from './lane.ts'
import { afterSending, beforeSending, failed, refusal, unknown, unsent } from './problems.ts'
import type { Rpc } from './rpc.ts'
import { readHex, readNumber } from './rpc.ts'
import { newest } from './settling.ts'
import type { Kind, Outgoing, Written } from './steps.ts'
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
  /** Absent where the chain's own coin is moved. */
  readonly token?: Hex
  readonly to: Hex
  readonly amount: bigint
  /** Stands behind the calldata, where nobody looks at it but who knows it. */
  readonly tag?: Hex
  /** Where `TolseyReceiver` is, of coin that is to leave a record. */
  readonly receiver?: Hex
}

/** Moves what is ours by a plain transfer, once per log: what was written ahead keeps its number. */
export function createPlain(
  parts: PlainParts,
  kind: Kind,
): (plain: Plain, log: Log) => Promise<Settlement> {
  const { sender, rpc, reader, clock, flights, waitMs } = parts

  async function send(plain: Plain, log: Log): Promise<Settlement | { readonly flight: Flight }> {
    const call = callOf(plain)
    const why = await refuses(call)
    if (why !== undefined) return failed(unpayable(kind, why))
    const sent = await sender.send({ ...call, gas: TRANSFER_GAS }, ahead(log, kind))
    assert(sent.state !== 'displaced', 'a new transaction has a free number')
    return sent.state === 'refused' ? failed(unsent(sent.why)) : sent
  }

  /** What a node says against it; undefined if it can be made. */
  async function refuses({ to, data, value = 0n }: Call): Promise<string | undefined> {
    // Some nodes call it their own fault when a call is worth more than its sender has.
    if (value > 0n && (await sender.balance()) < value) return 'exceeds balance'
    const coin = value > 0n ? { value: quantity(value) } : {}
    const call = { from: sender.address, to, data, ...coin }
    const tried = await rpc.ask('eth_call', [call, 'latest'], readHex)
    return 'reverted' in tried ? tried.reverted : undefined
  }

  /** A plain transfer can be made twice, so that it keeps its number: another is never signed for it. */
  async function resume(
    plain: Plain,
    last: Written,
    before: readonly Written[],
    log: Log,
  ): Promise<Settlement> {
    // It may be signed anew with a higher fee, and then must be what was ordered.
    const { to, data, value } = callOf(plain)
    const same = last.to === to && last.data === data && last.value === value
    assert(same, 'what was written is the order')
    const mined = await newest(reader, before)
    if (mined) return judge(plain, mined)
    const sent = await sender.again(last, ahead(log, kind))
    if (sent.state !== 'sent') return buried(plain, before)
    const landing = await flights.wait(sent.flight, waitMs)
    return landing === 'displaced' ? buried(plain, before) : judge(plain, landing)
  }

  /** Its number went to another transaction. Once that is final and ours is in no block, ours is dead. */
  async function buried(plain: Plain, before: readonly Written[]): Promise<Settlement> {
    const isDead = await isDisplaced(before)
    const mined = await newest(reader, before)
    if (mined) return judge(plain, mined)
    return isDead
      ? failed(
          refusal(
            'settlement-failed',
            'transaction-failed',
            `Nothing was sent: another transaction took the number of the ${kind}. Make a new order for it.`,
          ),
        )
      : waiting
  }

  /** The same node answers all of it: one that lags behind knows nothing of what another has seen. */
  async function isDisplaced(before: readonly Written[]): Promise<boolean> {
    const [isDead = false] = await rpc.each(1, async (read, batch) => {
      const params = [sender.address, 'finalized'] as const
      const final = await read('eth_getTransactionCount', params, readNumber)
      const looks = before.map(({ hash }) => ['eth_getTransactionReceipt', [hash]] as const)
      const isMined = await batch(looks, (said) => said.some((one) => one !== null))
      return !isMined && before.every(({ nonce }) => final > BigInt(nonce))
    })
    return isDead
  }

  function judge({ token, to, amount }: Plain, mined: Landing): Settlement {
    if (!mined || mined === 'displaced') return waiting
    const { hash, cost } = mined
    const done = token ? moved(mined, token, sender.address, to, amount) : mined.ok
    if (done) return { state: 'settled', reference: hash, payer: to, settledAt: clock.now(), cost }
    const why = refusal(
      'settlement-failed',
      'transaction-failed',
      `The chain refused the ${kind} in its block. Nothing was sent; look whether the token takes both accounts and is not paused, and make a new order for it.`,
    )
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

/** The words of Circle's contract and of others, and what they mean for whoever gives the order. */
const causes: readonly (readonly [RegExp, string])[] = [
  [
    /blacklist|blocked|frozen/i,
    'The token refuses one of the two accounts: its issuer has it on a list',
  ],
  [/paused/i, 'The token is paused by its issuer'],
  [/exceeds balance|insufficient/i, 'The account that sends holds too little'],
]

/** Why nothing was signed. The node's text is only matched, never passed on. */
function unpayable(kind: Kind, said: string): Problem {
  const why = causes.find(([pattern]) => pattern.test(said))?.[1] ?? 'The token refuses it'
  const detail = `The ${kind} cannot be paid now. ${why}. Nothing was sent; give the same order again when that is over.`
  return refusal('settlement-failed', 'funds-insufficient', detail)
}

type Call = Omit<Outgoing, 'gas'>

function callOf({ token, to, amount, tag = '0x', receiver }: Plain): Call {
  if (token) {
    const data = encode(selectors.transfer, padded(to), word(amount), tag.slice(2))
    return { to: token, data }
  }
  if (!receiver) return { to, data: tag, value: amount }
  return { to: receiver, data: encode(PAY, padded(to), padded(tag)), value: amount }
}

/** `pay(address,bytes32)` of `contracts/TolseyReceiver.sol`. */
const PAY: Hex = '0x46f8f304'
