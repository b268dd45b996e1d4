import { appendFile, readFile, rename, rm } from 'node:fs/promises'
import type { Clock } from '../core/ports.ts'
import type { Anvil } from './anvil.ts'

/**
 * Signed transactions since the last save of a chain. Saving takes longer with every block; a line here costs nothing and
 * survives a kill just as well. Written for the chance that the process dies, not the machine: nothing is flushed.
 */
export interface Journal {
  /** Notes a transaction that the node has taken. */
  append(raw: string): Promise<void>
  /** Begins a new page: what stood before is in the save that comes now. The function drops the old page. */
  turn(): Promise<() => Promise<void>>
  /** Sends again what is noted, at the times of then: an authorization that has expired since must still have moved. */
  replay(anvil: Anvil): Promise<void>
}

/** A journal beside the state file. */
export function createJournal(file: string, clock: Clock): Journal {
  const old = `${file}.old`
  return {
    append: (raw) => appendFile(file, `${Math.floor(clock.now() / 1000)} ${raw}\n`),
    async turn() {
      await rename(file, old).catch(absent)
      return () => rm(old, { force: true })
    },
    async replay(anvil) {
      for (const page of [old, file]) {
        const text = await readFile(page, 'utf8').catch(absent)
        for (const line of text?.split('\n') ?? []) await again(anvil, line)
      }
    },
  }
}

/** A line that was cut off, or a transaction that is in the state already, is no loss. */
async function again(anvil: Anvil, line: string): Promise<void> {
  const [, at, raw] = /^(\d+) (0x[0-9a-f]+)$/.exec(line) ?? []
  if (raw === undefined) return
  await anvil.request('evm_setNextBlockTimestamp', [Number(at)]).catch(() => undefined)
  await anvil.request('eth_sendRawTransactionSync', [raw]).catch(() => undefined)
}

function absent(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
  throw error
}
