import type { Json } from '../../core/json.ts'
import { isObject } from '../../core/json.ts'
import type { Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { quantity } from './hex.ts'
import type { Rpc } from './rpc.ts'
import { readNumber } from './rpc.ts'
import type { Reader } from './token.ts'

/** How deep a block must be to count as final, in blocks, on a chain that does not tell what is. */
export const FINAL_BLOCKS = 1_024n
/** How long what is known of the final block is used. */
const FINAL_FRESH_MS = 4_000

/** The newest block that nothing can undo. */
export interface Final {
  readonly block: bigint
  /** Its time, in seconds. */
  readonly time: bigint
}

/** Makes the question for the final block; undefined while the chain has none. Many at once share it. */
export function createFinal({
  rpc,
  reader,
  clock,
}: {
  readonly rpc: Rpc
  readonly reader: Reader
  readonly clock: Clock
}): () => Promise<Final | undefined> {
  let known: { readonly at: number; readonly final: Promise<Final | undefined> } | undefined

  async function ask(): Promise<Final | undefined> {
    const told = await block('finalized').catch(ignoreFault)
    if (told) return told
    const height = await reader.height()
    return height < FINAL_BLOCKS ? undefined : await block(quantity(height - FINAL_BLOCKS))
  }

  const block = (tag: string): Promise<Final | undefined> =>
    rpc.read('eth_getBlockByNumber', [tag, false], readFinal)

  return () => {
    const now = clock.now()
    if (!known || now < known.at || now >= known.at + FINAL_FRESH_MS)
      known = { at: now, final: ask() }
    return known.final
  }
}

/** A chain that knows no final block answers with nothing, or with an error. */
function readFinal(said: Json): Final | undefined {
  if (said === null) return undefined
  if (!isObject(said)) throw new Error('not a block')
  return { block: readNumber(said['number']), time: readNumber(said['timestamp']) }
}

function ignoreFault(error: unknown): undefined {
  if (!(error instanceof PaymentError)) throw error
}
