import type { Offer } from '../../../core/offer.ts'
import type { Problem } from '../../../core/problem.ts'
import type { Hex } from '../hex.ts'
import { lower, quantity } from '../hex.ts'
import { spent } from '../problems.ts'
import type { Rpc } from '../rpc.ts'
import type { Reader } from '../token.ts'
import { balanceCall, unreadable } from '../token.ts'
import type { Judge, Seen } from './judge.ts'
import { waysOf } from './judge.ts'
import { allowanceCall, amountIn, permitNonces, transferCall } from './permit2.ts'
import { poor, unapproved, unsigned, untransferable } from './problems.ts'
import type { Proof } from './proof.ts'
import type { Details } from './terms.ts'
import { PERMIT2 } from './terms.ts'

/** What looking needs. */
export interface LookParts {
  readonly rpc: Rpc
  readonly reader: Reader
  readonly spender: Hex
  readonly judge: Judge
  /** Most gas for a transfer with so many shares. */
  readonly gasMax: (shares: number) => number
}

/** The chain's word on a permit that is right by itself. */
export type Look = (
  offer: Offer<Details>,
  proof: Proof,
) => Promise<Seen | { readonly problem: Problem }>

/** Makes the look. For who pays with a plain key it is one round trip of three questions. */
export function createLook({ rpc, reader, spender, judge, gasMax }: LookParts): Look {
  /** What would happen if the spender used it now. As nobody else, so that it cannot go with other questions. */
  async function works(offer: Offer<Details>, proof: Proof, witness: string): Promise<boolean> {
    const gas = quantity(gasMax(offer.details.splits?.length ?? 0))
    const call = { from: spender, to: PERMIT2, data: transferCall(proof, witness), gas }
    const answer = await rpc.ask('eth_call', [call, 'latest'], () => true)
    return 'result' in answer
  }

  /** What the payer has, and has left unused. */
  async function state(offer: Offer<Details>, proof: Proof): Promise<Problem | undefined> {
    const { from, nonce } = proof
    const token = lower(offer.details.asset)
    const { amount } = offer.amount
    const spend = { token, from, nonce }
    const calls = [permitNonces.call(spend), balanceCall(token, from), allowanceCall(token, from)]
    const answers = await reader.batch(calls)
    if (answers === 'reverted') throw unreadable()
    const [used, balance, allowance] = answers
    if (permitNonces.isUsed(used, spend)) return spent
    if ((amountIn(balance) ?? 0n) < amount) return poor
    return (amountIn(allowance) ?? 0n) < amount
      ? unapproved(offer.details.asset, amount)
      : undefined
  }

  return async (offer, proof) => {
    const signed = judge.signed(proof)
    const [why, [hasCode = false], isGood] = await Promise.all([
      state(offer, proof),
      reader.withCode([proof.from]),
      signed ? works(offer, proof, signed.witness) : false,
    ])
    if (why) return { problem: why }
    if (signed && isGood) {
      judge.keep(proof, signed)
      return signed
    }
    if (!hasCode) return { problem: signed ? untransferable : unsigned }
    // A wallet's own code says whether it has signed, and by which way of writing only it knows.
    for (const witness of waysOf(proof))
      if (witness !== signed?.witness && (await works(offer, proof, witness))) {
        judge.keep(proof, { witness })
        return { witness }
      }
    return { problem: unsigned }
  }
}
