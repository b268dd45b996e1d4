import type {
  ChannelManager,
  Event,
  LockableScore,
  Logger,
  NetworkGraph,
  Option_u64Z,
  Persist,
  UserConfig,
} from 'lightningdevkit'
import type { Chance } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import type { Chain } from './chain.ts'
import type { Peers } from './peers.ts'
import { createPeers } from './peers.ts'
import type { Ldk } from './wasm.ts'

/** Fee rate of everything on the chain, in satoshis for a thousand units of weight: the least there is. */
const FEE_RATE = 253
/** Confirmations that a channel needs to be used, and to be told to others (BOLT 7). */
const CONFIRMATIONS = 1
/** Payments that a channel may carry at once: the most that BOLT 2 allows. */
const HTLC_MAX = 483
/** How much of a channel may be in payments that are too small for the chain. */
const DUST_MSAT_MAX = 1_000_000_000n
/** How often the node looks at its clock: peers that are silent, payments that wait for parts. */
const TICK_MS = 10_000
/** Longest wait for anything that the engine is waiting for. */
export const WAIT_MS = 20_000

/** What a node's inside is made of. */
export interface EngineSettings {
  readonly ldk: Ldk
  readonly chain: Chain
  readonly feeBaseMsat: number
  /** Seconds since 1970. */
  readonly startedAtS: number
  readonly chance: Chance
  /** Told of what happened, outside of the node's own call. */
  readonly onEvent: (event: Event) => void
}

/** What gossip has told. */
export interface Known {
  /** Nodes that have told of themselves. */
  readonly nodes: number
  /** What each node takes for forwarding, by its public key: one number for each channel whose both sides are known. */
  readonly fees: ReadonlyMap<string, readonly number[]>
  readonly channels: number
}

/** The inside of a node: LDK with its wires and its work. */
export interface Engine {
  readonly manager: ChannelManager
  readonly peers: Peers
  /** Calls the node and then sees to what came of it. */
  call<T>(act: (manager: ChannelManager) => T): T
  /** Waits until it holds, and tells whether it does: not where the time was over, the signal fired or the node was closed. */
  wait(holds: () => boolean, timeoutMs: number, signal?: AbortSignal): Promise<boolean>
  /** Waits until it holds; looked at whenever something happened. @throws {PaymentError} when the time is over. */
  until(holds: () => boolean, what: string, timeoutMs?: number): Promise<void>
  connected(): number
  disconnect(publicKey: Uint8Array): void
  /** Tells others of this node, so that messages find it. */
  announce(): void
  known(): Known
  close(): void
}

