// What the processes of a soak have in common.
import type { Routes } from '../../src/adapters/routes.ts'

/** What every process is started with. */
export interface Start {
  readonly directory: string
  readonly seed: number
  /** Share of its store's calls that fail. */
  readonly share: number
  readonly rpc: string
  readonly network: string
  /** How far its clock is ahead: what a dead process of its books held is free then. */
  readonly aheadMs: number
}

export interface SellerStart extends Start {
  readonly payTo: string
  readonly signers: readonly string[]
  /** How buyers write its address. */
  readonly origin: string
  /** Where its facilitator is; without one it settles by itself. */
  readonly facilitator?: string
}

export interface FacilitatorStart extends Start {
  readonly signer: string
}

export interface BuyersStart extends Start {
  /** Sellers' origins. */
  readonly origins: readonly string[]
  readonly keys: readonly string[]
}

/** How much a process holds, after collecting what is garbage. */
export interface Memory {
  readonly rssBytes: number
  readonly heapBytes: number
}

/** What a process tells. */
export type Said =
  | { readonly port: number }
  | { readonly memory: Memory }
  | { readonly done: Readonly<Record<string, number>> }

/** What a process is told after its start: nothing fails any more, and later: end. */
export type Word = 'calm' | 'stop'

/**
 * A line of a buyer's diary. `asked`, `head` and `died` are written before what follows is known; the others end a purchase:
 * `served` with the whole answer, `cut` when only its head came, `gone` for "delivered before", `refused`.
 */
export interface Line {
  readonly by: number
  readonly n: number
  readonly url: string
  readonly what: 'asked' | 'head' | 'died' | 'served' | 'cut' | 'gone' | 'refused'
  readonly text?: string
  readonly at: number
}

/** Files in a process's directory. */
export const files = { books: 'books.db', diary: 'diary.jsonl', unkept: 'unkept', kept: 'kept' }

/** 0.01 USDC. */
export const PRICE = 10_000n
const price = '0.01 USD'
export const routes: Routes = {
  'GET /kept': { price, keep: true },
  'GET /plain': { price },
  'GET /deferred': { price, settle: 'deferred', keep: true },
  'GET /first': { price, settle: 'before-work', keep: true },
}
/** Paths that buyers choose from. */
export const PATHS = ['/kept', '/plain', '/deferred', '/first'] as const
/** How long work may take: short, so that a claim whose maker died is soon free. */
export const WORK_MS = 2_000
