import { setImmediate } from 'node:timers/promises'
import { assert } from '../core/assert.ts'
import { systemChance } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import type { Clock, Ledger } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { createLedger, writes } from './commands.ts'
import type { Command, Runner } from './commands.ts'
import { connect, toFault } from './postgres-link.ts'
import type { Link, PostgresPlace } from './postgres-link.ts'
import { openBooks, quoteSchema } from './postgres-schema.ts'
import { createSession } from './postgres-session.ts'
import type { Books, Result, Session } from './postgres-session.ts'
import { createStatements, isPoint } from './postgres-store.ts'

/** Most commands in one transaction. */
const BATCH_MAX = 512

/** Most commands that are not answered yet. More are refused: a store that falls behind must not eat memory. */
const QUEUE_MAX = 16_384

/** Connections that only read, beside the one that writes. */
const READERS_MAX = 4

/** How long a database that cannot be reached is waited for. */
const PATIENCE_MS = 10_000

/** The schema that the books are in. */
const SCHEMA = 'tolsey'

/** Settings of the shared store. */
export interface PostgresOptions extends PostgresPlace {
  /** The schema of the books, `tolsey` if absent: small letters, digits and underscores. */
  readonly schema?: string
  readonly clock?: Clock
  /** How long a call waits for a database that cannot be reached, in milliseconds; 10,000 if absent. */
  readonly patienceMs?: number
}

/**
 * The ledger for many nodes: books in PostgreSQL, durable once a promise resolves, the same for all processes that share
 * them. Each process writes through one connection, a batch at a time, and reads through four more at most.
 * @throws {PaymentError} `misconfigured` when the settings, the package `pg`, the user's rights or the schema are not
 * right, `store-unavailable` when the database cannot be reached. All verbs reject with `store-unavailable` when it is
 * lost for longer than the patience; only where the message says so is it unknown whether the command was written.
 */
export async function postgres(options: PostgresOptions): Promise<Ledger> {
  const { schema = SCHEMA, clock = systemClock, patienceMs = PATIENCE_MS, ...place } = options
  const sql = createStatements(schema)
  await open(place, schema, patienceMs)
  const session = (use: 'write' | 'read'): Session => {
    const books: Books = { schema, sql, chance: systemChance, connect: () => connect(place, use) }
    return createSession(books, patienceMs)
  }
  return createLedger(createRunner(session, patienceMs), clock)
}

/** Sees that the books are there and ours, waiting for a database that only just starts. */
async function open(place: PostgresPlace, schema: string, patienceMs: number): Promise<void> {
  quoteSchema(schema)
  const untilAt = performance.now() + patienceMs
  for (;;) {
    let link: Link | undefined
    try {
      link = await connect(place, 'read')
      return await openBooks(link, schema)
    } catch (error) {
      const { kind, error: said } = toFault(error)
      if (kind !== 'passing' || performance.now() > untilAt) throw said
      await systemClock.sleep(OPENING_PAUSE_MS)
    } finally {
      await link?.end()
    }
  }
}

/** The pause between two attempts to open the books. */
const OPENING_PAUSE_MS = 200

interface Waiting {
  readonly command: Command
  /** When it is refused if the database cannot be reached, by `performance.now()`. */
  readonly untilAt: number
  readonly resolve: (answer: unknown) => void
  readonly reject: (error: Error) => void
}

/**
 * Collects commands while a batch is under way. Writes are done in the order they were sent, and each reading sees all that
 * was sent before it; what was sent after it too, only if all readers were busy.
 */
