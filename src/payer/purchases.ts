import { uuid } from '../core/chance.ts'
import type { Event, Observe } from '../core/event.ts'
import type { JsonObject } from '../core/json.ts'
import { writeMoney } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Chance, Clock, Held, Ledger, Protocol, Step, Wallet } from '../core/ports.ts'
import { PaymentError, problems } from '../core/problem.ts'
import type { Receipt } from '../core/receipt.ts'
import { explain, legsOf } from './budget.ts'
import type { Choice } from './choose.ts'
import {
  ADOPTION_MS_MAX,
  FETCH_MS_MAX,
  LEASE_MS,
  NOTE_URL_CHARS_MAX,
  PURCHASE_STEPS_MAX,
  RECEIVING_MS_MAX,
  SWEEP_MS_MIN,
  VALIDITY_LEFT_MS_MIN,
} from './limits.ts'
import { give, isLent, isOurs, isWorking, lend, ownerUntil, take } from './owner.ts'
import type { Rules } from './policy.ts'
import { readStanding, writeSigned } from './record.ts'
import type { Outgoing } from './request.ts'
import { addressOf, fingerprint, orAbort } from './request.ts'

/** A payment that is reserved and signed, and may be sent as often as needed. */
export interface Purchase {
  readonly key: string
  readonly protocol: Protocol
  readonly wallet: Wallet
  readonly offer: Offer
  readonly proof: unknown
  /** When the payment stops being payable. */
  readonly expiresAt: number
  /** The payment is over and was taken; what it bought has not come. */
  readonly late: boolean
  /** Whether the money is known to be spent. That changes when a seller serves. */
  paid: boolean
}

/**
 * The payer's books: a purchase is reserved before it is signed, signed once, written ahead before it is sent, and
 * closed by evidence alone. Until then it counts as spent.
 */
export interface Purchases {
  /** Reserves and signs; a sentence if a limit does not allow it, before anything is signed. */
  make(choice: Choice, request: Outgoing): Promise<Purchase | string>
  /**
   * A purchase of the same request that nobody works on any more and of which nothing has come: still payable, or paid
   * and over for less than a day.
   */
  adopt(request: Outgoing): Promise<Purchase | undefined>
  /** The money is spent, and what it bought is on its way: the purchase stays open until that has arrived. */
  receive(purchase: Purchase, receipt: Receipt | undefined, url: string): Promise<void>
  /** Somebody reads what is on its way. */
  reading(purchase: Purchase): void
  /** The money is spent, and there is nothing more to come for it. */
  post(purchase: Purchase, receipt: Receipt | undefined, url: string): Promise<void>
  /** The money is spent, and what it bought will not come any more. */
  lose(purchase: Purchase, receipt: Receipt | undefined, url: string): Promise<void>
  /** Gives the purchase up without an outcome. `refused` says that sending it again is of no use. */
  release(purchase: Purchase, refused: boolean): Promise<void>
  /** This process does not work on it any more. */
  leave(purchase: Purchase): void
  /** Looks at everything open that nobody works on, and closes what there is evidence for. */
  sweep(): Promise<void>
  /** Joins a sweep that runs, or starts one if the last is that long ago. */
  sweepSoon(afterMs: number): Promise<void>
}

/** What the books are made of. */
export interface Parts {
  readonly wallets: readonly Wallet[]
  readonly protocols: readonly Protocol[]
  readonly ledger: Ledger
  readonly rules: Rules
  readonly clock: Clock
  readonly chance: Chance
  readonly observe: Observe
}

const PREFIX = 'purchase/'
const LOCK = 'adoption/'
/** Stands before the key of a purchase that is posted, and of which nothing has come: pending until it may not be fetched. */
const TICKET = 'fetch/'

