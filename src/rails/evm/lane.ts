import { keccak } from 'hash-wasm'
import type { LocalAccount } from 'viem'
import { isObject } from '../../core/json.ts'
import type { Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Fees, Price } from './fees.ts'
import type { Flight, Flights, Keeper } from './flights.ts'
import type { Hex } from './hex.ts'
import { lower } from './hex.ts'
import type { Numbers, Ticket } from './numbers.ts'
import { createQueue } from './queue.ts'
import type { Refused, Rpc } from './rpc.ts'
import { readNumber } from './rpc.ts'
import type { Outgoing, Prepared, WriteAhead } from './steps.ts'
import type { Mined } from './token.ts'

/** How often one payment is signed anew because its number was taken. */
const NONCE_TRIES_MAX = 3
/** How often a transaction that nobody has mined is looked after: handed over again, and asked why. */
const TEND_MS = 6_000
/** How long the first of a key may wait for its block until it is sent again with a higher fee. */
export const BUMP_AFTER_MS = 15_000
/** How often one transaction is made dearer. */
export const BUMPS_MAX = 5
/** How often a number that is used must be without a receipt until another transaction has it for good. */
const MISSED_MAX = 2
/** Most numbers below ours that are looked after at once when the chain waits for them. */
const GAPS_MAX = 16
/** Landed transactions that are kept for the case that the chain forgets them (a reorganisation). */
const KEPT_MAX = 64
/** How often the bytes that were written for such a number are handed over before it is spent on nothing. */
const FILLS_MAX = 2
/** Gas of a transfer of nothing. */
const PLAIN_TRANSFER_GAS = 21_000

/** `displaced`: its number was used by another transaction, so that it can never be mined. */
export type Sent =
  | { readonly state: 'sent'; readonly flight: Flight }
  | { readonly state: 'refused'; readonly why: Refused }
  | { readonly state: 'displaced' }

/** One sending key: it numbers, signs, writes ahead and sends, one transaction after the other. */
export interface Lane {
  readonly address: Hex
  open(): Promise<void>
  /** @throws {PaymentError} when something is needed from the chain before anything can be sent. */
  send(call: Outgoing, write: WriteAhead): Promise<Sent>
  /** Sends again what was written ahead: the same bytes, or, once fees have outgrown them, dearer ones of the same number. */
  again(prepared: Prepared, write: WriteAhead): Promise<Sent>
  /** Whether it is making a transaction now. */
  readonly busy: boolean
  /** Transactions that are on their way. */
  readonly load: number
  /** Whether its first transaction waits for longer than is usual. */
  readonly stuck: boolean
  /** Native balance, in wei. */
  balance(): Promise<bigint>
}

/** What a lane is made of. */
export interface LaneParts {
  readonly account: LocalAccount
  readonly chainId: number
  readonly rpc: Rpc
  readonly fees: Fees
  readonly numbers: Numbers
  readonly flights: Flights
  readonly clock: Clock
  readonly bumpAfterMs: number
  /** Told of each transaction that landed, and of each that can land no more. */
  readonly landed: (mined: Mined | undefined) => void
  /** Told whenever it can make another transaction. */
  readonly idle: () => void
}

/** What a lane knows of a flight beside its bytes. */
interface Care {
  readonly ticket: Ticket
  readonly write: WriteAhead
  /** What it does now; a batch does more than stands under each of its keys. */
  readonly call: Outgoing
  sentAt: number
  tendAt: number
  bumps: number
  missed: number
}

