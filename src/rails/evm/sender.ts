import { keccak } from 'hash-wasm'
import type { LocalAccount } from 'viem'
import { isObject } from '../../core/json.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import type { Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Hex } from './hex.ts'
import { lower, quantity } from './hex.ts'
import { createQueue } from './queue.ts'
import type { Refused, Rpc } from './rpc.ts'
import { readNumber } from './rpc.ts'
import type { Mined, Reader } from './token.ts'

/** How long fees that were asked for are used: a block or two. */
export const FEES_FRESH_MS = 4_000
/** Blocks whose tips are looked at. */
const FEE_BLOCKS = 5
/** Least tip, in wei per gas: 0.001 gwei, which Base takes. */
export const TIP_MIN = 1_000_000n
/** Most that is paid per gas, in wei, unless the settings say otherwise: 200 gwei. */
export const FEE_MAX: bigint = 200n * 10n ** 9n
/** How much a replacement must pay more, in eighths: nodes ask for a tenth. */
const BUMP_EIGHTHS = 10n
/** How often one payment is signed anew because its number was taken. */
const NONCE_TRIES_MAX = 3
/** Waits between two looks for a receipt: from the first to the longest, each half as long again. */
const LOOK_FIRST_MS = 20
const LOOK_MAX_MS = 1_000
/** How often the same bytes are sent again while nobody has mined them. */
const RESEND_MS = 6_000

/** A contract call that costs gas. */
export interface Outgoing {
  readonly to: Hex
  readonly data: Hex
  readonly gas: number
}

/** A signed transaction, as it is written ahead. */
export interface Prepared extends Outgoing {
  readonly raw: Hex
  readonly hash: Hex
  readonly nonce: number
  /** Most that it pays per gas, in wei, and how much of that the block's maker may keep. */
  readonly fee: bigint
  readonly tip: bigint
}

/** `displaced`: its number was used by another transaction, so that it can never be mined. */
export type Sent =
  | { readonly state: 'sent'; readonly prepared: Prepared }
  | { readonly state: 'refused'; readonly why: Refused }
  | { readonly state: 'displaced' }

/** Writes a signed transaction ahead. What is not written is not sent. */
export type WriteAhead = (prepared: Prepared) => Promise<void>

/** One sending key: it numbers, signs, writes ahead and sends, one transaction after the other. */
export interface Sender {
  readonly address: Hex
  open(): Promise<void>
  /** @throws {PaymentError} when something is needed from the chain before anything can be sent. */
  send(call: Outgoing, write: WriteAhead): Promise<Sent>
  /** Sends again what was written ahead: the same bytes, or, once fees have outgrown them, dearer ones of the same number. */
  again(prepared: Prepared, write: WriteAhead): Promise<Sent>
  /** Waits until it is in a block, `confirmations` deep; undefined when time is up first. */
  wait(prepared: Prepared): Promise<Mined | undefined>
  /** Native balance, in wei. */
  balance(): Promise<bigint>
}

/** What a sender is made of. */
export interface SenderParts {
  readonly account: LocalAccount
  readonly chainId: number
  readonly rpc: Rpc
  readonly reader: Reader
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly waitMs: number
  readonly confirmations: number
  readonly feeMax: bigint
}

interface Fees {
  readonly base: bigint
  readonly tip: bigint
}

