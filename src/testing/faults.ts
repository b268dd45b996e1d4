import type { Chance, Clock } from '../core/ports.ts'

/** Chance from a seed: the same seed gives the same numbers for ever. */
export interface Dice {
  /** From zero to below one. */
  next(): number
  /** A whole number from zero to below `limit`. */
  below(limit: number): number
  /** Whether something of that probability happens. */
  happens(probability: number): boolean
  pick<T>(list: readonly T[]): T
  readonly bytes: Chance
  /** Dice of their own, so that more throws in one place do not change those in another. */
  fork(): Dice
}

/** Makes dice (sfc32 by Chris Doty-Humphrey: small, and passes the usual batteries of tests). */
export function createDice(seed: number): Dice {
  let [a, b, c, d] = [0x9e3779b9, seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0, 1]
  const word = (): number => {
    const t = (((a + b) >>> 0) + d) >>> 0
    d = (d + 1) >>> 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) >>> 0
    c = (((c << 21) | (c >>> 11)) + t) >>> 0
    return t
  }
  for (let i = 0; i < WARM_UP; i++) word()
  const next = (): number => word() / 2 ** 32
  const below = (limit: number): number => Math.floor(next() * limit)
  return {
    next,
    below,
    happens: (probability) => next() < probability,
    pick(list) {
      if (list.length === 0) throw new RangeError('There is nothing to pick from.')
      return list[below(list.length)] as (typeof list)[number]
    },
    bytes: (count) => Uint8Array.from({ length: count }, () => word() & 0xff),
    fork: () => createDice(word() * 2 ** 20 + (word() & 0xfffff)),
  }
}

const WARM_UP = 16

/** Something that will happen, unless it is cancelled. */
export interface Planned {
  cancel(): void
}

/**
 * Owner of time and order. Whatever waits, waits here; one thing happens at a time, the earliest first, and of those due
 * at the same time any.
 */
export interface Scheduler {
  /** Milliseconds since 1970, moved on by {@link Scheduler.step} alone. */
  now(): number
  /** `what` goes into the trace. */
  plan(afterMs: number, what: string, run: () => void): Planned
  /** Lets the next thing happen, and all that follows from it without waiting. False when nothing is planned. */
  step(): Promise<boolean>
  /** How many things have happened. */
  readonly steps: number
  /** A number that two runs share only if the same things happened in the same order. */
  readonly print: number
}

/** What a scheduler is made of. */
export interface SchedulerParts {
  readonly dice: Dice
  readonly startAt: number
  /** Told of each thing before it happens. */
  readonly trace?: (line: string) => void
}

interface Event extends Planned {
  readonly dueAt: number
  readonly order: number
  readonly what: string
  readonly run: () => void
  cancelled: boolean
}

/** Makes the scheduler. */
export function createScheduler({ dice, startAt, trace }: SchedulerParts): Scheduler {
  const heap = createHeap()
  let now = startAt
  let steps = 0
  let print = 0
  return {
    now: () => now,
    plan(afterMs, what, run) {
      const dueAt = now + Math.max(0, Math.round(afterMs))
      const event: Event = {
        dueAt,
        order: dice.next(),
        what,
        run,
        cancelled: false,
        cancel: () => void (event.cancelled = true),
      }
      heap.push(event)
      return event
    },
    async step() {
      let event = heap.pop()
      while (event?.cancelled) event = heap.pop()
      if (!event) return false
      now = Math.max(now, event.dueAt)
      steps++
      print = mixed(print, `${now} ${event.what}`)
      trace?.(`${steps} ${now - startAt} ms ${event.what}`)
      event.run()
      // Every microtask that follows is done before a macrotask begins.
      await new Promise(setImmediate)
      return true
    },
    get steps() {
      return steps
    },
    get print() {
      return print
    },
  }
}

/** FNV-1a, 32 bits. */
function mixed(print: number, text: string): number {
  let hash = print ^ 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash >>> 0
}

/** A binary heap, the earliest on top. */
function createHeap(): { push(event: Event): void; pop(): Event | undefined } {
  const list: Event[] = []
  const earlier = (i: number, j: number): boolean => {
    const [a, b] = [list[i], list[j]]
    if (!a || !b) return a !== undefined
    return a.dueAt === b.dueAt ? a.order < b.order : a.dueAt < b.dueAt
  }
  const swap = (i: number, j: number): void => {
    const [a, b] = [list[i], list[j]]
    if (a && b) [list[i], list[j]] = [b, a]
  }
  const sink = (from: number): void => {
    for (let i = from; ;) {
      const left = 2 * i + 1
      const child = left + 1 < list.length && earlier(left + 1, left) ? left + 1 : left
      if (child >= list.length || !earlier(child, i)) return
      swap(i, child)
      i = child
    }
  }
  return {
    push(event) {
      list.push(event)
      for (let i = list.length - 1; i > 0;) {
        const parent = (i - 1) >> 1
        if (!earlier(i, parent)) return
        swap(i, parent)
        i = parent
      }
    },
    pop() {
      const top = list[0]
      const last = list.pop()
      if (top === undefined || last === undefined || list.length === 0) return top
      list[0] = last
      sink(0)
      return top
    },
  }
}

