import { hash } from 'node:crypto'
import { assert } from '../core/assert.ts'
import { systemChance } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import type { Credential } from '../core/credential.ts'
import { isBound } from '../core/credential.ts'
import type { Observe } from '../core/event.ts'
import type { Offer } from '../core/offer.ts'
import type { Offers } from '../core/offers.ts'
import type { Plan } from '../core/plan.ts'
import type {
  Ask,
  Bought,
  Chance,
  Clock,
  Gate,
  Held,
  Ledger,
  Log,
  Pass,
  Rail,
  Rates,
  Refusal,
  Settlement,
  Transfer,
  Vault,
  Verdict,
} from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { PaymentError } from '../core/problem.ts'
import type { Seal } from '../core/seal.ts'
import { isDraw } from './account.ts'
import { createAccounts } from './accounts.ts'
import { createChannels, createEnds } from './channels.ts'
import { createClosing } from './closing.ts'
import { createDelivery, createFlag, isPaid, isTurn } from './delivery.ts'
import { isGivenBack, lifeOf, lives } from './life.ts'
import {
  DEFERRED_MAX,
  DELIVER_MS,
  OFFER_VALID_MS,
  RECOVER_AT_ONCE,
  RELEASE_MS,
  SETTLE_MS,
  WORK_MS,
} from './limits.ts'
import { createNames, isName } from './names.ts'
import { isSale, readNote, writeNote } from './note.ts'
import { boundTo, grantOf } from './plans.ts'
import { RESTORED, createQuoting } from './quoting.ts'
import { createRails } from './rails.ts'
import { isRefund, isRefundTurn } from './refund.ts'
import { createRefunds } from './refunds.ts'
import { createRests, isRest } from './rest.ts'
import {
  bookedElsewhere,
  createRefusals,
  foreign,
  givenBack,
  provenNow,
  uncollected,
  undone,
  unfitting,
  unpaid,
} from './refusals.ts'
import type { Claimed, Entry, House, Outcome, Settled, Sold, Work } from './sale.ts'
import { logOf, purposeOf, receiptOf, toReceipt } from './sale.ts'
import { createStanding, isReversal } from './standing.ts'
import { createTasks, isTask, isTaskTurn } from './tasks.ts'

export { DELIVER_MS, OFFER_VALID_MS, SETTLE_MS, WORK_MS } from './limits.ts'

/** What a gate is made of. */
export interface GateParts {
  readonly rails: readonly Rail[]
  readonly ledger: Ledger
  readonly offers: Offers
  readonly clock?: Clock
  readonly observe?: Observe
  /** Keeps answers of sales that ask for it, sealed. Without both, nothing is kept. */
  readonly vault?: Vault
  readonly seal?: Seal
  readonly chance?: Chance
  readonly offerValidMs?: number
  readonly deferredMax?: number
  /** Most offers that rails complete in a minute, for all callers together. */
  readonly issuesPerMinuteMax?: number
  /**
   * When the books were restored from a backup, in milliseconds since 1970. What was offered or paid before that and is not in
   * the books may have been served already: it buys nothing more.
   */
  readonly restoredAt?: number
  /** Each offer is one of its kind, as protocols want it whose proofs are named after the offer. */
  readonly distinct?: boolean
  /** Turn prices into what the rails are paid in. */
  readonly rates?: Rates
}

/**
 * Makes the gate: check, claim, serve, settle, post. It knows no transport, protocol or rail by name.
 *
 * After a crash {@link Gate.recover} closes what the rails have evidence for; a claim without anything written ahead is
 * free again when its lease runs out. What every state of a sale means, and what may follow it, is in `life.ts`.
 * @throws {RangeError} when two rails cannot be told apart.
 */
