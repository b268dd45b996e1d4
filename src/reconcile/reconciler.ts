import { assert } from '../core/assert.ts'
import { systemClock } from '../core/clock.ts'
import type { Observe } from '../core/event.ts'
import type { Clock, Held, Holding, Holdings, Ledger, Rail, Transfer } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { lastOf } from '../core/series.ts'
import type { Asked } from './compare.ts'
import { compare } from './compare.ts'
import type { Booking, Looked, Position } from './round.ts'
import { LOOKED, missingOf, readLooked, writeLooked } from './round.ts'

/** How often one rail is looked at, unless the settings say otherwise. */
export const ROUND_EVERY_MS = 300_000
/** How long a difference must stand until it is booked, unless the settings say otherwise. */
export const PATIENCE_MS = 600_000
/** How long the maker of a round may work on it. */
export const ROUND_LEASE_MS = 600_000
/** What the rails are compared with, and how often. */
export interface ReconcilerSettings {
  readonly ledger: Ledger
  /** Those without `holdings` are passed over. */
  readonly rails: readonly Pick<Rail, 'name' | 'network' | 'booked' | 'holdings'>[]
  /** Least time between two rounds of one rail, by whichever process. */
  readonly everyMs?: number
  /** How long a difference must stand until it is booked. At least one further round must find it, unless this is 0. */
  readonly patienceMs?: number
  readonly clock?: Clock
  readonly observe?: Observe
}

/** How it stands with one rail. */
export interface Comparison {
  readonly rail: string
  readonly network: string
  /** `doubt`: it could not be asked. `busy`: another process is at it. `early`: the last round is too new. */
  readonly state: 'looked' | 'doubt' | 'busy' | 'early'
  /** The state of the network that was looked at: now, or in the last round. */
  readonly height?: number
  /** When that was. */
  readonly at?: number
  readonly positions: readonly Position[]
  /** What lies at the keys that pay for sending, where this call has looked: told, and not compared. */
  readonly senders: readonly Holding[]
  /** What this call has booked. */
  readonly bookings: readonly Booking[]
}

/** Compares the books with what lies outside. */
export interface Reconciler {
  /** One round for each rail that is due. Never throws for the world: what could not be asked is told as a `fault`. */
  round(): Promise<readonly Comparison[]>
  /** Rounds at intervals, until the signal fires. */
  run(signal: AbortSignal): Promise<void>
}

/**
 * Makes the reconciler. A round is a transfer of nothing that is leased like any other claim: what was seen is written down
 * before anything is booked, so that whoever comes after a crash books the same, once.
 */
