import { PaymentError } from '../../../core/problem.ts'
import type { Final } from '../final.ts'
import { quantity } from '../hex.ts'
import type { Read, Rpc } from '../rpc.ts'
import { readHex, readNumber } from '../rpc.ts'
import type { Written } from '../steps.ts'
import type { Mined, Spend, Trace } from '../token.ts'
import { movesAll, readReceipt, readTime } from '../token.ts'
import { DEAD_AFTER_S } from '../settling.ts'
import { permitNonces } from './permit2.ts'

/** What finding a used nonce needs. */
export interface TraceParts {
  readonly rpc: Rpc
  readonly quorum: number
  /** The newest block that nothing can undo. */
  readonly final: () => Promise<Final | undefined>
}

/**
 * Makes the search for where the nonce of a permit went. Permit2 leaves no record of it, and only the key that is the spender can
 * have used it for us: it was paid by a transaction that was written ahead here, or it was used up or taken back by its owner.
 */
export function createTrace(
  parts: TraceParts,
): (spend: Spend, before: readonly Written[]) => Promise<Trace> {
  const { rpc, quorum, final } = parts

  /** What one node says. It is asked by the number of a block, so that no answer comes from one that is behind. */
  async function by(read: Read, spend: Spend, before: readonly Written[]): Promise<Trace> {
    const block = await read('eth_blockNumber', [], readNumber)
    if (!(await isUsed(read, spend, block))) return unseen
    const missing: Written[] = []
    for (const one of before.toReversed()) {
      const mined = await read('eth_getTransactionReceipt', [one.hash], (said) =>
        readReceipt(said, one.hash),
      )
      if (mined && movesAll(mined, spend)) return { kind: 'paid', mined, at: await at(read, mined) }
      if (!mined) missing.push(one)
    }
    // What has a number that was not reached by then has used nothing by then.
    for (const one of missing)
      if ((await sent(read, one, block)) > one.nonce)
        return (await isOver(one)) ? elsewhere : unseen
    return elsewhere
  }

  async function isUsed(read: Read, spend: Spend, block: bigint): Promise<boolean> {
    const { target, data } = permitNonces.call(spend)
    return await read('eth_call', [{ to: target, data }, quantity(block)], (said) =>
      permitNonces.isUsed({ ok: true, data: readHex(said) }, spend),
    )
  }

  const sent = async (read: Read, { sender }: Written, block: bigint): Promise<number> =>
    Number(await read('eth_getTransactionCount', [sender, quantity(block)], readNumber))

  const at = async (read: Read, { blockHash }: Mined): Promise<number> =>
    Number(await read('eth_getBlockByHash', [blockHash, false], readTime)) * 1_000

  /** Whether it would be in a block that nothing can undo, and that every node has by now. */
  async function isOver({ validBefore }: Written): Promise<boolean> {
    const end = await final().catch(ignoreFault)
    return end !== undefined && end.time >= validBefore + DEAD_AFTER_S
  }

  return async (spend, before) => {
    const found = await rpc.each(quorum, (read) => by(read, spend, before))
    const paid = found.find(({ kind }) => kind === 'paid')
    return paid ?? (found.every(({ kind }) => kind === 'elsewhere') ? elsewhere : unseen)
  }
}

const unseen: Trace = { kind: 'unseen' }
const elsewhere: Trace = { kind: 'elsewhere' }

function ignoreFault(error: unknown): undefined {
  if (!(error instanceof PaymentError)) throw error
}
