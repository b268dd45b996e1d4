import { assert } from '../../core/assert.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Rail, Settlement } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import type { Budget } from './budget.ts'
import type { Desk, Item, Posted } from './desk.ts'
import type { Final } from './final.ts'
import type { Flight, Flights } from './flights.ts'
import type { Hex } from './hex.ts'
import type { Lane } from './lane.ts'
import {
  afterSending,
  beforeSending,
  closed,
  dead,
  failed,
  reverted,
  spent,
  unknown,
  unsent,
} from './problems.ts'
import type { Queues } from './queue.ts'
import { createStands } from './stands.ts'
import type { Outgoing, Prepared, Written } from './steps.ts'
import { ahead, written } from './steps.ts'
import type { Mined, NonceState, Reader, Spend, Trace } from './token.ts'

/** How far the chain's clock must be past the end of an authorization before it is called dead. */
export const DEAD_AFTER_S = 30n
/** Most transactions that one payment is signed into. */
const WRITTEN_MAX = 8

/** What settling needs, whatever it is that payers sign. */
export interface SettlingParts {
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
}

/** What names a spend beside its token: whose nonce it is. */
export type Named = Pick<Spend, 'from' | 'nonce'>

/** What payers sign: how it is named, sent, and seen on the chain. */
export interface SpendKind<D, P> {
  readonly spendOf: (offer: Offer<D>, named: Named) => Spend
  readonly nameOf: (proof: P) => Named
  /** The natural key of the spend. Its last two parts are who pays and the nonce. */
  readonly keyOf: (spend: Spend) => string
  /** What can be said against it without asking the chain. */
  readonly check: (offer: Offer<D>, proof: P) => Problem | undefined
  /** What is to be sent. Throws where the chain cannot be asked. */
  readonly itemOf: (offer: Offer<D>, proof: P, log: Log) => Promise<Item | Problem>
  /** Whether a call would go through now, with the gas that it takes. */
  readonly estimated: (to: Hex, data: Hex) => Promise<Outgoing | Problem>
  /** Whether the transaction made this payment. */
  readonly pays: (mined: Mined, spend: Spend) => boolean
  /** What the payment has cost of what the transaction has. */
  readonly shareOf: (mined: Mined) => bigint
  /** Where a nonce that is used went. `before`: what was written ahead of it here. */
  readonly trace: (spend: Spend, before: readonly Written[]) => Promise<Trace>
}

/** Tries a payment that failed among others once more. */
type Again = () => Promise<Settlement>

/** Makes the verbs that move money and look for it. All work on one key is done one after the other. */
export function createSettling<D, P>(
  parts: SettlingParts,
  kind: SpendKind<D, P>,
): Pick<Rail<D, P>, 'settle' | 'find'> & Required<Pick<Rail<D, P>, 'stands'>> {
  const { reader, desk, lanes, flights, budget, clock, queues } = parts
  const { confirmations, quorum } = parts

  async function settle(offer: Offer<D>, proof: P, log: Log): Promise<Settlement> {
    const before = await written(log, 'charge')
    const spend = kind.spendOf(offer, kind.nameOf(proof))
    if (before.length > 0)
      return (await search(spend, log)) ?? unknown('It was prepared and cannot be found yet.')
    const refused = kind.check(offer, proof)
    if (refused) return failed(refused)
    if (parts.stopping.aborted) return failed(closed)
    const item = await kind.itemOf(offer, proof, log).catch(beforeSending)
    if ('code' in item) return failed(item)
    if ('state' in item) return item
    const posted = await desk.post(item).catch(beforeSending)
    if (posted.state === 'sent') return conclude(spend, posted, item, log)
    if (posted.state === 'refused') return failed(unsent(posted.why))
    assert(posted.state !== 'displaced', 'a new transaction has a free number')
    return posted
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
    return judged(spend, landing, log, many ? () => retry(spend, again, log) : undefined).catch(
      afterSending,
    )
  }

  /** Judges by the state at its own block: the newest that a node has may be older than that. */
  async function judged(spend: Spend, mined: Mined, log: Log, again?: Again): Promise<Settlement> {
    const cost = kind.shareOf(mined)
    if (kind.pays(mined, spend)) return { ...settled(spend, mined.hash, clock.now()), cost }
    const { used } = await reader.state(spend, mined.block)
    if (!used) return costing(cost, await unpaid(spend, again))
    return costing(cost, await traced(spend, await written(log, 'charge')))
  }

  /** The token's own log decides, never a transaction's status. It says that nothing moved. */
  async function unpaid(spend: Spend, again?: Again): Promise<Settlement> {
    if (again) return again()
    budget.failed(spend.from)
    return failed(reverted)
  }

  /** It failed among others: perhaps their fault. What the token would refuse alone too is not sent again. */
  async function retry(spend: Spend, { call, write }: Item, log: Log): Promise<Settlement> {
    const tried = await kind.estimated(call.to, call.data)
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
  async function traced(spend: Spend, before: readonly Written[]): Promise<Settlement> {
    const trace = await kind.trace(spend, before)
    if (trace.kind === 'unseen') return unknown('It is used, and where cannot be seen yet.')
    if (trace.kind === 'elsewhere') return failed(spent)
    if (!(await firm(trace.mined))) return doubted
    const paid = settled(spend, trace.mined.hash, trace.at)
    const own = before.some(({ hash }) => hash === paid.reference)
    return own ? { ...paid, cost: kind.shareOf(trace.mined) } : paid
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
      ? costing(kind.shareOf(mined), await unpaid(spend, blameless(mined, last, spend, log)))
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
    const tried = await kind.estimated(to, data)
    return 'code' in tried ? { state: 'displaced', many: false } : desk.post(item)
  }

  function itemFrom(last: Written, log: Log): Item {
    const { to, data, gas, validBefore } = last
    return { call: { to, data, gas }, write: ahead(log, 'charge', validBefore) }
  }

  function spendFrom(offer: Offer<D>, key: string): Spend {
    const spend = kind.spendOf(offer, readKey(key))
    checkKey(spend, key)
    return spend
  }

  function checkKey(spend: Spend, key: string): void {
    assert(kind.keyOf(spend) === key, 'a payment goes under its own key')
  }

  const { final } = parts
  const stands = createStands({ reader, final, quorum, search, pays: kind.pays })

  return {
    async settle(offer, proof, key, log) {
      checkKey(kind.spendOf(offer, kind.nameOf(proof)), key)
      return queues.run(key, () => settle(offer, proof, log))
    },
    async find(offer, key, log) {
      const spend = spendFrom(offer, key)
      return queues.run(key, () => search(spend, log))
    },
    async stands(offer, key, reference, log) {
      const spend = spendFrom(offer, key)
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
  { from, shares }: Spend,
  reference: string,
  settledAt: number,
): Settlement & { readonly state: 'settled' } {
  const passedOn = shares?.reduce((sum, { amount }) => sum + amount, 0n)
  const paid = { state: 'settled', reference, payer: from, settledAt } as const
  return passedOn === undefined ? paid : { ...paid, passedOn }
}

function readKey(key: string): Named {
  const [from, nonce] = key.split('/').slice(-2)
  // The whole key is held against the one that these two give.
  return { from: from as Hex, nonce: nonce as Hex }
}
