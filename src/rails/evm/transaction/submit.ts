import type { Offer } from '../../../core/offer.ts'
import { nonceOf } from '../../../core/offers.ts'
import type { Clock } from '../../../core/ports.ts'
import type { Problem } from '../../../core/problem.ts'
import type { Hex } from '../hex.ts'
import { lower, quantity } from '../hex.ts'
import type { Rpc } from '../rpc.ts'
import { readNumber } from '../rpc.ts'
import type { Claims } from './claim.ts'
import {
  feeTooLow,
  fundsShort,
  notExact,
  numberWrong,
  offerOver,
  payerUnproven,
  rawUnreadable,
  simulationFailed,
} from './problems.ts'
import type { Proof } from './proof.ts'
import { isUnbound } from './proof.ts'
import type { Unsent } from './raw.ts'
import { readRaw, transferData } from './raw.ts'
import type { Details } from './terms.ts'

/** Most gas that a transfer may ask for: what it does not use is not paid, but somebody must simulate it. */
const GAS_MAX = 1_000_000n
/** How long the sender must still have when it is checked. */
const LEFT_MS_MIN = 5_000

/** What the check needs. */
export interface SubmitParts {
  readonly rpc: Rpc
  readonly chainId: number
  readonly claims: Claims
  readonly clock: Clock
}

/** Looks at transactions that were signed and are ours to send. */
export interface Submits {
  /** By its bytes alone: whether it pays exactly the offer. */
  read(offer: Offer<Details>, proof: Proof, raw: Hex): Promise<Unsent | Problem>
  /** By the chain: whether it would get into a block now, and pay. Undefined if so. */
  try(offer: Offer<Details>, unsent: Unsent): Promise<Problem | undefined>
}

/** Makes the looks. */
export function createSubmits({ rpc, chainId, claims, clock }: SubmitParts): Submits {
  return {
    async read(offer, proof, raw) {
      // Who has the bytes is the payer only as long as nobody else can name the offer.
      if (nonceOf(offer) === undefined || isUnbound(offer, proof)) return payerUnproven
      const unsent = await readRaw(raw)
      if (!unsent) return rawUnreadable
      const { details, payee, amount } = offer
      if (!('token' in details)) return notExact
      const plain = transferData(payee as Hex, amount.amount)
      const tagged = `${plain}${claims.tag(offer).slice(2)}`
      const same = unsent.data === plain || unsent.data === tagged
      const there = unsent.to === lower(details.token) && unsent.chainId === chainId
      return same && there && unsent.value === 0n ? unsent : notExact
    },
    async try({ expiresAt }, { sender, nonce, to, data, gas, fee }) {
      if (clock.now() + LEFT_MS_MIN > expiresAt) return offerOver
      if (gas > GAS_MAX) return simulationFailed
      const state = await rpc.batch(
        [
          ['eth_getTransactionCount', [sender, 'latest']],
          ['eth_getTransactionCount', [sender, 'pending']],
          ['eth_getBalance', [sender, 'latest']],
          ['eth_feeHistory', [quantity(1), 'latest', []]],
        ],
        ([used, sent, balance, fees]) => ({
          used: readNumber(used),
          sent: readNumber(sent),
          balance: readNumber(balance),
          base: readBase(fees),
        }),
      )
      // One that waits for another may wait for ever, and one whose number is on its way may be replaced.
      if (state.used !== BigInt(nonce) || state.sent !== BigInt(nonce)) return numberWrong
      if (state.base > fee) return feeTooLow
      if (state.balance < gas * fee) return fundsShort
      // Without its own gas: that it is too little is no fault of the node.
      const call = { from: sender, to: to ?? sender, data }
      const tried = await rpc.ask('eth_estimateGas', [call, 'latest'], readNumber)
      return 'result' in tried && tried.result <= gas ? undefined : simulationFailed
    },
  }
}

/** The least that a gas costs in the next block. */
function readBase(said: unknown): bigint {
  const list = (said as { readonly baseFeePerGas?: unknown } | null)?.baseFeePerGas
  if (!Array.isArray(list)) throw new Error('not the fees of a block')
  const last: unknown = list.at(-1)
  return readNumber(typeof last === 'string' ? last : undefined)
}
