// A stand-in for a chain as those see it who send transactions: accounts whose numbers must follow each other, a pool in
// which dearer bytes take the place of cheaper ones, and blocks that come undone.
import type { LocalAccount } from 'viem'
import type { Json } from '../../src/core/json.ts'
import { isObject, readJson } from '../../src/core/json.ts'
import { PaymentError } from '../../src/core/problem.ts'
import type { Hex } from '../../src/rails/evm/hex.ts'
import { quantity } from '../../src/rails/evm/hex.ts'
import type { Answer, Batch, Broadcast, Parse, Rpc } from '../../src/rails/evm/rpc.ts'
import type { Dice, Process, Scheduler, Weather } from '../../src/testing/faults.ts'

/** A signed transaction as the node reads it. */
interface Tx {
  readonly hash: Hex
  readonly sender: Hex
  readonly nonce: number
  readonly to: Hex
  readonly data: Hex
  readonly fee: bigint
}

interface Mined {
  readonly tx: Tx
  readonly ok: boolean
}

interface Block {
  readonly at: number
  readonly mined: readonly Mined[]
}

/** Tokens that went from the sender to somebody, in a block that still counts. */
export interface Moved {
  readonly hash: Hex
  readonly amount: bigint
}

export interface Node {
  readonly submit: (raw: Hex, hash: Hex) => Broadcast
  /** As somebody sees it that is so many blocks behind. */
  answer(method: string, params: readonly Json[], behind: number): Json | typeof REVERTED
  fund(account: Hex, amount: bigint): void
  /** What counts now of what was sent to that account. */
  movedTo(account: Hex): readonly Moved[]
  /** Whether it was once in a block, perhaps in one that came undone. */
  wasMined(hash: string): boolean
  readonly undone: ReadonlySet<string>
  /** Transactions that no block has taken yet. */
  waiting(): number
  reorganise(): void
  forget(): void
}

const BLOCK_MS = 2_000
const YOUNG_MS = 20_000
const DEPTH_MAX = 2
/** What a call that fails is answered. */
const REVERTED: unique symbol = Symbol('reverted')
/** The selector of `transfer(address,uint256)`. */
const TRANSFER = '0xa9059cbb'
const TRANSFER_TOPIC = '0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef'
/** What a block's gas costs, in wei, in quiet times. */
const BASE = 1_000_000_000

