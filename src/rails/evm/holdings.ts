import type { Holding, Holdings } from '../../core/ports.ts'
import type { Json } from '../../core/json.ts'
import { PaymentError } from '../../core/problem.ts'
import { uint } from './abi.ts'
import type { Final } from './final.ts'
import type { Hex } from './hex.ts'
import { lower, quantity } from './hex.ts'
import type { Network } from './networks.ts'
import { assetOf } from './networks.ts'
import type { Read, Rpc } from './rpc.ts'
import { readHex, readNumber } from './rpc.ts'
import { isHex } from './steps.ts'
import type { Reader } from './token.ts'
import { balanceCall } from './token.ts'

/** Most receipts that are asked for at once. */
const RECEIPTS_AT_ONCE = 500
/** Digits behind the point of every network's own coin. */
const COIN_SCALE = 18

/** What the look needs. */
export interface HoldingsParts {
  readonly network: Network
  readonly rpc: Rpc
  readonly reader: Reader
  readonly final: () => Promise<Final | undefined>
  /** As offers name it. */
  readonly payee: Hex
  readonly senders: () => readonly Hex[]
  /** How many nodes must say the same. */
  readonly quorum: number
}

/**
 * Makes the look at what lies at the payee, of each token, and at what the sending keys have for gas: all at the newest block
 * that nothing can undo. The node must still have the state of that block.
 */
export function createHoldings(parts: HoldingsParts): () => Promise<Holdings> {
  const { network, rpc, reader, final, payee, senders, quorum } = parts

  const listAt =
    (block: Hex) =>
    async (read: Read): Promise<readonly Holding[]> => {
      const money = network.tokens.map(async (token): Promise<Holding> => {
        const { target, data } = balanceCall(lower(token.address), lower(payee))
        const amount = await read('eth_call', [{ to: target, data }, block], readBalance)
        const asset = assetOf(network, token)
        // What others get of a payment stands in the books as a cost in the same token.
        return { account: payee, asset, amount, use: 'payee', costs: asset.id }
      })
      const coin = { id: `gas:${network.id}`, code: 'ETH', scale: COIN_SCALE }
      const gas = senders().map(async (account): Promise<Holding> => {
        const amount = await read('eth_getBalance', [account, block], readNumber)
        return { account, asset: coin, amount, use: 'sender' }
      })
      return Promise.all([...money, ...gas])
    }

  async function includes(
    references: readonly string[],
    block: bigint,
  ): Promise<ReadonlySet<string>> {
    const hashes = [...new Set(references.filter(isHex))]
    const found = new Set<string>()
    for (let i = 0; i < hashes.length; i += RECEIPTS_AT_ONCE) {
      const mined = await reader.minedAll(hashes.slice(i, i + RECEIPTS_AT_ONCE))
      for (const one of mined) if (one && one.block <= block) found.add(one.hash)
    }
    return found
  }

  return async () => {
    const end = await final()
    if (!end) throw unclear('No block of the chain is final yet.')
    const [first = [], ...others] = await rpc.each(quorum, listAt(quantity(end.block)))
    if (others.some((other) => other.some(({ amount }, i) => amount !== first[i]?.amount)))
      throw unclear('The nodes of the chain do not agree on a balance.')
    return {
      height: Number(end.block),
      list: first,
      includes: (references) => includes(references, end.block),
    }
  }
}

function readBalance(said: Json): bigint {
  const amount = uint(readHex(said))
  if (amount === undefined) throw new Error('not a balance')
  return amount
}

function unclear(sentence: string): PaymentError {
  return new PaymentError('rail-unavailable', sentence, { retryable: true })
}