export function createReconciler(settings: ReconcilerSettings): Reconciler {
  const { ledger, everyMs = ROUND_EVERY_MS, patienceMs = PATIENCE_MS } = settings
  const { clock = systemClock, observe = () => undefined } = settings
  const rails = settings.rails.flatMap(askedOf)
  /** The last round that is known to be there, by its prefix. */
  const known = new Map<string, number>()

  async function look(rail: Asked): Promise<Comparison> {
    const prefix = `reconcile/${rail.name}/${rail.network}`
    const last = await lastOf(ledger, prefix, known.get(prefix))
    if (last) known.set(prefix, last.number)
    const looked = last && readLooked(last.held)
    if (last?.held.state === 'pending' && looked) {
      const bookings = await close(rail, last.held, looked)
      return { ...told(rail, 'looked', last.held), bookings }
    }
    const done = last?.held.state === 'posted'
    if (done && clock.now() - last.held.madeAt < everyMs) return told(rail, 'early', last.held)
    const number = done ? last.number + 1 : (last?.number ?? 1)
    const before = done
      ? last.held
      : number > 1
        ? await ledger.find(`${prefix}/${number - 1}`)
        : undefined
    return await begin(rail, `${prefix}/${number}`, before)
  }

  async function begin(rail: Asked, key: string, before: Held | undefined): Promise<Comparison> {
    const made = await ledger.transfer({
      key,
      purpose: 'reconcile',
      asset: 'round',
      amount: 0n,
      legs: [{ debit: `${WORLD}rounds`, credit: `${WORLD}looks` }],
      leaseUntilAt: clock.now() + ROUND_LEASE_MS,
      note: { kind: 'round', rail: rail.name, network: rail.network },
    })
    if (made.outcome !== 'made') return told(rail, 'busy', before)
    try {
      const { looked, senders } = await compare(
        { ledger, clock, patienceMs },
        rail,
        before && readLooked(before),
      )
      await ledger.step(key, { type: LOOKED, data: writeLooked(looked) }, made.claim)
      const held = await ledger.find(key)
      assert(held, 'a round stands in the books')
      const bookings = await close(rail, held, looked)
      return { ...told(rail, 'looked', held), senders, bookings }
    } catch (error) {
      await giveUp(key, made.claim).catch(() => undefined)
      throw error
    }
  }

  /** What was seen is booked by whoever comes next. What was not is looked at anew. */
  async function giveUp(key: string, claim: number): Promise<void> {
    const held = await ledger.find(key)
    if (held && !readLooked(held)) await ledger.void(key, 'rail-unavailable', claim)
  }

  /** Books what was seen. Each booking has its key, so that it does not matter how often, and by whom. */
  async function close(rail: Asked, { key }: Held, looked: Looked): Promise<readonly Booking[]> {
    const booked: Booking[] = []
    for (const [i, booking] of looked.bookings.entries())
      if (await book(rail, `${key}/${i}`, booking)) booked.push(booking)
    await ledger.post(key)
    return booked
  }

  async function book({ name, network }: Asked, key: string, booking: Booking): Promise<boolean> {
    const { finding, account, asset, amount, leg } = booking
    const transfer: Transfer = {
      key,
      purpose: 'reconcile',
      asset: asset.id,
      amount: amount < 0n ? -amount : amount,
      legs: [leg],
      leaseUntilAt: clock.now() + ROUND_LEASE_MS,
      note: {
        kind: finding === 'opening' ? 'opening' : 'mismatch',
        finding,
        rail: name,
        network,
        account,
        money: { ...asset },
      },
    }
    const made = await ledger.transfer(transfer)
    // Somebody has taken it out of suspense meanwhile.
    if (made.outcome === 'insufficient') {
      const debit = missingOf(`${name}/${network}/${account}`)
      await ledger.transfer({ ...transfer, legs: [{ ...leg, debit }] })
    }
    if ((await ledger.post(key)) !== 'posted') return false
    if (finding !== 'opening')
      observe({
        type: 'mismatch',
        at: clock.now(),
        key,
        rail: name,
        network,
        holder: account,
        finding,
        amount: { asset, amount },
      })
    return true
  }

  async function round(): Promise<readonly Comparison[]> {
    const all: Comparison[] = []
    for (const rail of rails)
      all.push(
        await look(rail).catch((error: unknown) => {
          const where = `reconcile ${rail.name} ${rail.network}`
          observe({ type: 'fault', at: clock.now(), where, error })
          return told(rail, 'doubt', undefined)
        }),
      )
    return all
  }

  return {
    round,
    async run(signal) {
      while (!signal.aborted) {
        await round()
        await clock.sleep(everyMs, signal)
      }
    },
  }
}

function told(
  { name, network }: Asked,
  state: Comparison['state'],
  held: Held | undefined,
): Comparison {
  const looked = held && readLooked(held)
  return {
    rail: name,
    network,
    state,
    ...(held && looked && { height: looked.height, at: held.madeAt }),
    positions: looked?.positions ?? [],
    senders: [],
    bookings: [],
  }
}

/** What of several rails lies at one account is compared under the name that their books have. */
function askedOf(rail: ReconcilerSettings['rails'][number]): readonly Asked[] {
  const { network, booked: name = rail.name } = rail
  return rail.holdings ? [{ name, network, holdings: async () => await demand(rail) }] : []
}

async function demand(rail: ReconcilerSettings['rails'][number]): Promise<Holdings> {
  const holdings = await rail.holdings?.()
  assert(holdings, 'a rail that can look does')
  return holdings
}