/** Makes the lane of one key. */
export function createLane(parts: LaneParts): Lane {
  const { account, chainId, rpc, fees, numbers, flights, clock, bumpAfterMs } = parts
  const address = lower(account.address)
  const turn = createQueue()
  const cares = new Map<number, Care>()
  /** Bytes that landed, by number. */
  const kept = new Map<number, Hex>()
  /** How often something was handed over for a number that is not ours. */
  const fills = new Map<number, number>()
  const tendMs = Math.min(TEND_MS, bumpAfterMs)
  let turns = 0

  const latest = async (): Promise<number> =>
    Number(await rpc.read('eth_getTransactionCount', [address, 'latest'], readNumber))

  const sign = async (call: Outgoing, nonce: number, { fee, tip }: Price): Promise<Prepared> => {
    const { to, data, gas, value } = call
    const coin = value === undefined ? {} : { value }
    const raw = await account.signTransaction({
      type: 'eip1559',
      chainId,
      nonce,
      to,
      data,
      gas: BigInt(gas),
      maxFeePerGas: fee,
      maxPriorityFeePerGas: tip,
      ...coin,
    })
    const hash = await hashOf(raw)
    return { sender: address, to, data, gas, raw, hash, nonce, fee, tip, many: false, ...coin }
  }

  /** Whether a node has it. What cannot be asked may be so. */
  const known = (hash: Hex): Promise<boolean> =>
    rpc.read('eth_getTransactionByHash', [hash], isObject).catch(() => true)

  const track = (prepared: Prepared, care: Pick<Care, 'ticket' | 'write' | 'call'>): Flight => {
    const { nonce } = prepared
    const sentAt = clock.now()
    if (!cares.has(nonce))
      cares.set(nonce, { ...care, sentAt, tendAt: sentAt + tendMs, bumps: 0, missed: 0 })
    return flights.track(keeper, prepared)
  }

  /** In turn, so that no number is given twice and none is left out. */
  const attempt = async (call: Outgoing, write: WriteAhead): Promise<Sent> => {
    // Before the number is taken: whoever holds one is waited for.
    const price = await fees.price()
    for (let tries = 0; tries < NONCE_TRIES_MAX; tries++) {
      const ticket = await numbers.take()
      const prepared = await ready(call, ticket, price, write)
      if (prepared === 'lost') continue
      const answer = await rpc.broadcast(prepared.raw, prepared.hash)
      const taken = typeof answer === 'object' && answer.refused === 'nonce'
      // A node that tries twice within may refuse what it has just taken.
      if (typeof answer === 'string' || (taken && (await known(prepared.hash))))
        return { state: 'sent', flight: track(prepared, { ticket, write, call }) }
      if (!taken) {
        await ticket.drop()
        return { state: 'refused', why: answer.refused }
      }
      await numbers.skip(ticket)
    }
    return { state: 'refused', why: 'nonce' }
  }

  /** Signs and writes ahead. `lost`: the number was taken over, as this took too long. */
  const ready = async (
    call: Outgoing,
    ticket: Ticket,
    price: Price,
    write: WriteAhead,
  ): Promise<Prepared | 'lost'> => {
    let taken: unknown
    try {
      const prepared = await sign(call, ticket.nonce, price)
      await Promise.all([
        write(prepared),
        ticket.write(prepared.raw, prepared.hash).catch((error: unknown) => {
          taken = error
          throw error
        }),
      ])
      return prepared
    } catch (error) {
      if (isLost(taken)) return 'lost'
      await ticket.drop()
      throw error
    }
  }

  const revive = async (prepared: Prepared, write: WriteAhead): Promise<Sent> => {
    const { nonce, hash, raw } = prepared
    const flying = flights.find(keeper, hash)
    if (flying) return { state: 'sent', flight: flying }
    // Other bytes fly under its number, or have landed under it.
    if (flights.of(keeper).some((one) => one.nonce === nonce)) return { state: 'displaced' }
    if ((await latest()) > nonce) return { state: 'displaced' }
    const gap = await numbers.gap(nonce)
    if (!gap) return { state: 'refused', why: 'nonce' }
    // One of many in a transaction whose bytes stand elsewhere, or nowhere any more.
    const whole = raw === '0x' ? await bytesOf(hash, gap.raw) : raw
    if (whole === undefined && !(await known(hash))) {
      if (gap.raw === undefined) await gap.ticket.drop()
      return { state: 'displaced' }
    }
    const dear = await fees.outgrown(prepared)
    const bytes = dear ? await sign(prepared, nonce, await fees.price(prepared)) : prepared
    if (dear) await Promise.all([write(bytes), gap.ticket.write(bytes.raw, bytes.hash)])
    const handed = dear ? bytes.raw : whole
    if (handed !== undefined) {
      const answer = await rpc.broadcast(handed, bytes.hash)
      // A taken number is most often taken by these bytes: whoever waits will see.
      if (typeof answer === 'object' && answer.refused !== 'nonce')
        return { state: 'refused', why: answer.refused }
    }
    numbers.passed(nonce)
    const full = { ...bytes, raw: handed ?? '0x' }
    return { state: 'sent', flight: track(full, { ticket: gap.ticket, write, call: prepared }) }
  }

  const tend = async (flight: Flight): Promise<boolean> => {
    const care = cares.get(flight.nonce)
    const now = clock.now()
    if (!care || now < care.tendAt) return false
    care.tendAt = now + tendMs
    const used = await latest()
    if (used > flight.nonce) return ++care.missed >= MISSED_MAX
    care.missed = 0
    const end = Math.min(flight.nonce, used + GAPS_MAX)
    for (let nonce = used; nonce < end; nonce++) await fill(nonce)
    if (used < flight.nonce) return false
    fills.clear()
    for (const one of flights.of(keeper)) await push(one, one === flight)
    return false
  }

  /** Hands it over again, dearer if its fee is too low now, or if it is the first and has waited for too long. */
  const push = async (flight: Flight, first: boolean): Promise<void> => {
    const care = cares.get(flight.nonce)
    const last = flight.versions.at(-1)
    if (!care || !last) return
    const late = first && clock.now() - care.sentAt >= bumpAfterMs
    if (care.bumps < BUMPS_MAX && (late || (await fees.outgrown(last))))
      await bump(flight, care, last)
    else if (first && last.raw !== '0x') await rpc.broadcast(last.raw, last.hash)
  }

  const bump = async (flight: Flight, care: Care, last: Prepared): Promise<void> => {
    const price = await fees.price(last)
    const dearer = await sign(care.call, flight.nonce, price)
    await Promise.all([care.write(dearer), care.ticket.write(dearer.raw, dearer.hash)])
    care.bumps++
    care.sentAt = clock.now()
    // Before it is handed over: a block may have it before the node has answered.
    flights.track(keeper, dearer)
    await rpc.broadcast(dearer.raw, dearer.hash)
  }

  /** A number that the chain waits for and nobody here sends: its own bytes again, or a transfer of nothing. */
  const fill = async (nonce: number): Promise<void> => {
    const gap = await numbers.gap(nonce)
    if (!gap) return
    const raw = kept.get(nonce) ?? gap.raw
    const tries = (fills.get(nonce) ?? 0) + 1
    fills.set(nonce, tries)
    // Bytes that a node takes again and again and no block ever does are too cheap.
    if (raw !== undefined && tries <= FILLS_MAX) {
      const answer = await rpc.broadcast(raw, await hashOf(raw))
      if (typeof answer === 'string') return
    }
    const call = { to: address, data: '0x', gas: PLAIN_TRANSFER_GAS } as const
    const filler = await sign(call, nonce, await fees.price())
    await gap.ticket.write(filler.raw, filler.hash)
    await rpc.broadcast(filler.raw, filler.hash)
  }

  const keeper: Keeper = {
    address,
    tend,
    landed({ nonce, versions }, mined) {
      const care = cares.get(nonce)
      cares.delete(nonce)
      // A rail that closes leaves the number to whoever opens next.
      if (mined) care?.ticket.close()
      const bytes = versions.find(({ hash }) => hash === mined?.hash)
      if (bytes && bytes.raw !== '0x') kept.set(nonce, bytes.raw)
      const [oldest] = kept.keys()
      if (oldest !== undefined && kept.size > KEPT_MAX) kept.delete(oldest)
      parts.landed(mined)
    },
  }

  const inTurn = async <T>(work: () => Promise<T>): Promise<T> => {
    turns++
    try {
      return await turn(work)
    } finally {
      turns--
      parts.idle()
    }
  }

  return {
    address,
    open: () => numbers.open(),
    send: (call, write) => inTurn(() => attempt(call, write)),
    again: (prepared, write) => inTurn(() => revive(prepared, write)),
    get busy() {
      return turns > 0
    },
    get load() {
      return flights.of(keeper).length
    },
    get stuck() {
      const [first] = flights.of(keeper)
      const care = first && cares.get(first.nonce)
      return care !== undefined && clock.now() - care.sentAt >= bumpAfterMs
    },
    balance: () => rpc.read('eth_getBalance', [address, 'latest'], readNumber),
  }
}

/** The bytes, if they are those of that transaction. */
async function bytesOf(hash: Hex, raw: Hex | undefined): Promise<Hex | undefined> {
  return raw !== undefined && (await hashOf(raw)) === hash ? raw : undefined
}

function isLost(error: unknown): boolean {
  return error instanceof PaymentError && error.code === 'payment-in-flight'
}

/** The hash of a signed transaction. */
async function hashOf(raw: Hex): Promise<Hex> {
  return `0x${await keccak(Buffer.from(raw.slice(2), 'hex'), 256)}`
}
