// How much memory this process uses, for helpers whose memory is watched.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Memory in use, in MiB: of the whole process, and of the main thread's objects. */
export interface Memory {
  readonly rss: number
  readonly heap: number
}

const LOOK_MS = 2
const MIB = 2 ** 20

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

let highest = 0
let watching: NodeJS.Timeout | undefined

/** What is in use when all that is garbage is collected. */
export function memory(): Memory {
  collect()
  collect()
  return { rss: rssMiB(), heap: process.memoryUsage().heapUsed / MIB }
}

/** Begins to look at memory again and again. What was in use before. */
export function watch(): number {
  const { rss } = memory()
  highest = rss
  watching = setInterval(() => (highest = Math.max(highest, rssMiB())), LOOK_MS)
  return rss
}

/** The most that was in use since. */
export function most(): number {
  clearInterval(watching)
  return highest
}

function rssMiB(): number {
  return process.memoryUsage.rss() / MIB
}
