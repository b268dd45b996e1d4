import { uuid } from '../core/chance.ts'
import type { Event, Observe } from '../core/event.ts'
import type { JsonObject } from '../core/json.ts'
import { writeMoney } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Chance, Clock, Form, Held, Ledger, Protocol, Step, Wallet } from '../core/ports.ts'
import type { Code } from '../core/problem.ts'
import { PaymentError, problems } from '../core/problem.ts'
import type { Receipt } from '../core/receipt.ts'
import { explain, legsOf } from './budget.ts'
import type { Choice } from './choose.ts'
import {
  ADOPTION_MS_MAX,
  ADOPTION_PAUSE_MS,
  FETCH_MS_MAX,
  LEASE_MS,
  NOTE_URL_CHARS_MAX,
  PURCHASE_STEPS_MAX,
  RECEIVING_MS_MAX,
  SWEEP_MS_MIN,
  VALIDITY_LEFT_MS_MIN,
} from './limits.ts'
import { give, isLent, isNear, isOurs, isWorking, lend, ownerUntil, take } from './owner.ts'
import type { Rules } from './policy.ts'
import { budgeted } from './policy.ts'
import { readAdopted, readStanding, writeAdopted, writeOrdered, writeSigned } from './record.ts'
import type { Ordered } from './record.ts'
import type { Outgoing } from './request.ts'
import { addressOf, fingerprint, mayWrite, orAbort } from './request.ts'
import { isStaleToken } from './tokens.ts'

/** A payment that is reserved and signed, and may be sent as often as needed. */
export interface Purchase {
  readonly key: string
  readonly protocol: Protocol
  readonly wallet: Wallet
  readonly form: Form
  readonly offer: Offer
  readonly proof: unknown
  /** When the payment stops being payable; one that has moved money is shown for longer. */
  readonly expiresAt: number
  /** It was made by an earlier call. */
  readonly resumed: boolean
  /** The payment is over and was taken; what it bought has not come. */
  readonly late: boolean
  /** Its time is over, and its wallet, which looked, could not say yet what became of it: worth showing once. */
  readonly ended: boolean
  /** The seller will not take it. That changes when he says so. */
  refused: boolean
  /** Its wallet has seen that no money will move, and it is closed. */
  dead?: boolean
  /** Whether the money is known to be spent. That changes when a seller serves. */
  paid: boolean
}

/**
 * The payer's books: a purchase is reserved before it is signed, signed once, written ahead before it is sent, and
 * closed by evidence alone. Until then it counts as spent. Where paying moves the money, what is to be paid is written ahead of
 * that, so that whoever finds it asks the wallet again, which pays once.
 */
export interface Purchases {
  /**
   * Reserves and signs; a sentence if a limit does not allow it, before anything is signed.
   * @throws {PaymentError} whatever the wallet throws. With a code by which no money moved, nothing is reserved any more.
   */
  make(choice: Choice, request: Outgoing): Promise<Purchase | string>
  /**
   * A purchase of the same request that nobody works on any more and of which nothing has come: still payable, or paid
   * and over for less than a day; or over, and its wallet cannot say yet whether it was taken. One that is being worked on right now is left to its caller. Where nobody can know
   * whether that caller is still there, it waits for the end of the work or of the lease.
   * @throws {PaymentError} `payment-in-flight` when that takes too long: to buy now might be to pay twice.
   */
  adopt(request: Outgoing): Promise<Purchase | undefined>
  /** The purchase with all that its wallet knows of it by now: what was locked may have moved. */
  proven(purchase: Purchase): Promise<Purchase>
  /** The money is spent, and what it bought is on its way: the purchase stays open until that has arrived. */
  receive(purchase: Purchase, receipt: Receipt | undefined, url: string): Promise<void>
  /** Somebody reads what is on its way. */
  reading(purchase: Purchase): void
  /** The money is spent, and there is nothing more to come for it. */
  post(purchase: Purchase, receipt: Receipt | undefined, url: string): Promise<void>
  /** The money is spent, and what it bought will not come any more. */
  lose(purchase: Purchase, receipt: Receipt | undefined, url: string): Promise<void>
  /**
   * Gives the purchase up without an outcome. `refused` says that sending it again is of no use. Where the wallet knows already
   * that no money will move, the purchase is closed.
   */
  release(purchase: Purchase, refused: boolean): Promise<void>
  /** This process does not work on it any more. */
  leave(purchase: Purchase): void
  /** Looks at everything open that nobody works on, and closes what there is evidence for. */
  sweep(): Promise<void>
  /** Joins a sweep that runs, or starts one if the last is that long ago. */
  sweepSoon(afterMs: number): Promise<void>
}

