import type { Json, JsonObject } from '../../core/json.ts'
import { isObject } from '../../core/json.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Call, CallAnswer } from './abi.ts'
import {
  CANCELED_TOPIC,
  TRANSFER_TOPIC,
  USED_TOPIC,
  bytes,
  decodeBatch,
  encode,
  encodeBatch,
  padded,
  selectors,
  uint,
  word,
} from './abi.ts'
import type { Hex } from './hex.ts'
import { quantity } from './hex.ts'
import type { Proof } from './proof.ts'
import type { Answer, Parse, Read, Rpc } from './rpc.ts'
import { readHex, readNumber } from './rpc.ts'

/** Multicall3, at the same address on all common chains. */
export const MULTICALL3: Hex = '0xca11bde05977b3631167028862be2a173976ca11'

/** Blocks per question for logs: what the strictest of the common nodes answer. */
export const LOG_BLOCKS = 1_000
/** Most questions for logs about one spend: with two-second blocks about three days. */
export const LOG_STEPS_MAX = 128

/** A spend on a token: who, to whom, how much, by which nonce. All hex in lower case. */
export interface Spend {
  readonly token: Hex
  readonly from: Hex
  readonly nonce: Hex
  readonly payee: Hex
  readonly amount: bigint
  /** What goes to others by the same nonce, beside the amount. */
  readonly shares?: readonly Share[]
}

/** What somebody gets of a payment beside its payee. */
export interface Share {
  readonly payee: Hex
  readonly amount: bigint
}

/** What names a nonce. */
export type NonceOf = Pick<Spend, 'token' | 'from' | 'nonce'>

/** A line that a contract wrote. */
export interface LogLine {
  readonly address: string
  readonly topics: readonly string[]
  readonly data: string
}

/** A transaction that is in a block. */
export interface Mined {
  readonly hash: Hex
  readonly ok: boolean
  readonly block: bigint
  readonly blockHash: Hex
  /** What its sender paid for it, in wei, the part of a layer below included. */
  readonly cost: bigint
  readonly logs: readonly LogLine[]
}

/** Where a nonce went: into our payment, elsewhere, or it cannot be seen. */
export type Trace =
  | { readonly kind: 'paid'; readonly mined: Mined; readonly at: number }
  | { readonly kind: 'elsewhere' }
  | { readonly kind: 'unseen' }

/** Whether a nonce is used, and the chain's time of the very block that says so, in seconds. */
export interface NonceState {
  readonly used: boolean
  readonly time: bigint
}

/** Reads a chain for what concerns EIP-3009 tokens. Everything throws {@link PaymentError} when it cannot be read. */
export interface Reader {
  /** Looks whether Multicall3 is there. */
  open(): Promise<void>
  readonly batched: boolean
  /** All calls at one block in one round trip, or, on a chain without Multicall3, in as many. `reverted`: as a whole. */
  batch(
    calls: readonly Call[],
    options?: { readonly from?: Hex; readonly gas?: number },
  ): Promise<readonly CallAnswer[] | 'reverted'>
  /** At that block, or the newest. A node that has not come so far does not answer. */
  state(spend: NonceOf, block?: bigint): Promise<NonceState>
  /** The same from several nodes, each by itself. */
  states(spend: NonceOf, count: number): Promise<readonly NonceState[]>
  /** Undefined while it is in no block. */
  mined(hash: Hex): Promise<Mined | undefined>
  /** Several at once, in one round trip where the node takes that. */
  minedAll(hashes: readonly Hex[]): Promise<readonly (Mined | undefined)[]>
  /** Whether so many nodes, each by itself, have it in the same block. */
  agreed(mined: Mined, count: number): Promise<boolean>
  /** Which of the accounts have code, asked in one call. A delegation (EIP-7702) is code. */
  withCode(accounts: readonly Hex[]): Promise<readonly boolean[]>
  /** Looks for the transaction that used the nonce, newest blocks first. */
  trace(spend: Spend): Promise<Trace>
  height(): Promise<bigint>
}