/** `inclusion` is how probable it is that a block takes a transaction that it could. */
export function createNode(scheduler: Scheduler, dice: Dice, inclusion: () => number): Node {
  const balances = new Map<string, bigint>()
  const pool = new Map<string, Tx>()
  const blocks: Block[] = []
  const ever = new Set<string>()
  const undone = new Set<string>()
  let base = BigInt(BASE)
  let planned = false

  const placeOf = ({ sender, nonce }: Pick<Tx, 'sender' | 'nonce'>): string => `${sender}/${nonce}`
  const balance = (account: string): bigint => balances.get(account) ?? 0n
  const minedUntil = (height: number): readonly Mined[] =>
    blocks.slice(0, height).flatMap(({ mined }) => mined)
  const used = (sender: string, height = blocks.length): number =>
    minedUntil(height).filter(({ tx }) => tx.sender === sender).length

  function plan(): void {
    if (planned || pool.size === 0) return
    planned = true
    scheduler.plan(BLOCK_MS * (0.5 + dice.next()), 'node block', () => {
      planned = false
      mine()
      plan()
    })
  }

  function mine(): void {
    base = BigInt(Math.floor(BASE * (dice.happens(0.1) ? 1 + 4 * dice.next() : 1)))
    const mined: Mined[] = []
    blocks.push({ at: scheduler.now(), mined })
    for (const sender of new Set([...pool.values()].map((tx) => tx.sender)))
      for (let next = nextOf(sender); next; next = nextOf(sender)) {
        pool.delete(placeOf(next))
        ever.add(next.hash)
        undone.delete(next.hash)
        mined.push({ tx: next, ok: run(next) })
      }
  }

  function nextOf(sender: Hex): Tx | undefined {
    const next = pool.get(placeOf({ sender, nonce: used(sender) }))
    return next && next.fee >= base && dice.happens(inclusion()) ? next : undefined
  }

  function run({ sender, data }: Tx): boolean {
    const transfer = readTransfer(data)
    if (!transfer) return true
    if (balance(sender) < transfer.amount) return false
    move(sender, transfer.to, transfer.amount)
    return true
  }

  function move(from: string, to: string, amount: bigint): void {
    balances.set(from, balance(from) - amount)
    balances.set(to, balance(to) + amount)
  }

  function undo({ mined }: Block): void {
    for (const { tx, ok } of mined.toReversed()) {
      undone.add(tx.hash)
      const transfer = readTransfer(tx.data)
      if (ok && transfer) move(transfer.to, tx.sender, transfer.amount)
      if (dice.happens(0.7) && !pool.has(placeOf(tx))) pool.set(placeOf(tx), tx)
    }
  }

  function count(sender: string, tag: Json | undefined, behind: number): number {
    if (tag === 'finalized') {
      const old = blocks.filter(({ at }) => scheduler.now() - at > YOUNG_MS).length
      return used(sender, old)
    }
    if (tag !== 'pending') return used(sender, blocks.length - behind)
    let next = used(sender)
    while (pool.has(`${sender}/${next}`)) next++
    return next
  }

  function receipt(hash: Json | undefined, behind: number): Json {
    const height = blocks.findIndex(({ mined }) => mined.some(({ tx }) => tx.hash === hash))
    const found = blocks[height]?.mined.find(({ tx }) => tx.hash === hash)
    if (!found || height >= blocks.length - behind) return null
    const { tx, ok } = found
    const transfer = readTransfer(tx.data)
    const line = transfer && {
      address: tx.to,
      topics: [TRANSFER_TOPIC, wide(tx.sender), wide(transfer.to)],
      data: `0x${transfer.amount.toString(16).padStart(64, '0')}`,
    }
    return {
      transactionHash: tx.hash,
      status: ok ? '0x1' : '0x0',
      blockNumber: quantity(height),
      blockHash: wide(quantity(blocks[height]?.at ?? 0)),
      logs: line && ok ? [line] : [],
      gasUsed: '0x1',
      effectiveGasPrice: '0x1',
    }
  }

  return {
    submit(raw, hash) {
      const tx = readTx(raw, hash)
      if (blocks.some(({ mined }) => mined.some((one) => one.tx.hash === hash))) return 'accepted'
      if (tx.nonce < used(tx.sender)) return { refused: 'nonce' }
      const there = pool.get(placeOf(tx))
      if (there?.hash === hash) return 'accepted'
      // A replacement pays a tenth more.
      if (there && tx.fee * 10n < there.fee * 11n) return { refused: 'nonce' }
      pool.set(placeOf(tx), tx)
      plan()
      return 'accepted'
    },
    answer(method, [first, tag], behind) {
      switch (method) {
        case 'eth_getTransactionCount':
          return quantity(count(textOf(first), tag, behind))
        case 'eth_feeHistory':
          return { baseFeePerGas: [quantity(base)], reward: [['0xf4240']] }
        case 'eth_getTransactionReceipt':
          return receipt(first, behind)
        case 'eth_getTransactionByHash': {
          const waits = [...pool.values()].some(({ hash }) => hash === first)
          return waits || receipt(first, behind) !== null ? { hash: first ?? null } : null
        }
        case 'eth_call': {
          if (!isObject(first)) return REVERTED
          const transfer = readTransfer(textOf(first['data']))
          const enough = transfer && balance(textOf(first['from'])) >= transfer.amount
          return enough ? '0x01' : REVERTED
        }
        case 'eth_blockNumber':
          return quantity(Math.max(0, blocks.length - behind))
        case 'eth_getBalance':
          return '0xffff'
        default:
          throw new Error(`${method} is not asked here.`)
      }
    },
    fund: (account, amount) => void balances.set(account, balance(account) + amount),
    movedTo: (account) =>
      minedUntil(blocks.length).flatMap(({ tx, ok }) => {
        const transfer = ok ? readTransfer(tx.data) : undefined
        return transfer?.to === account ? [{ hash: tx.hash, amount: transfer.amount }] : []
      }),
    wasMined: (hash) => ever.has(hash),
    undone,
    waiting: () => pool.size,
    reorganise() {
      for (let depth = 1 + dice.below(DEPTH_MAX); depth > 0; depth--) {
        const last = blocks.at(-1)
        if (!last || scheduler.now() - last.at > YOUNG_MS) break
        blocks.pop()
        undo(last)
      }
      plan()
    },
    forget() {
      const [any] = pool.keys()
      if (any !== undefined) pool.delete(any)
    },
  }
}

