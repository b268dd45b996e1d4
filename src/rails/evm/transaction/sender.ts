import type { LocalAccount } from 'viem'
import type { Clock, Ledger } from '../../../core/ports.ts'
import { FEE_MAX, createFees } from '../fees.ts'
import { createFlights } from '../flights.ts'
import { lower } from '../hex.ts'
import type { Lane } from '../lane.ts'
import { BUMP_AFTER_MS, createLane } from '../lane.ts'
import { leased } from '../numbers.ts'
import { createPlain } from '../plain.ts'
import type { Rpc } from '../rpc.ts'
import { readNumber } from '../rpc.ts'
import type { Kind } from '../steps.ts'
import type { Reader } from '../token.ts'

/** What an account that sends is made of. */
export interface SenderParts {
  readonly account: LocalAccount
  readonly network: { readonly id: string; readonly chainId: number }
  readonly rpc: Rpc
  readonly reader: Reader
  readonly clock: Clock
  /** Where its numbers (nonces) are claimed: whoever sends with the same key must claim them in the same books. */
  readonly ledger: Ledger
  /** How long a transfer waits for its block. */
  readonly waitMs: number
  /** Most wei per gas; 200 gwei if absent. */
  readonly feePerGasMax?: bigint
}

/** An account that makes plain transfers, each once per log. */
export interface Sender {
  readonly lane: Lane
  /** @throws {PaymentError} when the chain cannot be asked. */
  open(): Promise<void>
  readonly transfer: ReturnType<typeof createPlain>
  close(): void
}

/** Makes it, for transfers of that kind. */
export function createSender(parts: SenderParts, kind: Kind): Sender {
  const { account, network, rpc, reader, clock, ledger, waitMs, feePerGasMax = FEE_MAX } = parts
  const closing = new AbortController()
  const { signal } = closing
  const address = lower(account.address)
  const count = async (tag: 'latest' | 'pending'): Promise<number> =>
    Number(await rpc.read('eth_getTransactionCount', [address, tag], readNumber))
  const flights = createFlights({ reader, clock, signal, confirmations: 1, quorum: 1 })
  const lane = createLane({
    account,
    chainId: network.chainId,
    rpc,
    fees: createFees(rpc, clock, feePerGasMax),
    numbers: leased(ledger, `nonce/${network.id}/${address}`, count, clock),
    flights,
    clock,
    bumpAfterMs: BUMP_AFTER_MS,
    landed: () => undefined,
    idle: () => undefined,
  })
  return {
    lane,
    open: () => lane.open(),
    transfer: createPlain({ sender: lane, rpc, reader, clock, flights, waitMs }, kind),
    close: () => closing.abort('closed'),
  }
}
