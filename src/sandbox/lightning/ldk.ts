import { hash as digest } from 'node:crypto'
import type {
  Bolt11InvoiceDescription,
  Event,
  Event_FundingGenerationReady,
  Event_InvoiceReceived,
  Event_PaymentClaimable,
  Offer,
} from 'lightningdevkit'
import { assert } from '../../core/assert.ts'
import { systemChance } from '../../core/chance.ts'
import { systemClock } from '../../core/clock.ts'
import type { Chance, Clock } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { chains } from '../../rails/lightning/networks.ts'
import type {
  InvoiceRequest,
  InvoiceState,
  LightningNode,
  PaymentRequest,
  PaymentState,
} from '../../rails/lightning/node.ts'
import type { Chain } from './chain.ts'
import { createEngine, someU64 } from './engine.ts'
import type { Target } from './target.ts'
import { readTarget, writeBolt12 } from './target.ts'
import type { Ldk } from './wasm.ts'

/** What a hop takes for a payment, unless the settings say otherwise: as most nodes on the real network do. */
export const FEE_BASE_MSAT = 1_000
/** How often a payment is tried. */
const ATTEMPTS = 3
/** Most invoices, and most payments, that a node remembers; the oldest are forgotten. */
export const RECORDS_MAX = 50_000
/** Longest time that an answer to an offer is waited for. */
const OFFER_MS_MAX = 10_000

/** What a node is made of. */
export interface LdkSettings {
  readonly name: string
  readonly ldk: Ldk
  readonly chain: Chain
  /** What it takes for forwarding a payment. */
  readonly feeBaseMsat?: number
  readonly clock?: Clock
  readonly chance?: Chance
}

/** An invoice that a node made, with all that a node knows of it. */
export interface Made extends InvoiceState {
  readonly invoice: string
  readonly hash: string
  readonly msat: bigint
  readonly memo: string
  readonly madeAt: number
  readonly expiresAt: number
  /** Known from the start where the node made it itself: some back ends show it before it is paid. */
  readonly preimage?: string
}

/** What an invoice of this node may be asked for beside. One for nothing leaves its amount open. */
export interface LdkInvoiceRequest extends InvoiceRequest {
  /** The SHA-256, hex, of a longer text that stands in the invoice instead of the memo (LUD-06). */
  readonly describes?: string
}

/** A payment that a node sent. */
export interface Sent {
  readonly invoice: string
  readonly hash: string
  readonly msat: bigint
  readonly madeAt: number
  readonly endedAt?: number
  readonly state: PaymentState
}

/** A real Lightning node in this process: the interface of all back ends, and the node's own view behind it. */
export interface LdkNode extends Required<LightningNode> {
  readonly publicKey: string
  createInvoice(
    request: LdkInvoiceRequest,
  ): Promise<{ readonly invoice: string; readonly hash: string }>
  /** An invoice of its own, with what a back end shows of it. */
  made(hash: string): Made | undefined
  /** A payment of its own, with what a back end shows of it. */
  sent(hash: string): Sent | undefined
  /** Waits for the end of a payment that was sent. */
  outcome(hash: string, timeoutMs: number, signal?: AbortSignal): Promise<PaymentState>
  /** What its channels can send now. */
  balanceMsat(): bigint
  /** A BOLT12 offer for any amount. */
  createOffer(): string
  /** Payments that come to it or through it stay where they are, until it is switched off again. */
  stick(on: boolean): void
  /** What it takes for forwarding from now on. Others learn it by gossip. */
  charge(feeBaseMsat: number): void
  /** Waits until gossip has told what that node takes. */
  learn(router: LdkNode, feeBaseMsat: number): Promise<void>
  /** The port on loopback where it takes peers. */
  listen(): Promise<number>
  connect(peer: LdkNode): Promise<void>
  /** Payments between the two fail until they are connected again. */
  disconnect(peer: LdkNode): Promise<void>
  /** Opens a channel, one after the other, and submits what funds it; it can be used when blocks have come. */
  openChannel(peer: LdkNode, sat: bigint, pushMsat: bigint): Promise<void>
  /** Waits for so many usable channels. */
  usable(channels: number): Promise<void>
  /** Tells others of itself, and waits until gossip has told it of so many channels and nodes. */
  meet(channels: number, nodes: number): Promise<void>
}

