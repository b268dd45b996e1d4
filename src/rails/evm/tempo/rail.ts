import { keccak256, stringToBytes } from 'viem'
import { systemClock } from '../../../core/clock.ts'
import type { Json } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Log, Rail, Settlement, Verdict } from '../../../core/ports.ts'
import type { Code, Problem } from '../../../core/problem.ts'
import { problem } from '../../../core/problem.ts'
import { padded, selectors, uint } from '../abi.ts'
import type { Hex } from '../hex.ts'
import { lower, quantity } from '../hex.ts'
import { afterSending, failed, unknown } from '../problems.ts'
import { readHex, readNumber } from '../rpc.ts'
import type { Mined } from '../token.ts'
import { readReceipt } from '../token.ts'
import type { Proof, Reason } from './forms.ts'
import { createForm } from './forms.ts'
import { isMemoOf } from './memo.ts'
import type { Details, TermSettings } from './terms.ts'
import { shopOf, termsOf } from './terms.ts'
import type { Signed } from './transaction.ts'
import type { ChainSettings } from '../settings.ts'
import { rpcOf } from '../settings.ts'

/** How long a settlement waits for its block. */
export const SETTLE_WAIT_MS = 30_000
/** How long a transaction must stay valid at least when it is shown: what its block takes, several times. */
export const VALID_MIN_MS = 5_000
/** How long after the end of its offer a transaction may stay valid: until then its outcome may be unknown. */
export const VALID_AFTER_MS = 300_000
/** Pause between two looks for its block: Tempo makes two in a second. */
const LOOK_MS = 200

/** `TransferWithMemo(address from, address to, uint256 amount, bytes32 memo)` of TIP-20; the amount alone is not indexed. */
const MEMO_TOPIC = keccak256(stringToBytes('TransferWithMemo(address,address,uint256,bytes32)'))

/** What the rail is made of. */
export type TempoSettings = TermSettings &
  Pick<ChainSettings, 'rpc' | 'settleTimeoutMs' | 'clock' | 'fetch'>

/** The rail. */
export type TempoRail = Rail<Details, Proof>

/** A transaction of which it is written down that it may be on its way. */
interface Flight {
  readonly hash: Hex
  readonly raw?: Hex
  readonly untilAt?: number
}

/**
 * Stablecoins on Tempo by `transferWithMemo`, where the memo names the challenge: the payer signs a transaction that is sent
 * from here, or sends it and shows its hash (MPP, draft-tempo-charge-00). A block of Tempo is final.
 *
 * What the payer pays the chain for is his: no fees are paid for him, and no refunds are made from here.
 * @throws {RangeError} with what to do, when the settings cannot be.
 */