/** How a chain is asked whether a nonce is used. */
export interface NonceKind {
  call(spend: NonceOf): Call
  /** @throws {PaymentError} when there is no answer in it. */
  isUsed(answer: CallAnswer | undefined, spend: NonceOf): boolean
}

/** Makes the reader; of nonces as EIP-3009 has them, unless it is told otherwise. */
export function createReader(
  rpc: Rpc,
  kind: NonceKind = { call: stateCall, isUsed: readState },
): Reader {
  let batched = true

  const call = async <T>(
    to: Hex,
    data: Hex,
    rest: { readonly from?: Hex; readonly gas?: number },
    parse: Parse<T>,
  ): Promise<Answer<T>> => {
    const { from, gas } = rest
    const fields = { to, data, ...(from && { from }), ...(gas && { gas: quantity(gas) }) }
    return rpc.ask('eth_call', [fields, 'latest'], parse)
  }

  const batch: Reader['batch'] = async (calls, rest = {}) => {
    if (!batched) return Promise.all(calls.map((one) => single(one, rest)))
    const answer = await call(MULTICALL3, encodeBatch(calls), rest, (said) =>
      readBatch(said, calls.length),
    )
    return 'result' in answer ? answer.result : 'reverted'
  }

  const single = async (
    { target, data }: Call,
    rest: { readonly from?: Hex; readonly gas?: number },
  ): Promise<CallAnswer> => {
    const answer = await call(target, data, rest, readHex)
    return 'result' in answer ? { ok: true, data: answer.result } : { ok: false, data: '0x' }
  }

  const height = (): Promise<bigint> => rpc.read('eth_blockNumber', [], readNumber)

  const mined = (hash: Hex, read: Read = rpc.read): Promise<Mined | undefined> =>
    read('eth_getTransactionReceipt', [hash], (said) => readReceipt(said, hash))

  const minedAll: Reader['minedAll'] = (hashes) =>
    rpc.many(
      'eth_getTransactionReceipt',
      hashes.map((hash) => [hash]),
      (said, i) => readReceipt(said, hashes[i]),
    )

  const agreed: Reader['agreed'] = async ({ hash, blockHash }, count) => {
    const found = await rpc.each(count, (read) => mined(hash, read))
    return found.every((one) => one?.blockHash === blockHash)
  }

  /** A program that is only run (creation code without a receiver): for each word behind it, the size of that code. */
  const withCode: Reader['withCode'] = async (accounts) => {
    const data = `${CODE_SIZES}${accounts.map(padded).join('')}`
    return rpc.read('eth_call', [{ data }, 'latest'], (said) => {
      const sizes = readHex(said)
      if (sizes.length !== 2 + 64 * accounts.length) throw new Error('not as many sizes as asked')
      return accounts.map((_, i) => uint(sizes, 32 * i) !== 0n)
    })
  }

  const trace = async (spend: Spend): Promise<Trace> => {
    let to = await height()
    for (let step = 0; step < LOG_STEPS_MAX && to >= 0n; step++) {
      const from = to >= LOG_BLOCKS ? to - BigInt(LOG_BLOCKS) + 1n : 0n
      const found = await useOf(spend, from, to)
      if (found) return judge(found, spend)
      to = from - 1n
    }
    return { kind: 'unseen' }
  }

  /** The transaction that used or cancelled the nonce in these blocks. */
  const useOf = (spend: Spend, from: bigint, to: bigint): Promise<Hex | undefined> => {
    const filter = {
      address: spend.token,
      topics: [[USED_TOPIC, CANCELED_TOPIC], `0x${padded(spend.from)}`, spend.nonce],
      fromBlock: quantity(from),
      toBlock: quantity(to),
    }
    return rpc.read('eth_getLogs', [filter], (said) => {
      const [line] = readList(said)
      return line === undefined ? undefined : readHex(readObject(line)['transactionHash'])
    })
  }

  const judge = async (hash: Hex, spend: Spend): Promise<Trace> => {
    const found = await mined(hash)
    if (!found) return { kind: 'unseen' }
    if (!pays(found, spend)) return { kind: 'elsewhere' }
    const at = Number(await rpc.read('eth_getBlockByHash', [found.blockHash, false], readTime))
    return { kind: 'paid', mined: found, at: at * 1000 }
  }

  /** Both at one block: an unused nonce was unused at that time. */
  const stateBy = async (spend: NonceOf, read: Read, block?: bigint): Promise<NonceState> => {
    const tag = block === undefined ? 'latest' : quantity(block)
    const asked = kind.call(spend)
    const clock: Call = { target: MULTICALL3, data: timestamp, allowFailure: false }
    const look = <T>(to: Hex, data: Hex, parse: Parse<T>): Promise<T> =>
      read('eth_call', [{ to, data }, tag], parse)
    if (batched)
      return look(MULTICALL3, encodeBatch([asked, clock]), (said) => {
        const [state, at] = readBatch(said, 2)
        const time = uint(at?.data ?? '0x')
        if (time === undefined) throw unreadable()
        return { used: kind.isUsed(state, spend), time }
      })
    // The time first: a nonce that is unused later was unused at that time too.
    const time = await read('eth_getBlockByNumber', [tag, false], readTime)
    const used = await look(asked.target, asked.data, (said) =>
      kind.isUsed({ ok: true, data: readHex(said) }, spend),
    )
    return { used, time }
  }

  return {
    get batched() {
      return batched
    },
    async open() {
      batched = (await rpc.read('eth_getCode', [MULTICALL3, 'latest'], readHex)) !== '0x'
    },
    batch,
    state: (spend, block) => stateBy(spend, rpc.read, block),
    states: (spend, count) => rpc.each(count, (read) => stateBy(spend, read)),
    mined: (hash) => mined(hash),
    minedAll,
    agreed,
    withCode,
    trace,
    height,
  }
}

