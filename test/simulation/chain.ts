// A stand-in for a chain with one EIP-3009 token: balances, authorizations that can be used once, a pool, blocks, and
// blocks that come undone. It is the truth that the books are held against.
import { hash } from 'node:crypto'
import type { Proof } from '../../src/rails/evm/proof.ts'
import type { Dice, Scheduler } from '../../src/testing/faults.ts'

/** A transaction. An authorization may stand in many, and moves money in one. */
export type Tx =
  | { readonly hash: string; readonly kind: 'pay'; readonly proof: Proof }
  | {
      readonly hash: string
      readonly kind: 'cancel'
      readonly from: string
      readonly nonce: string
    }
  | {
      readonly hash: string
      readonly kind: 'move'
      readonly from: string
      readonly to: string
      readonly amount: bigint
    }

/** What became of an authorization. */
export interface Use {
  readonly height: number
  readonly at: number
  readonly hash: string
  /** False when it was cancelled. */
  readonly moved: boolean
  readonly proof?: Proof
}

/** What a node tells: the chain as it was at some height. */
export interface Look {
  readonly used: Use | undefined
  readonly balance: bigint
  /** Time of the block, in milliseconds. */
  readonly at: number
}

interface Block {
  readonly at: number
  readonly txs: readonly Tx[]
  readonly receipts: ReadonlyMap<string, boolean>
  readonly before: ReadonlyMap<string, bigint>
  readonly uses: readonly string[]
}

export interface Chain {
  submit(tx: Tx): void
  /** As a node sees it that is so many blocks behind. */
  look(from: string, nonce: string, behind?: number): Look
  /** Whether the transaction did what it says; undefined while it is in no block. */
  receipt(hash: string, behind?: number): { readonly ok: boolean; readonly at: number } | undefined
  fund(account: string, amount: bigint): void
  balance(account: string): bigint
  /** Undoes the last blocks if they are young; their transactions go back to the pool, or are forgotten. */
  reorganise(): boolean
  /** The pool forgets a transaction. */
  forget(): boolean
  /** Everything in the pool as of now. */
  pool(): readonly Tx[]
  /** Authorizations that moved money and still count. */
  paid(): ReadonlyMap<string, Use>
  /** Authorizations that once moved money, and came undone. */
  readonly undone: ReadonlySet<string>
  /** How many blocks came undone. */
  readonly depth: number
  /** Whether it ever moved money, also if that came undone. */
  everPaid(from: string, nonce: string): boolean
  readonly total: bigint
  supply(): bigint
}

/** Time between blocks. */
const BLOCK_MS = 2_000
/** How old a block may be and still come undone. */
const YOUNG_MS = 20_000
/** How many blocks may come undone at once. */
const DEPTH_MAX = 2

export const idOf = (from: string, nonce: string): string => `${from}/${nonce}`

/** The stand-in's signature: only who knows the account's secret could have made it. */
export function signatureOf(proof: Omit<Proof, 'signature'>): `0x${string}` {
  const { from, to, value, validAfter, validBefore, nonce } = proof
  const text = ['secret of', from, to, value, validAfter, validBefore, nonce].join(' ')
  return `0x${hash('sha256', text, 'hex')}${'00'.repeat(33)}`
}

