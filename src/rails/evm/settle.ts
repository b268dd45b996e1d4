import { assert } from '../../core/assert.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Rail, Settlement } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { encodeBatch } from './abi.ts'
import { check } from './check.ts'
import type { Wrapped } from './erc6492.ts'
import { factoryCall } from './erc6492.ts'
import { keyOf } from './exact.ts'
import type { Details } from './forms.ts'
import type { Hex } from './hex.ts'
import { lower } from './hex.ts'
import type { Network } from './networks.ts'
import {
  afterSending,
  beforeSending,
  dead,
  failed,
  refusal,
  reverted,
  spent,
  tooDear,
  unknown,
  unsent,
} from './problems.ts'
import type { Proof } from './proof.ts'
import type { Queues } from './queue.ts'
import type { Rpc } from './rpc.ts'
import { readNumber } from './rpc.ts'
import type { Outgoing, Prepared, Sender } from './sender.ts'
import type { Signed } from './signature.ts'
import type { Written } from './steps.ts'
import { ahead, written } from './steps.ts'
import type { Mined, Reader, Spend } from './token.ts'
import { MULTICALL3, pays, transferCall } from './token.ts'

/** Gas for a payer whose own signature was checked. A first payment takes 103,000; what is not used is not paid. */
export const PLAIN_GAS = 200_000
/** How far the chain's clock must be past the end of an authorization before it is called dead. */
export const DEAD_AFTER_S = 30n
/** What is taken for an estimate, in quarters of it. */
const ESTIMATE_QUARTERS = 5n
/** Most transactions that one payment is signed into. */
const WRITTEN_MAX = 8

/** What settling needs. */
export interface SettleParts {
  readonly network: Network
  readonly rpc: Rpc
  readonly reader: Reader
  readonly sender: Sender
  readonly clock: Clock
  readonly queues: Queues
  readonly confirmations: number
  readonly walletGasMax: number
  readonly signed: (offer: Offer<Details>, proof: Proof) => Signed
  readonly unwrapped: (proof: Proof) => Wrapped | Problem | undefined
}

/** A spend of the offer's token, to its payee, over its amount. */
export function spendOf(offer: Offer<Details>, proof: Pick<Proof, 'from' | 'nonce'>): Spend {
  return {
    token: lower(offer.details.asset),
    from: proof.from,
    nonce: proof.nonce,
    payee: lower(offer.payee as Hex),
    amount: offer.amount.amount,
  }
}

