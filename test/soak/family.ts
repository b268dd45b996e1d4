// A process that is killed now and then, and started again on the same files.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Memory, Said, Start } from './messages.ts'

/** A process and those after it. */
export interface Member {
  readonly name: string
  /** Where it listens; undefined while it is dead. */
  url(): string | undefined
  /** Dies without a word, and is started again after that time. Resolves once it is there again. */
  kill(pauseMs: number): Promise<void>
  calm(): void
  /** Ends in order; what went wrong in the last process, by its name. */
  stop(): Promise<Readonly<Record<string, number>>>
  /** Dies, and nobody comes after it. */
  end(): Promise<void>
  readonly deaths: number
  /** How long each start took until it listened, in milliseconds. */
  readonly startsMs: readonly number[]
  /** Why processes ended before they listened. */
  readonly failedStarts: readonly string[]
  readonly memory: readonly (Memory & { readonly at: number })[]
}

/** What a member is made of. */
export interface MemberParts<T extends Start> {
  readonly name: string
  readonly file: 'seller.ts' | 'facilitator.ts' | 'buyers.ts'
  readonly start: T
  /** How far each process's clock is ahead of the one before. */
  readonly aheadMs: number
  /** Told when a process ends that was neither killed nor stopped. */
  readonly onFailure: (sentence: string) => void
}

interface Life {
  readonly child: ChildProcess
  readonly port: Promise<number>
  readonly done: Promise<Readonly<Record<string, number>>>
}

/** How often a process is started until it listens, and how long one start may take. */
const STARTS_MAX = 20
const START_MS_MAX = 120_000

/** Starts the first process, and waits until it listens. */
export async function startMember<T extends Start>(parts: MemberParts<T>): Promise<Member> {
  const memory: (Memory & { at: number })[] = []
  const startsMs: number[] = []
  const failedStarts: string[] = []
  let [deaths, isCalm, ending] = [0, false, false]
  let port: number | undefined
  /** The one that listens. */
  let current: ChildProcess | undefined
  let life = await begin()

  /** A start can fail like everything else, and then whoever looks after the process tries again. */
  async function begin(): Promise<Life> {
    for (let tries = 1; ; tries++)
      try {
        return await beginOnce(tries)
      } catch (error) {
        if (tries === STARTS_MAX) throw error
        failedStarts.push(sentenceOf(error))
      }
  }

  async function beginOnce(tries: number): Promise<Life> {
    const { start, file, aheadMs } = parts
    const startedAt = Date.now()
    const next = launch(file, (said) => {
      if ('memory' in said) memory.push({ ...said.memory, at: Date.now() })
    })
    const { child } = next
    child.once('exit', (code, signal) => {
      if (child !== current) return
      port = undefined
      if (code !== 0 && !ending && signal !== 'SIGKILL')
        parts.onFailure(`${parts.name} ended with ${code}: ${next.stderr()}`)
    })
    const seed = start.seed + deaths * STARTS_MAX + tries
    const ahead = start.aheadMs + deaths * aheadMs
    child.send({ start: { ...start, seed, aheadMs: ahead } })
    const late = setTimeout(() => child.kill('SIGKILL'), START_MS_MAX)
    port = await next.port.finally(() => clearTimeout(late))
    current = child
    startsMs.push(Date.now() - startedAt)
    if (isCalm) child.send('calm')
    return next
  }

  return {
    name: parts.name,
    memory,
    startsMs,
    failedStarts,
    url: () => (port === undefined ? undefined : `http://127.0.0.1:${port}`),
    get deaths() {
      return deaths
    },
    async kill(pauseMs) {
      deaths++
      port = undefined
      await gone(life.child)
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
      if (!ending) life = await begin()
    },
    calm() {
      isCalm = true
      if (life.child.connected) life.child.send('calm')
    },
    async stop() {
      ending = true
      const { child, done } = life
      const over = once(child, 'exit')
      child.send('stop')
      const said = await done
      await over
      return said
    },
    async end() {
      ending = true
      await gone(life.child)
    },
  }
}

function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

async function gone(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const over = once(child, 'exit')
  child.kill('SIGKILL')
  await over
}

function launch(file: string, onSaid: (said: Said) => void): Life & { stderr(): string } {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [], {
    env,
    execArgv: ['--disable-warning=ExperimentalWarning', '--expose-gc'],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  let stderr = ''
  child.stderr?.on('data', (text: Buffer) => (stderr = (stderr + text.toString()).slice(-4_000)))
  const port = Promise.withResolvers<number>()
  const done = Promise.withResolvers<Readonly<Record<string, number>>>()
  child.on('message', (said: Said) => {
    onSaid(said)
    if ('port' in said) port.resolve(said.port)
    if ('done' in said) done.resolve(said.done)
  })
  child.once('close', () => {
    const error = new Error(`${file} ended too early: ${stderr}`)
    port.reject(error)
    done.reject(error)
  })
  for (const { promise } of [port, done]) promise.catch(() => undefined)
  return { child, port: port.promise, done: done.promise, stderr: () => stderr }
}
