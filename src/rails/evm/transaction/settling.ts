import { assert } from '../../../core/assert.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Clock, Log, Settlement, Standing } from '../../../core/ports.ts'
import type { Final } from '../final.ts'
import { afterSending, failed } from '../problems.ts'
import type { Rpc } from '../rpc.ts'
import type { Books } from './books.ts'
import type { Evidence } from './evidence.ts'
import { keyOf, readEvidence, writeEvidence } from './evidence.ts'
import type { Fate } from './fates.ts'
import type { Known } from './method.ts'
import { failedOnChain, notSent, offerPaid, transactionGone, transferTaken } from './problems.ts'
import type { Details } from './terms.ts'
import type { Found } from './verify.ts'

/** How long what was seen when a payment was verified is as good as a new look. */
const LOOK_FRESH_MS = 1_000
/** Pauses between two looks at what was sent. */
const PAUSE_MS = 100
const PAUSE_MAX_MS = 2_000

/** What was seen when a payment was verified. Nothing was found of one that is ours to send. */
export interface Verified extends Known {
  readonly found?: Found
  readonly evidence: Evidence
  readonly at: number
  /** Whether its offer was made for one payer, and is paid once. */
  readonly once: boolean
}

/** What settling needs. */
export interface SettlingParts {
  /** CAIP-2. */
  readonly network: string
  readonly rpc: Rpc
  readonly clock: Clock
  readonly books: Books
  readonly fateOf: (offer: Offer<Details>, evidence: Evidence) => Promise<Fate>
  readonly final: () => Promise<Final | undefined>
  /** How long what was sent from here waits for its block. */
  readonly waitMs: number
  readonly isClosed: () => boolean
}

/** The verbs that close a payment. What was shown has moved already, so that they write it down and look again. */
export interface Settling {
  readonly settle: (offer: Offer<Details>, verified: Verified, log: Log) => Promise<Settlement>
  readonly find: (offer: Offer<Details>, key: string, log: Log) => Promise<Settlement | undefined>
  readonly stands: (offer: Offer<Details>, log: Log) => Promise<Standing>
}

/** Makes the verbs. */
export function createSettling(parts: SettlingParts): Settling {
  const { network, rpc, clock, books, fateOf, final, waitMs, isClosed } = parts

  async function settle(
    offer: Offer<Details>,
    { key, found, evidence, at, once }: Verified,
    log: Log,
  ): Promise<Settlement> {
    if (once && !(await books.takeOffer(offer, key))) return failed(offerPaid)
    await log.write(writeEvidence(evidence))
    if (!found) return submit(offer, key, evidence)
    return clock.now() - at < LOOK_FRESH_MS
      ? paid(offer, key, evidence)
      : conclude(offer, key, evidence)
  }

  /** Sends what was signed, and waits for its block. The same bytes can be sent as often as needed. */
  async function submit(
    offer: Offer<Details>,
    key: string,
    evidence: Evidence,
  ): Promise<Settlement> {
    const { raw, transaction } = evidence
    assert(raw, 'what is sent is there')
    const answer = await rpc.broadcast(raw, transaction)
    // That its number is taken may mean that its own bytes were there before.
    if (typeof answer === 'object' && answer.refused !== 'nonce') return failed(notSent)
    const untilAt = clock.now() + waitMs
    for (let pauseMs = PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MAX_MS)) {
      const found = await conclude(offer, key, evidence)
      if (found.state !== 'unknown' || clock.now() + pauseMs > untilAt || isClosed()) return found
      await clock.sleep(pauseMs)
    }
  }

  /** What the chain says of it now. */
  async function conclude(
    offer: Offer<Details>,
    key: string,
    evidence: Evidence,
  ): Promise<Settlement> {
    const fate = await fateOf(offer, evidence)
    if (fate.state === 'gone') return failed(transactionGone)
    if (fate.state === 'failed' && evidence.raw !== undefined) return failed(failedOnChain)
    if (fate.state !== 'there') return doubt
    const { seen, transfer } = fate
    const { at } = transfer
    // Where it was ours to send its place was a guess, and by the true one it must not be shown a second time.
    const isOurs =
      at === evidence.at || (await books.takeLog(keyOf(network, { ...evidence, at }), key))
    if (!isOurs) return failed(transferTaken)
    return paid(offer, key, { ...evidence, settledAt: Number(seen.time) * 1000 })
  }

  async function paid(offer: Offer<Details>, key: string, evidence: Evidence): Promise<Settlement> {
    const { transaction: reference, payer, settledAt } = evidence
    const amount = evidence.paid - offer.amount.amount
    // Of what was put aside all is booked already.
    if (amount > 0n && key === keyOf(network, evidence))
      await books.putAside({ key: `${key}/excess`, offer, finding: 'excess', amount, evidence })
    return { state: 'settled', reference, payer, settledAt }
  }

  return {
    settle: (offer, verified, log) => settle(offer, verified, log).catch(afterSending),
    async find(offer, key, log) {
      const evidence = await readEvidence(log)
      if (!evidence) return undefined
      const found = await conclude(offer, key, evidence)
      if (found.state === 'unknown' && evidence.raw)
        await rpc.broadcast(evidence.raw, evidence.transaction)
      return found
    },
    async stands(offer, log) {
      const evidence = await readEvidence(log)
      assert(evidence, 'a payment that was settled was written ahead')
      const end = await final()
      const fate = await fateOf(offer, evidence)
      if (fate.state === 'gone') return { state: 'gone', problem: transactionGone }
      if (fate.state === 'there') {
        const deep = end !== undefined && fate.seen.block <= end.block
        return { state: deep ? 'final' : 'open', reference: evidence.transaction }
      }
      // It vanished, and is sent once more if it was ours to send.
      if (evidence.raw) await rpc.broadcast(evidence.raw, evidence.transaction)
      return { state: 'open' }
    },
  }
}

const doubt: Settlement = {
  state: 'unknown',
  detail: 'The chain does not show the payment just now.',
}
