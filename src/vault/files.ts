import { hash } from 'node:crypto'
import { mkdir, open, readFile, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { systemChance, uuid } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import type { Chance, Clock, Vault } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'

/** Most bytes that a vault holds unless the settings say otherwise. */
export const VAULT_BYTES_MAX = 1_073_741_824
/** How often what has had its time is looked for. */
export const SWEEP_MS = 60_000

/** Settings of a vault of files. */
export interface FilesOptions {
  /** Made when missing, for the owner only. May be shared by several processes. */
  readonly directory: string
  readonly bytesMax?: number
  readonly clock?: Clock
  readonly chance?: Chance
}

/** A vault of files in one directory: a name tells what it holds and until when, and a rename makes it whole. */
export function files(options: FilesOptions): Vault {
  const {
    directory,
    bytesMax = VAULT_BYTES_MAX,
    clock = systemClock,
    chance = systemChance,
  } = options
  let sweptAt = -Infinity
  let bytes = 0

  /** Removes what has had its time, and counts the rest. */
  async function sweep(): Promise<void> {
    sweptAt = clock.now()
    bytes = 0
    for (const name of await readdir(directory)) {
      const file = join(directory, name)
      if (untilOf(name) <= clock.now()) await rm(file, { force: true })
      else bytes += (await stat(file).catch(() => ({ size: 0 }))).size
    }
  }

  async function write(file: string, sealed: Uint8Array): Promise<void> {
    const handle = await open(file, 'wx', 0o600)
    try {
      await handle.writeFile(sealed)
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  return {
    async put(key, sealed, untilAt) {
      try {
        await mkdir(directory, { recursive: true, mode: 0o700 })
        if (clock.now() - sweptAt >= SWEEP_MS) await sweep()
        if (bytes + sealed.length > bytesMax) throw new Error('The vault is full.')
        const file = join(directory, `${prefixOf(key)}${untilAt}`)
        const draft = `${file}.${uuid(chance)}`
        await write(draft, sealed)
        await rename(draft, file)
        bytes += sealed.length
      } catch (cause) {
        throw new PaymentError('store-unavailable', 'An answer could not be kept.', { cause })
      }
    },
    async get(key) {
      const names = await readdir(directory).catch(() => [])
      const [last] = names
        .filter((name) => name.startsWith(prefixOf(key)) && /\.\d+$/.test(name))
        .toSorted((a, b) => untilOf(b) - untilOf(a))
      if (last === undefined || untilOf(last) <= clock.now()) return undefined
      return await readFile(join(directory, last)).catch(() => undefined)
    },
    async drop(key) {
      const names = await readdir(directory).catch(() => [])
      for (const name of names.filter((one) => one.startsWith(prefixOf(key)))) {
        const file = join(directory, name)
        const { size } = await stat(file).catch(() => ({ size: 0 }))
        await rm(file, { force: true })
        bytes -= size
      }
    },
  }
}

/** Keys may be long and hold any character. */
function prefixOf(key: string): string {
  return `${hash('sha256', key, 'hex')}.`
}

/** The end stands behind the first dot, in drafts too. */
function untilOf(name: string): number {
  return Number(name.split('.')[1])
}