export function createGate(parts: GateParts): Gate {
  const { ledger, offers, clock = systemClock, chance = systemChance } = parts
  const observe: Observe = (event) => {
    try {
      parts.observe?.(event)
    } catch {
      // A subscriber's fault must not reach a payment.
    }
  }
  const fault = (where: string, error: unknown): void =>
    observe({ type: 'fault', at: clock.now(), where, error })
  const rails = createRails(parts.rails, { clock, observe, fault })
  const house: House = { ledger, rails, clock, observe, fault }
  const shelf = parts.vault && parts.seal && { vault: parts.vault, seal: parts.seal }
  const validMs = parts.offerValidMs ?? OFFER_VALID_MS
  const quoting = createQuoting({
    rails,
    offers,
    clock,
    validMs,
    chance,
    keeps: shelf !== undefined,
    fault,
    restoredAt: parts.restoredAt,
    distinct: parts.distinct,
    issuesPerMinuteMax: parts.issuesPerMinuteMax,
    ...(parts.rates && { rates: parts.rates }),
  })
  const refusals = createRefusals(house, quoting.quote)
  const accounts = createAccounts(house, refusals, shelf)
  const delivery = createDelivery(house, refusals, shelf)
  const names = createNames(house, delivery, refusals)
  const standing = createStanding(house, accounts)
  const closing = createClosing(house, (key, offer) => standing.watch(key, offer))
  const refunds = createRefunds(house, accounts)
  const ends = createEnds(house, accounts)
  const rests = createRests(house, accounts, refunds, ends)
  const channels = createChannels(house, accounts, rests, ends)
  const tasks = shelf && createTasks(house, shelf, chance, refunds, accounts)
  /** Payments that hold the names of purchases which came with another. */
  const namesakes = new WeakMap<Ask, Held>()
  /** Keys that this process works on: nobody else here may touch them. */
  const working = new Set<string>()
  const deferred = new Set<Promise<unknown>>()
  const releasing = new Set<Promise<unknown>>()
  let closed = false

  async function admit(ask: Ask): Promise<Entry> {
    try {
      if (!ask.credential) return refusals.challenge(ask)
      if ('code' in ask.credential) return refusals.refuse(ask, ask.credential)
      return await enter(ask, ask.credential)
    } catch (error) {
      return await refusals.trouble(ask, 'admit', error)
    }
  }

  function admitNow(ask: Ask): Pass | undefined {
    const { credential } = ask
    if (!credential || 'code' in credential) return undefined
    const { offer, grant } = credential
    return grant && !offer && !grant.unproven ? accounts.drawNow(ask, grant) : undefined
  }

  /** By a token that is paid for, by a payment for one, or by a payment for this request alone. */
  async function enter(ask: Ask, credential: Credential): Promise<Entry> {
    const { offer, grant } = credential
    const { plan } = ask.sale
    // Once it is paid for, a token that still holds its offer is like any other.
    if (grant && !grant.unproven && (!offer || (await accounts.find(grant.id))))
      return await accounts.draw(ask, grant)
    // What a token forbids is not paid for first; nor what every token of the plan would.
    const named = grant ?? (plan && grantOf(plan, '', Infinity))
    const why = named && accounts.forbids(ask, named, plan?.name)
    if (why) return await refusals.refuse(ask, why)
    if (!plan) return await check(ask, credential)
    const bought = await buy(ask, plan, credential)
    if (bought.kind === 'refused') return bought
    const entry = await accounts.draw(ask, grant ?? bought.grant)
    return entry.kind === 'pass' ? withBought(entry, bought, grant === undefined) : entry
  }

  /** Takes the payment for a plan, once, and books it into an account: at the first showing of the proof or a later one. */
  async function buy(ask: Ask, plan: Plan, credential: Credential): Promise<Bought | Refusal> {
    const resource = boundTo(ask)
    // A token that cannot be booked now is booked when the proof comes again: nothing goes back.
    const { refund: _, ...sale } = ask.sale
    const purchase: Ask = { ...ask, resource, sale: { ...sale, settle: 'before-work' } }
    const entry = await check(purchase, credential)
    assert(entry.kind !== 'kept', 'a plan is not kept')
    if (entry.kind === 'refused') {
      if (entry.problem.code !== 'payment-delivered') return entry
      // Whoever saw the token before it was paid could show it too.
      if (credential.grant?.unproven) return await refusals.refuse(ask, provenNow)
      const held = namesakes.get(purchase) ?? (await takenBy(purchase, credential))
      return held ? await book(ask, plan, credential, held) : entry
    }
    let isBooked = false
    try {
      const bought = await book(ask, plan, credential, await ledger.find(entry.key))
      isBooked = bought.kind === 'bought'
      return bought
    } finally {
      // What cannot be booked now is when the proof comes again, and that may be at once.
      await entry.finish(isBooked)
      entry.delivered()
    }
  }

  async function book(
    ask: Ask,
    plan: Plan,
    credential: Credential,
    held: Held | undefined,
  ): Promise<Bought | Refusal> {
    assert(held?.state === 'posted', 'what was taken stands in the books')
    const { payer, account: booked } = readNote(held.note)
    const id = accountFor({ ...ask, credential }, held.key)
    // The same payment may be said in several protocols, each with a name of its own for what it buys.
    if (booked !== undefined && booked !== id) return await refusals.refuse(ask, bookedElsewhere)
    const { returnTo } = credential.session ?? {}
    const { offer } = readNote(held.note)
    const isDeposit = rails.of(offer).vouchers !== undefined
    const channel = { rail: offer.rail, network: offer.network, paid: held.posted }
    const deposit = {
      plan,
      id,
      payment: held.key,
      payer,
      ...(returnTo !== undefined && { returnTo }),
      ...(isDeposit && { channel }),
    }
    const account = await (intoOf({ ...ask, credential }) === undefined
      ? accounts.open(deposit)
      : accounts.topUp(deposit))
    const sale = await ledger.find(held.key)
    const isUndone = sale && delivery.lifeOf(sale) === 'undone'
    if (sale && (isUndone || isGivenBack(sale))) {
      await accounts.goesBack(sale, false)
      return await refusals.refuse(ask, isUndone ? undone : givenBack)
    }
    const { expiresAt, payerKeys } = account
    const rights = payerKeys ? { ...plan.rights, payerKeys } : plan.rights
    const grant = grantOf({ ...plan, rights }, id, expiresAt)
    return { kind: 'bought', grant, account, receipt: receiptOf(held) }
  }

  /** What the books have of a payment that was taken before, for whoever names the very offer that was paid. */
  async function takenBy(ask: Ask, credential: Credential): Promise<Held | undefined> {
    const { offer, proof } = credential
    if (!offer || !isBound(offer)) return undefined
    const key = rails.find(offer)?.identify(offer, proof).key
    const held = key === undefined ? undefined : await ledger.find(key)
    const isTaken = held?.state === 'posted' && held.purpose === purposeOf(ask.resource)
    return isTaken && isPaid(held, offer) ? held : undefined
  }

  /** The work that comes with the token: whatever becomes of it, the payer is handed what was bought. */
  function withBought(pass: Pass, bought: Bought, isNew: boolean): Pass {
    return {
      ...pass,
      settles: true,
      async finish(success, answer, keepMs) {
        const outcome = await pass.finish(success, answer, keepMs)
        if (outcome.kind === 'refused') return outcome
        return { ...outcome, receipt: bought.receipt, ...(isNew && { bought }) }
      },
    }
  }

  async function sell(ask: Ask): Promise<Bought | Refusal> {
    const { credential, sale } = ask
    assert(sale.plan, 'what is sold alone is a plan')
    try {
      if (!credential) return await refusals.challenge(ask)
      if ('code' in credential) return await refusals.refuse(ask, credential)
      const into = intoOf(ask)
      if (into !== undefined && !(await accounts.takes(into, sale.plan, credential.offer)))
        return await refusals.refuse(ask, unfitting)
      return await buy(ask, sale.plan, credential)
    } catch (error) {
      return await refusals.trouble(ask, 'sell', error)
    }
  }

  async function check(ask: Ask, credential: Credential): Promise<Entry> {
    const accepted = quoting.accept(ask, credential)
    const { offer, proof } = credential
    if ('code' in accepted) {
      const before = offer && isBound(offer) && (await cameBefore(ask, offer, proof, accepted))
      return before || refusals.refuse(ask, accepted)
    }
    if (proof === undefined) return refusals.refuse(ask, unpaid)
    let verdict: Verdict | undefined
    for (const one of accepted) {
      const rail = rails.of(one)
      verdict = await rail.verify(one, proof, payableForMs(ask))
      const { payer = '' } = verdict
      if (verdict.ok)
        return await claimNamed({ ask, offer: one, proof, rail, key: verdict.key, payer })
      if (verdict.problem.code === 'payment-spent' && verdict.key !== undefined)
        return await spent(
          { ask, offer: one, proof, rail, key: verdict.key, payer },
          verdict.problem,
        )
    }
    assert(verdict && !verdict.ok, 'an accepted credential has an offer')
    return (await paidBefore(ask, accepted[0], proof)) ?? refusals.refuse(ask, verdict.problem)
  }

  function payableForMs({ sale }: Ask): number {
    return sale.settle === 'before-response' ? (sale.workMs ?? WORK_MS) : 0
  }

  /** What does not hold now may have held before: a payment in the books is no reason to pay again. */
  async function paidBefore(ask: Ask, offer: Offer, proof: unknown): Promise<Entry | undefined> {
    const work = workOf(ask, offer, proof)
    const held = work && (await ledger.find(work.key))
    if (!held || held.state === 'voided' || held.purpose !== purposeOf(ask.resource))
      return undefined
    return await again(work, held)
  }

  /** What an offer that is not taken any more has bought all the same. */
  async function cameBefore(
    ask: Ask,
    offer: Offer,
    proof: unknown,
    { code, reason }: Problem,
  ): Promise<Entry | undefined> {
    if (code === 'offer-expired') return await cameLate(ask, offer, proof)
    return reason === RESTORED ? await paidBefore(ask, offer, proof) : undefined
  }

  /** After its offer's end a payment buys nothing new. What it bought in its time, or moved in its time, still counts. */
  async function cameLate(ask: Ask, offer: Offer, proof: unknown): Promise<Entry | undefined> {
    const before = await paidBefore(ask, offer, proof)
    const work = workOf(ask, offer, proof)
    if (before || !work || !quoting.isRecent(offer)) return before
    const found = await work.rail.find(offer, work.key, noLog)
    return isFor(offer, found) ? await claim(work, found) : undefined
  }

  function workOf(ask: Ask, offer: Offer, proof: unknown): Work | undefined {
    const rail = rails.find(offer)
    if (!rail || proof === undefined) return undefined
    return { ask, offer, proof, rail, ...rail.identify(offer, proof) }
  }

  /** The chain says spent. Either by us, or somebody else submitted it first, which counts as paid. */
  async function spent(work: Work, why: Problem): Promise<Entry> {
    const held = await ledger.find(work.key)
    if (held && held.state !== 'voided') return await again(work, held)
    const found = await work.rail.find(work.offer, work.key, noLog)
    if (found?.state === 'unknown') return refusals.unknown(work)
    return isFor(work.offer, found) ? await claim(work, found) : refusals.refuse(work.ask, why)
  }

  /** Money that moved while the offer stood was meant for it. */
  function isFor(offer: Offer, found: Settlement | undefined): found is Settled {
    return found?.state === 'settled' && quoting.wasOpen(offer, found.settledAt)
  }

  /** A request that its payer has named is paid once, though each time it comes it brings a payment of its own. */
  async function claimNamed(work: Work): Promise<Entry> {
    const name = await names.take(work)
    if (!name) return await claim(work)
    if ('entry' in name) {
      if (name.sale) namesakes.set(work.ask, name.sale)
      return name.entry
    }
    const entry = await claim({ ...work, name })
    if (entry.kind === 'refused') await names.release(name)
    return entry
  }

  /** The claim: one step, by the key of the spend itself. `found`: the money has moved already. */
  async function claim(work: Work, found?: Settled): Promise<Entry> {
    const { ask, key } = work
    if (working.has(key)) return refusals.inFlight(work)
    working.add(key)
    let entry: Entry | undefined
    try {
      const claimed = await ledger.transfer(transferOf(work))
      if (claimed.outcome === 'replayed' || claimed.outcome === 'foreign')
        return await again(work, claimed.held)
      assert(claimed.outcome === 'made', 'the outside world is never short of money')
      if (work.name && !(await names.keep(work.name))) {
        await ledger.void(key, 'work-failed', claimed.claim)
        return refusals.inFlight(work)
      }
      const { offer, payer } = work
      const { amount, rail, network } = offer
      const at = clock.now()
      const { request, sale } = ask
      observe({
        type: 'held',
        at,
        request,
        key,
        payer,
        amount,
        account: sale.account,
        rail,
        network,
      })
      entry = await begin({ ...work, claim: claimed.claim }, found)
      return entry
    } finally {
      if (entry?.kind !== 'pass') working.delete(key)
    }
  }

  function transferOf({ ask, offer, key, payer, rail }: Work): Transfer {
    const { breakdown } = ask.sale
    const debit = `${WORLD}${rail.booked ?? rail.name}/${offer.network}/${offer.payee}`
    return {
      key,
      purpose: purposeOf(ask.resource),
      asset: offer.amount.asset.id,
      amount: offer.amount.amount,
      legs: [{ debit, credit: ask.sale.account }],
      leaseUntilAt: clock.now() + (ask.sale.workMs ?? WORK_MS) + SETTLE_MS,
      note: writeNote({
        offer,
        payer,
        request: ask.request,
        ...(breakdown && quoting.asks(ask, offer) && { breakdown }),
        ...(ask.sale.plan && { account: accountFor(ask, key) }),
      }),
    }
  }

  async function begin(work: Claimed, found?: Settled): Promise<Entry> {
    if (!found && work.ask.sale.settle !== 'before-work') return pass(work)
    const outcome = found
      ? await sold(work, found, work.ask.sale.workMs ?? WORK_MS)
      : await settle(work)
    return outcome.kind === 'serve' ? settledPass(work, outcome) : outcome
  }

  /** The same spend once more. */
  async function again(work: Work, held: Held): Promise<Entry> {
    const { ask } = work
    if (held.purpose !== purposeOf(ask.resource)) return refusals.refuse(ask, foreign)
    switch (delivery.lifeOf(held)) {
      case 'working':
      case 'free':
      case 'prepared':
        return refusals.inFlight(work)
      case 'unknown':
        return await resolve(work, held)
      case 'settled':
      case 'owed':
      case 'delivered':
        return await delivery.fetch(work, held)
      case 'refunded':
        return refusals.refuse(ask, givenBack)
      case 'undone':
        return refusals.refuse(ask, undone)
      case 'voided':
        break
    }
    return refusals.refuse(ask, uncollected)
  }

  /** Whoever brings the proof may have the outcome looked up. */
  async function resolve(work: Work, held: Held): Promise<Entry> {
    if (!(await closing.closed(held))) return refusals.unknown(work)
    const now = await ledger.find(work.key)
    return now?.state === 'posted'
      ? await delivery.fetch(work, now)
      : refusals.refuse(work.ask, uncollected)
  }

  function pass(work: Claimed): Pass {
    const { sale } = work.ask
    return passOf(work, async (success, answer, keepMs) => {
      if (!success) return await release(work)
      await delivery.keep(work, answer, keepMs)
      if (sale.settle !== 'deferred' || deferred.size >= (parts.deferredMax ?? DEFERRED_MAX))
        return await settle(work)
      return await settleLater(work)
    })
  }

  /** The money has moved already: work that fails leaves the payment good for another try, or is given back. */
  function settledPass(work: Claimed, { receipt, until }: Sold): Pass {
    return passOf(work, async (success, answer, keepMs) => {
      if (!success && work.ask.sale.refund === 'automatic') await refunds.order(work.key)
      if (!success) await delivery.release(work)
      else if (await delivery.mayDeliver(work, until)) await delivery.keep(work, answer, keepMs)
      else return refusals.inFlight(work)
      return { kind: 'serve', receipt }
    })
  }

  function passOf(work: Claimed, end: Pass['finish']): Pass {
    const { ask, key } = work
    const served = createFlag()
    let finished = false
    return {
      kind: 'pass',
      key,
      async finish(success, answer, keepMs) {
        assert(!finished, 'work ends once')
        finished = true
        try {
          const outcome = await end(success, answer, keepMs)
          served.set(success && outcome.kind === 'serve')
          return outcome
        } catch (error) {
          return await refusals.trouble(ask, 'finish', error)
        } finally {
          working.delete(key)
        }
      },
      // The answer of work that failed is nothing that was bought.
      delivered: () => void (served.is() && delivery.delivered(work)),
      lost() {
        if (!served.is()) return
        delivery.release(work).catch((error: unknown) => fault('lost', error))
      },
    }
  }

  async function release({ key, claim, rail, offer, proof }: Claimed): Promise<Outcome> {
    const voided = await ledger.void(key, 'work-failed', claim)
    if (voided === 'voided') await letGo(rail, offer, proof, key)
    return { kind: 'serve' }
  }

  /** Gives back what the payer has locked. What cannot be given back soon, its network gives back in time. */
  async function letGo(rail: Rail, offer: Offer, proof: unknown, key: string): Promise<void> {
    const done = new AbortController()
    const given = (async () => await rail.release?.(offer, proof, key))()
      .catch((error: unknown) => fault('release', error))
      .finally(() => {
        done.abort()
        releasing.delete(given)
      })
    releasing.add(given)
    await Promise.race([given, clock.sleep(RELEASE_MS, done.signal)])
  }

  /** Serves as soon as the settlement is written ahead: from then on a crash cannot forget it. */
  async function settleLater(work: Claimed): Promise<Outcome> {
    const { offer, payer } = work
    const log = logOf(ledger, work)
    const written = Promise.withResolvers<Outcome>()
    const promised = toReceipt(offer, { reference: '', payer, settledAt: clock.now() })
    const later: Promise<Outcome> = settle(work, {
      read: () => log.read(),
      async write(step) {
        await log.write(step)
        written.resolve({ kind: 'serve', receipt: { ...promised, settled: false } })
      },
    }).finally(() => deferred.delete(later))
    deferred.add(later)
    later.catch((error: unknown) => fault('deferred', error))
    return await Promise.race([written.promise, later])
  }

  async function settle(work: Claimed, log: Log = logOf(ledger, work)): Promise<Sold | Refusal> {
    const { ask, offer, key, rail, claim: mine } = work
    const settlement = await rail.settle(offer, work.proof, key, log)
    if (settlement.state === 'settled') {
      const workLeftMs = ask.sale.settle === 'before-work' ? (ask.sale.workMs ?? WORK_MS) : 0
      return await sold(work, settlement, workLeftMs)
    }
    if (settlement.state === 'failed') {
      await closing.abandon(work, offer, settlement)
      return refusals.refuse(ask, settlement.problem)
    }
    await ledger.step(key, { type: 'unknown', data: { detail: settlement.detail } }, mine)
    return refusals.unknown(work)
  }

  /**
   * Posts, and tells until when it is ours to deliver. Not at all when the claim is another's by now, or when somebody who
   * thought us dead has posted it, or our time is over, and another has the turn.
   */
  async function sold(work: Claimed, found: Settled, workLeftMs: number): Promise<Sold | Refusal> {
    const { offer } = work
    const until = clock.now() + DELIVER_MS + workLeftMs
    const done = await closing.post(work, offer, found, until)
    const posted = done === 'posted' || done === 'replayed'
    const ours = posted && (await delivery.mayDeliver(work, done === 'posted' ? until : 0))
    return ours
      ? { kind: 'serve', receipt: toReceipt(offer, found), until }
      : refusals.inFlight(work)
  }

  async function recover(): Promise<void> {
    await Promise.all([delivery.flush(), rails.look()])
    const open = (await ledger.pending()).values()
    // All take from one list: what takes long keeps one of them, and nobody else waits.
    await Promise.all(Array.from({ length: RECOVER_AT_ONCE }, () => recoverEach(open)))
    if (!closed) await standing.look()
  }

  async function recoverEach(open: Iterable<Held>): Promise<void> {
    for (const held of open) {
      if (closed) return
      await recoverOne(held).catch((error: unknown) => fault('recover', error))
    }
  }

  async function recoverOne(held: Held): Promise<void> {
    if (isLeased(held)) await ledger.expire(held.key, held.claim)
    if (isReversal(held)) await standing.reverse(held)
    if (isRefund(held)) await refunds.resume(held)
    if (isRest(held)) await rests.resume(held)
    if (isTask(held) || isTaskTurn(held)) await tasks?.resume(held)
    if (isSale(held) && !working.has(held.key)) await recoverSale(held)
  }

  async function recoverSale(held: Held): Promise<void> {
    const life = lifeOf(held, clock.now())
    if (life === 'unknown') await closing.closed(held)
    // Nothing was written ahead, so nothing was sent: the claim of a process that died in the middle of its work.
    if (life !== 'free' || !(await ledger.expire(held.key, held.claim))) return
    const { offer } = readNote(held.note)
    await letGo(rails.of(offer), offer, undefined, held.key)
  }

  return {
    keeps: shelf !== undefined,
    open: () => rails.open(),
    admit,
    admitNow,
    sell,
    accounts,
    channels,
    challenge: (ask, why) => refusals.challenge(ask, why),
    recover,
    ...(tasks && { tasks }),
    refund: (order) => refunds.refund(order),
    refundRest: (order) => channels.refundRest(order),
    async status(key) {
      const held = await ledger.find(key)
      if (!held || !isSale(held)) return undefined
      return { state: lives[delivery.lifeOf(held)].told }
    },
    async close() {
      closed = true
      await tasks?.close()
      const released = new AbortController()
      const given = Promise.all(releasing).finally(() => released.abort())
      const late = clock.sleep(RELEASE_MS, released.signal)
      await Promise.all([...deferred, Promise.race([given, late]), refunds.close()])
    },
  }
}

/** Claims of which nothing is left when their time is over. */
function isLeased(held: Held): boolean {
  return [isTurn, isDraw, isRefundTurn, isTaskTurn, isName].some((is) => is(held))
}

/** The account that a payment for a plan is booked into. */
function accountFor(ask: Ask, key: string): string {
  const { credential } = ask
  const grant = credential && 'code' in credential ? undefined : credential?.grant
  return intoOf(ask) ?? grant?.id ?? hash('sha256', key, 'hex')
}

/** The account that is topped up. A session is, by a payment that names no account before it is made. */
function intoOf({ into, credential }: Ask): string | undefined {
  const session = credential && 'code' in credential ? undefined : credential?.session
  return session?.act === 'top-up' ? session.id : into
}

/** A look without a claim: nothing was written ahead, and nothing will be. */
const noLog: Log = {
  read: () => Promise.resolve([]),
  write: () => Promise.reject(new PaymentError('internal', 'A look writes nothing.')),
}
