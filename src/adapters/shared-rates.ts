import { hash } from 'node:crypto'
import type { Clock, Counted, Counter } from '../core/ports.ts'
import type { Rate } from '../core/rights.ts'

/**
 * How long after a caller was counted that is told to all, and heard what others have counted of him. A door that he comes to
 * knows of the others so much later: until then he has there what one door by itself gives, and never more.
 */
export const SHARE_MS = 200
/** The pause after a counter could not be asked; each door counts by itself meanwhile, and tells what it has counted after it. */
export const SHARE_RETRY_MS = 1_000
/** Most callers that are told of at once. */
export const SHARE_BATCH_MAX = 500
/** Most callers who wait to be told of; of those beyond it each door knows by itself. */
export const SHARE_WAITING_MAX = 65_536

/** Fills up to `count * windowMs` units, `count` of them a millisecond. */
interface Bucket {
  readonly rate: Rate
  missing(caller: string, nowMs: number): number
  set(caller: string, nowMs: number, missing: number): void
}

interface Waiting {
  readonly bucket: Bucket
  readonly caller: string
  by: number
}

/** How many buckets full may be missing among all; as many as one door lets be owed. */
const FILLS_MAX = 8

/**
 * Lets buckets count with those of other processes. Looking and taking stay one synchronous step at this door; behind it,
 * what was taken is added among all, and what all have taken is then missing here too. A counter that is away makes no limit
 * looser than one door's own, and none stricter.
 */
export function createShare(
  counter: Counter,
  clock: Clock,
  elapsedMs: () => number,
): (bucket: Bucket, name: string) => Bucket {
  const waiting = new Map<string, Waiting>()
  let running = false
  let retryAtMs = 0

  function note(bucket: Bucket, name: string, caller: string, by: number): void {
    const key = hash('sha256', `${name}\n${caller}`, 'base64url')
    const known = waiting.get(key)
    if (known) known.by += by
    else if (waiting.size < SHARE_WAITING_MAX) waiting.set(key, { bucket, caller, by })
    if (!running) void run()
  }

  async function run(): Promise<void> {
    running = true
    let isTold = true
    // After a failure it is tried again when somebody is counted: a door that has closed asks nobody any more.
    while (waiting.size > 0 && isTold) {
      await clock.sleep(Math.max(SHARE_MS, retryAtMs - elapsedMs()))
      const some = takeSome()
      isTold = await tell(some).catch(() => false)
      if (isTold) continue
      retryAtMs = elapsedMs() + SHARE_RETRY_MS
      for (const [key, one] of some) giveBack(key, one)
    }
    running = false
  }

  function takeSome(): readonly (readonly [string, Waiting])[] {
    const some: [string, Waiting][] = []
    for (const [key, one] of waiting) {
      if (some.length === SHARE_BATCH_MAX) break
      some.push([key, one])
      waiting.delete(key)
    }
    return some
  }

  /** What could not be told, and may have been all the same: then it counts twice, which is no gain to anybody. */
  function giveBack(key: string, one: Waiting): void {
    const since = waiting.get(key)
    if (since) since.by += one.by
    else if (waiting.size < SHARE_WAITING_MAX) waiting.set(key, one)
  }

  async function tell(some: readonly (readonly [string, Waiting])[]): Promise<boolean> {
    const told = await counter.add(some.map(([key, one]) => countedOf(key, one)))
    const now = elapsedMs()
    for (const [i, [key, { bucket, caller }]] of some.entries()) {
      const all = Math.ceil(told[i] ?? 0) + (waiting.get(key)?.by ?? 0)
      if (all > bucket.missing(caller, now)) bucket.set(caller, now, all)
    }
    return true
  }

  return (bucket, name) => ({
    ...bucket,
    set(caller, nowMs, missing) {
      note(bucket, name, caller, missing - bucket.missing(caller, nowMs))
      bucket.set(caller, nowMs, missing)
    },
  })
}

function countedOf(name: string, { bucket: { rate }, by }: Waiting): Counted {
  return { name, by, perMs: rate.count, most: FILLS_MAX * rate.count * rate.windowMs }
}