/** Makes a sender of one key. Another process may use the same key: numbers that are taken are asked for anew. */
export function createSender(parts: SenderParts): Sender {
  const { account, chainId, rpc, reader, clock, signal, waitMs, confirmations, feeMax } = parts
  const address = lower(account.address)
  const turn = createQueue()
  let next: number | undefined
  let fees: Promise<Fees> | undefined
  let feesAt = 0

  const count = async (tag: 'latest' | 'pending'): Promise<number> =>
    Number(await rpc.read('eth_getTransactionCount', [address, tag], readNumber))

  const ask = (): Promise<Fees> =>
    rpc.read('eth_feeHistory', [quantity(FEE_BLOCKS), 'latest', [50]], readFees)

  /** One question for all who need it at once; a failed one is not kept. */
  const currentFees = async (): Promise<Fees> => {
    if (!fees || clock.now() - feesAt > FEES_FRESH_MS) {
      feesAt = clock.now()
      fees = ask()
      fees.catch(() => void (fees = undefined))
    }
    return fees
  }

  /** A replacement must raise both the fee and the tip. */
  const sign = async (call: Outgoing, nonce: number, before?: Prepared): Promise<Prepared> => {
    const now = await currentFees()
    const tip = larger(now.tip, bumped(before?.tip))
    const fee = larger(2n * now.base + tip, bumped(before?.fee))
    const least = larger(now.base + tip, bumped(before?.fee))
    if (least > feeMax)
      throw new PaymentError('rail-unavailable', 'Gas costs more now than the settings allow.', {
        retryable: true,
      })
    const paid = fee > feeMax ? feeMax : fee
    const { to, data, gas } = call
    const raw = await account.signTransaction({
      type: 'eip1559',
      chainId,
      nonce,
      to,
      data,
      gas: BigInt(gas),
      maxFeePerGas: paid,
      maxPriorityFeePerGas: tip,
    })
    return { to, data, gas, raw, hash: await hashOf(raw), nonce, fee: paid, tip }
  }

  /** Whether a node has it. What cannot be asked may be so. */
  const known = (hash: Hex): Promise<boolean> =>
    rpc.read('eth_getTransactionByHash', [hash], isObject).catch(() => true)

  /** In turn, so that no number is given twice and none is left out. */
  const attempt = async (call: Outgoing, write: WriteAhead): Promise<Sent> => {
    for (let tries = 0; tries < NONCE_TRIES_MAX; tries++) {
      const nonce = (next ??= await count('pending'))
      const prepared = await sign(call, nonce)
      await write(prepared)
      const answer = await rpc.broadcast(prepared.raw, prepared.hash)
      if (typeof answer === 'string') {
        next = nonce + 1
        return { state: 'sent', prepared }
      }
      if (answer.refused !== 'nonce') return { state: 'refused', why: answer.refused }
      // A node that tries twice within may refuse what it has just taken.
      if (await known(prepared.hash)) {
        next = nonce + 1
        return { state: 'sent', prepared }
      }
      next = Math.max(await count('pending'), nonce)
    }
    return { state: 'refused', why: 'nonce' }
  }

  const revive = async (prepared: Prepared, write: WriteAhead): Promise<Sent> => {
    if ((await count('latest')) > prepared.nonce) return { state: 'displaced' }
    const { base } = await currentFees()
    const dear = base > prepared.fee
    const bytes = dear ? await sign(prepared, prepared.nonce, prepared) : prepared
    if (dear) await write(bytes)
    const answer = await rpc.broadcast(bytes.raw, bytes.hash)
    // A taken number is most often taken by these bytes: whoever waits will see.
    if (typeof answer === 'object' && answer.refused !== 'nonce')
      return { state: 'refused', why: answer.refused }
    next = Math.max(next ?? 0, prepared.nonce + 1)
    return { state: 'sent', prepared: bytes }
  }

  const look = async (hash: Hex): Promise<Mined | undefined> => {
    try {
      const found = await reader.mined(hash)
      if (!found || confirmations <= 1) return found
      return (await reader.height()) - found.block + 1n >= BigInt(confirmations) ? found : undefined
    } catch {
      // An endpoint's fault says nothing about the transaction: look again.
      return undefined
    }
  }

  return {
    address,
    async open() {
      next = await count('pending')
    },
    send: (call, write) => turn(() => attempt(call, write)),
    again: (prepared, write) => turn(() => revive(prepared, write)),
    async wait({ raw, hash }) {
      const untilAt = clock.now() + waitMs
      let resendAt = clock.now() + RESEND_MS
      for (let pauseMs = LOOK_FIRST_MS; ; pauseMs = Math.min(pauseMs * 1.5, LOOK_MAX_MS)) {
        const found = await look(hash)
        if (found) return found
        const now = clock.now()
        if (now >= untilAt || signal.aborted) return undefined
        if (now >= resendAt) {
          resendAt = now + RESEND_MS
          await rpc.broadcast(raw, hash)
        }
        await clock.sleep(Math.min(pauseMs, untilAt - now), signal)
      }
    },
    balance: () => rpc.read('eth_getBalance', [address, 'latest'], readNumber),
  }
}

/** A prepared transaction as the data of a step. */
export function writePrepared(prepared: Prepared): JsonObject {
  return { ...prepared, fee: prepared.fee.toString(), tip: prepared.tip.toString() }
}

/** What {@link writePrepared} wrote; undefined for any other data. */
export function readPrepared(data: JsonObject): Prepared | undefined {
  const { to, data: input, gas, raw, hash, nonce, fee, tip } = data
  if (!isHex(to) || !isHex(input) || !isHex(raw) || !isHex(hash)) return undefined
  if (typeof gas !== 'number' || typeof nonce !== 'number') return undefined
  if (typeof fee !== 'string' || typeof tip !== 'string') return undefined
  return { to, data: input, gas, raw, hash, nonce, fee: BigInt(fee), tip: BigInt(tip) }
}

function isHex(value: unknown): value is Hex {
  return typeof value === 'string' && /^0x[0-9a-f]*$/.test(value)
}

function readFees(said: Json): Fees {
  if (!isObject(said)) throw new Error('not an object')
  const bases = list(said['baseFeePerGas'])
  const tips = list(said['reward'] ?? [])
    .flatMap((block) => list(block).map(readNumber))
    .toSorted((a, b) => Number(a - b))
  const base = readNumber(bases.at(-1))
  return { base, tip: larger(tips[Math.floor(tips.length / 2)] ?? 0n, TIP_MIN) }
}

function list(said: Json | undefined): readonly Json[] {
  if (!Array.isArray(said)) throw new Error('not a list')
  return said
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}

function bumped(before = 0n): bigint {
  return before === 0n ? 0n : (before * BUMP_EIGHTHS) / 8n + 1n
}

async function hashOf(raw: Hex): Promise<Hex> {
  return `0x${await keccak(Buffer.from(raw.slice(2), 'hex'), 256)}`
}
