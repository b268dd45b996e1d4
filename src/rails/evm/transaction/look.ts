import type { Json } from '../../../core/json.ts'
import { isObject } from '../../../core/json.ts'
import type { Hex } from '../hex.ts'
import { quantity } from '../hex.ts'
import type { Batch, Question, Rpc } from '../rpc.ts'
import { readHex, readNumber } from '../rpc.ts'
import type { LogLine, Mined } from '../token.ts'
import { readReceipt } from '../token.ts'
import { LOGS_MAX } from './proof.ts'

/** By which block a payment must be followed: `safe` and `finalized` as the chain calls them. */
export type Tag = 'safe' | 'finalized'

/** A transaction in a block of the chain as it is now. */
export interface Sighting {
  readonly state: 'there'
  readonly hash: Hex
  /** Whether it did what it was made for. One that failed has moved nothing. */
  readonly ok: boolean
  readonly block: bigint
  readonly blockHash: Hex
  /** The block's time, in seconds. */
  readonly time: bigint
  /** How many blocks deep it is, its own counted; 0 where a tag was asked for and is not as far. */
  readonly depth: bigint
  readonly sender: Hex
  /** Its number among the sender's. */
  readonly nonce: bigint
  /** Absent where it makes a contract. */
  readonly to?: Hex
  readonly value: bigint
  readonly input: Hex
  readonly logs: readonly LogLine[]
}

/**
 * What a look finds. `absent`: no node that was asked knows it. `waiting`: it is in no block yet. `loose`: what nodes say of its
 * block does not fit, as while a chain changes its mind.
 */
export type Look = Sighting | { readonly state: 'absent' | 'waiting' | 'loose' }

/** Looks at transactions. */
export interface Looks {
  /** By so many nodes, each by itself. @throws {PaymentError} when fewer answer. */
  at(hash: Hex, tag?: Tag, quorum?: number): Promise<Look>
  /** By the node that answers those questions. */
  by(batch: Batch, hash: Hex): Promise<Look>
}

/** Makes the looks: five questions in two round trips, or three in one where there is no receipt. */
export function createLooks(rpc: Rpc, chainId: number): Looks {
  return {
    async at(hash, tag, quorum = 1) {
      const look = (batch: Batch): Promise<Look> => lookBy(batch, chainId, hash, tag)
      if (quorum === 1) return look(rpc.batch)
      return agreed(await rpc.each(quorum, (_, batch) => look(batch)))
    },
    by: (batch, hash) => lookBy(batch, chainId, hash),
  }
}

async function lookBy(batch: Batch, chainId: number, hash: Hex, tag?: Tag): Promise<Look> {
  const first: readonly Question[] = [
    ['eth_chainId', []],
    ['eth_getTransactionReceipt', [hash]],
    ['eth_getTransactionByHash', [hash]],
  ]
  const { mined, sent } = await batch(first, ([chain, receipt, transaction]) => {
    // An endpoint may be pointed elsewhere while we run.
    if (readNumber(chain) !== BigInt(chainId)) throw new Error('another chain')
    return { mined: readOrdered(receipt ?? null, hash), sent: readSent(transaction ?? null, hash) }
  })
  if (!mined) return { state: sent ? 'waiting' : 'absent' }
  // Anybody may name a transaction of a kind that we do not know: that is no fault of the node.
  if (mined === 'odd' || !sent || sent === 'odd') return { state: 'loose' }
  // Some nodes still count it among those that wait when its receipt is there; its block is looked at below.
  if (sent.blockHash !== undefined && sent.blockHash !== mined.blockHash) return { state: 'loose' }
  const second: readonly Question[] = [
    ['eth_getBlockByNumber', [quantity(mined.block), false]],
    tag === undefined ? ['eth_blockNumber', []] : ['eth_getBlockByNumber', [tag, false]],
  ]
  const { block, end } = await batch(second, ([found, head]) => ({
    block: readBlock(found ?? null),
    end: tag === undefined ? readNumber(head) : readBlock(head ?? null)?.number,
  }))
  // The chain's own block at that height must be the receipt's, and have the transaction in it.
  if (block?.hash !== mined.blockHash || !block.transactions.has(hash)) return { state: 'loose' }
  const depth = end === undefined || end < mined.block ? 0n : end - mined.block + 1n
  const { sender, nonce, to, value, input } = sent
  return {
    state: 'there',
    hash,
    ok: mined.ok,
    block: mined.block,
    blockHash: mined.blockHash,
    time: block.time,
    depth,
    sender,
    nonce,
    value,
    input,
    logs: mined.logs,
    ...(to !== undefined && { to }),
  }
}

/** What all say, by the one who is least far; `loose` where they do not say the same. */
function agreed(looks: readonly Look[]): Look {
  const [first] = looks
  const there = looks.filter((look) => look.state === 'there')
  if (!first || there.length !== looks.length)
    return looks.find((look) => look.state !== 'there') ?? { state: 'loose' }
  const [one, ...others] = there
  if (!one || others.some((other) => textOf(other) !== textOf(one))) return { state: 'loose' }
  return there.reduce((least, look) => (look.depth < least.depth ? look : least))
}

/** All but how deep it is, of which a node that lags behind says less. */
function textOf(sighting: Sighting): string {
  return JSON.stringify({ ...sighting, depth: 0 }, (_key, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  )
}

/** A receipt whose logs stand in their order, since a log is known by its place; `odd` where they do not. */
function readOrdered(said: Json, hash: Hex): Mined | 'odd' | undefined {
  const mined = readReceipt(said, hash)
  if (!mined || !isObject(said)) return undefined
  const logs = said['logs'] as readonly Json[]
  return logs.length <= LOGS_MAX && isOrdered(logs) ? mined : 'odd'
}

function isOrdered(logs: readonly Json[]): boolean {
  const first = isObject(logs[0]) ? readNumber(logs[0]['logIndex']) : 0n
  return logs.every((line, i) => {
    if (!isObject(line) || line['removed'] === true) return false
    return readNumber(line['logIndex']) === first + BigInt(i)
  })
}

interface Sent {
  readonly blockHash: Hex | undefined
  readonly sender: Hex
  readonly nonce: bigint
  readonly to: Hex | undefined
  readonly value: bigint
  readonly input: Hex
}

function readSent(said: Json, hash: Hex): Sent | 'odd' | undefined {
  if (said === null) return undefined
  if (!isObject(said)) throw new Error('not a transaction')
  const { hash: found, blockHash, from, nonce, to, value, input } = said
  if (readHex(found) !== hash) throw new Error('another transaction')
  if ([from, nonce, value, input].some((one) => typeof one !== 'string')) return 'odd'
  return {
    blockHash: blockHash === null || blockHash === undefined ? undefined : readHex(blockHash),
    sender: readHex(from),
    nonce: readNumber(nonce),
    to: to === null || to === undefined ? undefined : readHex(to),
    value: readNumber(value),
    input: readHex(input),
  }
}

interface Block {
  readonly number: bigint
  readonly hash: Hex
  readonly time: bigint
  readonly transactions: ReadonlySet<Json>
}

function readBlock(said: Json): Block | undefined {
  if (said === null) return undefined
  if (!isObject(said)) throw new Error('not a block')
  const { number, hash, timestamp, transactions } = said
  if (!Array.isArray(transactions)) throw new Error('not a block')
  const list = transactions as readonly Json[]
  return {
    number: readNumber(number),
    hash: readHex(hash),
    time: readNumber(timestamp),
    transactions: new Set(list.map((one) => (typeof one === 'string' ? one.toLowerCase() : one))),
  }
}
