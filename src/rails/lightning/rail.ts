import { createHmac, hash as digest, timingSafeEqual } from 'node:crypto'
import { Bug, assert } from '../../core/assert.ts'
import { systemChance } from '../../core/chance.ts'
import { systemClock } from '../../core/clock.ts'
import { SECRETS_MAX, checkSecret } from '../../core/mac.ts'
import type { Price } from '../../core/money.ts'
import type { Offer, Terms } from '../../core/offer.ts'
import type { Chance, Clock, Holdings, Log, Rail, Settlement, Verdict } from '../../core/ports.ts'
import type { Problem } from '../../core/problem.ts'
import { PaymentError, problem } from '../../core/problem.ts'
import { readInvoice } from './bolt11.ts'
import type { Details, Proof, Reason } from './forms.ts'
import { CHARGE, RAIL, createForms, hashOf } from './forms.ts'
import type { Resolve } from '../../net/addresses.ts'
import { createLocks } from './lock.ts'
import { MSAT_MAX, MSAT_SCALE, SAT_SCALE, bitcoinOn, resolveChain, toMsat } from './networks.ts'
import type { InvoiceState, LightningNode } from './node.ts'
import { createPayout } from './payout.ts'
import { readAhead, writeAhead } from './steps.ts'

/** Longest memo of an invoice, in characters: what every back end takes. */
export const MEMO_CHARS_MAX = 128
/** How much longer than its offer an invoice may be paid: the payer's clock, and the way of the payment. */
export const INVOICE_GRACE_MS = 60_000
/** Most invoices that were seen paid and are not settled yet of which that look is kept. */
export const SEEN_MAX = 1_024
/** Chance in the name of a preimage. */
const SALT_BYTES = 16
/** What the rail is made of. */
export interface LightningSettings {
  readonly node: LightningNode
  /** The network that the node must be on: `bitcoin` if absent, or `testnet`, `signet`, `regtest`, or a CAIP-2 id. */
  readonly network?: string
  /**
   * Locks payments, does the work, and takes them when it is done: no result, no charge. Preimages are derived from the
   * first secret, at least 32 bytes; what was locked under the others is still taken. Only payers that know of it can pay so.
   */
  readonly hold?: { readonly secret: string | readonly string[] }
  /** What a refund's route may cost at most, for an amount. */
  readonly feeMaxMsat?: (msat: bigint) => bigint
  /**
   * Whether what the node holds is compared with the books: a node or wallet that does nothing but take these payments and send
   * their refunds. What it does beside that is a difference.
   */
  readonly compare?: boolean
  readonly fetch?: typeof globalThis.fetch
  /** Looks up the hosts of Lightning addresses. */
  readonly resolve?: Resolve
  readonly clock?: Clock
  readonly chance?: Chance
}

/**
 * Payments over Lightning, exact to the millisatoshi. Invoices are made when an offer goes out; who shows the preimage has
 * paid, and the node is asked all the same.
 * @throws {RangeError} when the node cannot do what the settings ask for.
 */
