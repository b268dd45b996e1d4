import { uuid } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import type { Chance } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { perform, writes } from './commands.ts'
import type { Command } from './commands.ts'
import { createPage } from './page.ts'
import type { Changes } from './page.ts'
import type { Link } from './postgres-link.ts'
import { toFault } from './postgres-link.ts'
import { bind, createStore, openReading, openWriting, readAll } from './postgres-store.ts'
import type { Statements } from './postgres-store.ts'
import { GENESIS } from './row.ts'

/** What became of one command. */
export type Result = { readonly value: unknown } | { readonly error: Error }

/** What a session works on. */
export interface Books {
  readonly schema: string
  readonly sql: Statements
  readonly chance: Chance
  /** Opens a connection to books that are known to be ours. */
  readonly connect: () => Promise<Link>
}

/** One connection to the books, made when it is needed and again when it was lost. */
export interface Session {
  /** One result for each command, when all of them are durable. Never rejects. */
  readonly write: (batch: readonly Command[], untilAt: number) => Promise<readonly Result[]>
  /** The same for commands that only read; `seen` is called when later writes do not show in them any more. */
  readonly read: (
    batch: readonly Command[],
    untilAt: number,
    seen: () => void,
  ) => Promise<readonly Result[]>
  readonly end: () => Promise<void>
}

/** The first pause before something that passes is tried again, and the longest one. */
const PAUSE_MS = 20
const PAUSE_MS_MAX = 500

/** A commit that nobody has confirmed: it is looked for before anything is answered. */
class Doubt extends Error {
  readonly batch: string
  readonly sequence: number
  readonly results: readonly Result[]
  constructor(batch: string, sequence: number, results: readonly Result[], cause: unknown) {
    super('The commit is in doubt.', { cause })
    this.batch = batch
    this.sequence = sequence
    this.results = results
  }
}

/** A session on the books. Times are those of `performance.now()`. */
export function createSession(books: Books, patienceMs: number): Session {
  const { schema, sql, chance } = books
  let link: Link | undefined

  const use = async (): Promise<Link> => {
    if (link?.dead()) link = undefined
    return (link ??= await books.connect())
  }
  /** Runs one transaction. After any fault of the database its connection is not used again. */
  const within = async <T>(work: (link: Link) => Promise<T>): Promise<T> => {
    const own = await use()
    try {
      return await work(own)
    } catch (error) {
      own.drop()
      throw error
    }
  }
  const commit = async (own: Link, batch: readonly Command[]): Promise<readonly Result[]> => {
    const { snapshot, tail } = await openWriting(own, sql, schema, batch)
    let changes: Changes | undefined
    const store = createStore(snapshot, tail, (all) => void (changes = all))
    const page = createPage(store, { sequence: 0, hash: GENESIS })
    const results = batch.map((command) => attempt(command, () => perform(page, command)))
    page.flush()
    const last = changes?.lines.at(-1)
    if (!changes || !last) {
      await own.ask('ROLLBACK')
      return results
    }
    const name = uuid(chance)
    const { count } = await own.ask(sql.write, bind(tail, changes, name))
    if (count !== 1) throw unavailable('The journal does not end where the books say it does.')
    await confirm(own, new Doubt(name, last.sequence, results, undefined))
    return results
  }
  /** Whether the batch is in the journal. Whoever holds the lock knows that its transaction is over. */
  const isThere = async (doubt: Doubt): Promise<boolean> =>
    within(async (own) => {
      const [, , said] = await Promise.all([
        own.ask(sql.begin),
        own.ask(sql.lock),
        own.ask(sql.batch, [doubt.sequence]),
      ])
      await own.ask('ROLLBACK')
      return said.rows[0]?.['batch'] === doubt.batch
    })
  const settle = async (doubt: Doubt): Promise<readonly Result[] | undefined> => {
    const there = await patiently(() => isThere(doubt), performance.now() + patienceMs)
    return there ? doubt.results : undefined
  }
  /** Tries until it is known whether the batch was committed, and then until it is or the time is up. */
  const persist = async (batch: readonly Command[], untilAt: number): Promise<readonly Result[]> =>
    patiently(async () => {
      try {
        return await within((own) => commit(own, batch))
      } catch (error) {
        if (!(error instanceof Doubt)) throw error
        const results = await settle(error).catch(() => {
          throw unavailable(
            'The database was lost during a commit: whether it was written is unknown.',
          )
        })
        if (results) return results
        throw error.cause
      }
    }, untilAt)

  const write: Session['write'] = async (batch, untilAt) => {
    try {
      return await persist(batch, untilAt)
    } catch (error) {
      const fault = toFault(error)
      if (fault.kind !== 'command' || batch.length === 1)
        return batch.map(() => ({ error: fault.error }))
      // One of them must not harm the others: it is looked for by halves, and the order stays.
      const half = batch.length >> 1
      const first = await write(batch.slice(0, half), untilAt)
      return [...first, ...(await write(batch.slice(half), untilAt))]
    }
  }
  return {
    write,
    async read(batch, untilAt, seen) {
      const once = async (own: Link): Promise<readonly Result[]> => {
        await openReading(own, sql, schema)
        seen()
        const snapshot = await readAll(own, sql, batch)
        await own.ask('COMMIT')
        const store = createStore(snapshot, undefined, () => undefined)
        const page = createPage(store, { sequence: 0, hash: GENESIS })
        return batch.map((command) => attempt(command, () => perform(page, command)))
      }
      try {
        return await patiently(() => within(once), untilAt)
      } catch (error) {
        return batch.map(() => ({ error: toFault(error).error }))
      } finally {
        seen()
      }
    },
    async end() {
      await link?.end()
    },
  }
}

/**
 * Commits. Until the question is sent nothing is written; once it is, only its answer tells. A transaction that had failed
 * is answered too, and with `ROLLBACK`.
 */
async function confirm(link: Link, doubt: Doubt): Promise<void> {
  let tag: string
  try {
    tag = (await link.ask('COMMIT')).tag
  } catch (cause) {
    throw new Doubt(doubt.batch, doubt.sequence, doubt.results, cause)
  }
  if (tag !== 'COMMIT') throw unavailable('The database took the batch back.')
}

/** A refusal that a verb throws has changed nothing, nor has any error of a verb that only reads: a result like others. */
function attempt(command: Command, work: () => unknown): Result {
  try {
    return { value: work() }
  } catch (error) {
    if (error instanceof PaymentError || !writes(command)) return { error: toFault(error).error }
    throw error
  }
}

/** Tries again what passes, with pauses, until the time is up. It is tried once in any case. */
async function patiently<T>(work: () => Promise<T>, untilAt: number): Promise<T> {
  for (let pauseMs = PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
    try {
      return await work()
    } catch (error) {
      const late = performance.now() + pauseMs > untilAt
      if (late || toFault(error).kind !== 'passing') throw error
      await systemClock.sleep(pauseMs)
    }
  }
}

function unavailable(sentence: string): PaymentError {
  return new PaymentError('store-unavailable', sentence)
}
