import { assert } from '../core/assert.ts'
import type { Challenge } from '../core/challenge.ts'
import { systemChance } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import type { Credential, Unbound } from '../core/credential.ts'
import { isBound } from '../core/credential.ts'
import type { Observe } from '../core/event.ts'
import type { JsonObject } from '../core/json.ts'
import type { Offer } from '../core/offer.ts'
import type { Offers } from '../core/offers.ts'
import { nonceOf } from '../core/offers.ts'
import type {
  Ask,
  Chance,
  Clock,
  Gate,
  Held,
  Kept,
  Ledger,
  Log,
  Pass,
  Rail,
  Refusal,
  Settlement,
  Vault,
  Verdict,
} from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import type { Code, Problem } from '../core/problem.ts'
import { PaymentError, problem, problems } from '../core/problem.ts'
import type { Receipt } from '../core/receipt.ts'
import type { Resource } from '../core/resource.ts'
import type { Seal } from '../core/seal.ts'
import { isSale, readNote, writeNote } from './note.ts'

/** How long an offer stands: time enough for a person to say yes. */
export const OFFER_VALID_MS = 300_000
/** Offers end on this grid, so that equal requests within it are asked with equal bytes. */
export const OFFER_GRID_MS = 5_000
/** How long work may take where a sale does not say. */
export const WORK_MS = 60_000
/** Time beyond the work in which settlement must be through, before another process may look after a claim. */
export const SETTLE_MS = 45_000
/** How long the first byte may take once the money has moved; after that the same proof may fetch it again. */
export const DELIVER_MS = 30_000
/** How far the clocks of a network may be behind ours. */
export const CLOCK_SKEW_MS = 60_000
/** Most sales that are served before they are settled. Above it, settlement comes first. */
export const DEFERRED_MAX = 100
/** How long a paid answer is kept for whoever lost it. */
export const KEEP_MS = 3_600_000
/** When to come back for something that is being worked on. */
export const RETRY_MS = 2_000
/** Most deliveries that are remembered while the books cannot be written. */
export const GONE_MAX = 10_000
/** Chance in an offer that is a secret. */
const NONCE_BYTES = 12

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
}

type Entry = Pass | Kept | Refusal
/** Settled and posted, and ours to deliver until then. */
interface Sold {
  readonly kind: 'serve'
  readonly receipt: Receipt
  readonly until: number
}

type Outcome = Awaited<ReturnType<Pass['finish']>>

/** A claim that this gate holds: what is worked on now. */
interface Work {
  readonly ask: Ask
  readonly offer: Offer
  readonly proof: unknown
  readonly key: string
  readonly payer: string
  readonly rail: Rail
}

/** Work whose claim this process holds. */
interface Claimed extends Work {
  readonly claim: number
}

/**
 * Makes the gate: check, claim, serve, settle, post. It knows no transport, protocol or rail by name.
 *
 * After a crash {@link Gate.recover} closes what the rails have evidence for; a claim without anything written ahead is
 * free again when its lease runs out.
 * @throws {RangeError} when two rails cannot be told apart.
 */
