import { assert } from '../../core/assert.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Rail, Settlement } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { encodeBatch } from './abi.ts'
import { ITEM_GAS, ITEM_SIGNATURE_BYTES_MAX } from './batch.ts'
import type { Budget } from './budget.ts'
import { check } from './check.ts'
import type { Desk, Item, Posted } from './desk.ts'
import type { Wrapped } from './erc6492.ts'
import { factoryCall } from './erc6492.ts'
import { keyOf } from './exact.ts'
import type { Final } from './final.ts'
import type { Flight, Flights } from './flights.ts'
import type { Details } from './forms.ts'
import type { Hex } from './hex.ts'
import { lower } from './hex.ts'
import type { Lane } from './lane.ts'
import type { Network } from './networks.ts'
import {
  afterSending,
  beforeSending,
  closed,
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
import type { Signed } from './signature.ts'
import { createStands } from './stands.ts'
import type { Outgoing, Prepared, Written } from './steps.ts'
import { ahead, written } from './steps.ts'
import type { Mined, NonceState, Reader, Spend } from './token.ts'
import { MULTICALL3, pays, shareOf, transferCall } from './token.ts'

/** Gas for a payer whose own signature was checked. A first payment takes 103,000; what is not used is not paid. */
export const PLAIN_GAS = 200_000
/** How far the chain's clock must be past the end of an authorization before it is called dead. */
export const DEAD_AFTER_S = 30n
/** What is taken for an estimate, in quarters of it. */
const ESTIMATE_QUARTERS = 5n
/** Most transactions that one payment is signed into. */
const WRITTEN_MAX = 8

/** Gas of a transaction by itself, which a payment among many does not take. */
const TRANSACTION_GAS = 21_000

/** What settling needs. */
export interface SettleParts {
  readonly network: Network
  readonly rpc: Rpc
  readonly reader: Reader
  readonly desk: Desk
  readonly lanes: readonly Lane[]
  readonly flights: Flights
  readonly budget: Budget
  /** The newest block that nothing can undo. */
  readonly final: () => Promise<Final | undefined>
  readonly clock: Clock
  readonly queues: Queues
  /** Fires when nothing more may be sent. */
  readonly stopping: AbortSignal
  /** How long a settlement waits for its block. */
  readonly waitMs: number
  readonly confirmations: number
  readonly quorum: number
  readonly walletGasMax: number
  /** Whether payers with code may go together with others. */
  readonly batcher: boolean
  readonly signed: (offer: Offer<Details>, proof: Proof) => Signed
  readonly unwrapped: (proof: Proof) => Wrapped | Problem | undefined
}

/** Tries a payment that failed among others once more. */
type Again = () => Promise<Settlement>

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

/** Makes the verbs that move money and look for it. All work on one key is done one after the other. */
export function createSettle(
  parts: SettleParts,
): Pick<Rail<Details, Proof>, 'settle' | 'find'> & Required<Pick<Rail<Details, Proof>, 'stands'>> {
  const { network, rpc, reader, desk, lanes, flights, budget, clock, queues } = parts
  const { confirmations, quorum, walletGasMax } = parts

  async function settle(offer: Offer<Details>, proof: Proof, log: Log): Promise<Settlement> {
    const before = await written(log, 'charge')
    const spend = spendOf(offer, proof)
    if (before.length > 0)
      return (await search(spend, log)) ?? unknown('It was prepared and cannot be found yet.')
    const refused = check(offer, proof, network, clock.now(), 0)
    if (refused) return failed(refused)
    if (parts.stopping.aborted) return failed(closed)
    const item = await itemOf(offer, proof, log).catch(beforeSending)
    if ('code' in item) return failed(item)
    if ('state' in item) return item
    const posted = await desk.post(item).catch(beforeSending)
    if (posted.state === 'sent') return conclude(spend, posted, item, log)
    if (posted.state === 'refused') return failed(unsent(posted.why))
    assert(posted.state !== 'displaced', 'a new transaction has a free number')
    return posted
  }

  async function itemOf(offer: Offer<Details>, proof: Proof, log: Log): Promise<Item | Problem> {
    const call = await outgoing(offer, proof)
    if ('code' in call) return call
    const { token } = spendOf(offer, proof)
    const write = ahead(log, 'charge', proof.validBefore)
    return { call, write, ...(mayShare(offer, proof, call) && { shared: { token, proof, call } }) }
  }

  /** Payers with code can take all gas that they are given, so that they share a transaction only with the batcher. */
  function mayShare(offer: Offer<Details>, proof: Proof, { to, gas }: Outgoing): boolean {
    if (to === MULTICALL3 || proof.signature.length / 2 > ITEM_SIGNATURE_BYTES_MAX) return false
    if (parts.signed(offer, proof) === 'payer') return parts.batcher || reader.batched
    return parts.batcher && gas - TRANSACTION_GAS <= ITEM_GAS
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
    const call = { from: lanes[0]?.address ?? null, to, data }
    const answer = await rpc.ask('eth_estimateGas', [call], readNumber)
    if ('reverted' in answer)
      return refusal('settlement-failed', 'simulation-failed', 'The token refuses this transfer.')
    if (answer.result > BigInt(walletGasMax)) return tooDear
    const gas = Number((answer.result * ESTIMATE_QUARTERS) / 4n)
    return { to, data, gas: Math.min(gas, walletGasMax) }
  }

  /** Waits for the block and judges. `again`: what may be tried once more, alone, when others were to blame. */
  async function conclude(
    spend: Spend,
    { flight, many }: { readonly flight: Flight; readonly many: boolean },
    again: Item,
    log: Log,
  ): Promise<Settlement> {
    const hash = flight.versions.at(-1)?.hash ?? ''
    const [landing] = await Promise.all([
      flights.wait(flight, parts.waitMs),
      // It only tells; what matters was written ahead.
      log.write({ type: 'broadcast', data: { hash } }).catch(() => undefined),
    ])
    if (landing === undefined) return unknown('It was sent and is in no block yet.')
    if (landing === 'displaced')
      return (await search(spend, log)) ?? unknown('Its place was taken by another transaction.')
    return judged(spend, landing, many ? () => retry(spend, again, log) : undefined).catch(
      afterSending,
    )
  }

  /** Judges by the state at its own block: the newest that a node has may be older than that. */
  async function judged(spend: Spend, mined: Mined, again?: Again): Promise<Settlement> {
    const cost = shareOf(mined)
    if (pays(mined, spend)) return { ...settled(spend, mined.hash, clock.now()), cost }
    const { used } = await reader.state(spend, mined.block)
    return costing(cost, await (used ? traced(spend) : unpaid(spend, again)))
  }

  /** The token's own log decides, never a transaction's status. It says that nothing moved. */
  async function unpaid(spend: Spend, again?: Again): Promise<Settlement> {
    if (again) return again()
    budget.failed(spend.from)
    return failed(reverted)
  }

  /** It failed among others: perhaps their fault. What the token would refuse alone too is not sent again. */
  async function retry(spend: Spend, { call, write }: Item, log: Log): Promise<Settlement> {
    const tried = await estimated(call.to, call.data)
    if ('code' in tried) {
      budget.failed(spend.from)
      return failed(tried)
    }
    const item = { call: tried, write }
    const posted = await desk.post(item)
    if (posted.state !== 'sent') return unknown('It could not be sent again yet.')
    return conclude(spend, posted, item, log)
  }

  /** The nonce is used: by a payment to us, whoever submitted it, or for something else. */
  async function traced(spend: Spend, before: readonly Written[] = []): Promise<Settlement> {
    const trace = await reader.trace(spend)
    if (trace.kind === 'unseen') return unknown('It is used, and where cannot be seen yet.')
    if (trace.kind === 'elsewhere') return failed(spent)
    if (!(await firm(trace.mined))) return doubted
    const paid = settled(spend, trace.mined.hash, trace.at)
    const own = before.some(({ hash }) => hash === paid.reference)
    return own ? { ...paid, cost: shareOf(trace.mined) } : paid
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
    if (used) return traced(spend, before)
    if (!last) return undefined
    const end = last.validBefore + DEAD_AFTER_S
    if (time >= end)
      return (await surely(spend, (state) => !state.used && state.time >= end))
        ? failed(dead)
        : doubted
    const mined = await newest(reader, before)
    if (!mined) return resume(spend, last, before.length, log)
    if (!(await firm(mined))) return doubted
    // It was unused just now, and that may have been said of an older block than this.
    if ((await reader.height()) < mined.block) return doubted
    return (await surely(spend, (state) => !state.used))
      ? costing(shareOf(mined), await unpaid(spend, blameless(mined, last, spend, log)))
      : doubted
  }

  /** What makes an outcome final is not taken from one node alone, where several are to agree. */
  async function surely(spend: Spend, is: (state: NonceState) => boolean): Promise<boolean> {
    return (await reader.states(spend, quorum)).every(is)
  }

  async function firm(mined: Mined): Promise<boolean> {
    if (confirmations > 1 && (await reader.height()) - mined.block + 1n < BigInt(confirmations))
      return false
    return quorum === 1 || reader.agreed(mined, quorum)
  }

  /** Whether it went with others in that transaction, so that it may be tried once alone. */
  function blameless({ hash }: Mined, last: Written, spend: Spend, log: Log): Again | undefined {
    if (hash !== last.hash || !last.many) return undefined
    return () => retry(spend, itemFrom(last, log), log)
  }

  /** Sends again what was written ahead. An authorization can be used once, so that this is safe under any number. */
  async function resume(spend: Spend, last: Written, count: number, log: Log): Promise<Settlement> {
    if (count >= WRITTEN_MAX) return unknown('It was sent too often; it waits for its end.')
    const item = itemFrom(last, log)
    const lane = lanes.find(({ address }) => address === last.sender)
    const again = (await lane?.again(last, item.write)) ?? { state: 'displaced' }
    const sent = again.state === 'displaced' ? await anew(item) : { ...again, many: last.many }
    return sent.state === 'sent'
      ? conclude(spend, sent, item, log)
      : unknown('It could not be sent again yet.')
  }

  /** Under another number. What the token would refuse now is not paid for, and may still come to be. */
  async function anew(item: Item): Promise<Posted> {
    const { to, data } = item.call
    const tried = await estimated(to, data)
    return 'code' in tried ? { state: 'displaced', many: false } : desk.post(item)
  }

  function itemFrom(last: Written, log: Log): Item {
    const { to, data, gas, validBefore } = last
    return { call: { to, data, gas }, write: ahead(log, 'charge', validBefore) }
  }

  const stands = createStands({ reader, final: parts.final, quorum, search })

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
    async stands(offer, key, reference, log) {
      const spend = spendOf(offer, readKey(key))
      checkKey(network, spend, key)
      return queues.run(key, () => stands(spend, reference, log))
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

const doubted: Settlement = unknown(
  'Its block is not deep enough yet, or nodes do not agree on it.',
)

/** The same, which has cost so much more. */
function costing(cost: bigint, settlement: Settlement): Settlement {
  if (settlement.state === 'unknown') return settlement
  return { ...settlement, cost: cost + (settlement.cost ?? 0n) }
}

function settled(
  { from }: Spend,
  reference: string,
  settledAt: number,
): Settlement & { readonly state: 'settled' } {
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
