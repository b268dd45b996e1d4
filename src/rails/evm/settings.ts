import type { Observe } from '../../core/event.ts'
import type { Clock } from '../../core/ports.ts'
import type { Rpc, RpcEvent } from './rpc.ts'
import { createRpc } from './rpc.ts'
import type { Engine } from './signature.ts'

/** How a rail asks its chain. */
export interface ChainSettings {
  /** JSON-RPC addresses, the preferred one first. */
  readonly rpc: string | readonly string[]
  readonly rpcTimeoutMs?: number
  /** How long what was sent waits for its block until it is looked at later. */
  readonly settleTimeoutMs?: number
  /** The signature code to use; the fastest that is there if absent. */
  readonly engine?: Engine
  readonly clock?: Clock
  readonly fetch?: typeof globalThis.fetch
  readonly observe?: Observe
  /** Told of each JSON-RPC call. */
  readonly onCall?: (event: RpcEvent) => void
}

/** How a rail sends on its chain. */
export interface SendSettings extends ChainSettings {
  /** How long a transaction may wait for its block until it is replaced by a dearer one. */
  readonly bumpAfterMs?: number
  /** Blocks that a payment must be deep, its own counted. */
  readonly confirmations?: number
  /** Most wei per gas; 200 gwei if absent. */
  readonly feePerGasMax?: bigint
}

/** How a rail sends what payers have signed. */
export interface SettleSettings extends SendSettings {
  /** How many endpoints must agree, each by itself, before an outcome is final. */
  readonly quorum?: number
  /** Most wei for gas within an hour; nothing more is admitted then. */
  readonly gasBudgetWei?: bigint
  readonly closeTimeoutMs?: number
}

/**
 * The chain, as the settings say it is asked.
 * @throws {RangeError} when more are to agree than there are.
 */
export function rpcOf(
  { rpc, rpcTimeoutMs, fetch, onCall }: ChainSettings,
  chainId: number,
  clock: Clock,
  quorum = 1,
): Rpc {
  const urls = typeof rpc === 'string' ? [rpc] : rpc
  if (!Number.isInteger(quorum) || quorum < 1 || quorum > Math.max(new Set(urls).size, 1))
    throw new RangeError(`"quorum" is ${quorum}: give no more than there are addresses in "rpc".`)
  return createRpc({
    ...{ urls, chainId, clock },
    ...(rpcTimeoutMs !== undefined && { timeoutMs: rpcTimeoutMs }),
    ...(fetch && { fetch }),
    ...(onCall && { onCall }),
  })
}