export function tempo(settings: TempoSettings): TempoRail {
  const shop = shopOf(settings)
  const { network, payee } = shop
  const { clock = systemClock, settleTimeoutMs = SETTLE_WAIT_MS } = settings
  const rpc = rpcOf(settings, network.chainId, clock)
  const form = createForm({ network, payTo: payee, timeoutMs: shop.timeoutMs })

  const keyOf = (proof: Proof): string => `${network.id}/tx:${hashOf(proof)}`

  async function verify(offer: Offer<Details>, proof: Proof): Promise<Verdict> {
    const why =
      'signed' in proof
        ? await checkSigned(offer, proof.signed)
        : await checkSent(offer, proof.hash)
    if (typeof why !== 'string') return { ok: false, problem: why }
    return { ok: true, key: keyOf(proof), payer: why }
  }

  /** Who pays, or why not. */
  async function checkSigned(offer: Offer<Details>, signed: Signed): Promise<string | Problem> {
    const { chainId, from, untilAt, transfers } = signed
    const { amount } = offer.amount
    const wanted = transfers.filter((one) => isWanted(one, offer))
    if (chainId !== network.chainId || wanted.length === 0)
      return no(
        'proof-invalid',
        'transfer-missing',
        `The transaction does not transfer ${amount} of the token to the payee with a memo.`,
      )
    if (!wanted.some(({ memo }) => isMemoOf(memo, offer.id))) return elsewhere
    if (untilAt < clock.now() + VALID_MIN_MS)
      return no('proof-expired', 'too-late', 'The transaction ends too soon to be sent.')
    if (untilAt > offer.expiresAt + VALID_AFTER_MS)
      return no('proof-invalid', 'too-long', 'The transaction ends too long after its offer.')
    const call = { to: lower(offer.details.token), data: selectors.balanceOf + padded(from) }
    const balance = await rpc.read('eth_call', [call, 'latest'], (said) => uint(readHex(said)))
    if (balance === undefined || balance < amount)
      return no(
        'funds-insufficient',
        'funds-insufficient',
        'The account has not enough of the token.',
      )
    return from
  }

  async function checkSent(offer: Offer<Details>, hash: Hex): Promise<string | Problem> {
    const mined = await minedAs(hash)
    return mined ? payerIn(mined, offer) : notYet
  }

  const minedAs = (hash: Hex): Promise<Mined | undefined> =>
    rpc.read('eth_getTransactionReceipt', [hash], (said) => readReceipt(said, hash))

  async function settle(
    offer: Offer<Details>,
    proof: Proof,
    _: string,
    log: Log,
  ): Promise<Settlement> {
    const flight: Flight =
      'signed' in proof
        ? { hash: proof.signed.hash, raw: proof.signed.raw, untilAt: proof.signed.untilAt }
        : { hash: proof.hash }
    await log.write({ type: 'prepared', data: { ...flight } })
    return await pursue(offer, flight, settleTimeoutMs, true).catch(afterSending)
  }

  /** Sends it until it is in a block, or can be in none any more. `isFirst`: nobody here has sent it before. */
  async function pursue(
    offer: Offer<Details>,
    flight: Flight,
    waitMs: number,
    isFirst: boolean,
  ): Promise<Settlement> {
    const untilAt = clock.now() + waitMs
    for (let isNew = isFirst; ; isNew = false) {
      const found = await outcome(offer, flight)
      if (found) return found
      const sent = flight.raw && (await rpc.broadcast(flight.raw, flight.hash))
      // What was taken before may be in a block that is not seen yet, and its own bytes may have used its number.
      if (isNew && typeof sent === 'object' && sent.refused !== 'nonce')
        return (await outcome(offer, flight)) ?? failed(refused)
      if (clock.now() >= untilAt) return unknown('The transaction is in no block yet.')
      await clock.sleep(LOOK_MS)
    }
  }

  /** What the chain says for good; undefined while it may still change. */
  async function outcome(offer: Offer<Details>, flight: Flight): Promise<Settlement | undefined> {
    const { hash, untilAt = Infinity } = flight
    // The time first: what is in no block after a block past its end is in none ever.
    const time = untilAt < Infinity ? await timeOf('latest') : 0
    const mined = await minedAs(hash)
    if (!mined) return time >= untilAt && (await isMissed(hash, untilAt)) ? failed(late) : undefined
    const payer = payerIn(mined, offer)
    if (typeof payer !== 'string') return failed(payer)
    return {
      state: 'settled',
      reference: hash,
      payer,
      settledAt: await timeOf(quantity(mined.block)),
    }
  }

  /** The same node answers both: one that lags behind knows nothing of what another has seen. */
  async function isMissed(hash: Hex, untilAt: number): Promise<boolean> {
    const [missed = false] = await rpc.each(1, async (read) => {
      const time = await read('eth_getBlockByNumber', ['latest', false], readTime)
      const mined = await read('eth_getTransactionReceipt', [hash], (said) =>
        readReceipt(said, hash),
      )
      return time >= untilAt && !mined
    })
    return missed
  }

  const timeOf = (block: string): Promise<number> =>
    rpc.read('eth_getBlockByNumber', [block, false], readTime)

  async function find(
    offer: Offer<Details>,
    key: string,
    log: Log,
  ): Promise<Settlement | undefined> {
    const { raw, untilAt } =
      (await log.read()).findLast(({ type }) => type === 'prepared')?.data ?? {}
    const hash = lower(key.slice(key.lastIndexOf(':') + 1) as Hex)
    // Without a trace here the payer may have sent it.
    if (typeof raw !== 'string' || typeof untilAt !== 'number')
      return await outcome(offer, { hash })
    return await pursue(offer, { hash, raw: raw as Hex, untilAt }, 0, false).catch(afterSending)
  }

  return {
    name: 'tempo',
    network: network.id,
    forms: { mpp: form },
    quote: (price) => termsOf(shop, price),
    units: network.tokens.map(({ address, code, scale, currency = code }) => ({
      asset: `${network.id}/erc20:${address}`,
      currency,
      scale,
    })),
    identify: (_, proof) => ({
      key: keyOf(proof),
      payer: 'signed' in proof ? proof.signed.from : '',
    }),
    open: () => rpc.open(),
    verify,
    settle,
    find,
    close: async () => rpc.close(),
  }
}

function hashOf(proof: Proof): Hex {
  return 'signed' in proof ? proof.signed.hash : proof.hash
}

/** Who paid by it, or why it is no payment for the offer. */
function payerIn(mined: Mined, offer: Offer<Details>): string | Problem {
  if (!mined.ok) return reverted
  const lines = mined.logs.filter((line) => isPaid(line, offer))
  if (lines.length === 0) return unpaid
  const line = lines.find(({ topics: [, , , memo = ''] }) => isMemoOf(memo, offer.id))
  return line ? `0x${line.topics[1]?.slice(-40)}` : elsewhere
}

function isWanted(
  { token, to, amount }: Signed['transfers'][number],
  offer: Offer<Details>,
): boolean {
  return (
    token === lower(offer.details.token) &&
    to === lower(offer.payee as Hex) &&
    amount === offer.amount.amount
  )
}

function isPaid({ address, topics, data }: Mined['logs'][number], offer: Offer<Details>): boolean {
  const [topic, from = '', to = ''] = topics
  return (
    lower(address as Hex) === lower(offer.details.token) &&
    topic === MEMO_TOPIC &&
    topics.length === 4 &&
    to.slice(-40) === lower(offer.payee as Hex).slice(2) &&
    from.slice(-40) !== to.slice(-40) &&
    uint(data as Hex) === offer.amount.amount
  )
}

/** In milliseconds since 1970. */
function readTime(said: Json): number {
  if (!isObject(said)) throw new Error('not a block')
  return Number(readNumber(said['timestamp'])) * 1_000
}

function no(code: Code, reason: Reason, detail: string): Problem {
  return problem(code, detail, { reason })
}

const elsewhere = no(
  'proof-invalid',
  'memo-mismatch',
  'The memo of the transfer does not name this challenge.',
)
const unpaid = no(
  'settlement-failed',
  'transfer-missing',
  'The transaction holds no transfer of that amount to the payee with a memo.',
)
const reverted = no(
  'settlement-failed',
  'transfer-missing',
  'The chain refused the transfer. Nothing was taken; make a new payment.',
)
const refused = no(
  'settlement-failed',
  'transfer-missing',
  'The chain does not take this transaction. Nothing was taken; make a new payment.',
)
const late = no(
  'settlement-failed',
  'too-late',
  'The transaction came into no block in its time. Nothing was taken.',
)
const notYet = problem(
  'payment-unknown',
  'The transaction is in no block that can be seen from here. Send the same payment again in a moment.',
  { retryAfterMs: 1_000 },
)
