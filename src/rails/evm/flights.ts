import type { Clock } from '../../core/ports.ts'
import type { Hex } from './hex.ts'
import { createPace } from './pace.ts'
import type { Prepared } from './steps.ts'
import type { Mined, Reader } from './token.ts'

/** What became of a transaction. `displaced`: another one has its number for good. Undefined: nobody watches any more. */
export type Landing = Mined | 'displaced' | undefined

/** A transaction on its way: one number of one key, and all that was signed for it. Whichever is mined counts. */
export interface Flight {
  readonly nonce: number
  /** Oldest first. */
  readonly versions: readonly Prepared[]
  readonly landed: Promise<Landing>
}

/** Whose flight it is: what is done about one that does not land, and what is noted of one that does. */
export interface Keeper {
  readonly address: Hex
  /** Looked after at each look that found nothing. True: it can land no more. */
  tend(flight: Flight): Promise<boolean>
  landed(flight: Flight, mined: Mined | undefined): void
}

/** All transactions of one network that are on their way, watched by one loop that ends when there are none. */
export interface Flights {
  /** Watches these bytes; beside those of the same number, if there are any. */
  track(keeper: Keeper, prepared: Prepared): Flight
  /** The flight with these bytes among its own. */
  find(keeper: Keeper, hash: Hex): Flight | undefined
  of(keeper: Keeper): readonly Flight[]
  /** Waits for a landing, at most so long. */
  wait(flight: Flight, waitMs: number): Promise<Landing>
}

/** What the watcher is made of. */
export interface FlightParts {
  readonly reader: Reader
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly confirmations: number
  readonly quorum: number
}

interface Open extends Flight {
  readonly versions: Prepared[]
  readonly sentAt: number
  readonly land: (landing: Landing) => void
}

/** Makes the watcher. */
export function createFlights(parts: FlightParts): Flights {
  const { reader, clock, signal, confirmations, quorum } = parts
  /** By number, the one that the chain waits for first. */
  const open = new Map<Keeper, Open[]>()
  const pace = createPace(clock)
  let waker = new AbortController()
  let running = false
  signal.addEventListener('abort', () => waker.abort('closed'), { once: true })

  const of = (keeper: Keeper): Open[] => open.get(keeper) ?? []

  const remove = (keeper: Keeper, flight: Open, landing: Landing): void => {
    const rest = of(keeper).filter((one) => one !== flight)
    if (rest.length > 0) open.set(keeper, rest)
    else open.delete(keeper)
    keeper.landed(flight, typeof landing === 'object' ? landing : undefined)
    flight.land(landing)
  }

  /** Asks for the first of each key, or for all of those whose first has just landed. True if any landed. */
  async function look(wide: Set<Keeper>): Promise<boolean> {
    // The height first: what is deep enough below an older height is so below a newer one.
    const height = confirmations > 1 ? await reader.height() : undefined
    const asked = [...open].flatMap(([keeper, all]) =>
      (wide.has(keeper) ? all : all.slice(0, 1)).map((flight) => ({ keeper, flight })),
    )
    const found = await receipts(asked.map(({ flight }) => flight))
    wide.clear()
    for (const { keeper, flight } of asked) {
      const mined = found.get(flight)
      if (mined && (await firm(mined, height))) {
        pace.landed(mined.block, clock.now() - flight.sentAt)
        remove(keeper, flight, mined)
        wide.add(keeper)
      } else if (!mined && of(keeper)[0] === flight) await tend(keeper, flight)
    }
    return wide.size > 0
  }

  async function receipts(flights: readonly Open[]): Promise<ReadonlyMap<Open, Mined>> {
    const rows = flights.flatMap((flight) => flight.versions.map(({ hash }) => ({ flight, hash })))
    const mined = await reader.minedAll(rows.map(({ hash }) => hash))
    return new Map(
      rows.flatMap(({ flight }, i) => {
        const one = mined[i]
        return one ? [[flight, one] as const] : []
      }),
    )
  }

  async function firm(mined: Mined, height: bigint | undefined): Promise<boolean> {
    if (height !== undefined && height - mined.block + 1n < BigInt(confirmations)) return false
    return quorum === 1 || reader.agreed(mined, quorum)
  }

  /** An endpoint's fault says nothing about a transaction. */
  async function tend(keeper: Keeper, flight: Open): Promise<void> {
    const gone = await keeper.tend(flight).catch(() => false)
    if (gone) remove(keeper, flight, 'displaced')
  }

  async function run(): Promise<void> {
    const wide = new Set<Keeper>()
    while (open.size > 0 && !signal.aborted) {
      waker = new AbortController()
      const pauseMs = pace.pauseMs()
      if (pauseMs > 0) await clock.sleep(pauseMs, waker.signal)
      // One more was sent meanwhile, and is looked for at its own pace.
      if (waker.signal.aborted) continue
      let landed = false
      // What landed has made room for those behind it.
      while (open.size > 0 && (await look(wide).catch(() => false))) landed = true
      // A look says nothing of what was sent while it was made.
      if (!landed && !waker.signal.aborted) pace.missed()
    }
    for (const [keeper, all] of open) for (const one of all) remove(keeper, one, undefined)
    running = false
  }

  function start(): void {
    if (running) return
    running = true
    void run()
  }

  return {
    track(keeper, prepared) {
      const all = of(keeper)
      const before = all.find(({ nonce }) => nonce === prepared.nonce)
      if (before) {
        if (!before.versions.some(({ hash }) => hash === prepared.hash))
          before.versions.push(prepared)
        return before
      }
      const { promise, resolve } = Promise.withResolvers<Landing>()
      const { nonce } = prepared
      const sentAt = clock.now()
      const flight: Open = { nonce, versions: [prepared], sentAt, landed: promise, land: resolve }
      open.set(
        keeper,
        [...all, flight].toSorted((a, b) => a.nonce - b.nonce),
      )
      // Behind another one it cannot be mined before that one is.
      if (of(keeper)[0] === flight && pace.began()) waker.abort('sent')
      start()
      return flight
    },
    find: (keeper, sought) =>
      of(keeper).find(({ versions }) => versions.some(({ hash }) => hash === sought)),
    of,
    async wait({ landed }, waitMs) {
      const done = new AbortController()
      const late = clock.sleep(waitMs, done.signal).then(() => undefined)
      const landing = await Promise.race([landed, late])
      done.abort('landed')
      return landing
    },
  }
}