export function lightning(settings: LightningSettings): Rail<Details, Proof> {
  const { node, hold, clock = systemClock, chance = systemChance } = settings
  if (settings.compare && !node.balance)
    throw new RangeError(`${node.name} does not tell what it holds. Leave "compare" out.`)
  // Whether a payment is locked is known from the node alone.
  if (hold && !(node.can.hold && node.can.lookup && node.settle && node.cancel))
    throw new RangeError(`${node.name} cannot hold payments. Leave "hold" out.`)
  const preimages = createPreimages(hold?.secret ?? [])
  const network = resolveChain(settings.network ?? 'bitcoin')
  const locked = createLocks(node, clock)
  /** Hashes of payments that this process is taking: these are not given back. */
  const taking = new Set<string>()
  /** What the node said of invoices that are verified and not yet settled: what is settled stays so. */
  const seen = new Map<string, InvoiceState>()
  let payee = ''

  function quote(price: Price): readonly Terms<Details>[] {
    const msat = toMsat(price)
    const fits = msat !== undefined && msat > 0n && msat <= MSAT_MAX
    if (!fits || (!node.can.msat && msat % 1000n !== 0n)) return []
    return [
      {
        rail: RAIL,
        network,
        intent: CHARGE,
        amount: { asset: bitcoinOn(network), amount: msat },
        payee,
        timeoutMs: 0,
        details: { hash: '' },
      },
    ]
  }

  async function issue(
    terms: Terms<Details>,
    memo: string,
    expiresAt: number,
  ): Promise<Terms<Details>> {
    const timeoutMs = expiresAt - clock.now()
    const salt = hold && Buffer.from(chance(SALT_BYTES)).toString('base64url')
    const hash = salt === undefined ? undefined : hashOf(preimages.make(salt))
    const made = await node.createInvoice({
      msat: terms.amount.amount,
      memo: memo.slice(0, MEMO_CHARS_MAX).toWellFormed(),
      expiresInS: Math.max(1, Math.ceil((timeoutMs + INVOICE_GRACE_MS) / 1000)),
      ...(hash !== undefined && { hash }),
    })
    const invoice = readInvoice(made.invoice)
    const why = typeof invoice === 'string' ? invoice : misfit(invoice, terms, hash ?? made.hash)
    if (why !== undefined || typeof invoice === 'string')
      throw new PaymentError('rail-unavailable', `The node made an unfit invoice. ${why}`)
    payee ||= invoice.payee
    const details = { hash: invoice.hash, ...(salt !== undefined && { salt }) }
    return { ...terms, payee: invoice.payee, timeoutMs, details, invoice: made.invoice }
  }

  async function verify(offer: Offer<Details>, proof: Proof): Promise<Verdict> {
    const { key, payer } = identify(offer)
    const why = refuses(offer, proof) ?? (await unpaid(offer))
    return why ? { ok: false, problem: why, key, payer } : { ok: true, key, payer }
  }

  /** What can be told without the node. */
  function refuses({ details }: Offer<Details>, { preimage, seen }: Proof): Problem | undefined {
    const { hash, salt } = details
    if (salt !== undefined && preimages.find(salt, hash) === undefined)
      return refusal('invoice-unknown', 'This service locks no payments of this kind any more.')
    const isSeen = seen === true && node.can.lookup
    if (preimage === undefined)
      return salt === undefined && !isSeen
        ? refusal('preimage-wrong', 'This payment needs its preimage.')
        : undefined
    if (!opens(preimage, hash))
      return refusal('preimage-wrong', 'The preimage is not that of the payment asked for.')
    return undefined
  }

  async function unpaid(offer: Offer<Details>): Promise<Problem | undefined> {
    const { hash, salt } = offer.details
    if (!node.can.lookup) return undefined
    const found = salt === undefined ? await node.invoice(hash) : await locked(hash)
    const why = explain(offer, found)
    if (!why && found?.state === 'settled') keep(hash, found)
    return why
  }

  /** One look serves the sale that it was made for. The oldest goes when there is no room. */
  function keep(hash: string, found: InvoiceState): void {
    const [oldest] = seen.size < SEEN_MAX ? [] : seen.keys()
    if (oldest !== undefined) seen.delete(oldest)
    seen.set(hash, found)
  }

  async function settle(
    offer: Offer<Details>,
    _proof: Proof,
    _key: string,
    log: Log,
  ): Promise<Settlement> {
    const { hash, salt } = offer.details
    if (!node.can.lookup) return settled(offer, clock.now())
    if (salt === undefined) return (await look(offer)) ?? unknown
    taking.add(hash)
    await writeAhead(log, 'charge', { hash })
    return take(offer)
  }

  /** Takes what is held. Whatever the node answers, it is asked what became of it. */
  async function take(offer: Offer<Details>): Promise<Settlement> {
    const { hash, salt = '' } = offer.details
    const preimage = preimages.find(salt, hash)
    if (preimage === undefined) return unknown
    await node.settle?.(preimage).catch(unlessBug)
    return (await look(offer)) ?? unknown
  }

  /** What the node says of the invoice; undefined while it may still be paid or taken, or cannot be asked. */
  async function look(offer: Offer<Details>): Promise<Settlement | undefined> {
    const { hash } = offer.details
    const found = seen.get(hash) ?? (await node.invoice(hash).catch(unlessBug))
    seen.delete(hash)
    return told(offer, found)
  }

  async function find(
    offer: Offer<Details>,
    _key: string,
    log: Log,
  ): Promise<Settlement | undefined> {
    const { hash, salt } = offer.details
    if (!node.can.lookup) return undefined
    const found = await node.invoice(hash)
    const prepared = salt !== undefined && (await readAhead(log, 'charge')).length > 0
    if (found?.state === 'held' && prepared) return take(offer)
    if (!prepared) taking.delete(hash)
    // What was written ahead may be on its way to the node, whatever it says now.
    return told(offer, found) ?? (prepared ? unknown : undefined)
  }

  async function release({ details }: Offer<Details>): Promise<void> {
    const { hash, salt } = details
    if (salt === undefined) return
    if (taking.has(hash)) throw new PaymentError('payment-in-flight', 'The payment is being taken.')
    const found = await node.invoice(hash)
    if (found?.state === 'held' || found?.state === 'open') await node.cancel?.(hash)
  }

  /** What is settled is final at once. Who does not tell its key tells it in its first invoice. */
  async function holdings(): Promise<Holdings> {
    const height = clock.now()
    const amount = (await node.balance?.()) ?? 0n
    const coin = { asset: bitcoinOn(network), amount, costs: `gas:${network}` }
    return {
      height,
      list: payee === '' ? [] : [{ account: payee, use: 'payee', ...coin }],
      includes: async (references) => new Set(references),
    }
  }

  function told(offer: Offer<Details>, found: InvoiceState | undefined): Settlement | undefined {
    if (found?.state !== 'settled' && found?.state !== 'cancelled') return undefined
    taking.delete(offer.details.hash)
    return found.state === 'settled'
      ? settled(offer, found.settledAt ?? clock.now())
      : { state: 'failed', problem: refusal('invoice-unpaid', 'The payment was given back.') }
  }

  function settled({ details, network }: Offer<Details>, settledAt: number): Settlement {
    const payer = payerOf(network)
    return { state: 'settled', reference: details.hash, payer, settledAt }
  }

  function identify({ network, details }: Offer<Details>): { key: string; payer: string } {
    return { key: `${network}/invoice/${details.hash}`, payer: payerOf(network) }
  }

  return {
    name: RAIL,
    network,
    forms: createForms(
      [network],
      node.can.pay ? { amountless: node.can.amountless === true } : null,
    ),
    prepaid: true,
    ...(node.can.lookup && { seen: () => ({ seen: true }) }),
    quote,
    units: [
      {
        asset: bitcoinOn(network).id,
        currency: 'BTC',
        scale: node.can.msat ? MSAT_SCALE : SAT_SCALE,
      },
    ],
    identify,
    async open() {
      const info = await node.open()
      if (info.network !== network)
        throw new PaymentError(
          'misconfigured',
          `${node.name} is on ${info.network}, not on ${network}.`,
        )
      payee = info.publicKey
    },
    issue,
    verify,
    settle,
    find,
    ...(node.can.hold && node.can.lookup && { release }),
    ...(settings.compare && { holdings }),
    ...(node.can.pay && { refund: createPayout({ ...settings, network }) }),
    close: () => node.close(),
  }
}

