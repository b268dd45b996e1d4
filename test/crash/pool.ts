// Children loaded ahead: most of a short life would go into imports.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Said } from './messages.ts'

/** How a process ended. */
export interface End {
  readonly killed: boolean
  readonly code: number | null
  readonly stderr: string
}

/** A process that was started. */
export interface Child<T> {
  begin(start: T): void
  stop(): void
  /** The first thing that it says after its start; undefined when it ends before. */
  readonly said: Promise<Exclude<Said, 'warm'> | undefined>
  readonly end: Promise<End>
}

/** A few children that wait for their start. */
export interface Pool<T> {
  take(): Promise<Child<T>>
  close(): Promise<void>
}

/** Keeps so many children of that file loaded. */
export async function createPool<T>(
  file: 'seller.ts' | 'payer.ts' | 'facilitator.ts',
  size: number,
): Promise<Pool<T>> {
  const cache = await mkdtemp(join(tmpdir(), 'crash-cache-'))
  const path = fileURLToPath(new URL(file, import.meta.url))
  const warm: Promise<Child<T>>[] = []
  const alive = new Set<ChildProcess>()
  let closed = false

  async function start(): Promise<Child<T>> {
    const { NODE_TEST_CONTEXT: _, ...env } = process.env
    const child = fork(path, [], {
      env: { ...env, NODE_COMPILE_CACHE: cache },
      execArgv: ['--disable-warning=ExperimentalWarning'],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    alive.add(child)
    let stderr = ''
    child.stderr?.on('data', (text: Buffer) => (stderr += text.toString()))
    const end = new Promise<End>((resolve) => {
      child.once('close', (code, signal) => {
        alive.delete(child)
        resolve({ killed: signal === 'SIGKILL', code, stderr })
      })
    })
    const ready = Promise.withResolvers<void>()
    const said = Promise.withResolvers<Exclude<Said, 'warm'> | undefined>()
    child.on('message', (message: Said) =>
      message === 'warm' ? ready.resolve() : said.resolve(message),
    )
    void end.then((how) => {
      said.resolve(undefined)
      ready.reject(new Error(`A child died before its start: ${how.stderr}`))
    })
    // A child that is gone cannot be told, and its end is seen elsewhere.
    const send = (message: object | string): void => void child.send(message, () => undefined)
    await ready.promise
    return { begin: (start) => send({ start }), stop: () => send('stop'), said: said.promise, end }
  }

  const fill = (): void => {
    if (closed) return
    while (warm.length < size) {
      const one = start()
      // Whoever takes it is told.
      one.catch(() => undefined)
      warm.push(one)
    }
  }
  fill()
  return {
    async take() {
      const child = warm.shift() ?? start()
      fill()
      return child
    },
    async close() {
      closed = true
      const ends = [...alive].map(
        (child) => new Promise((resolve) => child.once('close', resolve).kill('SIGKILL')),
      )
      await Promise.all(ends)
      await rm(cache, { recursive: true, force: true })
    },
  }
}
