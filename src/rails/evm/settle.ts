import type { Offer } from '../../core/offer.ts'
import type { Log } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { encodeBatch } from './abi.ts'
import { ITEM_GAS, ITEM_SIGNATURE_BYTES_MAX } from './batch.ts'
import { check } from './check.ts'
import type { Item } from './desk.ts'
import type { Wrapped } from './erc6492.ts'
import { factoryCall } from './erc6492.ts'
import { keyOf } from './exact.ts'
import type { Details } from './forms.ts'
import type { Hex } from './hex.ts'
import { lower } from './hex.ts'
import type { Network } from './networks.ts'
import { refusal, tooDear } from './problems.ts'
import type { Proof } from './proof.ts'
import type { Rpc } from './rpc.ts'
import { readNumber } from './rpc.ts'
import type { SettlingParts } from './settling.ts'
import { createSettling } from './settling.ts'
import type { Signed } from './signature.ts'
import type { Outgoing } from './steps.ts'
import { ahead } from './steps.ts'
import type { Spend } from './token.ts'
import { MULTICALL3, pays, shareOf, transferCall } from './token.ts'

/** Gas for a payer whose own signature was checked. A first payment takes 103,000; what is not used is not paid. */
export const PLAIN_GAS = 200_000
/** What is taken for an estimate, in quarters of it. */
const ESTIMATE_QUARTERS = 5n
/** Gas of a transaction by itself, which a payment among many does not take. */
const TRANSACTION_GAS = 21_000

/** What settling needs. */
export interface SettleParts extends SettlingParts {
  readonly network: Network
  readonly rpc: Rpc
  readonly walletGasMax: number
  /** Whether payers with code may go together with others. */
  readonly batcher: boolean
  readonly signed: (offer: Offer<Details>, proof: Proof) => Signed
  readonly unwrapped: (proof: Proof) => Wrapped | Problem | undefined
}

/** A spend of the offer's token, to its payee, over its amount. */
export function spendOf(offer: Offer<Details>, proof: Pick<Proof, 'from' | 'nonce'>): Spend {
  return {
    token: lower(offer.details.asset),
    from: proof.from,
    nonce: proof.nonce,
    payee: lower(offer.payee as Hex),
    amount: offer.amount.amount,
  }
}

/** Makes the verbs that move money and look for it, by EIP-3009. */
export function createSettle(
  parts: SettleParts,
): ReturnType<typeof createSettling<Details, Proof>> {
  const { network, rpc, reader, lanes, clock, walletGasMax } = parts

  async function itemOf(offer: Offer<Details>, proof: Proof, log: Log): Promise<Item | Problem> {
    const call = await outgoing(offer, proof)
    if ('code' in call) return call
    const { token } = spendOf(offer, proof)
    const write = ahead(log, 'charge', proof.validBefore)
    return { call, write, ...(mayShare(offer, proof, call) && { shared: { token, proof, call } }) }
  }

  /** Payers with code can take all gas that they are given, so that they share a transaction only with the batcher. */
  function mayShare(offer: Offer<Details>, proof: Proof, { to, gas }: Outgoing): boolean {
    if (to === MULTICALL3 || proof.signature.length / 2 > ITEM_SIGNATURE_BYTES_MAX) return false
    if (parts.signed(offer, proof) === 'payer') return parts.batcher || reader.batched
    return parts.batcher && gas - TRANSACTION_GAS <= ITEM_GAS
  }

  /** The call that moves the money. For plain payers its cost is known, for wallets the chain is asked. */
  async function outgoing(offer: Offer<Details>, proof: Proof): Promise<Outgoing | Problem> {
    const { token } = spendOf(offer, proof)
    const wrapped = parts.unwrapped(proof)
    if (wrapped && 'code' in wrapped) return wrapped
    if (wrapped) {
      const transfer = { ...transferCall(token, proof, wrapped.signature), allowFailure: false }
      return estimated(MULTICALL3, encodeBatch([factoryCall(wrapped), transfer]))
    }
    const { data } = transferCall(token, proof, proof.signature)
    if (parts.signed(offer, proof) !== 'payer') return estimated(token, data)
    return { to: token, data, gas: PLAIN_GAS }
  }

  async function estimated(to: Hex, data: Hex): Promise<Outgoing | Problem> {
    const call = { from: lanes[0]?.address ?? null, to, data }
    const answer = await rpc.ask('eth_estimateGas', [call], readNumber)
    if ('reverted' in answer)
      return refusal('settlement-failed', 'simulation-failed', 'The token refuses this transfer.')
    if (answer.result > BigInt(walletGasMax)) return tooDear
    const gas = Number((answer.result * ESTIMATE_QUARTERS) / 4n)
    return { to, data, gas: Math.min(gas, walletGasMax) }
  }

  return createSettling<Details, Proof>(parts, {
    spendOf,
    nameOf: ({ from, nonce }) => ({ from, nonce }),
    keyOf: (spend) => keyOf(network, spend.token, spend),
    check: (offer, proof) => check(offer, proof, network, clock.now(), 0),
    itemOf,
    estimated,
    pays,
    shareOf,
    trace: (spend) => reader.trace(spend),
  })
}
