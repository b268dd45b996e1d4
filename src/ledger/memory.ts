import { createHash } from 'node:crypto'
import { assert } from '../core/assert.ts'
import { systemClock } from '../core/clock.ts'
import { canonical } from '../core/json.ts'
import type { Json, JsonObject } from '../core/json.ts'
import { WORLD } from '../core/ports.ts'
import type {
  Balance,
  Claim,
  Clock,
  Held,
  Ledger,
  Leg,
  Row,
  Step,
  Transfer,
} from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { checkName, GENESIS, isAmount, readMade, toDraft, toEntry } from './row.ts'

/**
 * The ledger as plainly as it can be said: a list of rows, a map of transfers, and every balance a sum over all of them.
 * It shares no verb with the other stores, so that they can be compared with it. Nothing survives the process.
 */
export function memory({ clock = systemClock }: { readonly clock?: Clock } = {}): Ledger {
  const rows: Row[] = []
  const books = new Map<string, Held>()
  let closed = false

  const write = (key: string, type: string, data: JsonObject, at = clock.now()): void => {
    const row = { sequence: rows.length + 1, at, key, type, data }
    const before = rows.at(-1)?.hash ?? GENESIS
    const hash = createHash('sha256').update(before).update(canonical(row)).digest('hex')
    rows.push({ ...row, hash })
  }
  const release = (held: Held, reason: string): void => {
    books.set(held.key, { ...held, state: 'voided' })
    write(held.key, 'voided', { reason })
  }
  const append = (held: Held, step: Step): void => {
    books.set(held.key, { ...held, steps: [...held.steps, step] })
    write(held.key, step.type, step.data)
  }
  const claim = (given: Transfer): Claim => {
    const held = books.get(given.key)
    const now = clock.now()
    const idle = held?.state === 'pending' && held.steps.length === 0 && held.leaseUntilAt <= now
    if (held && held.state !== 'voided' && !idle)
      return { outcome: likeness(held) === likeness(given) ? 'replayed' : 'foreign', held }
    if (idle) release(held, 'lease-expired')
    const claim = rows.length + 1
    const made: Held = { ...given, state: 'pending', posted: 0n, steps: [], madeAt: now, claim }
    const account = fault(given, () => [...books.values(), made])
    if (account !== undefined) return { outcome: 'insufficient', account }
    // Out and in again: the order of the map is the order of making.
    books.delete(given.key)
    books.set(given.key, made)
    write(given.key, 'made', toData(given), now)
    return { outcome: 'made', claim }
  }
  /** Runs a verb on an open ledger, and gives away nothing that the caller could change. */
  const run = <T>(verb: () => T): T => {
    if (closed) throw new PaymentError('store-unavailable', 'The ledger is closed.')
    return structuredClone(verb())
  }
  return {
    transfer: async (given) => run(() => claim(taken(given))),
    step: async (key, given, claim) =>
      run(() => {
        const { type, data } = toEntry(given)
        const held = books.get(key)
        if (!held || held.state === 'voided' || (claim ?? held.claim) !== held.claim)
          throw new PaymentError('payment-in-flight', `The claim on ${key} is lost.`)
        append(held, { type, data: JSON.parse(data) as JsonObject })
      }),
    post: async (key, amount, given, claim) =>
      run(() => {
        const step = given && toEntry(given)
        const held = books.get(key)
        if (!held) return 'absent'
        if ((claim ?? held.claim) !== held.claim) return 'lost'
        if (held.state !== 'pending') return held.state === 'posted' ? 'replayed' : 'voided'
        const posted = amount ?? held.amount
        assert(isAmount(posted) && posted <= held.amount, 'no more is posted than was held')
        const done: Held = { ...held, state: 'posted', posted }
        books.set(key, done)
        write(key, 'posted', { amount: `${posted}` })
        if (step) append(done, { type: step.type, data: JSON.parse(step.data) as JsonObject })
        return 'posted'
      }),
    void: async (key, reason, claim) =>
      run(() => {
        checkName(reason)
        const held = books.get(key)
        if (!held) return 'absent'
        if ((claim ?? held.claim) !== held.claim) return 'lost'
        if (held.state !== 'pending') return held.state === 'voided' ? 'replayed' : 'posted'
        release(held, reason)
        return 'voided'
      }),
    expire: async (key, claim) =>
      run(() => {
        const held = books.get(key)
        if (held?.state !== 'pending' || held.claim !== claim) return false
        if (held.steps.length > 0 || held.leaseUntilAt > clock.now()) return false
        release(held, 'lease-expired')
        return true
      }),
    find: async (key) => run(() => books.get(key)),
    pending: async (purpose) =>
      run(() => [...books.values()].filter((held) => isPending(held, purpose))),
    under: async (prefix, after, limit) =>
      run(() =>
        [...books.values()]
          .filter(({ key }) => key.startsWith(prefix) && key > after)
          .toSorted((a, b) => (a.key < b.key ? -1 : 1))
          .slice(0, limit),
      ),
    balances: async (account) =>
      run(() =>
        sums([...books.values()]).filter((one) => one.account === (account ?? one.account)),
      ),
    journal: async (after, limit) => run(() => rows.slice(after, after + limit)),
    async close() {
      closed = true
    },
  }
}

