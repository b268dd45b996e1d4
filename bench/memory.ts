// Memory of a seller's process: after many payments, and while a large response goes out to somebody who reads slowly. The
// rail takes every payment without a chain, which would only be slower; door, gate and durable books are the real ones.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Start } from './memory-server.ts'
import { createQuickPayer } from './parties.ts'
import type { Helper } from './process.ts'
import { startHelper } from './process.ts'
import type { Result, Run } from './result.ts'
import { compare } from './result.ts'
import { readSlowly } from './slow.ts'
import type { Memory } from './watched.ts'

/** Payments after which memory is looked at: by the first, all caches that are not the store's are full. */
const MARKS = [2_000, 5_000, 10_000] as const
const LANES = 16
const LARGE_BYTES = 200 * 2 ** 20
const LARGE_ROUNDS = 3
/** What is promised. */
const GROWTH_MIB_MAX = 2
const LARGE_MIB_MAX = 32

/** What stays in use, and the most that a large response takes. */
export async function memory({ quick, tell }: Run): Promise<readonly Result[]> {
  const directory = await mkdtemp(join(tmpdir(), 'bench-'))
  try {
    const start = { directory, bytes: LARGE_BYTES }
    return [...(await kept(start, quick, tell)), ...(await large(start, quick, tell))]
  } finally {
    await rm(directory, { recursive: true })
  }
}

async function withHelper<T>(work: (helper: Helper) => Promise<T>): Promise<T> {
  const helper = await startHelper('./memory-server.ts')
  try {
    return await work(helper)
  } finally {
    await helper.stop()
  }
}

/** What is in use after so many payments. */
async function kept(start: Start, quick: boolean, tell: Run['tell']): Promise<readonly Result[]> {
  const marks = quick ? MARKS.map((mark) => mark / 20) : MARKS
  const found = await withHelper(async (helper) => {
    const url = `${await helper.ask<string>('ours', start)}/paid`
    const payer = createQuickPayer(fetch)
    const found: Memory[] = []
    let paid = 0
    for (const mark of marks) {
      tell(`${mark} payments`)
      const lane = async (): Promise<void> => {
        while (paid < mark) {
          paid++
          const response = await payer.fetch(url)
          if ((await response.text()) !== 'sold') throw new Error('The request was not sold.')
        }
      }
      await Promise.all(Array.from({ length: LANES }, lane))
      found.push(await helper.ask<Memory>('memory'))
    }
    return found
  })
  const line = { bench: 'memory', unit: 'MiB', better: 'less' } as const
  const [first, last] = [found[0], found.at(-1)]
  if (!first || !last) throw new Error('Nothing was paid.')
  const count = (n: number | undefined): string => (n ?? 0).toLocaleString('en')
  return [
    ...found.map(({ heap }, i) =>
      compare({ ...line, what: `objects after ${count(marks[i])} payments`, ours: [heap] }),
    ),
    compare({
      ...line,
      what: `objects, more after ${count(marks.at(-1))} payments than after ${count(marks[0])}`,
      ours: [Math.max(0, last.heap - first.heap)],
      goal: { most: GROWTH_MIB_MAX },
    }),
    ...found.map(({ rss }, i) =>
      compare({
        ...line,
        what: `process after ${count(marks[i])} payments, the store's cache of at most 64 MiB included`,
        ours: [rss],
      }),
    ),
  ]
}

/** How much more is in use while 200 MiB go out. */
async function large(start: Start, quick: boolean, tell: Run['tell']): Promise<readonly Result[]> {
  const ours: number[] = []
  const web: number[] = []
  for (let round = 1; round <= (quick ? 1 : LARGE_ROUNDS); round++) {
    tell(`200 MiB, round ${round}`)
    ours.push(await withHelper((helper) => served(helper, start)))
    web.push(await withHelper((helper) => fetched(helper, start)))
  }
  const line = {
    bench: 'memory',
    unit: 'MiB',
    better: 'less',
    goal: { most: LARGE_MIB_MAX },
  } as const
  const what = 'during a response of 200 MiB to a slow reader'
  return [
    compare({ ...line, what: `more ${what}, node adapter`, ours }),
    compare({ ...line, what: `more ${what}, fetch adapter`, ours: web }),
  ]
}

async function served(helper: Helper, start: Start): Promise<number> {
  const url = await helper.ask<string>('ours', start)
  const payer = createQuickPayer(fetch)
  // Once, so that what is loaded and compiled for the first request is there.
  await (await payer.fetch(`${url}/paid`)).text()
  return watched(helper, async () => readSlowly(await payer.fetch(`${url}/large`)))
}

async function fetched(helper: Helper, start: Start): Promise<number> {
  await helper.ask<number>('large', start)
  return watched(helper, () => helper.ask<number>('large', start))
}

async function watched(helper: Helper, work: () => Promise<number>): Promise<number> {
  const before = await helper.ask<number>('watch')
  if ((await work()) !== LARGE_BYTES) throw new Error('Not all of it came.')
  return (await helper.ask<number>('most')) - before
}
