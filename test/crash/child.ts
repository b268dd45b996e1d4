// A process that is loaded ahead, and begins when its parent says so.
import { flushCompileCache } from 'node:module'
import type { Said } from './messages.ts'

type End = () => Promise<void>
type Begin<T> = (start: T, tell: (said: Said) => void) => Promise<End>

/** Waits for the start, then for the stop. Without a parent that talks to it, the file does nothing. */
export function serve<T>(begin: Begin<T>): void {
  if (!process.send) return
  const tell = (said: Said): void => void process.send?.(said)
  let ending: Promise<End> | undefined
  process.on('disconnect', () => process.exit(1))
  process.on('message', (message: { start: T } | 'stop') => {
    if (message !== 'stop') ending = begin(message.start, tell)
    else ending = ending?.then((end) => end()).then(leave)
    ending?.catch(fail)
  })
  // Those that are killed write nothing at their end.
  flushCompileCache()
  tell('warm')
}

function leave(): never {
  process.exit(0)
}

function fail(error: unknown): never {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
  process.exit(70)
}
