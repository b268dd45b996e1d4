import { systemClock } from '../../core/clock.ts'
import type { Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { resolveNetwork } from './networks.ts'
import type { NetworkSettings } from './networks.ts'
import type { RpcEvent } from './rpc.ts'
import { createRpc } from './rpc.ts'
import { createReader } from './token.ts'

/** What depths are looked up with. */
export interface DepthSettings extends NetworkSettings {
  /** JSON-RPC addresses, the preferred one first. */
  readonly rpc: string | readonly string[]
  readonly rpcTimeoutMs?: number
  readonly clock?: Clock
  readonly fetch?: typeof globalThis.fetch
  /** Told of each JSON-RPC call. */
  readonly onCall?: (event: RpcEvent) => void
}

/** Looks how deep transactions are. */
export interface Depths {
  /** Checks that the endpoints are of that network. @throws {PaymentError} if not, or when none can be asked. */
  open(): Promise<void>
  /**
   * How many blocks deep the transaction is, its own counted; 0 while it is in none, or has failed.
   * @throws {PaymentError} when the chain cannot be asked.
   */
  depth(transaction: string): Promise<number>
  close(): void
}

/**
 * Makes an own look at a chain, for a rail that trusts a facilitator no further than so many confirmations.
 *
 * @example
 * const chain = depths({ network: 'base', rpc })
 * await chain.open()
 * facilitated(exact(settings), { url, find, trust: { confirmations: 3 }, depth: chain.depth })
 */
export function depths(settings: DepthSettings): Depths {
  const { rpcTimeoutMs: timeoutMs, clock = systemClock, fetch, onCall } = settings
  const rpc = createRpc({
    urls: typeof settings.rpc === 'string' ? [settings.rpc] : settings.rpc,
    chainId: resolveNetwork(settings).chainId,
    clock,
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(fetch && { fetch }),
    ...(onCall && { onCall }),
  })
  const reader = createReader(rpc)
  return {
    open: () => rpc.open(),
    async depth(transaction) {
      if (!/^0x[0-9a-f]{64}$/i.test(transaction))
        throw new PaymentError('rail-unavailable', 'This is not the hash of a transaction.')
      // The height first: below a newer one the transaction is deeper, not less deep.
      const height = await reader.height()
      const mined = await reader.mined(transaction.toLowerCase() as `0x${string}`)
      if (!mined?.ok) return 0
      return Math.max(1, Number(height - mined.block + 1n))
    },
    close: () => rpc.close(),
  }
}
