import type { Clock } from '../../core/ports.ts'

/** Pauses before the looks at a chain that makes a block at once: the first look comes before the answer is old. */
const QUICK_MS: readonly number[] = [0, 20, 30, 45]
/** Within which time a transaction of such a chain is in its block. */
const QUICK_LANDING_MS = 100
/** How often a chain that takes its time is tried for quick blocks all the same, in flights. */
const QUICK_TRY_EVERY = 16
/** Pauses at a chain whose time is not known: from the first to the longest, each half as long again. */
const PAUSE_FIRST_MS = 20
const PAUSE_LONG_MS = 500
/** Longest pause, however slow the blocks: a transaction that is stuck must be noticed. */
const PAUSE_MAX_MS = 6_000
/** Least and most time between two blocks that is believed. */
const PERIOD_MIN_MS = 100
const PERIOD_MAX_MS = 15_000
/** Blocks between two landings from which their distance says more than all that was learned before. */
const BLOCKS_SURE = 8
/** Strange distances in a row after which nothing is regular any more. */
const STRANGE_MAX = 2

/** When to look for receipts: learned from the landings, so that few looks find nothing. It decides on no money. */
export interface Pace {
  /** A transaction was sent. True: look soon, whatever was planned. */
  began(): boolean
  /** A look found nothing. */
  missed(): void
  /** A look found a transaction in that block, so long after it was sent. */
  landed(block: bigint, waitedMs: number): void
  /** From now until the next look. */
  pauseMs(): number
}

/** A block, and when it was there by our clock. */
interface Seen {
  readonly block: bigint
  readonly at: number
}

/** Makes the pace of one chain. */
export function createPace(clock: Clock): Pace {
  let quick = true
  let instant = true
  let flights = 0
  let misses = 0
  let missedAt = 0
  let last: Seen | undefined
  let periodMs = 0
  /** Whether the last distances between blocks were alike, and how many since were not. */
  let regular = false
  let strange = 0

  /** Until the next block is due. */
  const untilBlock = (at: number): number =>
    periodMs - ((((clock.now() - at) % periodMs) + periodMs) % periodMs)

  const learn = (before: Seen, now: Seen): void => {
    const blocks = Number(now.block - before.block)
    const sample = (now.at - before.at) / blocks
    const believed = sample >= PERIOD_MIN_MS && sample <= PERIOD_MAX_MS
    const alike = believed && Math.abs(sample - periodMs) <= periodMs / 4
    // One that is not like the others was seen a block late.
    if (regular && !alike && ++strange < STRANGE_MAX) return
    strange = 0
    regular = alike
    periodMs = alike && blocks < BLOCKS_SURE ? periodMs + (sample - periodMs) / 4 : sample
    last = now
  }

  return {
    began() {
      quick = instant || flights % QUICK_TRY_EVERY === 0
      flights++
      const soon = quick || !regular
      if (soon) misses = 0
      return soon
    },
    missed() {
      misses++
      missedAt = clock.now()
    },
    landed(block, waitedMs) {
      const now = clock.now()
      // It came between two looks. If it was there when it was due, it is sought a little earlier the next time.
      const due = misses === 0 || (quick && misses === QUICK_MS.length)
      const at = now - (due ? periodMs / 32 : (now - missedAt) / 2)
      instant = waitedMs <= QUICK_LANDING_MS
      misses = 0
      if (last && block <= last.block) return
      if (last) learn(last, { block, at })
      else last = { block, at }
    },
    pauseMs() {
      const soon = quick ? QUICK_MS[misses] : undefined
      if (soon !== undefined) return soon
      const looks = quick ? misses - QUICK_MS.length : misses
      if (!regular || !last) return Math.min(PAUSE_FIRST_MS * 1.5 ** looks, PAUSE_LONG_MS)
      // When it is due, and once more a little later.
      const pause = looks % 2 === 0 ? untilBlock(last.at) : periodMs / 8
      return Math.min(pause, PAUSE_MAX_MS)
    },
  }
}
