import type { ChildProcess } from 'node:child_process'
import { fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'

/** A process of its own, so that its CPU time is its own. */
export interface Helper {
  /** Runs one of its verbs. */
  ask<T>(verb: string, said?: unknown): Promise<T>
  /** CPU time that it has used since it began, all its threads, in microseconds. */
  cpuMicros(): Promise<number>
  stop(): Promise<void>
}

/** What a helper can do, by name. */
export type Verbs = Readonly<Record<string, (said: never) => unknown>>

interface Question {
  readonly id: number
  readonly verb: string
  readonly said: unknown
}

interface Answer {
  readonly id: number
  readonly result?: unknown
  readonly error?: string
}

/** Starts a helper's file, on that core alone where the machine lets us choose. */
export async function startHelper(file: string, core?: number): Promise<Helper> {
  const child = forkOn(new URL(file, import.meta.url), core)
  const waiting = new Map<number, PromiseWithResolvers<never>>()
  let last = 0
  child.on('message', ({ id, result, error }: Answer) => {
    const one = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) one?.resolve(result as never)
    else one?.reject(new Error(`${file}: ${error}`))
  })
  child.once('exit', (code) => {
    for (const one of waiting.values()) one.reject(new Error(`${file} ended with ${code}.`))
  })
  const ask = <T>(verb: string, said?: unknown): Promise<T> => {
    const one = Promise.withResolvers<never>()
    waiting.set(++last, one)
    child.send({ id: last, verb, said } satisfies Question)
    return one.promise
  }
  await once(child, 'spawn')
  return {
    ask,
    cpuMicros: () => ask<number>('cpu'),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.disconnect()
      await gone
    },
  }
}

/** A helper's side: answers until nobody listens any more. */
export function serveVerbs(verbs: Verbs): void {
  const all: Verbs = { ...verbs, cpu: cpuMicros }
  process.on('message', ({ id, verb, said }: Question) => {
    void act(all[verb], said).then(
      (result) => process.send?.({ id, result } satisfies Answer),
      (error: unknown) => process.send?.({ id, error: String(error) } satisfies Answer),
    )
  })
  process.once('disconnect', () => process.exit())
}

async function act(verb: Verbs[string] | undefined, said: unknown): Promise<unknown> {
  if (!verb) throw new Error('There is no such verb.')
  return await verb(said as never)
}

/** CPU time of this process, all its threads, in microseconds. */
export function cpuMicros(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

/** Whether a server and its load can have a core each. */
export const pinned: boolean =
  availableParallelism() > 1 && spawnSync('taskset', ['-c', '0,1', 'true']).status === 0

function forkOn(file: URL, core: number | undefined): ChildProcess {
  if (core === undefined || !pinned) return fork(file)
  // The tool becomes the program that it is given, and the channel stays open.
  return fork(file, { execPath: 'taskset', execArgv: ['-c', String(core), process.execPath] })
}
