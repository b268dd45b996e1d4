import type { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { assert, Bug } from '../core/assert.ts'
import { systemChance } from '../core/chance.ts'
import { PaymentError } from '../core/problem.ts'
import { perform, writes } from './commands.ts'
import type { Command } from './commands.ts'
import { createPage } from './page.ts'
import type { Store } from './page.ts'
import { GENESIS } from './row.ts'
import { createFile, createGuard, createStore, openDatabase } from './sqlite-store.ts'
import type { Failure, Reply, Result, Start } from './sqlite-words.ts'

// The one writer of this process. Everything here is synchronous: while a batch is being committed, the next one waits
// in the port's queue.

/** How long a batch waits for other processes that write to the same file. */
const BUSY_TIMEOUT_MS = 10_000

/** Longest pause between two attempts to get the file. */
const PAUSE_MS_MAX = 16

/** Primary result codes of SQLite (sqlite.org/rescode.html). */
const BUSY = 5
const LOCKED = 6
const FULL = 13
const CORRUPT = 11
const IO = 10
const NOT_A_DATABASE = 26

interface Books {
  readonly db: DatabaseSync
  readonly store: Store
  readonly guard: () => void
}

function open(file: string): Books {
  createFile(file)
  const db = whenFree(() => openDatabase(file))
  return { db, store: createStore(db), guard: createGuard(db, file) }
}

/** Every command's result, after one commit. An unexpected error in one of them must not harm the others: one by one. */
function run(books: Books, batch: readonly Command[]): readonly Result[] {
  try {
    return whenFree(() => commit(books, batch))
  } catch (error) {
    const [only] = batch
    if (batch.length === 1 || !only || ofDisk(error))
      return batch.map(() => ({ failure: toFailure(error) }))
    return batch.flatMap((command) => run(books, [command]))
  }
}

function commit({ db, store, guard }: Books, batch: readonly Command[]): readonly Result[] {
  // A transaction that only reads must not wait for writers.
  db.exec(batch.some(writes) ? 'BEGIN IMMEDIATE' : 'BEGIN')
  try {
    guard()
    const page = createPage(store, { sequence: 0, hash: GENESIS })
    const results = batch.map((command) => attempt(() => perform(page, command)))
    page.flush()
    db.exec('COMMIT')
    return results
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

/** A refusal that a verb throws has changed nothing, and is a result like others. */
function attempt(work: () => unknown): Result {
  try {
    return { value: work() }
  } catch (error) {
    if (error instanceof PaymentError) return { failure: toFailure(error) }
    throw error
  }
}

/**
 * Tries again while others hold the file. SQLite's own busy handler backs off to 100 ms and starves a process for seconds
 * beside a busy one; short random pauses find the gap between two batches.
 */
function whenFree<T>(work: () => T): T {
  const deadline = performance.now() + BUSY_TIMEOUT_MS
  for (let attempts = 1; ; attempts++) {
    try {
      return work()
    } catch (error) {
      if (![BUSY, LOCKED].includes(codeOf(error)) || performance.now() > deadline) throw error
      pause(Math.min(attempts, PAUSE_MS_MAX) * chance())
    }
  }
}

const nothing = new Int32Array(new SharedArrayBuffer(4))

/** A number from zero to one, coarse enough for a pause. */
function chance(): number {
  return (systemChance(1)[0] ?? 0) / 255
}

function pause(ms: number): void {
  Atomics.wait(nothing, 0, 0, ms)
}

/** SQLite's primary result code, or zero for an error that is not SQLite's. */
function codeOf(error: unknown): number {
  const known = error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'
  return known ? Number(error.errcode) & 0xff : 0
}

/** Whether the file or the disk is to blame, so that trying the commands one by one is no use. */
function ofDisk(error: unknown): boolean {
  return [BUSY, LOCKED, FULL, CORRUPT, IO, NOT_A_DATABASE].includes(codeOf(error))
}

function toFailure(error: unknown): Failure {
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof Bug) return { kind: 'bug', message }
  if (error instanceof PaymentError)
    return { kind: 'fault', code: error.code, message, retryable: error.retryable, fatal: false }
  const code = codeOf(error)
  return {
    kind: 'fault',
    code: 'store-unavailable',
    message: `The ledger's file could not be used: ${message}.`,
    retryable: [BUSY, LOCKED, FULL].includes(code),
    // After an error of the disk nobody knows what a later sync would still cover.
    fatal: [IO, CORRUPT, NOT_A_DATABASE].includes(code),
  }
}

function start(): void {
  const port = parentPort
  assert(port, 'the writer runs in a thread of its own')
  const { file } = workerData as Start
  try {
    const books = open(file)
    port.on('message', (batch: readonly Command[] | 'close') => {
      if (batch !== 'close') return port.postMessage(run(books, batch) satisfies Reply)
      books.db.close()
      port.close()
    })
    port.postMessage([{ value: undefined }] satisfies Reply)
  } catch (error) {
    port.postMessage([{ failure: toFailure(error) }] satisfies Reply)
    port.close()
  }
}

start()
