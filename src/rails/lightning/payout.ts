import { assert } from '../../core/assert.ts'
import { systemClock } from '../../core/clock.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Money } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Settlement } from '../../core/ports.ts'
import type { Code } from '../../core/problem.ts'
import { PaymentError, problem } from '../../core/problem.ts'
import { readInvoice } from './bolt11.ts'
import { readOfferInvoice } from './bolt12.ts'
import { feeMaxMsat } from './fees.ts'
import type { Details } from './forms.ts'
import type { Resolve } from '../../net/addresses.ts'
import { fetchInvoice, isLnurl } from './lnurl.ts'
import type { LightningNode, PaymentState } from './node.ts'
import { payerOf } from './paying.ts'
import { readAhead, writeAhead } from './steps.ts'

/** How long a payout may look for a route. */
export const PAYOUT_TIMEOUT_MS = 60_000
/** Least time that an invoice must still be payable. */
export const PAYOUT_LEFT_MS_MIN = 5_000

/** What payouts are made of. */
export interface PayoutSettings {
  /** One that pays. */
  readonly node: LightningNode
  /** CAIP-2. */
  readonly network: string
  /** The most that routing may cost for an amount; a hundredth of it, and at least five satoshis, if absent. */
  readonly feeMaxMsat?: (msat: bigint) => bigint
  readonly timeoutMs?: number
  readonly fetch?: typeof globalThis.fetch
  readonly resolve?: Resolve
  readonly clock?: Clock
}

/**
 * Sends money to a payer's destination, once per key: a BOLT11 invoice of exactly the amount, a BOLT12 offer, a Lightning
 * address, or an LNURL-pay link. Lightning does not tell who has paid, so that somebody must name it. `failed` means that
 * nothing has left, and that a further call may try again, also with another destination.
 */
export type Payout = (
  offer: Offer<Details>,
  destination: string,
  amount: Money,
  key: string,
  log: Log,
) => Promise<Settlement>

/** An invoice that was found for a destination; written ahead before it is paid. */
interface Asked {
  readonly text: string
  readonly hash: string
  readonly expiresAt: number
}

/**
 * Makes the verb that sends money back.
 * @throws {RangeError} when the node cannot pay.
 */
