// The process's side: it is started by a message, and ends by one.
import type { Said, Word } from './messages.ts'

/** What a started process can do. */
export interface Running {
  /** Nothing fails any more. */
  calm(): void
  /** Closes what is open, and ends. What went wrong is told by its name. */
  stop(): Promise<Readonly<Record<string, number>>>
}

type Begin<T> = (start: T, tell: (said: Said) => void) => Promise<Running>

/** Waits for the start. Without a parent that talks to it, the file does nothing. */
export function serve<T>(begin: Begin<T>): void {
  if (!process.send) return
  const tell = (said: Said): void => void process.send?.(said)
  let running: Promise<Running> | undefined
  process.on('disconnect', () => process.exit(1))
  process.on('message', (message: { start: T } | Word) => {
    if (message === 'calm') running?.then((one) => one.calm(), fail)
    else if (message === 'stop') running?.then(end).catch(fail)
    else running = begin(message.start, tell)
    running?.catch(fail)
  })

  async function end(one: Running): Promise<void> {
    tell({ done: await one.stop() })
    process.disconnect()
    process.exit(0)
  }
}

function fail(error: unknown): never {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
  process.exit(70)
}
