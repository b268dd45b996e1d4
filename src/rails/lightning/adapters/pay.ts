import { hash as digest } from 'node:crypto'
import type { Clock } from '../../../core/ports.ts'
import { PaymentError } from '../../../core/problem.ts'
import { readInvoice } from '../bolt11.ts'
import { readOfferInvoice } from '../bolt12.ts'
import type { LightningNode, PaymentRequest, PaymentState } from '../node.ts'

/** How long a node may take beyond the time that a payment has: it ends by itself in time, and tells how. */
export const GRACE_MS = 3_000
/** How often a payment on its way is looked at. */
export const LOOK_MS = 500

/** How one back end pays. */
export interface Payer {
  /**
   * Hands over a payment. What it returns is what the node said of this very payment; what it throws leaves open what happened.
   */
  send(request: PaymentRequest, hash: string, signal?: AbortSignal): Promise<PaymentState>
  /** What the node's books say. Undefined where it has never heard of it. */
  look(hash: string): Promise<PaymentState | undefined>
  readonly clock: Clock
}

const inFlight: PaymentState = { state: 'inFlight' }

/**
 * The two verbs of a node that pays, the same for every back end. A payment is sent at most once at a time, never while an
 * earlier one may still arrive, and is called failed only when the node said so and its books do not say otherwise.
 */
export function createPay(payer: Payer): Required<Pick<LightningNode, 'pay' | 'payment'>> {
  const { clock } = payer
  const under = new Map<string, Promise<PaymentState>>()

  async function look(hash: string): Promise<PaymentState | undefined> {
    const found = await payer.look(hash)
    return found && proven(found, hash)
  }

  async function work(
    request: PaymentRequest,
    hash: string,
    signal?: AbortSignal,
  ): Promise<PaymentState> {
    const untilAt = clock.now() + request.timeoutMs
    const before = await look(hash)
    if (before?.state === 'succeeded') return before
    signal?.throwIfAborted()
    const sent = before?.state === 'inFlight' ? before : await hand(request, hash, signal)
    if (sent?.state === 'succeeded') return sent
    for (;;) {
      const now = decide(sent, before, await ask(hash))
      if (now.state !== 'inFlight' || clock.now() >= untilAt || signal?.aborted) return now
      await clock.sleep(LOOK_MS, signal)
    }
  }

  /** Undefined where the answer was lost. */
  async function hand(
    request: PaymentRequest,
    hash: string,
    signal?: AbortSignal,
  ): Promise<PaymentState | undefined> {
    try {
      return proven(await payer.send(request, hash, signal), hash)
    } catch (error) {
      // Nobody who is turned away has paid.
      if (error instanceof PaymentError && error.code === 'misconfigured') throw error
      return undefined
    }
  }

  async function ask(hash: string): Promise<PaymentState | undefined> {
    return look(hash).catch(() => inFlight)
  }

  return {
    async pay(request, signal) {
      signal?.throwIfAborted()
      const hash = hashOf(request.invoice)
      if (hash === undefined) return { state: 'failed', reason: 'The invoice cannot be read.' }
      const going = under.get(hash)
      if (going) return going
      const mine = work(request, hash, signal).finally(() => under.delete(hash))
      under.set(hash, mine)
      return mine
    },
    payment: look,
  }
}

/** The payment hash of a BOLT11 or BOLT12 invoice; undefined where it is neither. */
function hashOf(text: string): string | undefined {
  const invoice = /^lni1/i.test(text) ? readOfferInvoice(text) : readInvoice(text)
  return typeof invoice === 'string' ? undefined : invoice.hash
}

/** What is known of a payment from the answer to it, from the node's books before it, and from its books now. */
function decide(
  sent: PaymentState | undefined,
  before: PaymentState | undefined,
  found: PaymentState | undefined,
): PaymentState {
  if (found?.state === 'succeeded' || found?.state === 'inFlight') return found
  if (sent?.state === 'failed') return sent
  // Books that said "failed" before may not have this attempt yet.
  return found?.state === 'failed' && !before ? found : inFlight
}

/** Whoever says that it has paid must show it: without the preimage, the money may be anywhere. */
function proven(said: PaymentState, hash: string): PaymentState {
  if (said.state !== 'succeeded') return said
  const opens =
    /^[0-9a-f]{64}$/.test(said.preimage) &&
    digest('sha256', Buffer.from(said.preimage, 'hex'), 'hex') === hash
  return opens ? said : inFlight
}

/** Does something to an invoice, and where the node says no, is content if it was done already. */
export async function reach(
  name: string,
  wanted: 'settled' | 'cancelled',
  act: () => Promise<boolean>,
  look: () => Promise<{ readonly state: string } | undefined>,
): Promise<void> {
  if (await act()) return
  if ((await look())?.state === wanted) return
  throw new PaymentError('rail-unavailable', `${name} says that the payment cannot be ${wanted}.`)
}

/** Fails with the node's word for it, cut short: it may come from anybody on the route. */
export function failed(reason: unknown): PaymentState {
  const text =
    typeof reason === 'string' ? reason.replaceAll(/[^\x20-\x7e]/g, ' ').slice(0, 200) : ''
  return { state: 'failed', reason: text === '' ? 'The node says that it failed.' : text }
}