/** Makes the two verbs that move money and look for it. All work on one key is done one after the other. */
export function createSettle(parts: SettleParts): Pick<Rail<Details, Proof>, 'settle' | 'find'> {
  const { network, rpc, reader, sender, clock, queues, confirmations, walletGasMax } = parts

  async function settle(offer: Offer<Details>, proof: Proof, log: Log): Promise<Settlement> {
    const before = await written(log, 'charge')
    const spend = spendOf(offer, proof)
    if (before.length > 0)
      return (await search(spend, log)) ?? unknown('It was prepared and cannot be found yet.')
    const refused = check(offer, proof, network, clock.now(), 0)
    if (refused) return failed(refused)
    const sent = await send(offer, proof, log).catch(beforeSending)
    return 'prepared' in sent ? conclude(spend, sent.prepared, log) : sent
  }

  async function send(
    offer: Offer<Details>,
    proof: Proof,
    log: Log,
  ): Promise<Settlement | { readonly prepared: Prepared }> {
    const call = await outgoing(offer, proof)
    if ('code' in call) return failed(call)
    const sent = await sender.send(call, ahead(log, 'charge', proof.validBefore))
    assert(sent.state !== 'displaced', 'a new transaction has a free number')
    return sent.state === 'refused' ? failed(unsent(sent.why)) : sent
  }

  /** The call that moves the money. For plain payers its cost is known, for wallets the chain is asked. */
  async function outgoing(offer: Offer<Details>, proof: Proof): Promise<Outgoing | Problem> {
    const { token } = spendOf(offer, proof)
    const wrapped = parts.unwrapped(proof)
    if (wrapped && 'code' in wrapped) return wrapped
    if (wrapped) {
      const transfer = { ...transferCall(token, proof, wrapped.signature), allowFailure: false }
      return estimated(MULTICALL3, encodeBatch([factoryCall(wrapped), transfer]))
    }
    const { data } = transferCall(token, proof, proof.signature)
    if (parts.signed(offer, proof) !== 'payer') return estimated(token, data)
    return { to: token, data, gas: PLAIN_GAS }
  }

  async function estimated(to: Hex, data: Hex): Promise<Outgoing | Problem> {
    const call = { from: sender.address, to, data }
    const answer = await rpc.ask('eth_estimateGas', [call], readNumber)
    if ('reverted' in answer)
      return refusal('settlement-failed', 'simulation-failed', 'The token refuses this transfer.')
    if (answer.result > BigInt(walletGasMax)) return tooDear
    const gas = Number((answer.result * ESTIMATE_QUARTERS) / 4n)
    return { to, data, gas: Math.min(gas, walletGasMax) }
  }

  async function conclude(spend: Spend, prepared: Prepared, log: Log): Promise<Settlement> {
    const [mined] = await Promise.all([
      sender.wait(prepared),
      // It only tells; what matters was written ahead.
      log.write({ type: 'broadcast', data: { hash: prepared.hash } }).catch(() => undefined),
    ])
    if (!mined) return unknown('It was sent and is in no block yet.')
    return judge(spend, mined).catch(afterSending)
  }

  /** The token's own log decides, never a transaction's status. */
  async function judge(spend: Spend, mined: Mined): Promise<Settlement> {
    if (pays(mined, spend)) return settled(spend, mined.hash, clock.now())
    const { used } = await reader.state(spend)
    return used ? traced(spend) : failed(reverted)
  }

  /** The nonce is used: by a payment to us, whoever submitted it, or for something else. */
  async function traced(spend: Spend): Promise<Settlement> {
    const trace = await reader.trace(spend)
    if (trace.kind === 'unseen') return unknown('It is used, and where cannot be seen yet.')
    if (trace.kind === 'elsewhere') return failed(spent)
    if (confirmations > 1 && (await reader.height()) - trace.block + 1n < BigInt(confirmations))
      return unknown('It is in a block that is not deep enough yet.')
    return settled(spend, trace.hash, trace.at)
  }

  async function search(spend: Spend, log: Log): Promise<Settlement | undefined> {
    const before = await written(log, 'charge')
    return look(spend, before, log).catch(afterSending)
  }

  async function look(
    spend: Spend,
    before: readonly Written[],
    log: Log,
  ): Promise<Settlement | undefined> {
    const last = before.at(-1)
    const { used, time } = await reader.state(spend)
    if (used) return traced(spend)
    if (!last) return undefined
    if (time >= last.validBefore + DEAD_AFTER_S) return failed(dead)
    const mined = await newest(reader, before)
    return mined ? judge(spend, mined) : resume(spend, last, before.length, log)
  }

  /** Sends again what was written ahead. An authorization can be used once, so that this is safe under any number. */
  async function resume(spend: Spend, last: Written, count: number, log: Log): Promise<Settlement> {
    if (count >= WRITTEN_MAX) return unknown('It was sent too often; it waits for its end.')
    const write = ahead(log, 'charge', last.validBefore)
    const again = await sender.again(last, write)
    const sent = again.state === 'displaced' ? await sender.send(last, write) : again
    return sent.state === 'sent'
      ? conclude(spend, sent.prepared, log)
      : unknown('It could not be sent again yet.')
  }

  return {
    async settle(offer, proof, key, log) {
      checkKey(network, spendOf(offer, proof), key)
      return queues.run(key, () => settle(offer, proof, log))
    },
    async find(offer, key, log) {
      const spend = spendOf(offer, readKey(key))
      checkKey(network, spend, key)
      return queues.run(key, () => search(spend, log))
    },
  }
}

/** The newest of the transactions that is in a block. */
export async function newest(
  reader: Reader,
  before: readonly Prepared[],
): Promise<Mined | undefined> {
  for (const { hash } of before.toReversed()) {
    const mined = await reader.mined(hash)
    if (mined) return mined
  }
  return undefined
}

function settled({ from }: Spend, reference: string, settledAt: number): Settlement {
  return { state: 'settled', reference, payer: from, settledAt }
}

function readKey(key: string): Pick<Proof, 'from' | 'nonce'> {
  const [from, nonce] = key.split('/').slice(-2)
  // The whole key is held against the one that these two give.
  return { from: from as Hex, nonce: nonce as Hex }
}

function checkKey(network: Network, spend: Spend, key: string): void {
  assert(keyOf(network, spend.token, spend) === key, 'a payment goes under its own key')
}
