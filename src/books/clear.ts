import { hash } from 'node:crypto'
import type { Clock, Held, Ledger, Transfer } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { classOf } from './chart.ts'

/** Longest reason, and longest name of who says so. */
export const WORDS_CHARS_MAX = 1_000
/** Longest name of an account. */
const ACCOUNT_CHARS_MAX = 512
/** How long the claim is its maker's: it is posted at once. */
const LEASE_MS = 60_000

/** What is to be booked away: what it was is said by a person, and stands in the books with his name. */
export interface Clearing {
  /** The account of a difference: `suspense/…`, `world/missing/…` or `world/losses/…`. */
  readonly from: string
  readonly to: string
  readonly asset: string
  /** In the smallest unit, above zero; all that stands there if absent. */
  readonly amount?: bigint
  readonly reason: string
  /** Who says so. */
  readonly by: string
  /** Letters, digits and `._:-`, at most 128. The same order under the same key is carried out once. */
  readonly idempotencyKey: string
}

/** What became of it. */
export type Cleared =
  | { readonly kind: 'booked'; readonly key: string; readonly amount: bigint }
  | {
      readonly kind: 'denied'
      readonly code: 'order-invalid' | 'order-conflict' | 'amount-exceeded'
      readonly detail: string
    }

/** Which accounts a difference may go to, by where it stands. */
const ways: readonly (readonly [from: string, to: readonly string[]])[] = [
  ['suspense/', ['sales/', 'income/', 'equity/']],
  [`${WORLD}missing/`, [`${WORLD}written-off/`]],
  [`${WORLD}losses/`, [`${WORLD}written-off/`]],
]

/**
 * Books a difference away, in double entry: money that nobody could explain goes to where it belongs, what is missing is
 * written off. Never more than stands there, and once for each key; the row in the journal says who wanted it and why.
 */
export async function clear(
  { ledger, clock }: { readonly ledger: Ledger; readonly clock: Clock },
  order: Clearing,
): Promise<Cleared> {
  const wrong = wrongIn(order)
  if (wrong !== undefined) return denied('order-invalid', wrong)
  const key = `booking/${order.idempotencyKey}`
  const before = await ledger.find(key)
  if (before && before.state !== 'voided') return await same(ledger, before, order)
  const amount = order.amount ?? (await standing(ledger, order))
  if (amount <= 0n) return exceeded
  const made = await ledger.transfer(transferOf(order, key, amount, clock.now() + LEASE_MS))
  if (made.outcome === 'insufficient') return exceeded
  if (made.outcome !== 'made') return await same(ledger, made.held, order)
  await ledger.post(key, undefined, undefined, made.claim)
  return { kind: 'booked', key, amount }
}

/** Whoever has died before it was posted is followed by the same order. */
async function same(ledger: Ledger, held: Held, order: Clearing): Promise<Cleared> {
  if (held.purpose !== purposeOf(order))
    return denied('order-conflict', 'This key was used for another booking. Choose a new one.')
  if (held.state === 'pending') await ledger.post(held.key)
  return { kind: 'booked', key: held.key, amount: held.amount }
}

/** What stands there, above zero where it is ours and where it is missing alike. */
async function standing(ledger: Ledger, { from, asset }: Clearing): Promise<bigint> {
  const all = await ledger.balances(from)
  const { posted = 0n, pending = 0n } = all.find((one) => one.asset === asset) ?? {}
  return isOutside(from) ? -posted - pending : posted + pending
}

function transferOf(order: Clearing, key: string, amount: bigint, leaseUntilAt: number): Transfer {
  const { from, to, asset, reason, by } = order
  // An account of the outside may be overdrawn, but what is missing must not become too much: hence the ceiling.
  const leg = isOutside(from)
    ? { debit: to, credit: from, ceiling: 0n }
    : { debit: from, credit: to }
  const note = { kind: 'booking', from, to, reason, by }
  return { key, purpose: purposeOf(order), asset, amount, legs: [leg], leaseUntilAt, note }
}

function purposeOf({ from, to, asset, amount }: Clearing): string {
  const words = [from, to, asset, amount === undefined ? 'all' : `${amount}`]
  return `booking ${hash('sha256', JSON.stringify(words), 'base64url')}`
}

function wrongIn({ from, to, reason, by, amount, idempotencyKey }: Clearing): string | undefined {
  const [, goals] = ways.find(([prefix]) => from.startsWith(prefix)) ?? []
  if (!goals) return 'Only suspense, what is missing and losses are booked away.'
  const goal = goals.find((prefix) => to.startsWith(prefix) && to.length > prefix.length)
  if (goal === undefined || to.length > ACCOUNT_CHARS_MAX || /\p{Cc}/u.test(to))
    return `From there it goes to an account that begins with ${goals.join(' or ')}: ${goals
      .map((prefix) => classOf(prefix).means)
      .join('; ')}.`
  if (amount !== undefined && amount <= 0n) return 'An amount above zero is booked.'
  if (!isSaid(reason)) return 'Say why: the books keep it.'
  if (!isSaid(by)) return 'Say who wants it: the books keep it.'
  if (!/^[\w.:-]{1,128}$/.test(idempotencyKey))
    return 'Name the order: up to 128 letters, digits and ._:- as its idempotency key.'
  return undefined
}

function isSaid(text: string): boolean {
  return text.trim() !== '' && text.length <= WORDS_CHARS_MAX && text.isWellFormed()
}

function isOutside(account: string): boolean {
  return account.startsWith(WORLD)
}

function denied(code: 'order-invalid' | 'order-conflict', detail: string): Cleared {
  return { kind: 'denied', code, detail }
}

const exceeded: Cleared = {
  kind: 'denied',
  code: 'amount-exceeded',
  detail: 'So much does not stand there. Look at the account: it may have been booked already.',
}