/** A node on that chain. It lies in memory alone and is gone when it is closed. */
export function createLdkNode(settings: LdkSettings): LdkNode {
  const { name, ldk, chain, clock = systemClock, chance = systemChance } = settings
  const made = new Map<string, Made>()
  const sent = new Map<string, Sent>()
  /** Channels that wait for their funding. They are told by no number: the bindings give back another than they took. */
  const fundings: Event_FundingGenerationReady[] = []
  /** Invoices that offers were answered with, by the id they were asked under. */
  const answers = new Map<string, string | undefined>()
  let sticky = false
  let behind = false
  let port: Promise<number> | undefined

  const engine = createEngine({
    ldk,
    chain,
    feeBaseMsat: settings.feeBaseMsat ?? FEE_BASE_MSAT,
    startedAtS: Math.floor(clock.now() / 1000),
    chance,
    onEvent,
  })
  const key = engine.manager.get_our_node_id()
  const publicKey = hex(key)

  function onEvent(event: Event): void {
    if (event instanceof ldk.Event_PendingHTLCsForwardable) forward()
    else if (event instanceof ldk.Event_PaymentClaimable) arrive(event)
    else if (event instanceof ldk.Event_PaymentClaimed)
      change(hex(event.payment_hash), {
        state: 'settled',
        receivedMsat: event.amount_msat,
        settledAt: clock.now(),
      })
    else if (event instanceof ldk.Event_PaymentSent) {
      const { fee_paid_msat: fee, payment_preimage } = event
      const feeMsat = fee instanceof ldk.Option_u64Z_Some ? fee.some : 0n
      end(event.payment_hash, { state: 'succeeded', preimage: hex(payment_preimage), feeMsat })
    } else if (event instanceof ldk.Event_PaymentFailed)
      end(event.payment_id, { state: 'failed', reason: reasonOf(event.reason) })
    else if (event instanceof ldk.Event_FundingGenerationReady) fundings.push(event)
    else if (event instanceof ldk.Event_InvoiceReceived) answer(hex(event.payment_id), event)
  }

  /** Nobody waits any more for one that comes late. */
  function answer(id: string, { invoice }: Event_InvoiceReceived): void {
    if (answers.has(id)) answers.set(id, writeBolt12(invoice.write()))
  }

  function forward(): void {
    behind = sticky
    if (!sticky) engine.call((manager) => manager.process_pending_htlc_forwards())
  }

  /** LDK takes what comes late or was cancelled, because it knows no clock but the chain's. */
  function arrive(event: Event_PaymentClaimable): void {
    const { purpose, payment_hash } = event
    const hash = hex(payment_hash)
    const direct = purpose instanceof ldk.PaymentPurpose_Bolt11InvoicePayment
    const known = 'payment_preimage' in purpose ? purpose.payment_preimage : undefined
    const preimage = known instanceof ldk.Option_ThirtyTwoBytesZ_Some ? known.some : undefined
    if (direct && recall(hash)?.state !== 'open')
      engine.call((manager) => manager.fail_htlc_backwards(payment_hash))
    else if (preimage !== undefined) engine.call((manager) => manager.claim_funds(preimage))
    else change(hash, { state: 'held', receivedMsat: event.amount_msat })
  }

  function change(hash: string, to: InvoiceState): void {
    const record = made.get(hash)
    if (record) made.set(hash, { ...record, ...to })
  }

  function end(id: Uint8Array, state: PaymentState): void {
    const record = sent.get(hex(id))
    if (record) sent.set(record.hash, { ...record, state, endedAt: clock.now() })
  }

  function recall(hash: string): Made | undefined {
    const record = made.get(hash)
    const late = record?.state === 'open' && record.expiresAt <= clock.now()
    return record && late ? { ...record, state: 'cancelled' } : record
  }

  function describe({ memo, describes }: LdkInvoiceRequest): Bolt11InvoiceDescription {
    const { Bolt11InvoiceDescription, Description, Sha256 } = ldk
    if (describes !== undefined)
      return Bolt11InvoiceDescription.constructor_hash(
        Sha256.constructor_from_bytes(bytes(describes)),
      )
    const said = Description.constructor_new(memo)
    if (said instanceof ldk.Result_DescriptionCreationErrorZ_OK)
      return Bolt11InvoiceDescription.constructor_direct(said.res)
    throw new PaymentError('misconfigured', 'The memo is too long for an invoice.')
  }

  async function createInvoice(
    request: LdkInvoiceRequest,
  ): Promise<{ readonly invoice: string; readonly hash: string }> {
    const { msat, memo, expiresInS, hash } = request
    const text = describe(request)
    const madeAt = clock.now()
    const none = ldk.Option_ThirtyTwoBytesZ.constructor_none()
    const { Option_ThirtyTwoBytesZ, Option_u32Z, Option_u16Z } = ldk
    const result = engine.call((manager) =>
      manager.create_bolt11_invoice(
        msat === 0n ? ldk.Option_u64Z.constructor_none() : someU64(ldk, msat),
        text,
        Option_u32Z.constructor_some(expiresInS + chain.lagS(madeAt)),
        Option_u16Z.constructor_none(),
        hash === undefined ? none : Option_ThirtyTwoBytesZ.constructor_some(bytes(hash)),
      ),
    )
    if (!(result instanceof ldk.Result_Bolt11InvoiceSignOrCreationErrorZ_OK))
      throw new PaymentError('misconfigured', 'The node cannot make such an invoice.')
    const invoice = result.res
    const id = invoice.payment_hash()
    const found = engine.manager.get_payment_preimage(id, invoice.payment_secret())
    const own = found instanceof ldk.Result_ThirtyTwoBytesAPIErrorZ_OK ? hex(found.res) : undefined
    const record: Made = {
      invoice: invoice.to_str(),
      hash: hex(id),
      msat,
      memo,
      madeAt,
      expiresAt: madeAt + 1000 * expiresInS,
      state: 'open',
      receivedMsat: 0n,
      ...(hash === undefined && own !== undefined && { preimage: own }),
    }
    remember(made, record)
    return { invoice: record.invoice, hash: record.hash }
  }

  async function settle(preimage: string): Promise<void> {
    const hash = digest('sha256', bytes(preimage), 'hex')
    const record = recall(hash)
    if (record?.state === 'settled') return
    if (record?.state !== 'held')
      throw new PaymentError('settlement-failed', 'Nothing is held under that preimage.')
    made.set(hash, { ...record, preimage })
    engine.call((manager) => manager.claim_funds(bytes(preimage)))
    await engine.until(() => made.get(hash)?.state === 'settled', 'The settlement')
  }

  async function cancel(hash: string): Promise<void> {
    const record = recall(hash)
    if (record?.state === 'cancelled') return
    if (record === undefined || record.state === 'settled')
      throw new PaymentError('settlement-failed', 'There is nothing to cancel.')
    change(hash, { state: 'cancelled', receivedMsat: 0n })
    if (record.state === 'held') engine.call((manager) => manager.fail_htlc_backwards(bytes(hash)))
  }

  async function pay(request: PaymentRequest, signal?: AbortSignal): Promise<PaymentState> {
    const target = readTarget(ldk, request.invoice, request.msat)
    if (typeof target === 'string') return { state: 'failed', reason: target }
    const hash = hex(target.hash)
    const before = sent.get(hash)
    if (!before || before.state.state === 'failed') send(target, request)
    return outcome(hash, request.timeoutMs, signal)
  }

  /** Written down before it is sent, so that a second call finds it. */
  function send(target: Target, { invoice, feeMaxMsat }: PaymentRequest): void {
    const { hash, msat, expiresAt } = target
    const madeAt = clock.now()
    remember(sent, { invoice, hash: hex(hash), msat, madeAt, state: { state: 'inFlight' } })
    if (expiresAt <= madeAt)
      return end(hash, { state: 'failed', reason: 'The invoice has expired.' })
    const retry = ldk.Retry.constructor_attempts(ATTEMPTS)
    const route = target.route(feeMaxMsat)
    const result = engine.call((manager) =>
      manager.send_payment(hash, target.onion, hash, route, retry),
    )
    if (result.is_ok()) return
    end(hash, { state: 'failed', reason: 'There is no route within the limit of the fee.' })
  }

  async function outcome(
    hash: string,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<PaymentState> {
    const ended = (): boolean => sent.get(hash)?.state.state !== 'inFlight'
    await engine.wait(ended, timeoutMs, signal)
    return sent.get(hash)?.state ?? { state: 'inFlight' }
  }

  async function fetchInvoice(text: string, msat: bigint): Promise<string> {
    const offer = ldk.Offer.constructor_from_str(text)
    if (!(offer instanceof ldk.Result_OfferBolt12ParseErrorZ_OK))
      throw new PaymentError('misconfigured', 'The offer cannot be read.')
    const id = chance(32)
    const key = hex(id)
    answers.set(key, undefined)
    try {
      ask(offer.res, msat, id)
      await engine.until(() => answers.get(key) !== undefined, 'An invoice', OFFER_MS_MAX)
      const invoice = answers.get(key)
      assert(invoice !== undefined, 'an answer was waited for')
      return invoice
    } finally {
      answers.delete(key)
      // It is paid as any other, under its hash and with its own limit of the fee.
      engine.call((manager) => manager.abandon_payment(id))
    }
  }

  function ask(offer: Offer, msat: bigint, id: Uint8Array): void {
    const none = someU64(ldk, undefined)
    const retry = ldk.Retry.constructor_attempts(ATTEMPTS)
    const note = ldk.Option_StrZ.constructor_none()
    const asked = engine.call((manager) =>
      manager.pay_for_offer(offer, none, someU64(ldk, msat), note, id, retry, none),
    )
    if (!asked.is_ok())
      throw new PaymentError('rail-unavailable', 'The offer’s maker cannot be reached.')
  }

  function createOffer(): string {
    const builder = engine.call((manager) => manager.create_offer_builder(someU64(ldk, undefined)))
    if (!(builder instanceof ldk.Result_OfferWithDerivedMetadataBuilderBolt12SemanticErrorZ_OK))
      throw new PaymentError('misconfigured', 'The node has no channel that others know of.')
    const offer = builder.res.build()
    if (!(offer instanceof ldk.Result_OfferBolt12SemanticErrorZ_OK))
      throw new PaymentError('misconfigured', 'The node cannot make an offer.')
    return offer.res.to_str()
  }

  async function openChannel(peer: LdkNode, sat: bigint, pushMsat: bigint): Promise<void> {
    const asked = engine.call((manager) =>
      manager.create_channel(bytes(peer.publicKey), sat, pushMsat, 0n, null, null),
    )
    if (!asked.is_ok()) throw new PaymentError('misconfigured', 'Such a channel cannot be opened.')
    await engine.until(() => fundings.length > 0, 'The answer to a new channel')
    const event = fundings.shift()
    assert(event !== undefined, 'a funding was waited for')
    const raw = chain.fund([{ script: event.output_script, sat }])
    const before = chain.waiting().length
    const { temporary_channel_id, counterparty_node_id } = event
    engine.call((manager) =>
      manager.funding_transaction_generated(temporary_channel_id, counterparty_node_id, raw),
    )
    await engine.until(() => chain.waiting().length > before, 'The funding of a channel')
  }

  const reasons: Readonly<Record<number, string>> = {
    [ldk.PaymentFailureReason.LDKPaymentFailureReason_RecipientRejected]:
      'The payee did not take the payment.',
    [ldk.PaymentFailureReason.LDKPaymentFailureReason_RetriesExhausted]:
      'No route carried the payment.',
    [ldk.PaymentFailureReason.LDKPaymentFailureReason_PaymentExpired]: 'The invoice has expired.',
    [ldk.PaymentFailureReason.LDKPaymentFailureReason_RouteNotFound]:
      'There is no route within the limit of the fee.',
  }

  function reasonOf(reason: unknown): string {
    const known = reason instanceof ldk.Option_PaymentFailureReasonZ_Some ? reason.some : -1
    return reasons[known] ?? 'The payment failed.'
  }

  const balanceMsat = (): bigint =>
    sum(engine.manager.list_usable_channels(), (one) => one.get_outbound_capacity_msat())

  return {
    name,
    publicKey,
    can: {
      ...{ hold: true, msat: true, feeLimit: true, pay: true, lookup: true, offers: true },
      amountless: true,
    },
    open: async () => ({ network: chains.bcrt ?? '', publicKey }),
    createInvoice,
    invoice: async (hash) => stateOf(recall(hash)),
    settle,
    cancel,
    pay,
    payment: async (hash) => sent.get(hash)?.state,
    fetchInvoice,
    close: async () => engine.close(),
    made: recall,
    sent: (hash) => sent.get(hash),
    outcome,
    balance: async () => balanceMsat(),
    balanceMsat,
    createOffer,
    stick(on) {
      sticky = on
      if (!on && behind) forward()
    },
    charge(feeBaseMsat) {
      for (const channel of engine.manager.list_channels()) {
        const config = channel.get_config()
        config.set_forwarding_fee_base_msat(feeBaseMsat)
        const peer = channel.get_counterparty().get_node_id()
        engine.call((manager) =>
          manager.update_channel_config(peer, [channel.get_channel_id()], config),
        )
      }
    },
    learn: (node, feeBaseMsat) =>
      engine.until(() => {
        const fees = engine.known().fees.get(node.publicKey) ?? []
        return fees.length > 0 && fees.every((fee) => fee === feeBaseMsat)
      }, 'Gossip of a fee'),
    listen: () => (port ??= engine.peers.listen()),
    async connect(peer) {
      const before = engine.connected()
      await engine.peers.connect(await peer.listen(), bytes(peer.publicKey))
      await engine.until(() => engine.connected() > before, 'A peer’s handshake')
    },
    async disconnect(peer) {
      const before = engine.connected()
      engine.disconnect(bytes(peer.publicKey))
      await engine.until(() => engine.connected() < before, 'The end of a connection')
    },
    openChannel,
    usable: (count) =>
      engine.until(() => engine.manager.list_usable_channels().length >= count, 'A usable channel'),
    async meet(channels, nodes) {
      engine.announce()
      await engine.until(() => {
        const known = engine.known()
        return known.channels >= channels && known.nodes >= nodes
      }, 'Gossip')
    },
  }
}

function stateOf(record: Made | undefined): InvoiceState | undefined {
  if (!record) return undefined
  const { state, receivedMsat, settledAt } = record
  return { state, receivedMsat, ...(settledAt !== undefined && { settledAt }) }
}

function remember<T extends { readonly hash: string }>(records: Map<string, T>, record: T): void {
  records.set(record.hash, record)
  const [oldest] = records.keys()
  if (records.size > RECORDS_MAX && oldest !== undefined) records.delete(oldest)
}

function sum<T>(all: readonly T[], of: (one: T) => bigint): bigint {
  return all.reduce((total, one) => total + of(one), 0n)
}

function hex(value: Uint8Array): string {
  return Buffer.from(value).toString('hex')
}

function bytes(value: string): Uint8Array {
  return Buffer.from(value, 'hex')
}
