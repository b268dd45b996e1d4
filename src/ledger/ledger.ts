import { assert } from '../core/assert.ts'
import type { Balance, Claim, Held, Ledger, Row, Step, Transfer } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { canonical } from '../core/json.ts'
import { PaymentError } from '../core/problem.ts'
import type { Entry, Page, Standing } from './page.ts'
import { isAmount, readData, readMade, STEPS_MAX, toRow, writeMade } from './row.ts'
import type { Draft } from './row.ts'

/** A step as the verbs take it: its data is JSON text. */
export interface Mark {
  readonly type: string
  readonly data: string
}

type Answer<V extends keyof Ledger> = Awaited<ReturnType<Ledger[V]>>

/** The reason of a void that makes room for a new claim. */
const LEASE_EXPIRED = 'lease-expired'

/**
 * Claims the key and holds the amount on every leg, or on none.
 *
 * - A key that stands (posted; or pending, and its lease runs or something is written ahead) is `replayed` when purpose,
 *   asset, amount and the accounts of the legs are the same, `foreign` when they are not. Ceilings are a condition of
 *   making, not part of what was made, and are not compared.
 * - A voided key is free. So is a pending one whose lease ran out without a step: it is voided, and stays so even if
 *   the new claim is then `insufficient`.
 * - With all legs counted, an account outside `world/` may hold back no more than it owns: credits posted − debits
 *   posted − debits pending ≥ 0. Credits pending are no funds.
 * - With all legs counted, a leg's ceiling holds for its credit account: credits posted − debits posted + credits
 *   pending ≤ ceiling. Debits pending make no room.
 * - `insufficient` names the first account at fault: legs in their order, debit before credit.
 */
export function transfer(page: Page, draft: Draft, at: number): Claim {
  const given = readMade(draft.key, readData(draft.data))
  const before = page.entry(draft.key)
  if (before && stands(before, at))
    return { outcome: same(before, given) ? 'replayed' : 'foreign', held: toHeld(page, before) }
  const data = writeMade(given, canonical(given.note))
  if (before?.state === 'pending') release(page, before, LEASE_EXPIRED, at)
  shift(page, given, 0n, given.amount)
  const account = shortfall(page, given)
  if (account === undefined) return make(page, given, data, at)
  shift(page, given, 0n, -given.amount)
  return { outcome: 'insufficient', account }
}

/**
 * Appends a step.
 * @throws {PaymentError} `payment-in-flight` when the key is voided or absent: the caller has lost its claim.
 */
export function step(page: Page, key: string, mark: Mark, at: number, claim?: number): void {
  const entry = page.entry(key)
  if (!entry || entry.state === 'voided' || isLost(entry, claim))
    throw new PaymentError(
      'payment-in-flight',
      `The claim on ${key} is lost: it is not held any more.`,
    )
  checkRoom(entry)
  note(page, entry, mark, canonical(readData(mark.data)), at)
}

/** What is posted, by whom and when. */
export interface Posting {
  readonly key: string
  readonly amount: bigint | undefined
  readonly mark: Mark | undefined
  readonly at: number
  readonly claim: number | undefined
}

/** Posts the amount on every leg and releases the rest. Whatever is not `posted` has written nothing, no step either. */
export function post(page: Page, { key, amount, mark, at, claim }: Posting): Answer<'post'> {
  const entry = page.entry(key)
  if (!entry) return 'absent'
  if (isLost(entry, claim)) return 'lost'
  if (entry.state !== 'pending') return entry.state === 'posted' ? 'replayed' : 'voided'
  const posted = amount ?? entry.amount
  assert(isAmount(posted) && posted <= entry.amount, 'no more is posted than was held')
  if (mark) checkRoom(entry)
  const data = mark && canonical(readData(mark.data))
  shift(page, entry, posted, -entry.amount)
  page.append(at, key, 'posted', canonical({ amount: `${posted}` }))
  const done: Entry = { ...entry, state: 'posted', posted }
  page.put(done)
  if (mark && data !== undefined) note(page, done, mark, data, at)
  return 'posted'
}

/** Releases what was held. */
export function voidTransfer(
  page: Page,
  key: string,
  reason: string,
  at: number,
  claim?: number,
): Answer<'void'> {
  const entry = page.entry(key)
  if (!entry) return 'absent'
  if (isLost(entry, claim)) return 'lost'
  if (entry.state !== 'pending') return entry.state === 'voided' ? 'replayed' : 'posted'
  release(page, entry, reason, at)
  return 'voided'
}

/** Voids what was claimed, has run out, and has nothing written ahead. Nobody can have prepared it meanwhile. */
export function expire(page: Page, key: string, claim: number, at: number): boolean {
  const entry = page.entry(key)
  if (entry?.state !== 'pending' || isLost(entry, claim) || stands(entry, at)) return false
  release(page, entry, LEASE_EXPIRED, at)
  return true
}