const timestamp = selectors.getCurrentBlockTimestamp

/**
 * Copies the words behind it into memory, puts the size of the code of each in its place, and
 * returns them.
 */
const CODE_SIZES: Hex = '0x6024380380602460003960005b81811015601f5780513b8152602001600c565b506000f3'

/**
 * Whether the transaction made this payment, by the token's own words: `AuthorizationUsed` with the nonce and, right
 * behind it, the `Transfer`. Right behind, for a transaction may carry several transfers between the same two, and each
 * belongs to one nonce only.
 */
export function pays(mined: Mined, spend: Spend): boolean {
  const lines = mined.logs.filter(({ address }) => address === spend.token)
  const at = lines.findIndex(
    ({ topics: [topic, from, nonce] }) =>
      topic === USED_TOPIC && from === `0x${padded(spend.from)}` && nonce === spend.nonce,
  )
  const next = at === -1 ? undefined : lines[at + 1]
  return mined.ok && next !== undefined && isTransfer(next, spend.from, spend.payee, spend.amount)
}

/**
 * What one payment in a transaction has cost, in wei: its share among those that were made. What failed beside them is borne
 * by all, so that the shares are never less than the whole.
 */
export function shareOf({ cost, logs }: Mined): bigint {
  const count = BigInt(logs.filter(({ topics: [topic] }) => topic === USED_TOPIC).length)
  return count > 1n ? (cost + count - 1n) / count : cost
}

/** Whether the transaction moved exactly this amount of the token between these two. */
export function moved(mined: Mined, token: Hex, from: Hex, to: Hex, amount: bigint): boolean {
  return (
    mined.ok &&
    mined.logs.some((line) => line.address === token && isTransfer(line, from, to, amount))
  )
}

/** Whether the transaction moved the amount to the payee, and each share beside it, by the token's own words. */
export function movesAll(mined: Mined, spend: Spend): boolean {
  if (!mined.ok) return false
  const lines = mined.logs.filter(({ address }) => address === spend.token)
  const moves = [{ payee: spend.payee, amount: spend.amount }, ...(spend.shares ?? [])]
  return moves.every(({ payee, amount }) => {
    const found = lines.findIndex((line) => isTransfer(line, spend.from, payee, amount))
    // Two may be alike, and each has a line of its own.
    if (found !== -1) lines.splice(found, 1)
    return found !== -1
  })
}

