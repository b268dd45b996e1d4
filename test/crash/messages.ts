// What parent and children have in common.
import type { JsonObject } from '../../src/core/json.ts'
import type { Routes } from '../../src/adapters/routes.ts'
import type { Point } from './ports.ts'

/** What a child tells. */
export type Said = 'warm' | { readonly port: number } | { readonly bought: readonly Bought[] }

/** How one call of the paying child ended: what it was served, or why it was not. */
export type Bought = { readonly status: number; readonly text: string } | { readonly code: string }

/** What every child is started with. */
export interface Start {
  readonly directory: string
  readonly rpc: string
  readonly network: string
  readonly point: Point | undefined
  /** Which process of its books it is, from 1. */
  readonly life: number
  /** How far its clock is ahead: what a dead process held is free then. */
  readonly aheadMs: number
}

export interface SellerStart extends Start {
  readonly payTo: string
  readonly signer: string
  readonly refundSigner?: string
  /** A sale to give back as soon as the seller is open. */
  readonly refund?: { readonly offer: JsonObject; readonly payer: string }
}

export interface FacilitatorStart extends Start {
  readonly signer: string
}

export interface PayerStart extends Start {
  readonly url: string
  readonly signer: string
  /** Whether its wallet says that nobody sees what it signs before the books do. */
  readonly local: boolean
  /** How often it buys, one after the other. */
  readonly times: number
}

/** Names the process and the call in which a request was sent. */
export const ROUND = 'x-round'
/** What a paying child may spend: two prices. */
export const BUDGET = '0.02 USD'

/** Files in a child's directory. */
export const files = { notes: 'notes', books: 'books.db' } as const

/** The file of the calls that one life is made of. */
export function callsOf(life: number): string {
  return `calls-${life}`
}

/** The host is part of what is sold, and each child has a port of its own. */
export const ORIGIN = 'http://shop.test'
export const SECRET = 'Rk7vQ2mZc9Tb4XwJ8nLp5Hs1Gd6Yf3Ae'
/** 0.01 USDC. */
export const PRICE = 10_000n

const price = '0.01 USD'
export const routes: Routes = {
  'GET /plain': { price },
  'GET /kept': { price, keep: true },
  'GET /deferred': { price, settle: 'deferred' },
  'GET /first': { price, settle: 'before-work' },
  'GET /batch': { price },
}

/** How many the handler of `/batch` waits for, so that they are settled together, and for how long. */
export const BATCH = 6
export const GATHER_MS = 1_500
