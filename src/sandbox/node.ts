import { systemChance } from '../core/chance.ts'
import type { Clock } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { LightningNode } from '../rails/lightning/node.ts'
import type { Faults } from './faults.ts'
import { startLnd } from './lightning/doubles/lnd.ts'
import { createFaults, faulty } from './lightning/faults.ts'
import type { LightningNetwork } from './lightning/network.ts'
import { startLightning } from './lightning/network.ts'

/** How the buyer's Lightning node is reached from other processes: as LND over REST, which stands in for it. */
export interface LightningAccess {
  readonly url: string
  /** In hex. */
  readonly macaroon: string
}

/** Lightning for a sandbox. */
export interface SandboxLightning {
  readonly seller: LightningNode
  readonly buyer: LightningAccess
  /** Makes go wrong what the switches say. */
  apply(faults: Faults): void
  stop(): Promise<void>
}

/**
 * Starts three real nodes on a chain that is simulated. Undefined, with a sentence, where they are not installed: they are
 * large, and a seller of stablecoins does without.
 */
export async function startSandboxLightning(
  clock: Clock,
  notice: (sentence: string) => void,
): Promise<SandboxLightning | undefined> {
  try {
    return await open(await startLightning({ clock }), clock)
  } catch (error) {
    if (!(error instanceof PaymentError)) throw error
    notice(`There is no Lightning here. ${error.message}`)
    return undefined
  }
}

async function open(network: LightningNetwork, clock: Clock): Promise<SandboxLightning> {
  const macaroon = Buffer.from(systemChance(32)).toString('hex')
  const double = await startLnd(network.buyer, macaroon)
  const line = createFaults()
  let cut = false
  return {
    seller: faulty(network.seller, line, clock),
    buyer: { url: double.url, macaroon },
    apply({ nodeDelayMs, loseInvoices, stuckHtlcs, noRoute }) {
      line.delayMs = nodeDelayMs
      line.lose.splice(0, line.lose.length, ...Array<string>(loseInvoices).fill('createInvoice'))
      network.router.stick(stuckHtlcs)
      if (noRoute !== cut) void (noRoute ? network.cut() : network.mend()).catch(() => undefined)
      cut = noRoute
    },
    async stop() {
      await double.close()
      await network.close()
    },
  }
}