export function createPayout(settings: PayoutSettings): Payout {
  const { node, network, timeoutMs = PAYOUT_TIMEOUT_MS, clock = systemClock } = settings
  const most = settings.feeMaxMsat ?? feeMaxMsat
  const { pay, payment } = payerOf(node)
  /** Payouts that are on their way, by their keys: who asks for one again waits for the same. */
  const running = new Map<string, Promise<Settlement>>()
  /** Hashes that a payout pays just now: of two that name one invoice, the node would tell both of the one payment. */
  const paying = new Set<string>()

  async function payout(destination: string, msat: bigint, log: Log): Promise<Settlement> {
    const written = (await readAhead(log, 'refund')).map(readAsked)
    const last = written.at(-1)
    const before = last && (await resume(last, destination, msat))
    if (before) return before
    if (!node.can.msat && msat % 1000n !== 0n)
      return failed('settlement-failed', `${node.name} sends whole satoshis only.`)
    const asked = await find(destination, msat)
    if (typeof asked === 'string') return failed('settlement-failed', asked)
    if (asked.expiresAt - clock.now() < PAYOUT_LEFT_MS_MIN)
      return failed('settlement-failed', 'The invoice has expired. Nothing was sent.')
    // So that what the node says of a hash is always about one try.
    if (written.some(({ hash }) => hash === asked.hash))
      return failed('settlement-failed', 'This invoice was tried before. Name a new one.')
    if (paying.has(asked.hash)) return taken
    paying.add(asked.hash)
    try {
      const other = await look(asked.hash)
      if (other && other !== 'silent') return taken
      await writeAhead(log, 'refund', writeAsked(asked))
      return await send(asked, destination, msat)
    } finally {
      paying.delete(asked.hash)
    }
  }

  /** What became of the invoice that was written ahead; undefined when it can never be paid, so that another may be. */
  async function resume(
    asked: Asked,
    destination: string,
    msat: bigint,
  ): Promise<Settlement | undefined> {
    const found = await look(asked.hash)
    if (found === 'silent') return unknown
    if (found && found.state !== 'failed') return told(asked, destination, found)
    const leftMs = asked.expiresAt - clock.now()
    if (!found && leftMs >= PAYOUT_LEFT_MS_MIN) return send(asked, destination, msat)
    // What we sent before we died may still be on its way to the node.
    return !found && leftMs > -timeoutMs ? unknown : undefined
  }

  async function send(asked: Asked, destination: string, msat: bigint): Promise<Settlement> {
    const request = {
      invoice: asked.text,
      ...(isOpen(asked.text) && { msat }),
      feeMaxMsat: most(msat),
      timeoutMs,
    }
    const found = await pay(request).catch(async (error: unknown) => {
      if (!(error instanceof PaymentError)) throw error
      return look(asked.hash)
    })
    return found && found !== 'silent' ? told(asked, destination, found) : unknown
  }

  async function look(hash: string): Promise<PaymentState | undefined | 'silent'> {
    return payment(hash).catch((error: unknown) => {
      if (error instanceof PaymentError) return 'silent' as const
      throw error
    })
  }

  /** The node is our own, and its word is enough: nobody is shown this preimage. */
  function told({ hash }: Asked, payer: string, found: PaymentState): Settlement {
    if (found.state === 'inFlight') return unknown
    if (found.state === 'failed')
      return failed(
        'settlement-failed',
        'The payout found no way within its fee. Nothing was sent.',
      )
    const settledAt = clock.now()
    return { state: 'settled', reference: hash, payer, settledAt, cost: found.feeMsat }
  }

  /** An invoice for exactly that amount, or a sentence. */
  async function find(destination: string, msat: bigint): Promise<Asked | string> {
    if (destination.endsWith('/anonymous')) return WANTED
    if (/^lno1/i.test(destination)) return fromOffer(destination, msat)
    if (isLnurl(destination)) {
      const fetched = await fetchInvoice(destination, msat, settings)
      return typeof fetched === 'string' ? fetched : { text: fetched.text, ...fetched.invoice }
    }
    const invoice = readInvoice(destination)
    if (typeof invoice === 'string') return `${invoice} ${WANTED}`
    if (invoice.network !== network) return 'The invoice is for another network.'
    const isOpen = invoice.msat === undefined && node.can.amountless === true
    if (invoice.msat !== msat && !isOpen)
      return `The invoice must ask for exactly ${msat} millisatoshis.`
    return { text: destination, hash: invoice.hash, expiresAt: invoice.expiresAt }
  }

  async function fromOffer(offer: string, msat: bigint): Promise<Asked | string> {
    if (!node.can.offers || !node.fetchInvoice) return `${node.name} cannot pay BOLT12 offers.`
    const text = await node.fetchInvoice(offer, msat).catch((error: unknown) => {
      if (error instanceof PaymentError) return undefined
      throw error
    })
    if (text === undefined) return 'Nobody answers for the offer.'
    const invoice = /^lni1/i.test(text) ? readOfferInvoice(text) : readInvoice(text)
    if (typeof invoice === 'string') return invoice
    if (invoice.msat !== msat) return 'The invoice for the offer is for another amount.'
    return { text, hash: invoice.hash, expiresAt: invoice.expiresAt }
  }

  return async (offer, payer, amount, key, log) => {
    assert(amount.asset.id === offer.amount.asset.id, 'a refund is in the asset that was paid')
    assert(amount.amount > 0n && amount.amount <= offer.amount.amount, 'no more than was paid')
    const destination = payer.replace(/^lightning:/i, '')
    const work =
      running.get(key) ?? payout(destination, amount.amount, log).finally(() => running.delete(key))
    running.set(key, work)
    return work
  }
}

/** Whether it leaves the amount to whoever pays it. */
function isOpen(text: string): boolean {
  const invoice = readInvoice(text)
  return typeof invoice === 'object' && invoice.msat === undefined
}

const WANTED =
  'Lightning does not tell who has paid: name an invoice, an offer or a Lightning address to send it to.'

const unknown: Settlement = {
  state: 'unknown',
  detail: 'The Lightning node has not said what became of the payout.',
}

const taken: Settlement = {
  state: 'failed',
  problem: problem(
    'settlement-failed',
    'This invoice was used for another payment before. Nothing was sent; name a new one.',
  ),
}

function failed(code: Code, detail: string): Settlement {
  return { state: 'failed', problem: problem(code, detail) }
}

function writeAsked({ text, hash, expiresAt }: Asked): JsonObject {
  return { invoice: text, hash, expiresAt }
}

/** Reads back what {@link writeAsked} wrote. The books are ours and hashed, so another shape is a bug. */
function readAsked({ invoice, hash, expiresAt }: JsonObject): Asked {
  assert(typeof invoice === 'string' && typeof hash === 'string', 'a payout has its invoice')
  assert(typeof expiresAt === 'number', 'an invoice has an end')
  return { text: invoice, hash, expiresAt }
}