/** An account that signs in the node's own way. */
export function createSender(address: Hex): LocalAccount {
  const signTransaction = async (tx: {
    readonly nonce: number
    readonly to: Hex
    readonly data: Hex
    readonly maxFeePerGas: bigint
  }): Promise<Hex> => {
    const { nonce, to, data, maxFeePerGas: fee } = tx
    const text = JSON.stringify({ sender: address, nonce, to, data, fee: `${fee}` })
    return `0x${Buffer.from(text).toString('hex')}`
  }
  return { address, signTransaction } as unknown as LocalAccount
}

function readTx(raw: Hex, hash: Hex): Tx {
  const said = readJson(Buffer.from(raw.slice(2), 'hex').toString(), 10_000)
  if (!isObject(said)) throw new Error('These are no bytes of ours.')
  const { sender, nonce, to, data, fee } = said
  return {
    hash,
    sender: sender as Hex,
    nonce: Number(nonce),
    to: to as Hex,
    data: data as Hex,
    fee: BigInt(textOf(fee)),
  }
}

function readTransfer(data: string): { readonly to: Hex; readonly amount: bigint } | undefined {
  if (!data.startsWith(TRANSFER)) return undefined
  return { to: `0x${data.slice(34, 74)}`, amount: BigInt(`0x${data.slice(74)}`) }
}

function textOf(said: Json | undefined): string {
  return typeof said === 'string' ? said : ''
}

function wide(hex: Hex): Hex {
  return `0x${hex.slice(2).padStart(64, '0')}`
}

/** What a process asks nodes with. */
export interface Line {
  readonly process: Process
  readonly node: Node
  readonly dice: Dice
  readonly weather: Weather
  readonly stale: () => number
}

/** The node, asked over a line that may be down, slow, or lead to one that is behind. */
export function createLine({ process, node, dice, weather, stale }: Line): Rpc {
  const fault = (): Error => new PaymentError('rail-unavailable', 'The node is down.')

  const put = <T>(what: string, work: () => T): Promise<T> =>
    process.effect({ what: `node.${what}`, work, fault, weather })

  function ask<T>(method: string, params: readonly Json[], parse: Parse<T>): Promise<Answer<T>> {
    const behind = dice.happens(stale()) ? 1 : 0
    return put(method.slice(4), () => {
      const said = node.answer(method, params, behind)
      return said === REVERTED ? { reverted: 'execution reverted' } : { result: parse(said) }
    })
  }

  async function read<T>(method: string, params: readonly Json[], parse: Parse<T>): Promise<T> {
    const answer = await ask(method, params, parse)
    if ('result' in answer) return answer.result
    throw fault()
  }

  const batch: Batch = async (questions, parse) =>
    parse(
      await Promise.all(
        questions.map(([method, params]) => read(method, params, (said): Json => said)),
      ),
    )

  return {
    open: () => Promise.resolve(),
    close: () => undefined,
    ask,
    read,
    batch,
    many: (method, list, parse) =>
      Promise.all(list.map((params, i) => read(method, params, (said) => parse(said, i)))),
    each: (count, work) => Promise.all(Array.from({ length: count }, () => work(read, batch))),
    // Without an answer a node may have it.
    broadcast: (raw, hash) =>
      put(`send ${hash.slice(-8)}`, () => node.submit(raw, hash)).catch(() => 'unclear'),
  }
}