/** Preimages of payments that are locked: derived, so that nothing is stored, and known to nobody until they are used. */
function createPreimages(secrets: string | readonly string[]): {
  make(salt: string): string
  /** The one that belongs to the hash, under whichever secret; undefined if none does. */
  find(salt: string, hash: string): string | undefined
} {
  const list = typeof secrets === 'string' ? [secrets] : secrets
  if (list.length > SECRETS_MAX)
    throw new RangeError(`Give at most ${SECRETS_MAX} secrets for "hold".`)
  for (const secret of list) checkSecret(secret)
  const derive = (secret: string, salt: string): string =>
    createHmac('sha256', secret).update(`preimage/${salt}`).digest('hex')
  return {
    make(salt) {
      const [first] = list
      assert(first !== undefined, 'only what is held has a preimage of ours')
      return derive(first, salt)
    },
    find: (salt, hash) =>
      list.map((secret) => derive(secret, salt)).find((preimage) => hashOf(preimage) === hash),
  }
}

/** What was asked may have been done: the fault of the world is no answer. */
function unlessBug(error: unknown): undefined {
  if (error instanceof Bug) throw error
}

const unknown: Settlement = {
  state: 'unknown',
  detail: 'The Lightning node has not said what became of the payment.',
}

/** Lightning does not tell who has paid. */
function payerOf(network: string): string {
  return `${network}/anonymous`
}

function opens(preimage: string, hash: string): boolean {
  const found = digest('sha256', Buffer.from(preimage, 'hex'), 'buffer')
  const wanted = Buffer.from(hash, 'hex')
  return found.length === wanted.length && timingSafeEqual(found, wanted)
}

function misfit(
  invoice: Exclude<ReturnType<typeof readInvoice>, string>,
  { amount, network }: Terms,
  hash: string,
): string | undefined {
  if (invoice.network !== network) return 'It is for another network.'
  if (invoice.msat !== amount.amount) return 'It asks for another amount.'
  return invoice.hash === hash ? undefined : 'It is for another payment hash.'
}

function explain(offer: Offer<Details>, found: InvoiceState | undefined): Problem | undefined {
  if (!found) return refusal('invoice-unknown', 'The node does not know the invoice.')
  if (found.state === 'cancelled')
    return refusal('invoice-unpaid', 'The payment was given back. Make a new one.')
  // A part of a payment may be there already, or the node is behind the payer.
  if (found.state === 'open' || (found.state === 'held' && offer.details.salt === undefined))
    return problem(
      'payment-in-flight',
      'The invoice is not paid yet. Send the same request again when it is.',
      { reason: 'invoice-unpaid', retryAfterMs: 1000 },
    )
  if (found.receivedMsat < offer.amount.amount)
    return refusal('amount-short', 'Less was paid than the invoice asks for.')
  return undefined
}

function refusal(reason: Reason, detail: string): Problem {
  return problem('proof-invalid', detail, { reason })
}