/** Builds the inside of a node. Nothing is kept on disk. */
export function createEngine(settings: EngineSettings): Engine {
  const { ldk, chain, chance, startedAtS, onEvent } = settings
  const none = ldk.Option_FilterZ.constructor_none()
  const network = ldk.Network.LDKNetwork_Regtest
  const logger = ldk.Logger.new_impl({ log: () => undefined })
  const fees = ldk.FeeEstimator.new_impl({ get_est_sat_per_1000_weight: () => FEE_RATE })
  const sender = ldk.BroadcasterInterface.new_impl({
    broadcast_transactions: (all) => all.forEach(broadcast),
  })
  const monitor = ldk.ChainMonitor.constructor_new(none, sender, logger, fees, forget(ldk))
  const keys = ldk.KeysManager.constructor_new(chance(32), BigInt(startedAtS), 0)
  const entropy = keys.as_EntropySource()
  const signer = keys.as_NodeSigner()
  const graph = ldk.NetworkGraph.constructor_new(network, logger)
  const scorer = createScore(ldk, graph, logger)
  const scoring = ldk.ProbabilisticScoringFeeParameters.constructor_default()
  const router = ldk.DefaultRouter.constructor_new(graph, logger, entropy, scorer, scoring)
  const messages = () => ldk.DefaultMessageRouter.constructor_new(graph, entropy).as_MessageRouter()
  const best = ldk.BestBlock.constructor_from_network(network)
  const manager = ldk.ChannelManager.constructor_new(
    fees,
    monitor.as_Watch(),
    sender,
    router.as_Router(),
    messages(),
    logger,
    entropy,
    signer,
    keys.as_SignerProvider(),
    configure(ldk, settings.feeBaseMsat),
    ldk.ChainParameters.constructor_new(network, best),
    startedAtS,
  )
  const utxo = ldk.Option_UtxoLookupZ.constructor_none()
  const gossip = ldk.P2PGossipSync.constructor_new(graph, utxo, logger)
  const ignore = ldk.IgnoringMessageHandler.constructor_new()
  const onion = ldk.OnionMessenger.constructor_new(
    entropy,
    signer,
    logger,
    manager.as_NodeIdLookUp(),
    messages(),
    manager.as_OffersMessageHandler(),
    ignore.as_AsyncPaymentsMessageHandler(),
    manager.as_DNSResolverMessageHandler(),
    ignore.as_CustomOnionMessageHandler(),
  )
  const peerManager = ldk.PeerManager.constructor_new(
    manager.as_ChannelMessageHandler(),
    gossip.as_RoutingMessageHandler(),
    onion.as_OnionMessageHandler(),
    ignore.as_CustomMessageHandler(),
    startedAtS,
    chance(32),
    logger,
    signer,
  )
  // LDK must not be called while it calls us, so that events are laid down here first.
  const events: Event[] = []
  const handler = ldk.EventHandler.new_impl({
    handle_event(event) {
      events.push(event)
      return ldk.Result_NoneReplayEventZ.constructor_ok()
    },
  })
  const providers = [
    manager.as_EventsProvider(),
    monitor.as_EventsProvider(),
    onion.as_EventsProvider(),
  ]
  const listeners = [manager.as_Listen(), monitor.as_Listen()]
  const waiters = new Set<() => void>()
  let awake = false
  let closed = false

  /** Closing transactions come from both sides, and the second one is refused: that is how it should be. */
  function broadcast(raw: Uint8Array): void {
    try {
      chain.submit(raw)
    } catch (error) {
      if (!(error instanceof PaymentError)) throw error
    }
  }

  function wake(): void {
    if (awake || closed) return
    awake = true
    setImmediate(work)
  }

  function work(): void {
    awake = false
    if (closed) return
    for (const provider of providers) provider.process_pending_events(handler)
    // What is done about an event calls the node, and so wakes it again.
    for (const event of events.splice(0)) onEvent(event)
    peerManager.process_events()
    for (const look of waiters) look()
  }

  function tick(): void {
    peerManager.timer_tick_occurred()
    manager.timer_tick_occurred()
    wake()
  }

  function call<T>(act: (manager: ChannelManager) => T): T {
    if (closed) throw new PaymentError('rail-unavailable', 'The node is closed.')
    const made = act(manager)
    wake()
    return made
  }

  async function wait(
    holds: () => boolean,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<boolean> {
    if (holds()) return true
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const look = (): void => {
      if (closed || holds()) resolve(!closed)
    }
    const giveUp = (): void => resolve(false)
    // This alone holds the process: an idle network lets it end.
    const timer = setTimeout(giveUp, timeoutMs)
    signal?.addEventListener('abort', giveUp, { once: true })
    if (signal?.aborted) giveUp()
    waiters.add(look)
    const held = await promise
    clearTimeout(timer)
    signal?.removeEventListener('abort', giveUp)
    waiters.delete(look)
    return held
  }

  async function until(
    holds: () => boolean,
    what: string,
    timeoutMs: number = WAIT_MS,
  ): Promise<void> {
    if (await wait(holds, timeoutMs)) return
    throw new PaymentError('rail-unavailable', `${what} did not come in ${timeoutMs} ms.`)
  }

  const peers = createPeers(ldk, peerManager, wake)
  const unfollow = chain.follow((block, height) => {
    for (const listener of listeners) listener.block_connected(block, height)
    wake()
  })
  const timer = setInterval(tick, TICK_MS).unref()

  return {
    manager,
    peers,
    call,
    wait,
    until,
    connected: () => peerManager.list_peers().length,
    disconnect(publicKey) {
      peerManager.disconnect_by_node_id(publicKey)
      wake()
    },
    announce() {
      peerManager.broadcast_node_announcement(new Uint8Array(3), new Uint8Array(32), [])
      wake()
    },
    known: () => known(ldk, graph),
    close() {
      closed = true
      clearInterval(timer)
      unfollow()
      peers.close()
      for (const look of waiters) look()
    },
  }
}

/** Nothing is kept on disk: whoever ends, ends. */
function forget(ldk: Ldk): Persist {
  const done = ldk.ChannelMonitorUpdateStatus.LDKChannelMonitorUpdateStatus_Completed
  return ldk.Persist.new_impl({
    persist_new_channel: () => done,
    update_persisted_channel: () => done,
    archive_persisted_channel: () => undefined,
  })
}

function createScore(ldk: Ldk, graph: NetworkGraph, logger: Logger): LockableScore {
  const decay = ldk.ProbabilisticScoringDecayParameters.constructor_default()
  const scorer = ldk.ProbabilisticScorer.constructor_new(decay, graph, logger)
  return ldk.MultiThreadedLockableScore.constructor_new(scorer.as_Score()).as_LockableScore()
}

function configure(ldk: Ldk, feeBaseMsat: number): UserConfig {
  const config = ldk.UserConfig.constructor_default()
  const handshake = config.get_channel_handshake_config()
  handshake.set_max_inbound_htlc_value_in_flight_percent_of_channel(100)
  handshake.set_announce_for_forwarding(true)
  handshake.set_minimum_depth(CONFIRMATIONS)
  handshake.set_our_max_accepted_htlcs(HTLC_MAX)
  config.set_channel_handshake_config(handshake)
  const channel = config.get_channel_config()
  channel.set_forwarding_fee_base_msat(feeBaseMsat)
  // Payments of a few satoshis are all dust, and here all are small.
  const dust = ldk.MaxDustHTLCExposure.constructor_fixed_limit_msat(DUST_MSAT_MAX)
  channel.set_max_dust_htlc_exposure(dust)
  config.set_channel_config(channel)
  // An offer's invoice is shown before it is paid.
  config.set_manually_handle_bolt12_invoices(true)
  return config
}

function known(ldk: Ldk, graph: NetworkGraph): Known {
  // This is a lock: whoever leaves it unfreed brings the whole instance down at the next update.
  const view = graph.read_only()
  try {
    const all = view.list_channels().map((id) => view.channel(id))
    const sides = all.flatMap((channel) => {
      const [one, two] = [channel.get_one_to_two(), channel.get_two_to_one()]
      // The bindings give null where a side is not known.
      if (!one || !two) return []
      return [[channel.get_node_one(), one] as const, [channel.get_node_two(), two] as const]
    })
    const fees = new Map<string, number[]>()
    for (const [node, terms] of sides) {
      const key = Buffer.from(node.as_array()).toString('hex')
      fees.set(key, [...(fees.get(key) ?? []), terms.get_fees().get_base_msat()])
    }
    const nodes = view.list_nodes().filter((id) => {
      const told = view.node(id)?.get_announcement_info()
      return told instanceof ldk.Option_NodeAnnouncementInfoZ_Some
    })
    return { nodes: nodes.length, channels: sides.length / 2, fees }
  } finally {
    view.free()
  }
}

/** A number that LDK may have. */
export function someU64(ldk: Ldk, value: bigint | undefined): Option_u64Z {
  const { Option_u64Z } = ldk
  return value === undefined ? Option_u64Z.constructor_none() : Option_u64Z.constructor_some(value)
}
