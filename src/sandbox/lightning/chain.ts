import { systemClock } from '../../core/clock.ts'
import type { Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Coin, Output } from './transaction.ts'
import {
  coinbase,
  hash256,
  listOf,
  openScript,
  readTransaction,
  reversed,
  spendOpen,
  u32,
} from './transaction.ts'

/** The first block of regtest, from which every chain of it starts. */
const GENESIS = '0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206'
/** The easiest target there is, as a header says it, and as its first bytes: every second try meets it. */
const TARGET_BITS = 0x207fffff
/** What a block brings whoever makes it. */
const SUBSIDY_SAT = 5_000_000_000n
/** How old the last block may be before time asks for the next one: as on the real chain. */
const BLOCK_MS = 600_000
/** What a transaction of {@link Chain.fund} pays for being mined. */
const FEE_SAT = 1_000n

/** Whoever follows the chain: each block whole, in its order. */
export type Follower = (block: Uint8Array, height: number) => void

/**
 * A simulated chain in the form of regtest: blocks, headers with their work, and ids are as on the real one. It runs no
 * scripts; it checks that what is spent is there and was not spent before. Blocks come when they are asked for.
 */
export interface Chain {
  height(): number
  /** Ids of what waits for the next block. */
  waiting(): readonly string[]
  /** Tells all blocks so far and then each new one. Gives the way to stop. */
  follow(follower: Follower): () => void
  /** Takes a transaction for the next block and gives its id. @throws {PaymentError} when it spends what is not there. */
  submit(raw: Uint8Array): string
  /** A transaction that pays these from what blocks have brought; it waits to be submitted. The first output stands first. */
  fund(outputs: readonly Output[]): Uint8Array
  mine(blocks?: number): void
  /**
   * By how many whole seconds the last block is older than that time, in milliseconds. The nodes know no other clock than
   * the chain's. Where it is older than ten minutes, a block is made first.
   */
  lagS(now: number): number
}

/** A new chain, whose blocks bear the clock's time. */
export function createChain(clock: Clock = systemClock): Chain {
  const blocks: Buffer[] = []
  const followers = new Set<Follower>()
  const waiting = new Map<string, Uint8Array>()
  /** What can be spent: in blocks, or waiting. */
  const coins = new Set<string>()
  const purse: (Coin & { readonly sat: bigint })[] = []
  let tip: Buffer = reversed(GENESIS)
  let tipAtS = 0

  function submit(raw: Uint8Array): string {
    const { id, inputs, outputs } = readTransaction(raw)
    if (waiting.has(id)) return id
    const missing = inputs.map(keyOf).find((key) => !coins.has(key))
    if (missing !== undefined)
      throw new PaymentError('settlement-failed', `${missing} is not there, or was spent before.`)
    for (const coin of inputs) coins.delete(keyOf(coin))
    for (const index of outputs.keys()) coins.add(keyOf({ id, index }))
    waiting.set(id, raw)
    return id
  }

  function fund(outputs: readonly Output[]): Uint8Array {
    const [coin] = purse
    if (!coin) throw new PaymentError('funds-insufficient', 'No block has been mined for this.')
    const change = outputs.reduce((left, { sat }) => left - sat, coin.sat - FEE_SAT)
    if (change < 0n)
      throw new PaymentError('funds-insufficient', `A block brings ${SUBSIDY_SAT} satoshis.`)
    purse.shift()
    const raw = spendOpen([coin], [...outputs, { script: openScript, sat: change }])
    purse.push({ id: readTransaction(raw).id, index: outputs.length, sat: change })
    return raw
  }

  function mineOne(): void {
    const height = blocks.length + 1
    const first = coinbase(height, { script: openScript, sat: SUBSIDY_SAT })
    const { id } = readTransaction(first)
    const root = rootOf([id, ...waiting.keys()])
    tipAtS = Math.max(tipAtS, Math.floor(clock.now() / 1000))
    const header = workOn(Buffer.concat([u32(0x20000000), tip, root]), tipAtS)
    const block = Buffer.concat([header, listOf([first, ...waiting.values()])])
    tip = hash256(header)
    blocks.push(block)
    waiting.clear()
    coins.add(keyOf({ id, index: 0 }))
    purse.push({ id, index: 0, sat: SUBSIDY_SAT })
    for (const follower of followers) follower(block, height)
  }

  return {
    height: () => blocks.length,
    waiting: () => [...waiting.keys()],
    follow(follower) {
      for (const [index, block] of blocks.entries()) follower(block, index + 1)
      followers.add(follower)
      return () => void followers.delete(follower)
    },
    submit,
    fund,
    mine(count = 1) {
      for (let i = 0; i < count; i++) mineOne()
    },
    lagS(now) {
      if (now - 1000 * tipAtS > BLOCK_MS) mineOne()
      return Math.max(0, Math.floor(now / 1000) - tipAtS)
    },
  }
}

function keyOf({ id, index }: Coin): string {
  return `${id}:${index}`
}

/** The root of the tree over the ids of a block's transactions; an odd one out is paired with itself. */
function rootOf(ids: readonly string[]): Buffer {
  let row = ids.map(reversed)
  while (row.length > 1) {
    const pairs = row.filter((_, index) => index % 2 === 0)
    row = pairs.map((left, index) => hash256(Buffer.concat([left, row[2 * index + 1] ?? left])))
  }
  return row[0] ?? Buffer.alloc(32)
}

/** Counts up the nonce until the hash lies below the target: its highest bit, the last one stored, is zero. */
function workOn(start: Buffer, timeS: number): Buffer {
  for (let nonce = 0; ; nonce++) {
    const end = Buffer.concat([u32(timeS), u32(TARGET_BITS), u32(nonce)])
    const header = Buffer.concat([start, end])
    if ((hash256(header).at(-1) ?? 0xff) < 0x7f) return header
  }
}
