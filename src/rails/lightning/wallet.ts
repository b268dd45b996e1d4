import { systemClock } from '../../core/clock.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Wallet } from '../../core/ports.ts'
import { PaymentError } from '../../core/problem.ts'
import { readInvoice } from './bolt11.ts'
import type { Details, Proof } from './forms.ts'
import { CHARGE, RAIL, createForms, hashOf } from './forms.ts'
import { feeMaxMsat } from './fees.ts'
import { LOCK_LOOK_MS } from './lock.ts'
import { bitcoinOn } from './networks.ts'
import type { LightningNode, PaymentState } from './node.ts'
import { payerOf } from './paying.ts'

/** How long a payment may look for a route. */
export const PAY_TIMEOUT_MS = 60_000
/** Least time that an invoice must still be payable. */
export const INVOICE_LEFT_MS_MIN = 5_000

/** What a wallet is made of. */
export interface LightningWalletSettings {
  readonly node: LightningNode
  /** The most that routing may cost for an amount; a hundredth of it, and at least five satoshis, if absent. */
  readonly feeMaxMsat?: (msat: bigint) => bigint
  readonly timeoutMs?: number
  readonly clock?: Clock
}

/**
 * Pays invoices. What is paid is what the invoice says under its signature, never what stands beside it. The same offer may be
 * paid again after a crash: the node is asked first, and the money moves once.
 */
export function lightningWallet(settings: LightningWalletSettings): Wallet<Details, Proof> {
  const { node, timeoutMs = PAY_TIMEOUT_MS, clock = systemClock } = settings
  const most = settings.feeMaxMsat ?? feeMaxMsat
  const { pay, payment } = payerOf(node)
  let network: Promise<string> | undefined

  /** Which network this node is on, asked once. */
  async function mine(): Promise<string> {
    const asked = network ?? node.open().then((info) => info.network)
    network = asked
    return asked.catch((error: unknown) => {
      if (network === asked) network = undefined
      throw error
    })
  }

  function refuses(offer: Offer<Details>): string | undefined {
    if (offer.rail !== RAIL) return `This wallet pays on the rail "${RAIL}" only.`
    if (offer.intent !== CHARGE) return `The intent "${offer.intent}" is not known.`
    const invoice = readInvoice(offer.invoice ?? '')
    if (typeof invoice === 'string') return invoice
    if (invoice.hash !== offer.details.hash) return 'The invoice is for another payment.'
    if (invoice.msat === undefined || invoice.msat !== offer.amount.amount)
      return 'The invoice asks for another amount.'
    if (
      invoice.network !== offer.network ||
      offer.amount.asset.id !== bitcoinOn(invoice.network).id
    )
      return 'The invoice is for another network.'
    return undefined
  }

  /** What became of the payment before, or else of a new try: a node pays once per hash, and what failed moved nothing. */
  async function send(offer: Offer<Details>, signal?: AbortSignal): Promise<PaymentState> {
    const before = await payment(offer.details.hash)
    if (before && before.state !== 'failed') return before
    if (endOf(offer) - clock.now() < INVOICE_LEFT_MS_MIN)
      throw new PaymentError('offer-expired', 'The invoice has expired. Nothing was paid.')
    signal?.throwIfAborted()
    const sent = ask(offer, before !== undefined, signal)
    if (offer.details.salt === undefined) return sent
    const seen = new AbortController()
    // It ends only when the seller takes it, and the seller waits for our request.
    return Promise.race([sent, lockOf(offer, seen.signal)]).finally(() => seen.abort())
  }

  async function ask(
    offer: Offer<Details>,
    failedBefore: boolean,
    signal?: AbortSignal,
  ): Promise<PaymentState> {
    const { invoice = '', amount, details } = offer
    const request = { invoice, feeMaxMsat: most(amount.amount), timeoutMs }
    try {
      return await pay(request, signal)
    } catch (cause) {
      // It was sent, so that whatever went wrong says nothing of the money. The node may know, if it is not an older failure.
      const found = await payment(details.hash).catch(() => undefined)
      if (!found || (found.state === 'failed' && failedBefore)) throw unsure(cause)
      return found
    }
  }

  /** Resolves when the payment is on its way; as long as the node knows nothing of it, not at all. */
  async function lockOf({ details }: Offer<Details>, signal: AbortSignal): Promise<PaymentState> {
    for (;;) {
      await clock.sleep(LOCK_LOOK_MS, signal)
      if (signal.aborted) return { state: 'inFlight' }
      const found = await payment(details.hash).catch(() => undefined)
      if (found && found.state !== 'failed') return found
    }
  }

  return {
    rail: RAIL,
    forms: createForms(),
    moves: true,
    refuses,
    feeMax: ({ amount }) => most(amount.amount),
    fee: ({ feeMsat = 0n }) => feeMsat,
    async pay(offer, _validForMs, signal) {
      const why = refuses(offer)
      if (why !== undefined) throw new PaymentError('offers-unacceptable', why)
      if ((await mine()) !== offer.network)
        throw new PaymentError('offers-unacceptable', 'The invoice is for another network.')
      return proofOf(offer, await send(offer, signal))
    },
    // A preimage proves the payment for ever.
    expiresAt: () => Number.MAX_SAFE_INTEGER,
    async outcome(offer, proof) {
      if (proof.preimage !== undefined) return 'paid'
      const found = await payment(offer.details.hash)
      if (found?.state === 'succeeded') return 'paid'
      // What we sent before we died may still be on its way to the node.
      const late = clock.now() > endOf(offer) + timeoutMs
      return found?.state === 'failed' || (!found && late) ? 'dead' : 'open'
    },
  }

  function proofOf({ details, amount }: Offer<Details>, found: PaymentState): Proof {
    if (found.state === 'failed')
      throw new PaymentError('settlement-failed', 'The payment found no way. Nothing was paid.')
    // A payment that is held has no preimage until the seller takes it, and its fee is not told before.
    if (found.state === 'inFlight' && details.salt !== undefined)
      return { feeMsat: most(amount.amount) }
    if (found.state === 'inFlight') throw unsure()
    if (hashOf(found.preimage) !== details.hash)
      throw new PaymentError('payment-unknown', 'The node says that it paid, and cannot prove it.')
    return { preimage: found.preimage, feeMsat: found.feeMsat }
  }
}

function unsure(cause?: unknown): PaymentError {
  const sentence = 'The payment is on its way and may still arrive.'
  return new PaymentError('payment-unknown', sentence, { cause, retryable: true })
}

/** Until when the offer's invoice may be paid. */
function endOf({ invoice = '' }: Offer<Details>): number {
  const read = readInvoice(invoice)
  return typeof read === 'string' ? 0 : read.expiresAt
}
