import type { Money } from '../../../core/money.ts'
import type { Offer } from '../../../core/offer.ts'
import type { Final } from '../final.ts'
import type { Hex } from '../hex.ts'
import { lower, quantity } from '../hex.ts'
import type { Rpc } from '../rpc.ts'
import { readNumber } from '../rpc.ts'
import type { Asked } from './assurance.ts'
import type { Evidence } from './evidence.ts'
import type { Look, Looks, Sighting } from './look.ts'
import type { Details } from './terms.ts'
import type { Transfer } from './transfers.ts'
import { transfersOf } from './transfers.ts'

/**
 * What became of a payment. `there`: it stands in a block. `open`: it may stand in one yet, or again. `failed`: it is in a block
 * and has moved nothing. `gone`: its number went elsewhere, or it failed, in a block that nothing can undo.
 */
export type Fate =
  | { readonly state: 'there'; readonly seen: Sighting; readonly transfer: Transfer }
  | { readonly state: 'open' | 'failed' | 'gone' }

/** What looking again needs. */
export interface FateParts {
  readonly rpc: Rpc
  readonly looks: Looks
  /** The newest block that nothing can undo. */
  readonly final: () => Promise<Final | undefined>
  readonly assurance: (amount: Money) => Asked
}

/** Makes the later look at payments. Throws {@link PaymentError} when the chain cannot be asked. */
export function createFates(
  parts: FateParts,
): (offer: Offer<Details>, evidence: Evidence) => Promise<Fate> {
  const { rpc, looks, final, assurance } = parts

  /**
   * Whether nodes that have the final block say, each by itself, that its number is used there and it is not. The same node
   * answers both: one that lags behind knows nothing of what another has seen.
   */
  async function isGone(offer: Offer<Details>, evidence: Evidence): Promise<boolean> {
    const end = await final()
    if (!end) return false
    const { quorum } = assurance(offer.amount)
    const { sender, nonce, transaction } = evidence
    const said = await rpc.each(quorum, async (read, batch) => {
      const params = [sender, quantity(end.block)]
      const used = await read('eth_getTransactionCount', params, readNumber)
      if (used <= nonce) return false
      const look = await looks.by(batch, transaction)
      if (look.state === 'absent') return true
      return look.state === 'there' && look.block <= end.block && !paidBy(offer, evidence, look)
    })
    return said.every(Boolean)
  }

  return async (offer, evidence) => {
    // What was ours to send is as sure as what is shown must be.
    const { quorum, tag, confirmations } = assurance(offer.amount)
    const isOurs = evidence.raw !== undefined
    const look = await looks.at(evidence.transaction, isOurs ? tag : undefined, quorum)
    const transfer = paidBy(offer, evidence, look)
    const isDeep = look.state === 'there' && (!isOurs || look.depth >= confirmations)
    if (look.state === 'there' && transfer)
      return isDeep ? { state: 'there', seen: look, transfer } : { state: 'open' }
    if (await isGone(offer, evidence)) return { state: 'gone' }
    return { state: isDeep && look.state === 'there' && !look.ok ? 'failed' : 'open' }
  }
}

/** The payment in what was seen. What was ours to send was not seen before, so that its place was a guess. */
function paidBy(
  offer: Offer<Details>,
  { at, payer, paid, raw }: Evidence,
  look: Look,
): Transfer | undefined {
  if (look.state !== 'there') return undefined
  const found = transfersOf(look, offer.details, lower(offer.payee as Hex))
  return found.find(
    (one) => (one.at === at || raw !== undefined) && one.from === payer && one.amount === paid,
  )
}