/** Makes the payer's books over a ledger that may be shared with other processes. */
export function createPurchases(parts: Parts): Purchases {
  const { ledger, rules, clock } = parts
  let sweeping: Promise<void> | undefined
  let sweptAt = -Infinity

  async function make(choice: Choice, request: Outgoing): Promise<Purchase | string> {
    const key = PREFIX + uuid(parts.chance)
    take(key)
    try {
      const why = await reserve(key, choice, request)
      if (why === undefined) return await sign(key, choice, request.signal)
      give(key)
      return why
    } catch (error) {
      give(key)
      throw error
    }
  }

  async function reserve(
    key: string,
    choice: Choice,
    request: Outgoing,
  ): Promise<string | undefined> {
    const { cost, offer } = choice
    let claim = await ledger.transfer(transferOf(key, choice, request))
    if (claim.outcome === 'insufficient') {
      // Payments that died since may still fill the budget.
      await sweepSoon(SWEEP_MS_MIN)
      claim = await ledger.transfer(transferOf(key, choice, request))
    }
    if (claim.outcome === 'insufficient') return explain(rules, claim.account, cost)
    if (claim.outcome !== 'made')
      throw new PaymentError('store-unavailable', 'The key of the purchase is taken.')
    tell({ type: 'reserved', key, url: addressOf(request.url), amount: offer.amount })
    return undefined
  }

  function transferOf(
    key: string,
    choice: Choice,
    request: Outgoing,
  ): Parameters<Ledger['transfer']>[0] {
    const { cost, offer, protocol, wallet } = choice
    const now = clock.now()
    const leaseUntilAt = now + LEASE_MS
    const note = {
      url: addressOf(request.url).slice(0, NOTE_URL_CHARS_MAX),
      method: request.method,
      protocol: protocol.name,
      rail: offer.rail,
      network: offer.network,
      payee: offer.payee,
      amount: writeMoney(offer.amount),
      validForMs: validForMs(offer),
      owner: ownerUntil(leaseUntilAt),
      ...(wallet.local && { local: true }),
    }
    const legs = legsOf(rules, cost, request.url.host, now)
    const purpose = fingerprint(request)
    return { key, purpose, asset: cost.unit, amount: cost.amount, legs, leaseUntilAt, note }
  }

  /**
   * Signs once. A wallet that fails has surely signed nothing only if it says so, with a code by which no money moved:
   * a remote signer may have signed and lost the answer, and a wallet may pay while it proves. So any other failure
   * leaves the reservation, and it counts as spent. What a local wallet signs is nowhere until it stands in the books.
   */
  async function sign(
    key: string,
    choice: Choice,
    signal: AbortSignal | undefined,
  ): Promise<Purchase> {
    const { protocol, wallet, form, offer } = choice
    if (signal?.aborted) {
      await cancel(key)
      throw signal.reason
    }
    const proof = await orAbort(wallet.pay(offer, validForMs(offer), signal), signal).catch(
      async (error) => {
        if (wallet.local || isUnsigned(error)) await cancel(key)
        throw error
      },
    )
    const expiresAt = wallet.expiresAt(proof)
    const written = form.writeProof(proof)
    await ledger.step(
      key,
      writeSigned({ protocol: protocol.name, offer, proof: written, expiresAt }),
    )
    return { key, protocol, wallet, offer, proof, expiresAt, late: false, paid: false }
  }

  async function cancel(key: string): Promise<void> {
    await ledger.void(key, 'declined')
    tell({ type: 'voided', key, code: 'payment-required' })
  }

  function validForMs(offer: Offer): number {
    return Math.min(offer.timeoutMs, rules.validityMaxMs)
  }

  async function adopt(request: Outgoing): Promise<Purchase | undefined> {
    const print = fingerprint(request)
    for (const found of await ledger.pending()) {
      if (found.purpose !== print) continue
      const held = await behind(found)
      const purchase = held && (await takeOver(held))
      if (purchase) return purchase
    }
    return undefined
  }

  /** The purchase that was found, or whose ticket. Before another is made, what became of a payment that is over counts. */
  async function behind(found: Held): Promise<Held | undefined> {
    const { key } = found
    if (key.startsWith(TICKET)) return ledger.find(key.slice(TICKET.length))
    const isOver = clock.now() > endOf(found) - VALIDITY_LEFT_MS_MIN
    if (!key.startsWith(PREFIX) || !isOver || isWorkedOn(found)) return found
    await look(found)
    return ledger.find(key)
  }

  async function takeOver(held: Held): Promise<Purchase | undefined> {
    if (!isFree(held)) return undefined
    const purchase = revive(held)
    if (!purchase || !take(held.key)) return undefined
    const owned = await own(held).catch((error: unknown) => {
      give(held.key)
      throw error
    })
    if (owned) return purchase
    give(held.key)
    return undefined
  }

  /** Whether it may be shown again, and nobody works on it. */
  function isFree(held: Held): boolean {
    const { signed } = readStanding(held)
    if (!signed || !isOwed(held) || isWorkedOn(held)) return false
    return held.state === 'posted' || signed.expiresAt - clock.now() >= VALIDITY_LEFT_MS_MIN
  }

  /** Whether what it buys may still come. */
  function isOwed(held: Held): boolean {
    const { key, steps, state } = held
    if (!key.startsWith(PREFIX) || state === 'voided' || steps.length > PURCHASE_STEPS_MAX)
      return false
    const { signed, refused } = readStanding(held)
    if (!signed || refused || isForgotten(held)) return false
    return clock.now() < signed.expiresAt + FETCH_MS_MAX
  }

  function isWorkedOn(held: Held): boolean {
    const { owner } = readStanding(held)
    return owner !== undefined && isWorking(held.key, owner, clock.now())
  }

  /** Its answer was handed to a caller of ours, who has not read it for long. Nothing was lost on the way. */
  function isForgotten(held: Held): boolean {
    const { owner, receiving } = readStanding(held)
    return receiving && owner !== undefined && isOurs(owner) && isLent(held.key)
  }

  /** Between finding a purchase and owning it, another process may do the same: a claim in the books decides. */
  async function own({ key, steps, state }: Held): Promise<boolean> {
    const lock = LOCK + key
    const now = clock.now()
    const { outcome } = await ledger.transfer({
      key: lock,
      purpose: key,
      asset: 'adoption',
      amount: 1n,
      legs: [{ debit: 'world/adoption', credit: 'world/payer' }],
      leaseUntilAt: now + ADOPTION_MS_MAX,
      note: {},
    })
    if (outcome !== 'made') return false
    try {
      const held = await ledger.find(key)
      if (held?.state !== state || held.steps.length !== steps.length) return false
      if (state === 'posted' && !(await hasTicket(key))) return false
      await ledger.step(key, { type: 'adopted', data: ownerUntil(now + LEASE_MS) })
      return true
    } finally {
      await ledger.void(lock, 'payment-in-flight')
    }
  }

  async function hasTicket(key: string): Promise<boolean> {
    return (await ledger.find(TICKET + key))?.state === 'pending'
  }

  /** Makes the purchase again from what was written ahead, if its parts are still there. */
  function revive(held: Held): Purchase | undefined {
    const { signed, paid } = readStanding(held)
    if (!signed) return undefined
    const { offer, expiresAt } = signed
    const late = held.state === 'posted'
    const protocol = parts.protocols.find(({ name }) => name === signed.protocol)
    const able = parts.wallets.filter((wallet) => wallet.rail === offer.rail)
    for (const wallet of able) {
      const proof = wallet.forms[signed.protocol]?.readProof(signed.proof)
      if (!protocol || proof === undefined || typeof proof === 'string') continue
      return { key: held.key, protocol, wallet, offer, proof, expiresAt, late, paid: paid || late }
    }
    return undefined
  }

  async function receive(
    purchase: Purchase,
    receipt: Receipt | undefined,
    url: string,
  ): Promise<void> {
    const { key, paid } = purchase
    const leaseUntilAt = clock.now() + RECEIVING_MS_MAX
    const data = { ...receiptData(receipt), leaseUntilAt }
    try {
      await ledger.step(key, { type: 'receipt', data })
      purchase.paid = true
      if (!paid) tellPaid(purchase, receipt, url)
    } catch (error) {
      tell({ type: 'fault', where: 'payer/receive', error })
    }
  }

  async function post(
    purchase: Purchase,
    receipt: Receipt | undefined,
    url: string,
  ): Promise<void> {
    await finish(purchase, receipt, url, 'received')
  }

  async function lose(
    purchase: Purchase,
    receipt: Receipt | undefined,
    url: string,
  ): Promise<void> {
    await finish(purchase, receipt, url, 'lost')
    tell({ type: 'lost', key: purchase.key })
  }

  async function finish(
    purchase: Purchase,
    receipt: Receipt | undefined,
    url: string,
    end: 'received' | 'lost',
  ): Promise<void> {
    const { key, late, paid } = purchase
    const ended = { type: end, data: {} }
    try {
      if (late) await closeTicket(key, ended)
      else if (paid) await ledger.post(key, undefined, ended)
      else await ledger.post(key, undefined, { type: 'receipt', data: receiptData(receipt) })
      if (!paid && end === 'lost') await ledger.step(key, ended)
      if (!paid) tellPaid(purchase, receipt, url)
    } catch (error) {
      // What was bought must not be lost with the books: the reservation stands, and a sweep will post it.
      tell({ type: 'fault', where: 'payer/post', error })
    }
  }

  async function closeTicket(key: string, ended: Step): Promise<void> {
    await ledger.step(key, ended)
    await ledger.void(TICKET + key, 'payment-delivered')
  }

  function tellPaid({ key, offer }: Purchase, receipt: Receipt | undefined, url: string): void {
    const reference = receipt?.reference ?? ''
    tell({ type: 'paid', key, url, amount: offer.amount, reference })
  }

  async function release({ key }: Purchase, refused: boolean): Promise<void> {
    try {
      await ledger.step(key, { type: 'released', data: { refused } })
      tell({ type: 'unknown', key })
    } catch (error) {
      tell({ type: 'fault', where: 'payer/release', error })
    }
  }

  async function sweepSoon(afterMs: number): Promise<void> {
    if (sweeping || clock.now() - sweptAt >= afterMs) await sweep()
  }

  async function sweep(): Promise<void> {
    sweeping ??= sweepOnce().finally(() => {
      sweeping = undefined
    })
    await sweeping
  }

  async function sweepOnce(): Promise<void> {
    sweptAt = clock.now()
    for (const held of await ledger.pending()) {
      if (isStaleLock(held)) await ledger.void(held.key, 'payment-in-flight')
      if (isStaleTicket(held)) await giveUp(held)
      if (held.key.startsWith(PREFIX) && !isWorkedOn(held)) await look(held)
    }
  }

  /** Its process died between finding a purchase and owning it. */
  function isStaleLock({ key, leaseUntilAt }: Held): boolean {
    return key.startsWith(LOCK) && leaseUntilAt <= clock.now()
  }

  function isStaleTicket({ key, leaseUntilAt }: Held): boolean {
    return key.startsWith(TICKET) && leaseUntilAt <= clock.now()
  }

  /** Nobody has asked again for what was paid, and now nobody will. */
  async function giveUp({ key }: Held): Promise<void> {
    await ledger.void(key, 'proof-expired')
    tell({ type: 'lost', key: key.slice(TICKET.length) })
  }

  async function look(held: Held): Promise<void> {
    await close(held).catch((error: unknown) =>
      tell({ type: 'fault', where: 'payer/sweep', error }),
    )
  }

  async function close(held: Held): Promise<void> {
    if (isUnsent(held)) return unreserve(held)
    const state = await stateOf(held)
    if (state === 'open') return
    if (state === 'dead') return kill(held)
    // Paid, and what was bought may still be fetched: by the next call of the same request, which must find it open.
    if (state === 'paid' && isFree(held)) return
    if (state === 'paid' && isOwed(held)) await makeTicket(held)
    const posted = await ledger.post(held.key, undefined, { type: state, data: {} })
    if (isForgotten(held)) give(held.key)
    else if (state === 'paid' && posted === 'posted' && !isOwed(held))
      tell({ type: 'lost', key: held.key })
  }

  /** A local wallet was asked, and what it may have made never stood in the books, so nobody else has it. */
  function isUnsent(held: Held): boolean {
    return held.note['local'] === true && !readStanding(held).signed
  }

  /** Its maker may be late and not dead: whoever is first in the books has it, and the other sends nothing. */
  async function unreserve({ key, claim }: Held): Promise<void> {
    if (await ledger.expire(key, claim)) tell({ type: 'voided', key, code: 'payment-required' })
  }

  async function kill({ key }: Held): Promise<void> {
    if ((await ledger.void(key, 'proof-expired')) === 'voided')
      tell({ type: 'voided', key, code: 'proof-expired' })
  }

  /** So that a posted purchase is found again. It comes before the post: a crash between leaves both open. */
  async function makeTicket(held: Held): Promise<void> {
    await ledger.transfer({
      key: TICKET + held.key,
      purpose: held.purpose,
      asset: 'fetch',
      amount: 0n,
      legs: [{ debit: 'world/fetch', credit: 'world/payer' }],
      leaseUntilAt: endOf(held) + FETCH_MS_MAX,
      note: {},
    })
  }

  /** What became of a purchase. Whoever cannot be asked is believed to have been paid once the payment's time is over. */
  async function stateOf(held: Held): Promise<'paid' | 'dead' | 'open' | 'doubtful'> {
    if (readStanding(held).paid) return 'paid'
    const purchase = revive(held)
    if (purchase?.wallet.outcome) return purchase.wallet.outcome(purchase.offer, purchase.proof)
    return clock.now() >= endOf(held) ? 'doubtful' : 'open'
  }

  function endOf(held: Held): number {
    const validForMs = Number(held.note['validForMs'])
    return readStanding(held).signed?.expiresAt ?? held.leaseUntilAt + validForMs
  }

  function tell(event: DistributiveOmit<Event, 'at'>): void {
    parts.observe({ ...event, at: clock.now() })
  }

  return {
    make,
    adopt,
    receive,
    reading: ({ key }) => lend(key, clock.now() + RECEIVING_MS_MAX),
    post,
    lose,
    release,
    leave: ({ key }) => give(key),
    sweep,
    sweepSoon,
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

function isUnsigned(error: unknown): boolean {
  if (!(error instanceof PaymentError)) return false
  const { code } = error
  return !(code in problems) || problems[code as keyof typeof problems].moved === 'no'
}

function receiptData(receipt: Receipt | undefined): JsonObject {
  if (!receipt) return { verified: false }
  const { rail, network, reference, payer, payee, amount, settledAt, settled } = receipt
  return { rail, network, reference, payer, payee, amount: writeMoney(amount), settledAt, settled }
}