/** What is to be paid, and by whom. */
type Order = Pick<Choice, 'protocol' | 'wallet' | 'form' | 'offer'>

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
      ...(wallet.moves && { moves: true }),
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
    choice: Order,
    signal: AbortSignal | undefined,
  ): Promise<Purchase> {
    if (signal?.aborted) {
      await cancel(key, 'declined')
      throw signal.reason
    }
    const { protocol, wallet, offer } = choice
    if (wallet.moves) await ledger.step(key, writeOrdered({ protocol: protocol.name, offer }))
    return await obtain(key, choice, signal)
  }

  /** Gets the proof. A wallet that moves money may be asked again, and then finds what it has paid. */
  async function obtain(
    key: string,
    { protocol, wallet, form, offer }: Order,
    signal: AbortSignal | undefined,
    again = false,
  ): Promise<Purchase> {
    const proof = await orAbort(wallet.pay(offer, validForMs(offer), signal), signal).catch(
      async (error) => {
        // That it is too late now says nothing of a payment that was begun before: its wallet's memory will.
        const isLate = again && codeOf(error) === 'offer-expired'
        if (wallet.local || (isUnsigned(error) && !isLate)) await cancel(key, codeOf(error))
        else if (wallet.moves) await leaveOpen(key, false)
        throw error
      },
    )
    const paid = wallet.moves === true && (await hasMoved(wallet, offer, proof))
    const expiresAt = endOfProof(wallet, offer, proof)
    const written = { protocol: protocol.name, offer, proof: form.writeProof(proof), expiresAt }
    await ledger.step(key, writeSigned({ ...written, paid }))
    if (paid)
      tell({ type: 'paid', key, url: offer.resource.url, amount: offer.amount, reference: '' })
    const fresh = { late: false, ended: false, refused: false, resumed: false, paid }
    return { key, protocol, wallet, form, offer, proof, expiresAt, ...fresh }
  }

  /** What has moved proves it for ever; it is looked for so long by the calls that want it, and then by tickets. */
  function endOfProof(wallet: Wallet, offer: Offer, proof: unknown): number {
    const expiresAt = wallet.expiresAt(proof)
    return wallet.moves ? Math.min(expiresAt, clock.now() + validForMs(offer)) : expiresAt
  }

  async function hasMoved(wallet: Wallet, offer: Offer, proof: unknown): Promise<boolean> {
    try {
      return (await wallet.outcome?.(offer, proof)) === 'paid'
    } catch (error) {
      tell({ type: 'fault', where: 'payer/outcome', error })
      return false
    }
  }

  async function proven(purchase: Purchase): Promise<Purchase> {
    const { wallet, offer, proof, paid } = purchase
    if (!wallet.moves || paid || !(await hasMoved(wallet, offer, proof))) return purchase
    const { late, resumed } = purchase
    return { ...(await obtain(purchase.key, purchase, undefined)), late, resumed }
  }

  async function cancel(key: string, reason: string): Promise<void> {
    await ledger.void(key, reason)
    tell({ type: 'voided', key, code: reason in problems ? (reason as Code) : 'payment-required' })
  }

  function validForMs(offer: Offer): number {
    return Math.min(offer.timeoutMs, rules.validityMaxMs)
  }

  async function adopt(request: Outgoing): Promise<Purchase | undefined> {
    const print = fingerprint(request)
    const untilAt = clock.now() + ADOPTION_MS_MAX
    // What comes up while it waits is somebody's who is there.
    for (let before: readonly string[] | undefined; ;) {
      const found = await search(print, request)
      if ('key' in found) return found
      before = found.unclear.filter((key) => before?.includes(key) ?? true)
      if (before.length === 0) return undefined
      if (clock.now() >= untilAt) throw inFlight()
      await clock.sleep(ADOPTION_PAUSE_MS, request.signal)
      request.signal?.throwIfAborted()
    }
  }

  /** The first that can be taken over; or the keys of those of which it is unclear whether they can be. */
  async function search(
    print: string,
    request: Outgoing,
  ): Promise<Purchase | { readonly unclear: readonly string[] }> {
    const unclear: string[] = []
    for (const found of await ledger.pending(print)) {
      if (found.purpose !== print) continue
      const held = await behind(found)
      const purchase = held && (await takeOver(held, request))
      if (purchase && purchase !== 'unclear') return purchase
      if (purchase) unclear.push(held.key)
    }
    return { unclear }
  }

  /** The purchase that was found, or whose ticket. Before another is made, what became of a payment that is over counts. */
  async function behind(found: Held): Promise<Held | undefined> {
    const { key } = found
    if (key.startsWith(TICKET)) return ledger.find(key.slice(TICKET.length))
    if (!key.startsWith(PREFIX) || !isOver(found) || isWorkedOn(found)) return found
    await look(found)
    return ledger.find(key)
  }

  /** `unclear`: another process was at it just now, or may be. */
  async function takeOver(
    held: Held,
    request: Outgoing,
  ): Promise<Purchase | 'unclear' | undefined> {
    if (isFarOff(held)) return 'unclear'
    if (!isFree(held)) return undefined
    const made = revive(held)
    const order = made ?? reorder(held)
    if (!order || !mayWrite(order.protocol, request)) return undefined
    if (made?.ended && !made.wallet.outcome) return undefined
    if (!take(held.key)) return undefined
    try {
      if (await own(held)) return made ?? (await resume(held.key, order, request.signal))
    } catch (error) {
      give(held.key)
      throw error
    }
    give(held.key)
    return 'unclear'
  }

  /** Goes on with a payment of which nobody knows whether it was made; undefined if it surely was not and will not be. */
  async function resume(
    key: string,
    order: Order,
    signal: AbortSignal | undefined,
  ): Promise<Purchase | undefined> {
    try {
      return { ...(await obtain(key, order, signal, true)), resumed: true }
    } catch (error) {
      if (!isUnsigned(error)) throw error
      give(key)
      return undefined
    }
  }

  /** Whether it is owed, and somebody works on it of whom nobody can say whether he is still there. */
  function isFarOff(held: Held): boolean {
    const { owner } = readStanding(held)
    return owner !== undefined && !isNear(owner) && isOwed(held) && isWorkedOn(held)
  }

  /** Whether what it buys may still come, and nobody works on it. */
  function isFree(held: Held): boolean {
    return isOwed(held) && !isWorkedOn(held)
  }

  /** Whether it is too late for the seller to take it. */
  function isOver(held: Held): boolean {
    return clock.now() > endOf(held) - VALIDITY_LEFT_MS_MIN
  }

  /** Whether what it buys may still come. */
  function isOwed(held: Held): boolean {
    const { key, steps, state } = held
    if (!key.startsWith(PREFIX) || state === 'voided' || steps.length > PURCHASE_STEPS_MAX)
      return false
    const { ordered, signed, refused } = readStanding(held)
    if ((!ordered && !signed) || refused || isForgotten(held)) return false
    return clock.now() < endOf(held) + FETCH_MS_MAX
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

  /** Between finding a purchase and owning it, another process may do the same: whoever is first in the books has it. */
  async function own({ key, state, steps, claim }: Held): Promise<boolean> {
    if (state === 'posted' && !(await hasTicket(key))) return false
    const adopted = writeAdopted(ownerUntil(clock.now() + LEASE_MS), steps.length)
    try {
      await ledger.step(key, adopted, claim)
    } catch (error) {
      if (error instanceof PaymentError && error.code === 'payment-in-flight') return false
      throw error
    }
    const held = await ledger.find(key)
    const owner = held && readAdopted(held, steps.length)
    return owner !== undefined && isOurs(owner)
  }

  async function hasTicket(key: string): Promise<boolean> {
    return (await ledger.find(TICKET + key))?.state === 'pending'
  }

  /** Makes the purchase again from what was written ahead, if its parts are still there. */
  function revive(held: Held): Purchase | undefined {
    const { signed, paid } = readStanding(held)
    if (!signed) return undefined
    const late = held.state === 'posted'
    const ended = !late && isOver(held)
    for (const order of makersOf(signed)) {
      const proof = order.form.readProof(signed.proof)
      if (typeof proof === 'string') continue
      const standing = { late, ended, refused: false, resumed: true, paid: paid || late }
      return { key: held.key, ...order, proof, expiresAt: signed.expiresAt, ...standing }
    }
    return undefined
  }

  /** What a wallet was asked to pay, and nobody knows whether it did. */
  function reorder(held: Held): Order | undefined {
    const { ordered } = readStanding(held)
    return ordered && makersOf(ordered).find(({ wallet }) => wallet.moves)
  }

  /** Who can make that payment here, or has made it. */
  function makersOf({ protocol: name, offer }: Ordered): readonly Order[] {
    const protocol = parts.protocols.find((one) => one.name === name)
    const able = protocol ? parts.wallets.filter(({ rail }) => rail === offer.rail) : []
    return able.flatMap((wallet) => {
      const form = wallet.forms[name]
      return protocol && form ? [{ protocol, wallet, form, offer }] : []
    })
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
      const step = paid ? ended : { type: 'receipt', data: receiptData(receipt) }
      const amount = late ? undefined : spentBy(purchase, await ledger.find(key))
      const posted = late ? 'replayed' : await ledger.post(key, amount, step)
      // A sweep that saw it paid may have been first, and left a ticket.
      if (posted === 'replayed') await closeTicket(key, ended)
      else if (!paid && end === 'lost') await ledger.step(key, ended)
      if (!paid) tellPaid(purchase, receipt, url)
    } catch (error) {
      // What was bought must not be lost with the books: the reservation stands, and a sweep will post it.
      tell({ type: 'fault', where: 'payer/post', error })
    }
  }

  /** The amount and what paying has cost, as far as that was reserved; undefined for all of it. */
  function spentBy(purchase: Purchase, held: Held | undefined): bigint | undefined {
    const { wallet, offer, proof } = purchase
    if (!held || !wallet.fee) return undefined
    const { asset, amount } = offer.amount
    const spent = budgeted({ asset, amount: amount + wallet.fee(proof) }, held.asset)
    return spent < held.amount ? spent : held.amount
  }

  async function closeTicket(key: string, ended: Step): Promise<void> {
    await ledger.step(key, ended)
    await ledger.void(TICKET + key, 'payment-delivered')
  }

  function tellPaid({ key, offer }: Purchase, receipt: Receipt | undefined, url: string): void {
    const reference = receipt?.reference ?? ''
    tell({ type: 'paid', key, url, amount: offer.amount, reference })
  }

  async function release(purchase: Purchase, refused: boolean): Promise<void> {
    const { key, wallet, paid } = purchase
    purchase.refused = refused
    await leaveOpen(key, refused)
    if (!wallet.moves || paid) return
    try {
      const held = await ledger.find(key)
      if (held?.state === 'pending') await close(held)
      purchase.dead = (await ledger.find(key))?.state === 'voided'
    } catch (error) {
      tell({ type: 'fault', where: 'payer/release', error })
    }
  }

  async function leaveOpen(key: string, refused: boolean): Promise<void> {
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
      if (isStaleTicket(held)) await giveUp(held)
      if (isStaleToken(held, clock.now())) await ledger.void(held.key, 'proof-expired')
      if (held.key.startsWith(PREFIX) && !isWorkedOn(held)) await look(held)
    }
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
    const order = reorder(held)
    if (order && !readStanding(held).signed) return prove(held, order)
    const state = await stateOf(held)
    if (state === 'open') return
    if (state === 'dead') return kill(held)
    // Paid, and what was bought may still be fetched: by the next call of the same request, which must find it open.
    if (state === 'paid' && isFree(held) && !isOver(held)) return
    if (state === 'paid' && isOwed(held)) await makeTicket(held)
    const purchase = revive(held)
    const amount = purchase && state === 'paid' ? spentBy(purchase, held) : undefined
    const posted = await ledger.post(held.key, amount, { type: state, data: {} })
    if (isForgotten(held)) give(held.key)
    else if (state === 'paid' && posted === 'posted' && !isOwed(held))
      tell({ type: 'lost', key: held.key })
  }

  /**
   * Looks what became of a payment of which only the order is on record. Nothing is paid here: nobody waits for it. Whoever closes
   * it owns it, since a call that took it over would pay.
   */
  async function prove(held: Held, order: Order): Promise<void> {
    if ((await outcomeOf(order)) === 'open' || !take(held.key)) return
    try {
      if (!(await own(held))) return
      const outcome = await outcomeOf(order)
      if (outcome === 'dead') return await kill(held)
      if (outcome === 'paid') await obtain(held.key, order, undefined)
      await leaveOpen(held.key, false)
    } finally {
      give(held.key)
    }
  }

  /** Without a proof there is only the wallet's own memory. */
  async function outcomeOf({ wallet, form, offer }: Order): Promise<'paid' | 'dead' | 'open'> {
    const proof = form.readProof({})
    if (!wallet.outcome || typeof proof === 'string') return 'open'
    return wallet.outcome(offer, proof)
  }

  /**
   * A local wallet was asked, and what it may have made never stood in the books, so nobody else has it. Or one that moves money
   * was not asked yet, since that would stand in the books.
   */
  function isUnsent(held: Held): boolean {
    const { ordered, signed } = readStanding(held)
    const { local, moves } = held.note
    return (local === true && !signed) || (moves === true && !ordered)
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
    async proven(purchase) {
      return proven(purchase).catch((error: unknown) => {
        tell({ type: 'fault', where: 'payer/proven', error })
        return purchase
      })
    },
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

function inFlight(): PaymentError {
  return new PaymentError(
    'payment-in-flight',
    'An equal request was paid for by a process on another machine, and nobody can say whether it is still at work. To pay ' +
      'now might be to pay twice, so nothing was paid. Make the same request again in a minute: then it is served with ' +
      'that payment, or pays its own.',
    { retryable: true },
  )
}

/** Whether a wallet that threw this has surely moved no money. */
export function isUnsigned(error: unknown): error is PaymentError {
  if (!(error instanceof PaymentError)) return false
  const { code } = error
  return !(code in problems) || problems[code as keyof typeof problems].moved === 'no'
}

function codeOf(error: unknown): string {
  return error instanceof PaymentError ? error.code : 'declined'
}

function receiptData(receipt: Receipt | undefined): JsonObject {
  if (!receipt) return { verified: false }
  const { rail, network, reference, payer, payee, amount, settledAt, settled } = receipt
  return { rail, network, reference, payer, payee, amount: writeMoney(amount), settledAt, settled }
}