export function createGate(parts: GateParts): Gate {
  const { ledger, offers } = parts
  const clock = parts.clock ?? systemClock
  const { rails } = parts
  const twice = rails.find((rail, i) => rails.findIndex((other) => same(other, rail)) < i)
  if (twice)
    throw new RangeError(`There are two rails "${twice.name}" on ${twice.network}. Leave one out.`)
  const validMs = parts.offerValidMs ?? OFFER_VALID_MS
  /** Keys that this process works on: nobody else here may touch them. */
  const working = new Set<string>()
  const deferred = new Set<Promise<unknown>>()
  /** What has left, where that could not be written yet. */
  const gone = new Set<string>()

  const chance = parts.chance ?? systemChance
  const shelf = parts.vault && parts.seal && { vault: parts.vault, seal: parts.seal }

  const observe: Observe = (event) => {
    try {
      parts.observe?.(event)
    } catch {
      // A subscriber's fault must not reach a payment.
    }
  }

  const fault = (where: string, error: unknown): void =>
    observe({ type: 'fault', at: clock.now(), where, error })

  /** When the offer was made, at the earliest; another chain's clock may run behind ours. */
  const madeAt = (offer: Offer): number => offer.expiresAt - validMs - OFFER_GRID_MS - CLOCK_SKEW_MS

  /** Names the claim with each step: a maker who was thought dead writes nothing more. */
  const logOf = ({ key, claim }: Pick<Held, 'key' | 'claim'>): Log => ({
    read: async () => (await ledger.find(key))?.steps ?? [],
    write: (step) => ledger.step(key, step, claim),
  })

  function quote(ask: Ask): readonly Offer[] {
    const { rails: named, price } = ask.sale
    const end = Math.ceil((clock.now() + validMs) / OFFER_GRID_MS) * OFFER_GRID_MS
    return rails
      .filter((rail) => named?.includes(rail.name) ?? true)
      .flatMap((rail) => rail.quote(price))
      .map((terms) => offers.bind(terms, ask.resource, end, nonceFor(ask)))
  }

  /** An answer that is kept may be fetched by whoever names its offer, so that no two payers may have the same. */
  function nonceFor({ sale }: Ask): string | undefined {
    return shelf && sale.keep ? Buffer.from(chance(NONCE_BYTES)).toString('base64url') : undefined
  }

  function challenge(ask: Ask, why?: Problem): Refusal {
    const { description, mimeType } = ask.sale
    const offered = quote(ask)
    if (offered.length === 0)
      return refused(
        ask,
        problem(
          'misconfigured',
          'No payment rail can take this price. Tell the operator of this service.',
        ),
      )
    const reason =
      why ??
      problem(
        'payment-required',
        'Pay one of the offers and send the request again with the proof.',
      )
    const said: Challenge = {
      resource: ask.resource,
      offers: offered,
      problem: reason,
      ...(description !== undefined && { description }),
      ...(mimeType !== undefined && { mimeType }),
    }
    const { url } = ask.resource
    observe(
      why
        ? {
            type: 'refused',
            at: clock.now(),
            request: ask.request,
            url,
            code: why.code,
            detail: why.detail,
          }
        : { type: 'challenged', at: clock.now(), request: ask.request, url, code: reason.code },
    )
    return { kind: 'refused', problem: reason, challenge: said }
  }

  /** Offers go out again exactly when a new payment may help and none has moved. */
  function refuse(ask: Ask, why: Problem): Refusal {
    return problems[why.code].status === 402 ? challenge(ask, why) : refused(ask, why)
  }

  function refused(ask: Ask, why: Problem): Refusal {
    observe({
      type: 'refused',
      at: clock.now(),
      request: ask.request,
      url: ask.resource.url,
      code: why.code,
      detail: why.detail,
    })
    return { kind: 'refused', problem: why }
  }

  async function admit(ask: Ask): Promise<Entry> {
    try {
      if (!ask.credential) return challenge(ask)
      if ('code' in ask.credential) return refuse(ask, ask.credential)
      return await check(ask, ask.credential)
    } catch (error) {
      return refuse(ask, trouble('admit', error))
    }
  }

  /** A fault becomes a refusal that gives nothing away; a bug stays a bug. */
  function trouble(where: string, error: unknown): Problem {
    fault(where, error)
    const code =
      error instanceof PaymentError && error.code in problems ? (error.code as Code) : 'internal'
    return problem(code, faults[code] ?? 'Nothing was served. Send the same payment again later.', {
      retryAfterMs: RETRY_MS,
    })
  }

  async function check(ask: Ask, credential: Credential): Promise<Entry> {
    const accepted = accept(ask, credential)
    const { proof } = credential
    if ('code' in accepted) {
      const before = accepted.code === 'offer-expired' && isBound(credential.offer)
      return (before && (await paidBefore(ask, credential.offer, proof))) || refuse(ask, accepted)
    }
    if (proof === undefined)
      return refuse(
        ask,
        problem(
          'credential-unsupported',
          'This service takes a payment, and the credential has none.',
        ),
      )
    let verdict: Verdict | undefined
    for (const offer of accepted) {
      const rail = railOf(offer)
      verdict = await rail.verify(offer, proof, payableForMs(ask))
      const { payer = '' } = verdict
      if (verdict.ok) return await claim({ ask, offer, proof, rail, key: verdict.key, payer })
      if (verdict.problem.code === 'payment-spent' && verdict.key !== undefined)
        return await spent({ ask, offer, proof, rail, key: verdict.key, payer }, verdict.problem)
    }
    assert(verdict && !verdict.ok, 'an accepted credential has an offer')
    return (await paidBefore(ask, accepted[0], proof)) ?? refuse(ask, verdict.problem)
  }

  /** The offers that the credential may be for: its own, checked, or those that quoting finds again. */
  function accept(ask: Ask, { offer }: Credential): Problem | readonly [Offer, ...Offer[]] {
    const taken = find(offer) !== undefined && (ask.sale.rails?.includes(offer.rail) ?? true)
    const unsupported = problem(
      'credential-unsupported',
      'This service does not take payments of this kind here. Pay one of the offers given.',
    )
    if (!taken) return unsupported
    if (isBound(offer)) return offers.check(offer, ask.resource, clock.now()) ?? [offer]
    const [first, ...others] = quote(ask).filter(
      (o) => o.rail === offer.rail && o.network === offer.network,
    )
    return first ? [first, ...others] : unsupported
  }

  /** What does not hold now may have held before: a payment in the books is no reason to pay again. */
  async function paidBefore(ask: Ask, offer: Offer, proof: unknown): Promise<Entry | undefined> {
    const rail = find(offer)
    if (!rail || proof === undefined) return undefined
    const { key, payer } = rail.identify(offer, proof)
    const held = await ledger.find(key)
    if (!held || held.state === 'voided' || held.purpose !== purposeOf(ask.resource))
      return undefined
    return await again({ ask, offer, proof, rail, key, payer }, held)
  }

  function payableForMs({ sale }: Ask): number {
    return sale.settle === 'before-response' ? (sale.workMs ?? WORK_MS) : 0
  }

  const find = (offer: Offer | Unbound): Rail | undefined =>
    rails.find((rail) => rail.name === offer.rail && rail.network === offer.network)

  function railOf(offer: Offer): Rail {
    const rail = find(offer)
    if (!rail)
      throw new PaymentError(
        'misconfigured',
        `There is no rail "${offer.rail}" on ${offer.network}.`,
      )
    return rail
  }

  /** The claim: one step, by the key of the spend itself. */
  async function claim(work: Work, found?: Settlement & { state: 'settled' }): Promise<Entry> {
    const { ask, offer, key, payer, rail } = work
    if (working.has(key)) return inFlight(work)
    working.add(key)
    let held = false
    try {
      const claimed = await ledger.transfer({
        key,
        purpose: purposeOf(ask.resource),
        asset: offer.amount.asset.id,
        amount: offer.amount.amount,
        legs: [
          {
            debit: `${WORLD}${rail.name}/${offer.network}/${offer.payee}`,
            credit: ask.sale.account,
          },
        ],
        leaseUntilAt: clock.now() + (ask.sale.workMs ?? WORK_MS) + SETTLE_MS,
        note: writeNote({ offer, payer, request: ask.request }),
      })
      if (claimed.outcome === 'replayed' || claimed.outcome === 'foreign')
        return await again(work, claimed.held)
      assert(claimed.outcome === 'made', 'the outside world is never short of money')
      observe({
        type: 'held',
        at: clock.now(),
        request: ask.request,
        key,
        payer,
        amount: offer.amount,
      })
      held = true
      const mine = { ...work, claim: claimed.claim }
      if (found) return await paid(mine, found)
      if (ask.sale.settle === 'before-work') return await settleFirst(mine)
      return pass(mine)
    } catch (error) {
      held = false
      throw error
    } finally {
      if (!held) working.delete(key)
    }
  }

  /** The chain says spent. Either by us, or somebody else submitted it first, which counts as paid. */
  async function spent(work: Work, why: Problem): Promise<Entry> {
    const held = await ledger.find(work.key)
    if (held && held.state !== 'voided') return await again(work, held)
    const found = await work.rail.find(work.offer, work.key, noLog)
    if (found?.state === 'settled' && found.settledAt >= madeAt(work.offer))
      return await claim(work, found)
    return found?.state === 'unknown' ? unknown(work) : refuse(work.ask, why)
  }

  /** The same spend once more. */
  async function again(work: Work, held: Held): Promise<Entry> {
    const { ask, key } = work
    if (held.purpose !== purposeOf(ask.resource))
      return refuse(
        ask,
        problem(
          'payment-spent',
          'This payment was used for another request. It pays nothing here; pay one of the offers given.',
        ),
      )
    if (held.state === 'posted') return (await kept(work, held)) ?? (await redeliver(work, held))
    const last = held.steps.at(-1)
    if (last === undefined || (last.type !== 'unknown' && held.leaseUntilAt > clock.now()))
      return inFlight(work)
    if (!(await closed(held))) return unknown(work)
    const now = await ledger.find(key)
    return now?.state === 'posted'
      ? ((await kept(work, now)) ?? (await redeliver(work, now)))
      : refuse(
          ask,
          problem(
            'settlement-failed',
            'The payment could not be collected and never will be. Make a new one.',
          ),
        )
  }

  function inFlight({ ask }: Work, retryAfterMs: number = RETRY_MS): Refusal {
    return refused(
      ask,
      problem(
        'payment-in-flight',
        'The same payment is being worked on. Send it again in a moment; do not make a new one.',
        { retryAfterMs },
      ),
    )
  }

  function unknown({ ask, key, offer }: Work): Refusal {
    observe({ type: 'unknown', at: clock.now(), request: ask.request, key })
    const statusUrl = ask.statusUrl?.(key)
    const detail = `The payment was sent to ${offer.network} and its outcome is not known yet. Send the same payment again later; do not make a new one.`
    return refused(
      ask,
      problem('payment-unknown', detail, {
        retryAfterMs: RETRY_MS,
        ...(statusUrl !== undefined && { statusUrl }),
      }),
    )
  }

  /** The answer itself, for whoever names the very offer that was paid. */
  async function kept({ offer }: Work, held: Held): Promise<Kept | undefined> {
    if (!shelf || nonceOf(offer) === undefined || offerId(held) !== offer.id) return undefined
    const name = shelfOf(held)
    const sealed = await shelf.vault.get(name)
    const answer = sealed && shelf.seal.open(name, sealed)
    return answer && { kind: 'kept', receipt: receiptOf(held), answer }
  }

  /** Keeps the answer before the money moves: whatever happens then, it is there. Want of room is told, and no more. */
  async function keep(work: Claimed, answer: Uint8Array | undefined): Promise<void> {
    const { ask, offer } = work
    if (!shelf || !answer || !ask.sale.keep || nonceOf(offer) === undefined) return
    const name = shelfOf(work)
    const sealed = shelf.seal.seal(name, answer)
    await shelf.vault
      .put(name, sealed, clock.now() + KEEP_MS)
      .catch((error: unknown) => fault('keep', error))
  }

  /** Paid, and perhaps never received: the same proof may fetch it again, one at a time, until a first byte has left. */
  async function redeliver(work: Work, held: Held): Promise<Entry> {
    const { ask, key } = work
    if (isDelivered(held)) return deliveredBefore(work, held)
    const until = deliverByOf(held)
    if (until > clock.now()) return inFlight(work, until - clock.now())
    const turn = await takeTurn(work)
    if (turn === undefined) return inFlight(work)
    // Only now is nobody else at it: what was read before the turn may be old.
    const now = await ledger.find(key)
    assert(now?.state === 'posted', 'what is posted stays so')
    if (isDelivered(now)) return deliveredBefore(work, now)
    if (deliverByOf(now) > clock.now()) {
      await giveTurn(key, turn)
      return inFlight(work, deliverByOf(now) - clock.now())
    }
    const receipt = receiptOf(now)
    const served = createFlag()
    return {
      kind: 'pass',
      key,
      finish: async (success, answer) => {
        const mine = await ledger.find(turnOf(key))
        if (mine?.claim !== turn || mine.state !== 'pending') return inFlight(work)
        if (success) await keep({ ...work, claim: now.claim }, answer)
        else await giveTurn(key, turn)
        served.set(success)
        return { kind: 'serve', receipt }
      },
      delivered: () => void (served.is() && delivered(ask, key)),
      lost: () => void giveTurn(key, turn).catch((error: unknown) => fault('lost', error)),
    }
  }

  function deliveredBefore({ ask }: Work, held: Held): Refusal {
    const detail = 'What this payment bought has been delivered. Pay again to have it again.'
    return refused(ask, problem('payment-delivered', detail, { receipt: receiptOf(held) }))
  }

  function isDelivered({ key, steps }: Held): boolean {
    return gone.has(key) || steps.some((step) => step.type === 'delivered')
  }

  /** The right to deliver what is posted, as a claim that is leased like any other. Its number, if it is ours. */
  async function takeTurn({ ask, key }: Work): Promise<number | undefined> {
    const turn = await ledger.transfer({
      key: turnOf(key),
      purpose: 'delivery',
      asset: TURN,
      amount: 0n,
      legs: [{ debit: `${WORLD}owed`, credit: `${WORLD}delivered` }],
      leaseUntilAt: clock.now() + (ask.sale.workMs ?? WORK_MS) + DELIVER_MS,
      note: {},
    })
    return turn.outcome === 'made' ? turn.claim : undefined
  }

  async function giveTurn(key: string, turn: number): Promise<void> {
    await ledger.void(turnOf(key), 'work-failed', turn)
  }

  async function settleFirst(work: Claimed): Promise<Entry> {
    const outcome = await settle(work)
    if (outcome.kind === 'serve') return settledPass(work, outcome)
    working.delete(work.key)
    return outcome
  }

  async function paid(
    work: Claimed,
    found: Settlement & { state: 'settled' },
  ): Promise<Pass | Refusal> {
    const until = await sell(work, found, work.ask.sale.workMs ?? WORK_MS)
    if (until !== undefined)
      return settledPass(work, { kind: 'serve', receipt: toReceipt(work.offer, found), until })
    working.delete(work.key)
    return inFlight(work)
  }

  /** The money has moved already: work that fails leaves the payment good for another try. */
  function settledPass(work: Claimed, { receipt, until }: Sold): Pass {
    const { key, claim: mine } = work
    return passOf(work, async (success, answer) => {
      if (!success) await ledger.step(key, { type: 'released', data: { deliverBy: 0 } }, mine)
      else if (await mayDeliver(work, until)) await keep(work, answer)
      else return inFlight(work)
      return { kind: 'serve', receipt }
    })
  }

  /** Whether what was sold is still ours to deliver: in its time, or by a turn that nobody has had before. */
  async function mayDeliver(work: Work, until: number): Promise<boolean> {
    if (clock.now() < until) return true
    if ((await takeTurn(work)) === undefined) return false
    const held = await ledger.find(work.key)
    return held?.state === 'posted' && !isDelivered(held)
  }

  function pass(work: Claimed): Pass {
    const { ask } = work
    return passOf(work, async (success, answer) => {
      if (!success) return await release(work)
      await keep(work, answer)
      if (ask.sale.settle !== 'deferred' || deferred.size >= (parts.deferredMax ?? DEFERRED_MAX))
        return await settle(work)
      return await settleLater(work)
    })
  }

  /** Serves as soon as the settlement is written ahead: from then on a crash cannot forget it. */
  async function settleLater(work: Claimed): Promise<Outcome> {
    const { offer, payer } = work
    const log = logOf(work)
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

  function passOf(work: Claimed, end: Pass['finish']): Pass {
    const { ask, key } = work
    const served = createFlag()
    let finished = false
    return {
      kind: 'pass',
      key,
      async finish(success, answer) {
        assert(!finished, 'work ends once')
        finished = true
        try {
          const outcome = await end(success, answer)
          served.set(success && outcome.kind === 'serve')
          return outcome
        } catch (error) {
          return refuse(ask, trouble('finish', error))
        } finally {
          working.delete(key)
        }
      },
      // The answer of work that failed is nothing that was bought.
      delivered: () => void (served.is() && delivered(ask, key)),
      lost: () => void (served.is() && undelivered(work)),
    }
  }

  /** Writes down that the first byte has left. Until that is written, this process remembers it. */
  function delivered({ request }: Ask, key: string): void {
    observe({ type: 'delivered', at: clock.now(), request, key })
    if (gone.size < GONE_MAX) gone.add(key)
    writeDelivered(key).catch((error: unknown) => fault('delivered', error))
  }

  async function writeDelivered(key: string): Promise<void> {
    await ledger.step(key, { type: 'delivered', data: {} })
    gone.delete(key)
  }

  /** Nobody was there any more: whoever brings the proof may have it at once. */
  function undelivered({ key, claim: mine }: Claimed): void {
    ledger
      .step(key, { type: 'released', data: { deliverBy: 0 } }, mine)
      .catch((error: unknown) => fault('lost', error))
  }

  async function release({ key, claim }: Claimed): Promise<Outcome> {
    await ledger.void(key, 'work-failed', claim)
    return { kind: 'serve' }
  }

  async function settle(work: Claimed, log: Log = logOf(work)): Promise<Sold | Refusal> {
    const { ask, offer, key, rail, claim: mine } = work
    const settlement = await rail.settle(offer, work.proof, key, log)
    if (settlement.state === 'settled') {
      const workLeftMs = ask.sale.settle === 'before-work' ? (ask.sale.workMs ?? WORK_MS) : 0
      const until = await sell(work, settlement, workLeftMs)
      if (until === undefined) return inFlight(work)
      return { kind: 'serve', receipt: toReceipt(offer, settlement), until }
    }
    if (settlement.state === 'failed') {
      await abandon(work, settlement.problem.code)
      return refuse(ask, settlement.problem)
    }
    await ledger.step(key, { type: 'unknown', data: { detail: settlement.detail } }, mine)
    return unknown(work)
  }

  /**
   * Posts, and tells until when it is ours to deliver. Not at all when the claim is another's by now, or when somebody who
   * thought us dead has posted it, or our time is over, and another has the turn.
   */
  async function sell(
    work: Claimed,
    found: Settlement & { state: 'settled' },
    workLeftMs: number,
  ): Promise<number | undefined> {
    const until = clock.now() + DELIVER_MS + workLeftMs
    const done = await post(work, work.offer, found, until)
    if (done !== 'posted' && done !== 'replayed') return undefined
    const ours = await mayDeliver(work, done === 'posted' ? until : 0)
    return ours ? until : undefined
  }

  /** The commit that makes it a sale. Until `deliverBy` its maker delivers it; after that whoever brings the proof. */
  async function post(
    { key, claim }: Pick<Held, 'key' | 'claim'>,
    offer: Offer,
    settlement: Settlement & { state: 'settled' },
    deliverBy: number,
  ): ReturnType<Ledger['post']> {
    const { reference, payer, settledAt } = settlement
    const data: JsonObject = { reference, payer, settledAt, deliverBy }
    const done = await ledger.post(key, undefined, { type: 'settled', data }, claim)
    if (done === 'posted')
      observe({ type: 'settled', at: clock.now(), key, reference, amount: offer.amount })
    return done
  }

  async function abandon({ key, claim }: Pick<Held, 'key' | 'claim'>, code: Code): Promise<void> {
    await ledger.void(key, code, claim)
    observe({ type: 'voided', at: clock.now(), key, code })
  }

  /** Closes an open transfer if there is evidence, and tells whether there was. Doubt and faults leave it open. */
  async function closed(held: Held): Promise<boolean> {
    try {
      const { offer } = readNote(held.note)
      const found = await railOf(offer).find(offer, held.key, logOf(held))
      if (found?.state === 'settled') await post(held, offer, found, 0)
      if (found?.state === 'failed') await abandon(held, found.problem.code)
      return found?.state === 'settled' || found?.state === 'failed'
    } catch (error) {
      fault('close', error)
      return false
    }
  }

  async function recover(): Promise<void> {
    for (const key of gone) await writeDelivered(key)
    for (const held of await ledger.pending()) {
      const idle = held.leaseUntilAt <= clock.now() || held.steps.at(-1)?.type === 'unknown'
      if (isTurn(held)) await ledger.expire(held.key, held.claim)
      if (!idle || working.has(held.key) || !isSale(held)) continue
      // Nothing was written ahead, so nothing was sent: the claim of a process that died in the middle of its work.
      if (held.steps.length > 0 || !(await ledger.expire(held.key, held.claim))) await closed(held)
    }
  }

  return {
    keeps: shelf !== undefined,
    admit,
    challenge,
    recover,
    async status(key) {
      const held = await ledger.find(key)
      if (!held || !isSale(held)) return undefined
      return { state: stateOf(held) }
    },
    async close() {
      await Promise.all(deferred)
    },
  }
}

/** What a turn at delivery moves nothing of. */
const TURN = 'delivery'

function isTurn({ asset }: Held): boolean {
  return asset === TURN
}

/** The key of the turn at delivering what was paid under another key. */
function turnOf(key: string): string {
  return `${key}/delivery`
}

/** Under what an answer is kept: work whose claim was lost must not lay its own over the one that was sold. */
function shelfOf({ key, claim }: Pick<Held, 'key' | 'claim'>): string {
  return `${key}/${claim}`
}

/** Until when the maker of a sale, or whoever got it back, may still deliver it. */
function deliverByOf({ steps }: Held): number {
  const last = steps.findLast(({ type }) => type === 'settled' || type === 'released')
  const until = last?.data['deliverBy']
  return typeof until === 'number' ? until : 0
}

/** Whether the work was done and its answer may be called delivered. */
function createFlag(): { set(value: boolean): void; is(): boolean } {
  let flag = false
  return { set: (value) => void (flag = value), is: () => flag }
}

function offerId(held: Held): string {
  return isSale(held) ? readNote(held.note).offer.id : ''
}

function same(one: Rail, other: Rail): boolean {
  return one.name === other.name && one.network === other.network
}

/** What a payer is told of a fault. */
const faults: Partial<Record<Code, string>> = {
  'rail-unavailable':
    'The network that this payment uses cannot be asked just now. Send the same payment again later; do not make a new one.',
  'store-unavailable':
    'The books cannot be written just now, so nothing is sold. Send the same payment again later; do not make a new one.',
  misconfigured: 'The service is not set up to take this payment. Tell its operator.',
  internal: 'Something went wrong here. Send the same payment again later; do not make a new one.',
}

/** A look without a claim: nothing was written ahead, and nothing will be. */
const noLog: Log = {
  read: () => Promise.resolve([]),
  write: () => Promise.reject(new PaymentError('internal', 'A look writes nothing.')),
}

function stateOf(held: Held): string {
  if (held.state === 'posted') return 'settled'
  if (held.state === 'voided') return 'failed'
  return held.steps.length === 0 ? 'working' : 'unknown'
}

/** What a spend is for. Another request under the same key is foreign. */
function purposeOf(r: Resource): string {
  return JSON.stringify([r.realm, r.method, r.authority, r.path, r.query, r.digest ?? ''])
}

function toReceipt(
  offer: Offer,
  { reference, payer, settledAt }: Omit<Settlement & { state: 'settled' }, 'state'>,
): Receipt {
  const { rail, network, payee, amount } = offer
  return { rail, network, payee, amount, reference, payer, settledAt, settled: true }
}

function receiptOf(held: Held): Receipt {
  const { offer, payer } = readNote(held.note)
  const { reference, settledAt } =
    held.steps.findLast((step) => step.type === 'settled')?.data ?? {}
  assert(
    typeof reference === 'string' && typeof settledAt === 'number',
    'a posted sale tells how it was settled',
  )
  return toReceipt(offer, { reference, payer, settledAt })
}
