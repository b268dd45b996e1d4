import { resolve } from 'node:path'
import { Worker } from 'node:worker_threads'
import { assert, Bug } from '../core/assert.ts'
import { systemClock } from '../core/clock.ts'
import type { Clock, Ledger } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { createLedger } from './commands.ts'
import type { Command, Runner } from './commands.ts'
import type { Failure, Reply, Result, Start } from './sqlite-words.ts'

/** Most commands in one transaction. */
const BATCH_MAX = 512

/** Most commands that wait for the batch before them. More are refused: a store that falls behind must not eat memory. */
const QUEUE_MAX = 16_384

/** Settings of the embedded store. */
export interface SqliteOptions {
  /** Path of the file; it and the directories above it are made when missing, for the owner only. */
  readonly file: string
  readonly clock?: Clock
}

/**
 * The embedded ledger: one SQLite file, written by one thread of this process, durable once a promise resolves. Several
 * processes may have the same file open.
 * @throws {PaymentError} `misconfigured` when the file belongs to another program or to a newer version of this one,
 * `store-unavailable` when it cannot be opened. All verbs reject with `store-unavailable` when the disk or the thread
 * fails; whether a rejected command was written is then unknown.
 */
export async function sqlite({ file, clock = systemClock }: SqliteOptions): Promise<Ledger> {
  return createLedger(await createWriter(resolve(file)), clock)
}

interface Waiting {
  readonly command: Command | 'open'
  readonly resolve: (answer: unknown) => void
  readonly reject: (error: Error) => void
}

async function createWriter(file: string): Promise<Runner> {
  const worker = startWorker({ file })
  const ended = new Promise<void>((done) => {
    worker.once('exit', () => done())
  })
  let waiting: Waiting[] = []
  let flying: Waiting[] = []
  let scheduled = false
  let closing = false
  let dead: Error | undefined

  const fly = (): void => {
    scheduled = false
    if (flying.length > 0) return
    flying = waiting.splice(0, BATCH_MAX)
    if (flying.length > 0) worker.postMessage(flying.map(({ command }) => command))
    else if (closing) worker.postMessage('close')
    else worker.unref()
  }
  const land = (reply: Reply): void => {
    const landed = flying
    flying = []
    for (const [i, one] of landed.entries()) answer(one, reply[i])
    if (reply.some(isFatal)) void worker.terminate()
    // What was collected meanwhile goes next, together with what these answers set going.
    else schedule()
  }
  const schedule = (): void => {
    if (!scheduled) setImmediate(fly)
    scheduled = true
  }
  const die = (cause: unknown): void => {
    dead ??= closing
      ? closed()
      : unavailable('The ledger stopped and stays closed until the process is started again.', {
          cause,
        })
    for (const { reject } of [...flying, ...waiting]) reject(dead)
    waiting = []
    flying = []
  }

  worker.on('message', land)
  worker.on('error', die)
  worker.on('exit', die)
  // The thread opens the file unasked, and answers that like a batch of one.
  await new Promise((resolve, reject) => {
    flying = [{ command: 'open', resolve, reject }]
  })
  return {
    send: (command) =>
      new Promise((resolve, reject) => {
        if (dead ?? closing) return reject(dead ?? closed())
        if (waiting.length >= QUEUE_MAX) return reject(overrun())
        waiting.push({ command, resolve, reject })
        worker.ref()
        schedule()
      }),
    async close() {
      closing = true
      worker.ref()
      if (!dead) schedule()
      await ended
    },
  }
}

function startWorker(start: Start): Worker {
  // Sources run unbuilt and built, and no compiler rewrites this name.
  const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js'
  return new Worker(new URL(`./sqlite-worker${extension}`, import.meta.url), {
    name: 'tolsey-ledger',
    workerData: start,
    // Not the parent's: flags that suit a command line can stop a thread. On Node 22 node:sqlite would print a warning.
    execArgv: ['--disable-warning=ExperimentalWarning'],
  })
}

function answer(waiting: Waiting, result: Result | undefined): void {
  assert(result, 'every command has its result')
  if ('failure' in result) waiting.reject(toError(result.failure))
  else waiting.resolve(result.value)
}

function isFatal(result: Result): boolean {
  return 'failure' in result && result.failure.kind === 'fault' && result.failure.fatal
}

function toError(failure: Failure): Error {
  if (failure.kind === 'bug') return new Bug(failure.message)
  return new PaymentError(failure.code, failure.message, { retryable: failure.retryable })
}

function unavailable(message: string, options: { cause?: unknown; retryable?: boolean }): Error {
  return new PaymentError('store-unavailable', message, options)
}

function overrun(): Error {
  return unavailable('Too much waits to be written.', { retryable: true })
}

function closed(): Error {
  return unavailable('The ledger is closed.', {})
}
