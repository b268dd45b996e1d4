import { systemChance } from '../../core/chance.ts'
import { systemClock } from '../../core/clock.ts'
import type { Chance, Clock } from '../../core/ports.ts'
import type { Chain } from './chain.ts'
import { createChain } from './chain.ts'
import type { LdkNode } from './ldk.ts'
import { createLdkNode } from './ldk.ts'
import { loadLdk } from './wasm.ts'

/** Size of each channel: the most that a node takes without being asked first. Half of it is on either side. */
export const CHANNEL_SAT = 16_000_000n
/** Confirmations until a channel is told to everybody: six by BOLT 7, and LDK waits for two more until it relies on that. */
const ANNOUNCE_BLOCKS = 8

/** What can be set of a network; all of it has a default. */
export interface LightningNetworkSettings {
  readonly channelSat?: bigint
  /** What the router takes for each payment. */
  readonly feeBaseMsat?: number
  readonly clock?: Clock
  readonly chance?: Chance
}

/** A buyer, a seller, and a router between them, with real channels: all payments of the two go over it. */
export interface LightningNetwork {
  readonly chain: Chain
  readonly buyer: LdkNode
  readonly router: LdkNode
  readonly seller: LdkNode
  /** Breaks the way between router and seller, until it is mended. */
  cut(): Promise<void>
  mend(): Promise<void>
  /** What the router takes for each payment from now on, known to both others. */
  charge(feeBaseMsat: number): Promise<void>
  /** Ends nodes and connections. What is waiting gets its answer first: unknown. */
  close(): Promise<void>
}

/**
 * Starts a network in this process, with wires over loopback on free ports. An idle one does not keep the process alive.
 * @throws {PaymentError} when Lightning is not installed, or a step takes too long.
 */
export async function startLightning(
  settings: LightningNetworkSettings = {},
): Promise<LightningNetwork> {
  const { channelSat = CHANNEL_SAT, clock = systemClock, chance = systemChance } = settings
  const { feeBaseMsat } = settings
  const ldk = await loadLdk()
  const chain = createChain(clock)
  const node = (name: string): LdkNode =>
    createLdkNode({
      name,
      ldk,
      chain,
      clock,
      chance,
      ...(feeBaseMsat !== undefined && { feeBaseMsat }),
    })
  const [buyer, router, seller] = [node('buyer'), node('router'), node('seller')]
  const close = async (): Promise<void> => {
    await Promise.all([buyer, router, seller].map((one) => one.close()))
  }
  try {
    await join(chain, { buyer, router, seller }, channelSat)
  } catch (error) {
    await close()
    throw error
  }
  return {
    chain,
    buyer,
    router,
    seller,
    cut: () => router.disconnect(seller),
    async mend() {
      await router.connect(seller)
      await Promise.all([router.usable(2), seller.usable(1)])
    },
    async charge(fee) {
      router.charge(fee)
      await Promise.all([buyer.learn(router, fee), seller.learn(router, fee)])
    },
    close,
  }
}

/** Both channels in the same blocks: waiting is most of what opening costs. */
async function join(
  chain: Chain,
  { buyer, router, seller }: Pick<LightningNetwork, 'buyer' | 'router' | 'seller'>,
  sat: bigint,
): Promise<void> {
  const half = (sat * 1000n) / 2n
  chain.mine()
  await Promise.all([buyer.connect(router), seller.connect(router), buyer.connect(seller)])
  await buyer.openChannel(router, sat, half)
  await seller.openChannel(router, sat, half)
  chain.mine(ANNOUNCE_BLOCKS)
  await Promise.all([buyer.usable(1), router.usable(2), seller.usable(1)])
  await Promise.all([buyer, router, seller].map((one) => one.meet(2, 2)))
}