/** `inclusion` is how probable it is that a block takes a transaction of the pool. */
export function createChain(scheduler: Scheduler, dice: Dice, inclusion: () => number): Chain {
  const balances = new Map<string, bigint>()
  const uses = new Map<string, Use>()
  const ever = new Set<string>()
  const undone = new Set<string>()
  const known = new Map<string, Tx>()
  const blocks: Block[] = []
  let pool: Tx[] = []
  let total = 0n
  let planned = false
  let depthOfAll = 0

  const balance = (account: string): bigint => balances.get(account) ?? 0n

  function move(from: string, to: string, amount: bigint): boolean {
    if (balance(from) < amount) return false
    balances.set(from, balance(from) - amount)
    balances.set(to, balance(to) + amount)
    return true
  }

  function plan(): void {
    if (planned || pool.length === 0) return
    planned = true
    scheduler.plan(BLOCK_MS * (0.5 + dice.next()), 'chain block', () => {
      planned = false
      mine()
      plan()
    })
  }

  function mine(): void {
    const taken = pool.filter(() => dice.happens(inclusion()))
    pool = pool.filter((tx) => !taken.includes(tx))
    const before = new Map(balances)
    const receipts = new Map<string, boolean>()
    const used: string[] = []
    for (const tx of taken.toSorted(() => dice.next() - 0.5)) receipts.set(tx.hash, run(tx, used))
    blocks.push({ at: scheduler.now(), txs: taken, receipts, before, uses: used })
  }

  function run(tx: Tx, used: string[]): boolean {
    if (tx.kind === 'move') return move(tx.from, tx.to, tx.amount)
    const { from, nonce } = tx.kind === 'pay' ? tx.proof : tx
    const id = idOf(from, nonce)
    if (uses.has(id)) return false
    if (tx.kind === 'pay' && !pays(tx.proof)) return false
    const proof = tx.kind === 'pay' && { proof: tx.proof }
    uses.set(id, {
      height: blocks.length,
      at: scheduler.now(),
      hash: tx.hash,
      moved: tx.kind === 'pay',
      ...proof,
    })
    used.push(id)
    if (tx.kind === 'cancel') return true
    ever.add(id)
    undone.delete(id)
    return true
  }

  function pays(proof: Proof): boolean {
    const at = BigInt(Math.floor(scheduler.now() / 1000))
    if (signatureOf(proof) !== proof.signature) return false
    if (at <= proof.validAfter || at >= proof.validBefore) return false
    return move(proof.from, proof.to, proof.value)
  }

  function undo(block: Block): void {
    balances.clear()
    for (const [account, amount] of block.before) balances.set(account, amount)
    for (const id of block.uses) {
      if (uses.get(id)?.moved) undone.add(id)
      uses.delete(id)
    }
    pool.push(...block.txs.filter(() => dice.happens(0.8)))
  }

  const heightAt = (behind: number): number => blocks.length - 1 - behind

  return {
    submit(tx) {
      const there = pool.some(({ hash }) => hash === tx.hash)
      if (there || blocks.some(({ receipts }) => receipts.has(tx.hash))) return
      known.set(tx.hash, tx)
      pool.push(tx)
      plan()
    },
    look(from, nonce, behind = 0) {
      const height = heightAt(behind)
      const use = uses.get(idOf(from, nonce))
      return {
        used: use && use.height <= height ? use : undefined,
        balance: balance(from),
        // Empty blocks are not kept: a node that is not behind has a block of this very moment.
        at: behind === 0 ? scheduler.now() : (blocks[height]?.at ?? 0),
      }
    },
    receipt(hash, behind = 0) {
      const height = blocks.findIndex(({ receipts }) => receipts.has(hash))
      const block = blocks[height]
      if (!block || height > heightAt(behind)) return undefined
      return { ok: block.receipts.get(hash) === true, at: block.at }
    },
    fund(account, amount) {
      balances.set(account, balance(account) + amount)
      total += amount
    },
    balance,
    reorganise() {
      let depth = 1 + dice.below(DEPTH_MAX)
      let any = false
      for (; depth > 0; depth--) {
        const last = blocks.at(-1)
        if (!last || scheduler.now() - last.at > YOUNG_MS) break
        blocks.pop()
        depthOfAll++
        undo(last)
        any = true
      }
      plan()
      return any
    },
    forget() {
      if (pool.length === 0) return false
      pool.splice(dice.below(pool.length), 1)
      return true
    },
    pool: () => pool,
    paid: () => new Map([...uses].filter(([, { moved }]) => moved)),
    undone,
    get depth() {
      return depthOfAll
    },
    everPaid: (from, nonce) => ever.has(idOf(from, nonce)),
    get total() {
      return total
    },
    supply: () => [...balances.values()].reduce((sum, amount) => sum + amount, 0n),
  }
}