function isPending(held: Held, purpose: string | undefined): boolean {
  return held.state === 'pending' && (purpose === undefined || held.purpose === purpose)
}

/** A copy of the transfer as JSON would give it back. */
function taken(given: Transfer): Transfer {
  const { key, data } = toDraft(given)
  return readMade(key, JSON.parse(data) as JsonObject)
}

function toData({ purpose, asset, amount, legs, leaseUntilAt, note }: Transfer): JsonObject {
  const said = legs.map(({ ceiling, ...leg }): Json => {
    return ceiling === undefined ? leg : { ...leg, ceiling: ceiling.toString() }
  })
  return { purpose, asset, amount: amount.toString(), legs: said, leaseUntilAt, note }
}

/** What two makings under one key must have in common to be the same. */
function likeness({ purpose, asset, amount, legs }: Transfer): string {
  const paths = legs.map(({ debit, credit }) => [debit, credit])
  return JSON.stringify([purpose, asset, `${amount}`, paths])
}

/** The first account that `all` would leave overdrawn or above its ceiling. Sums are only made where it matters. */
function fault({ asset, legs }: Transfer, all: () => readonly Held[]): string | undefined {
  for (const { debit, credit, ceiling } of legs) {
    if (!debit.startsWith(WORLD)) {
      const { posted, debits } = sum(all(), debit, asset)
      if (posted - debits < 0n) return debit
    }
    if (ceiling === undefined) continue
    const { posted, credits } = sum(all(), credit, asset)
    if (posted + credits > ceiling) return credit
  }
  return undefined
}

interface Sum {
  readonly posted: bigint
  readonly debits: bigint
  readonly credits: bigint
}

function sum(all: readonly Held[], account: string, asset: string): Sum {
  const total = { posted: 0n, debits: 0n, credits: 0n }
  const add = ({ state, posted, amount }: Held, { debit, credit }: Leg): void => {
    const pending = state === 'pending' ? amount : 0n
    if (debit === account) total.debits += pending
    if (debit === account) total.posted -= posted
    if (credit === account) total.credits += pending
    if (credit === account) total.posted += posted
  }
  for (const held of all) if (held.asset === asset) for (const leg of held.legs) add(held, leg)
  return total
}

/** What is neither posted nor pending anywhere is not told. */
function sums(all: readonly Held[]): readonly Balance[] {
  const names = all.flatMap(({ asset, legs }) =>
    legs.flatMap(({ debit, credit }) => [`${asset}\n${debit}`, `${asset}\n${credit}`]),
  )
  const balances = [...new Set(names)].map((name): Balance => {
    const [asset = '', account = ''] = name.split('\n')
    const { posted, debits, credits } = sum(all, account, asset)
    return { account, asset, posted, pending: credits - debits }
  })
  return balances.filter(({ posted, pending }) => posted !== 0n || pending !== 0n)
}