function createRunner(session: (use: 'write' | 'read') => Session, patienceMs: number): Runner {
  const writer = session('write')
  const readers = Array.from({ length: READERS_MAX }, () => session('read'))
  const free = [...readers]
  const reading = new Set<Promise<void>>()
  let waiting: Waiting[] = []
  let backlog: Waiting[] = []
  let open = 0
  let running: Promise<void> | undefined
  let closing: Promise<void> | undefined

  const run = async (): Promise<void> => {
    while (waiting.length > 0) {
      // What one turn sends goes together, and with it what the last answers have set going.
      await setImmediate()
      const batch = takePoints(waiting)
      if (batch.some(({ command }) => writes(command))) await write(batch)
      else await startReading([...batch, ...takeReads(waiting)])
    }
    running = undefined
  }
  const write = async (batch: readonly Waiting[]): Promise<void> => {
    const results = await writer.write(commandsOf(batch), deadlineOf(batch))
    finish(batch, results)
    // The database is away: those who have waited as long as these are told the same, without another attempt each.
    const away = results.find((one) => 'error' in one && isAway(one.error))
    if (away) dismiss(away)
  }
  const dismiss = (away: Result): void => {
    const now = performance.now()
    const late = waiting.filter(({ untilAt }) => untilAt <= now)
    waiting = waiting.filter(({ untilAt }) => untilAt > now)
    finish(
      late,
      late.map(() => away),
    )
  }
  /** Resolves when the reading sees the books as they are now; it goes on beside the writes. */
  const startReading = (batch: readonly Waiting[]): Promise<void> => {
    const reader = free.pop()
    if (!reader) return Promise.resolve(void backlog.push(...batch))
    return new Promise((seen) => {
      const task = read(reader, batch, seen).then(() => void reading.delete(task))
      reading.add(task)
    })
  }
  const read = async (
    reader: Session,
    batch: readonly Waiting[],
    seen: () => void,
  ): Promise<void> => {
    const results = await reader.read(commandsOf(batch), deadlineOf(batch), seen)
    free.push(reader)
    finish(batch, results)
    const next = backlog.splice(0, BATCH_MAX)
    if (next.length > 0) await startReading(next)
  }
  const finish = (batch: readonly Waiting[], results: readonly Result[]): void => {
    open -= batch.length
    for (const [i, one] of batch.entries()) answer(one, results[i])
  }
  const close = async (): Promise<void> => {
    await running
    while (reading.size > 0) await Promise.all(reading)
    await Promise.all([writer, ...readers].map((one) => one.end()))
  }
  return {
    send: (command) =>
      new Promise((resolve, reject) => {
        if (closing) return reject(unavailable('The ledger is closed.'))
        if (open >= QUEUE_MAX) return reject(unavailable('Too much waits to be written.', true))
        open++
        waiting.push({ command, untilAt: performance.now() + patienceMs, resolve, reject })
        running ??= run()
      }),
    close: () => (closing ??= close()),
  }
}

/** Takes what can share a transaction off the head of the queue. */
function takePoints(waiting: Waiting[]): readonly Waiting[] {
  return take(waiting, isPoint)
}

function takeReads(waiting: Waiting[]): readonly Waiting[] {
  return take(waiting, (command) => !writes(command))
}

function take(waiting: Waiting[], fits: (command: Command) => boolean): readonly Waiting[] {
  const end = waiting.findIndex(({ command }) => !fits(command))
  return waiting.splice(0, Math.min(end === -1 ? waiting.length : end, BATCH_MAX))
}

function commandsOf(batch: readonly Waiting[]): readonly Command[] {
  return batch.map(({ command }) => command)
}

/** The first to come has waited longest. */
function deadlineOf(batch: readonly Waiting[]): number {
  return batch[0]?.untilAt ?? 0
}

function answer(waiting: Waiting, result: Result | undefined): void {
  assert(result, 'every command has its result')
  if ('error' in result) waiting.reject(result.error)
  else waiting.resolve(result.value)
}

function isAway(error: Error): boolean {
  return error instanceof PaymentError && error.code === 'store-unavailable' && error.retryable
}

function unavailable(message: string, retryable = false): PaymentError {
  return new PaymentError('store-unavailable', message, { retryable })
}
