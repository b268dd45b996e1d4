import type { Log, Settlement, Standing } from '../../core/ports.ts'
import type { Final } from './final.ts'
import type { Hex } from './hex.ts'
import { lower } from './hex.ts'
import { isHex, written } from './steps.ts'
import type { Mined, Reader, Spend } from './token.ts'

/** What looking again needs. */
export interface StandsParts {
  readonly reader: Reader
  /** The newest block that nothing can undo. */
  readonly final: () => Promise<Final | undefined>
  /** How many nodes must have a receipt in the same block. */
  readonly quorum: number
  /** Finds what became of the spend as of now, and sends again what was written ahead if it is nowhere. */
  readonly search: (spend: Spend, log: Log) => Promise<Settlement | undefined>
  /** Whether the transaction made this payment. */
  readonly pays: (mined: Mined, spend: Spend) => boolean
}

/** Makes the second look at payments that were settled. Many at once share their questions. */
export function createStands(
  parts: StandsParts,
): (spend: Spend, reference: string, log: Log) => Promise<Standing> {
  const { reader, quorum, search, final, pays } = parts
  const receipts = createReceipts(reader)

  /**
   * Gone is what is not there now, once the final block is past the end of the authorization: no block that may still come
   * undone could have taken it, and none that is still to come can.
   */
  async function gone(spend: Spend, log: Log, end: Final | undefined): Promise<Standing> {
    const found = await search(spend, log)
    const last = (await written(log, 'charge')).at(-1)
    const over = end !== undefined && last !== undefined && end.time >= last.validBefore
    if (found?.state === 'settled')
      return { state: over ? 'final' : 'open', reference: found.reference }
    return found?.state === 'failed' && over ? { state: 'gone', problem: found.problem } : open
  }

  return async (spend, reference, log) => {
    // The final block first: a receipt that is missing afterwards was not final before.
    const end = await final()
    const mined = isHex(reference) ? await receipts(lower(reference)) : undefined
    if (!mined || !pays(mined, spend)) return gone(spend, log, end)
    const deep = end !== undefined && mined.block <= end.block
    const sure = deep && (quorum === 1 || (await reader.agreed(mined, quorum)))
    return sure ? { state: 'final', reference: mined.hash } : open
  }
}

const open: Standing = { state: 'open' }

interface Waiting {
  readonly hash: Hex
  readonly resolve: (mined: Mined | undefined) => void
  readonly reject: (error: unknown) => void
}

/** Asks for receipts. Those that are wanted while a question is on its way wait, and go together. */
function createReceipts(reader: Reader): (hash: Hex) => Promise<Mined | undefined> {
  let waiting: readonly Waiting[] = []
  let asking = false

  async function run(): Promise<void> {
    if (asking) return
    asking = true
    while (waiting.length > 0) {
      const these = waiting
      waiting = []
      try {
        const found = await reader.minedAll(these.map(({ hash }) => hash))
        these.forEach(({ resolve }, i) => resolve(found[i]))
      } catch (error) {
        for (const { reject } of these) reject(error)
      }
    }
    asking = false
  }

  return (hash) =>
    new Promise((resolve, reject) => {
      waiting = [...waiting, { hash, resolve, reject }]
      void run()
    })
}