/** How bad the world is; all but the times are probabilities for one effect. Changed while it runs. */
export interface Weather {
  /** It is not done, and fails. */
  refused: number
  /** It is done, and its answer is lost. */
  lost: number
  /** The process dies before it is done, or after. */
  crashed: number
  /** It takes long, anything up to `slowMs`. */
  slow: number
  /** What it takes usually, at most. */
  usualMs: number
  slowMs: number
}

/** The weather in which everything works. */
export const calm: Readonly<Weather> = {
  refused: 0,
  lost: 0,
  crashed: 0,
  slow: 0,
  usualMs: 20,
  slowMs: 0,
}

/** A call that leaves a process. */
export interface Effect<T> {
  readonly what: string
  /** Done at some moment, perhaps after the death of who asked for it. */
  readonly work: () => T | Promise<T>
  /** How it fails. */
  readonly fault: () => Error
  readonly weather: Weather
  /** Effects of one lane are done in the order they were asked for. */
  readonly lane?: string
}

/** A process: what it holds in memory is gone when it dies, and nothing that it waits for comes back. */
export interface Process {
  readonly name: string
  readonly alive: boolean
  /** The scheduler's time with this machine's own error. */
  readonly clock: Clock
  effect<T>(effect: Effect<T>): Promise<T>
  /** Kills it. */
  die(): void
  /** Moves its clock on. */
  jump(ms: number): void
}

/** What a process is made of. */
export interface ProcessParts {
  readonly name: string
  readonly scheduler: Scheduler
  readonly dice: Dice
  /** How far its clock is ahead, in milliseconds. */
  readonly aheadMs?: number
  /**
   * Each effect draws by its own name, so that one more or one less leaves the others as they were: for histories that
   * are recorded and lived again by other code.
   */
  readonly byName?: boolean
  /** Called once, at its death. */
  readonly onDeath: () => void
}

/** Starts a process. */
export function createProcess(parts: ProcessParts): Process {
  const { name, scheduler } = parts
  const diceOf = parts.byName ? createNamedDice(parts.dice) : () => parts.dice
  const lanes = new Map<string, number>()
  let aheadMs = parts.aheadMs ?? 0
  let alive = true

  const latencyMs = (weather: Weather, dice: Dice): number =>
    dice.next() * (dice.happens(weather.slow) ? weather.slowMs : weather.usualMs)

  /** No earlier than what was asked before in the same lane. */
  function waitMs({ lane, weather }: Effect<unknown>, dice: Dice): number {
    const now = scheduler.now()
    const dueAt = Math.round(now + latencyMs(weather, dice))
    if (lane === undefined) return dueAt - now
    const last = lanes.get(lane) ?? 0
    const inOrder = dueAt > last ? dueAt : last + 1
    lanes.set(lane, inOrder)
    return inOrder - now
  }

  function effect<T>(given: Effect<T>): Promise<T> {
    const { what, work, fault, weather } = given
    const said = `${name} ${what}`
    const dice = diceOf(what)
    const fate = fateOf(weather, dice)
    const early = dice.happens(0.5)
    return new Promise<T>((resolve, reject) => {
      const deliver = (how: string, answer: () => void): void => {
        scheduler.plan(latencyMs(weather, dice), `${said} ${how}`, () => {
          if (alive && fate === 'crashed') return process.die()
          if (alive) answer()
        })
      }
      scheduler.plan(waitMs(given, dice), said, () => {
        // What a dying process has sent may arrive, or not.
        if (!alive && early) return undefined
        if (alive && fate === 'crashed' && early) return process.die()
        if (fate === 'refused') return deliver('refused', () => reject(fault()))
        return void new Promise<T>((done) => done(work())).then(
          (value) =>
            fate === 'lost'
              ? deliver('lost', () => reject(fault()))
              : deliver('done', () => resolve(value)),
          (error: unknown) => deliver('failed', () => reject(error)),
        )
      })
    })
  }

  const clock: Clock = {
    now: () => scheduler.now() + aheadMs,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        const wake = (): void => {
          planned.cancel()
          signal?.removeEventListener('abort', wake)
          if (alive) resolve()
        }
        const planned = scheduler.plan(ms, `${name} wakes`, wake)
        signal?.addEventListener('abort', wake, { once: true })
        if (signal?.aborted) wake()
      }),
  }

  const process: Process = {
    name,
    clock,
    effect,
    get alive() {
      return alive
    },
    die() {
      if (!alive) return
      alive = false
      parts.onDeath()
    },
    jump(ms) {
      aheadMs += ms
    },
  }
  return process
}

/** Dice for each name, and for each time that it comes up. */
function createNamedDice(dice: Dice): (name: string) => Dice {
  const seed = dice.below(2 ** 32)
  const times = new Map<string, number>()
  return (name) => {
    const time = (times.get(name) ?? 0) + 1
    times.set(name, time)
    return createDice(mixed(seed, `${name} ${time}`) * 2 ** 20 + time)
  }
}

type Fate = 'done' | 'refused' | 'lost' | 'crashed'

function fateOf({ refused, lost, crashed }: Weather, dice: Dice): Fate {
  const at = dice.next()
  if (at < refused) return 'refused'
  if (at < refused + lost) return 'lost'
  return at < refused + lost + crashed ? 'crashed' : 'done'
}