function isTransfer(line: LogLine, from: Hex, to: Hex, amount: bigint): boolean {
  const [topic, sender, receiver] = line.topics
  return (
    topic === TRANSFER_TOPIC &&
    sender === `0x${padded(from)}` &&
    receiver === `0x${padded(to)}` &&
    line.data === `0x${word(amount)}`
  )
}

/** `authorizationState(from, nonce)`. */
export function stateCall(spend: NonceOf): Call {
  const data = encode(selectors.authorizationState, padded(spend.from), spend.nonce.slice(2))
  return { target: spend.token, data, allowFailure: true }
}

/** Whether the nonce is used. @throws {PaymentError} when the token did not say. */
export function readState(answer: CallAnswer | undefined): boolean {
  const value = answer?.ok === true ? uint(answer.data) : undefined
  if (value !== 0n && value !== 1n) throw unreadable()
  return value === 1n
}

/** `balanceOf(account)`. */
export function balanceCall(token: Hex, account: Hex): Call {
  const data = encode(selectors.balanceOf, padded(account))
  return { target: token, data, allowFailure: true }
}

/** `transferWithAuthorization`: the overload of v, r and s for 65 bytes, which all tokens have, otherwise that of bytes. */
export function transferCall(token: Hex, proof: Proof, signature: Hex): Call {
  const { from, to, value, validAfter, validBefore, nonce } = proof
  const words = [
    padded(from),
    padded(to),
    word(value),
    word(validAfter),
    word(validBefore),
    nonce.slice(2),
  ]
  return { target: token, data: signed(words, signature), allowFailure: true }
}

function signed(words: readonly string[], signature: Hex): Hex {
  if (signature.length !== 132)
    return encode(selectors.transferWithAuthorizationBytes, ...words, word(0xe0), bytes(signature))
  const r = signature.slice(2, 66)
  const s = signature.slice(66, 130)
  const v = signature.slice(130).padStart(64, '0')
  return encode(selectors.transferWithAuthorization, ...words, v, r, s)
}

function readBatch(said: Json, count: number): readonly CallAnswer[] {
  const answers = decodeBatch(readHex(said))
  if (answers?.length !== count) throw new Error('not the answers of a batch')
  return answers
}

/** A receipt; undefined if there is none. One of another transaction than was asked for is a fault of the node. */
export function readReceipt(said: Json, hash: Hex | undefined): Mined | undefined {
  if (said === null) return undefined
  const { transactionHash, status, blockNumber, blockHash, logs, ...paid } = readObject(said)
  const { gasUsed = '0x0', effectiveGasPrice = '0x0', l1Fee = '0x0' } = paid
  const found = readHex(transactionHash)
  if (found !== hash) throw new Error('the receipt of another transaction')
  return {
    hash: found,
    ok: status === '0x1',
    block: readNumber(blockNumber),
    blockHash: readHex(blockHash),
    cost: readNumber(gasUsed) * readNumber(effectiveGasPrice) + readNumber(l1Fee ?? '0x0'),
    logs: readList(logs).map(readLine),
  }
}

function readLine(said: Json): LogLine {
  const { address, topics, data } = readObject(said)
  return { address: readHex(address), topics: readList(topics).map(readHex), data: readHex(data) }
}

/** The time of a block, in seconds. */
export function readTime(said: Json): bigint {
  return readNumber(readObject(said)['timestamp'])
}

function readObject(said: Json): JsonObject {
  if (!isObject(said)) throw new Error('not an object')
  return said
}

function readList(said: Json | undefined): readonly Json[] {
  if (!Array.isArray(said)) throw new Error('not a list')
  return said
}

/** A contract answered what cannot be. */
export function unreadable(): PaymentError {
  return new PaymentError('rail-unavailable', 'The token answers something unreadable.', {
    retryable: true,
  })
}