/** The transfer under the key. */
export function find(page: Page, key: string): Held | undefined {
  const entry = page.entry(key)
  return entry && toHeld(page, entry)
}

/** Pending transfers, oldest first; with a purpose only those for it, and only their steps are read. */
export function pending(page: Page, purpose: string | undefined): readonly Held[] {
  page.flush()
  return page.store.pending().flatMap((key) => {
    const entry = page.entry(key)
    assert(entry?.state === 'pending', `${key} is pending in the list of the pending`)
    return purpose === undefined || entry.purpose === purpose ? [toHeld(page, entry)] : []
  })
}

/** Transfers whose keys begin with the prefix, in the order of the keys. */
export function under(page: Page, prefix: string, after: string, limit: number): readonly Held[] {
  page.flush()
  return page.store.keys(prefix, after, limit).map((key) => {
    const entry = page.entry(key)
    assert(entry, `${key} is in the list of the keys`)
    return toHeld(page, entry)
  })
}

/** Accounts that stand elsewhere than at zero. */
export function balances(page: Page, account?: string): readonly Balance[] {
  page.flush()
  return page.store.standings(account).map(toBalance).filter(isOpen)
}

/** Rows after a sequence number. */
export function journal(page: Page, after: number, limit: number): readonly Row[] {
  page.flush()
  return page.store.lines(after, limit).map(toRow)
}

/** An account's standing as the port shows it: held credits less held debits are pending. */
function toBalance({ account, asset, posted, debits, credits }: Standing): Balance {
  return { account, asset, posted, pending: credits - debits }
}

/** Whether there is anything to tell of the account. */
function isOpen(balance: Balance): boolean {
  return balance.posted !== 0n || balance.pending !== 0n
}

function stands(entry: Entry, at: number): boolean {
  if (entry.state !== 'pending') return entry.state === 'posted'
  return entry.leaseUntilAt > at || entry.steps.length > 0
}

function same(entry: Entry, given: Transfer): boolean {
  return (
    entry.purpose === given.purpose &&
    entry.asset === given.asset &&
    entry.amount === given.amount &&
    entry.legs.length === given.legs.length &&
    entry.legs.every(
      ({ debit, credit }, i) => debit === given.legs[i]?.debit && credit === given.legs[i]?.credit,
    )
  )
}

function make(page: Page, given: Transfer, data: string, at: number): Claim {
  const { sequence } = page.append(at, given.key, 'made', data)
  page.put({ ...given, made: sequence, madeAt: at, state: 'pending', posted: 0n, steps: [] })
  return { outcome: 'made', claim: sequence }
}

/** Whether somebody else has made the key since. */
function isLost({ made }: Entry, claim: number | undefined): boolean {
  return claim !== undefined && claim !== made
}

function release(page: Page, entry: Entry, reason: string, at: number): void {
  shift(page, entry, 0n, -entry.amount)
  page.append(at, entry.key, 'voided', canonical({ reason }))
  page.put({ ...entry, state: 'voided' })
}

function note(page: Page, entry: Entry, { type }: Mark, data: string, at: number): void {
  const line = page.append(at, entry.key, type, data)
  page.put({ ...entry, steps: [...entry.steps, line.sequence] })
}

function checkRoom(entry: Entry): void {
  assert(entry.steps.length < STEPS_MAX, 'a transfer has no more steps than the limit')
}

/** Moves every leg: `posted` from account to account, `held` on both sides of what is on its way. */
function shift(page: Page, { asset, legs }: Transfer, posted: bigint, held: bigint): void {
  for (const leg of legs) {
    const debit = page.standing(leg.debit, asset)
    const credit = page.standing(leg.credit, asset)
    debit.posted -= posted
    debit.debits += held
    credit.posted += posted
    credit.credits += held
  }
}

function shortfall(page: Page, { asset, legs }: Transfer): string | undefined {
  for (const leg of legs) {
    const debit = page.standing(leg.debit, asset)
    if (!leg.debit.startsWith(WORLD) && debit.posted < debit.debits) return leg.debit
    const credit = page.standing(leg.credit, asset)
    if (leg.ceiling !== undefined && credit.posted + credit.credits > leg.ceiling) return leg.credit
  }
  return undefined
}

function toHeld(page: Page, entry: Entry): Held {
  const { key, purpose, asset, amount, legs, leaseUntilAt, note, state, posted, madeAt } = entry
  const { made: claim } = entry
  const steps = entry.steps.map((sequence): Step => {
    const line = page.line(sequence)
    assert(line.key === key, `row ${sequence} is a step of ${key}`)
    return { type: line.type, data: readData(line.data) }
  })
  return {
    key,
    purpose,
    asset,
    amount,
    legs,
    leaseUntilAt,
    note,
    state,
    posted,
    steps,
    madeAt,
    claim,
  }
}
