import { assert } from '../core/assert.ts'
import { systemClock } from '../core/clock.ts'
import type { Observe } from '../core/event.ts'
import type { Offer } from '../core/offer.ts'
import type {
  Caller,
  Clock,
  Denial,
  Facilitated,
  Facilitator,
  Held,
  Ledger,
  Log,
  Rail,
  Settlement,
  Step,
  Verdict,
} from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import type { Code, Problem } from '../core/problem.ts'
import { PaymentError, problem, problems } from '../core/problem.ts'
import type { Due } from './allowance.ts'
import {
  amountLegs,
  countDue,
  createRates,
  denial,
  forbids,
  gasDue,
  tomorrow,
} from './allowance.ts'
import type { Callers } from './callers.ts'
import { isFacilitated, printOf, purposeOf, readNote, writeNote } from './note.ts'
import { createSeen } from './seen.ts'
import { createTurns } from './turns.ts'
import type { Making } from './turns.ts'

/** How long a claim of which nothing was sent is its maker's alone: time enough for a queue. */
export const LEASE_MS = 60_000
/** How long one of which something was sent is: then another may look, which is safe, since a rail sends the same again. */
export const TAKEOVER_MS = 10_000
/** How long what was found good needs no second look before it is settled. */
export const FRESH_MS = 5_000
/** How far the clocks of a network may be behind ours. */
export const CLOCK_SKEW_MS = 60_000
/** Waits for another process that works on the same payment, and how many of them. */
const FOLLOW_MS = 100
const FOLLOW_TRIES = 50
/** When to come back to a facilitator that is closing down: its successor may be there by then. */
const CLOSING_MS = 2_000

/** What a facilitator is made of. */
export interface FacilitatorParts {
  readonly rails: readonly Rail[]
  /** Shared by all processes that settle for the same callers. */
  readonly ledger: Ledger
  readonly callers: Callers
  readonly clock?: Clock
  readonly observe?: Observe
}

type Settled = Settlement & { readonly state: 'settled' }
type Answer = Facilitated | Denial

/** A payment that somebody wants settled. */
interface Work {
  readonly caller: Caller
  readonly rail: Rail
  readonly offer: Offer
  readonly proof: unknown
  readonly key: string
  readonly payer: string
  readonly purpose: string
  readonly print: string
}

/** A payment whose claim is ours. */
interface Claimed extends Work {
  readonly claim: number
}

/** What came of sending one. */
interface Attempt {
  readonly answer: Facilitated
  readonly settlement: Settlement
  /** Whether anything was written ahead. */
  readonly sent: boolean
}

/** What this process is doing for a key: nobody else here may touch it meanwhile. */
interface Doing {
  readonly purpose: string
  readonly print: string
  readonly answer: Promise<Answer>
}

/**
 * Makes the facilitator: claim, verify, settle, post, for others. The books decide what was done: a payment whose claim
 * stands is never sent again by its terms, but answered; one whose outcome is not known is looked up by its rail.
 * @throws {RangeError} when two rails cannot be told apart.
 */
export function createFacilitator(parts: FacilitatorParts): Facilitator {
  const { rails, ledger, callers, clock = systemClock } = parts
  const twice = rails.find((rail, i) => rails.findIndex((other) => same(other, rail)) < i)
  if (twice)
    throw new RangeError(`There are two rails "${twice.name}" on ${twice.network}. Leave one out.`)
  const rates = createRates()
  const turns = createTurns(ledger, LEASE_MS)
  const seen = createSeen()
  const doing = new Map<string, Doing>()
  const looking = new Set<Promise<unknown>>()
  let closing = false

  const observe: Observe = (event) => {
    try {
      parts.observe?.(event)
    } catch {
      // A subscriber's fault must not reach a payment.
    }
  }
  const fault = (where: string, error: unknown): void =>
    observe({ type: 'fault', at: clock.now(), where, error })

  const railOf = ({ rail, network }: Offer): Rail | undefined =>
    rails.find((one) => one.name === rail && one.network === network)

  function admit(key: string | undefined, address?: string): Caller | Denial {
    if (closing) return denial('closing', 'This facilitator is closing down.', CLOSING_MS)
    const caller = callers.find(key)
    return caller ? (rates.count(caller, address, clock.now()) ?? caller) : unauthorized
  }

  function workOf(caller: Caller, offer: Offer, proof: unknown): Work | Denial | undefined {
    const rail = railOf(offer)
    if (!rail) return undefined
    const { key, payer } = rail.identify(offer, proof)
    const purpose = purposeOf(offer)
    const work = { caller, rail, offer, proof, key, payer, purpose, print: printOf(proof) }
    return forbids(caller, offer) ?? work
  }

  async function verify(caller: Caller, offer: Offer, proof: unknown): Promise<Verdict | Denial> {
    try {
      const work = workOf(caller, offer, proof)
      if (!work) return { ok: false, problem: unsupported }
      if ('kind' in work) return work
      const asked = judge(work)
      looking.add(asked)
      return await asked.finally(() => looking.delete(asked))
    } catch (error) {
      return { ok: false, problem: trouble('verify', error) }
    }
  }

  /** What the chain says, and what the books do. */
  async function judge(work: Work): Promise<Verdict> {
    const { rail, offer, proof, key, payer } = work
    const [verdict, held] = await Promise.all([rail.verify(offer, proof), ledger.find(key)])
    if (held && stands(held, clock.now())) return recall(work, held, verdict)
    if (verdict.ok) seen.put(key, goodOf(work), clock.now())
    else refused(work, verdict.problem)
    return verdict.ok ? { ok: true, key, payer } : verdict
  }

  /**
   * A payment that is in the books. One that nobody was told about is still good for the work that it was made for: whoever
   * goes on to settle it will hear what became of it.
   */
  function recall(work: Work, held: Held, verdict: Verdict): Verdict {
    const { key, payer } = work
    const no = (why: Problem): Verdict => ({ ok: false, problem: why, key, payer })
    if (!isSame(work, held)) return no(foreign)
    if (!verdict.ok && verdict.problem.code !== 'payment-spent') return no(verdict.problem)
    if (held.state === 'posted') return wasTold(held) ? no(used) : { ok: true, key, payer }
    return isIdle(held, clock.now()) ? { ok: true, key, payer } : no(inFlight)
  }

  async function settle(caller: Caller, offer: Offer, proof: unknown): Promise<Answer> {
    try {
      if (closing) return denial('closing', 'This facilitator is closing down.', CLOSING_MS)
      const work = workOf(caller, offer, proof)
      if (!work) return { kind: 'failed', problem: unsupported }
      if ('kind' in work) return work
      return await inTurn(work)
    } catch (error) {
      return { kind: 'failed', problem: trouble('settle', error) }
    }
  }

  /** One at a time for each payment; those who come meanwhile share the answer, if it can be theirs. */
  async function inTurn(work: Work): Promise<Answer> {
    const { key, purpose, print } = work
    for (let other = doing.get(key); other; other = doing.get(key)) {
      const answer = await other.answer
      const shared = other.purpose === purpose && other.print === print
      if (shared && answer.kind !== 'denied') return again(work, answer)
    }
    const answer = run(work).finally(() => doing.delete(key))
    doing.set(key, { purpose, print, answer })
    return await answer
  }

  /** A settled payment once more. */
  function again({ caller, payer }: Work, answer: Facilitated): Facilitated {
    if (answer.kind !== 'settled' || caller.repeats !== 'refuse') return answer
    return { kind: 'failed', problem: used, payer }
  }

  async function run(work: Work): Promise<Answer> {
    try {
      // What was found good a moment ago is claimed at once: the claim itself says if another stands.
      if (isFresh(work)) return await claim(work, undefined)
      const held = await ledger.find(work.key)
      if (held && stands(held, clock.now())) return await stood(work, held)
      const found = await check(work)
      return found && 'kind' in found ? found : await claim(work, found)
    } catch (error) {
      return { kind: 'failed', problem: trouble('settle', error), payer: work.payer }
    }
  }

  /** Whether this very proof for these very terms was found good a moment ago. */
  function isFresh(work: Work): boolean {
    const now = clock.now()
    const before = seen.at(work.key, goodOf(work), now)
    return before !== undefined && now - before < FRESH_MS
  }

  async function check(work: Work): Promise<Facilitated | Settled | undefined> {
    const { rail, offer, proof, key, payer } = work
    const before = seen.at(key, goodOf(work), clock.now())
    const verdict = await rail.verify(offer, proof)
    if (verdict.ok) return undefined
    // Somebody may have been faster and submitted what we found good: then it is paid.
    if (verdict.problem.code === 'payment-spent' && before !== undefined) {
      const found = await rail.find(offer, key, noLog)
      if (found?.state === 'settled' && found.settledAt >= before - CLOCK_SKEW_MS) return found
    }
    refused(work, verdict.problem)
    return { kind: 'failed', problem: verdict.problem, payer }
  }

  /** The claim: one step, by the key of the spend itself. */
  async function claim(work: Work, found: Settled | undefined): Promise<Answer> {
    const { caller, rail, offer, key, payer, purpose, print } = work
    const dues = found ? [] : await duesOf(work)
    if ('kind' in dues) return dues
    const now = clock.now()
    const { asset, amount } = offer.amount
    const account = `${WORLD}${rail.booked ?? rail.name}/${offer.network}/${offer.payee}`
    const earned = { debit: account, credit: `facilitated/${caller.name}` }
    const claimed = await ledger.transfer({
      key,
      purpose,
      asset: asset.id,
      amount,
      legs: [earned, ...amountLegs(caller, offer, now)],
      leaseUntilAt: now + LEASE_MS,
      note: writeNote({ offer, payer, print }),
    })
    if (claimed.outcome === 'insufficient')
      return tomorrow('The amount that this caller may have moved in a day is used up.', now)
    if (claimed.outcome !== 'made') return await stood(work, claimed.held)
    observe({ type: 'held', at: now, key, payer, amount: offer.amount })
    const held = { ...work, claim: claimed.claim }
    return found ? await post(held, found, true) : await counted(held, dues, now)
  }

  /** What it takes of its caller's day beside the amount. */
  async function duesOf({ caller, rail, offer, proof }: Work): Promise<readonly Due[] | Denial> {
    const { gasPerDayWei } = caller
    const now = clock.now()
    const sent = countDue(caller, now)
    if (gasPerDayWei === undefined) return sent ? [sent] : []
    if (!rail.costMax) return denial('forbidden', 'This caller may not settle by this rail.')
    const gas = gasDue(caller, offer.network, await rail.costMax(offer, proof), now)
    return [sent, gas].filter((due) => due !== undefined)
  }

  /** Sends it within its caller's day. What was never sent is given back. */
  async function counted(work: Claimed, dues: readonly Due[], now: number): Promise<Answer> {
    if (dues.length === 0) return (await send(work)).answer
    const denied = await turns.take(work, dues, now)
    if (denied) {
      await ledger.void(work.key, 'limited', work.claim)
      return denied
    }
    const { answer, settlement, sent } = await send(work)
    await taken(work, settlement, sent)
    return answer
  }

  /** Books what it took of its caller's day. One whose outcome is not known has taken nothing yet, and holds all. */
  async function taken(making: Making, settlement: Settlement, sent: boolean): Promise<void> {
    if (settlement.state === 'unknown') return
    const booked = sent ? turns.spend(making, settlement.cost) : turns.free(making)
    await booked.catch((error: unknown) => fault('count', error))
  }

  async function send(work: Claimed): Promise<Attempt> {
    const { rail, offer, proof, key } = work
    const log = aheadOf(work)
    const settlement = await rail
      .settle(offer, proof, key, log)
      .catch((error: unknown) => afterFault(log.written(), error))
    const answer = await conclude(work, settlement, true)
    return { answer, settlement, sent: log.written() }
  }

  /** What was not written ahead was not sent. */
  function afterFault(written: boolean, error: unknown): Settlement {
    const why = trouble('settle', error)
    return written ? { state: 'unknown', detail: why.detail } : { state: 'failed', problem: why }
  }

  /**
   * Writes ahead only while the claim is ours: the books refuse what comes of one that was lost. A claim begins without a
   * step, so that what was written under it is known here.
   */
  function aheadOf({ key, claim }: Claimed): Log & { written(): boolean } {
    const steps: Step[] = []
    return {
      written: () => steps.length > 0,
      read: async () => [...steps],
      async write(step) {
        await ledger.step(key, step, claim)
        steps.push(step)
      },
    }
  }

  const stepsOf = async (key: string): Promise<readonly Step[]> =>
    (await ledger.find(key))?.steps ?? []

  /** Writes down what became of it. `told`: whether somebody waits for the answer. */
  async function conclude(
    work: Pick<Claimed, 'key' | 'claim' | 'offer' | 'payer'>,
    settlement: Settlement,
    told: boolean,
  ): Promise<Facilitated> {
    const { key, claim, payer } = work
    if (settlement.state === 'settled') return await post(work, settlement, told)
    if (settlement.state === 'failed') {
      const why = settlement.problem
      await ledger.void(key, why.code, claim).catch((error: unknown) => fault('void', error))
      observe({ type: 'voided', at: clock.now(), key, code: why.code })
      return { kind: 'failed', problem: why, payer }
    }
    const data = { detail: settlement.detail }
    await ledger
      .step(key, { type: 'unknown', data }, claim)
      .catch((error: unknown) => fault('unknown', error))
    observe({ type: 'unknown', at: clock.now(), key })
    return await pending(work)
  }

  /** Money has moved: books that cannot say so now are no reason to deny it, but to look again. */
  async function post(
    { key, claim, offer }: Pick<Claimed, 'key' | 'claim' | 'offer'>,
    { reference, payer, settledAt }: Omit<Settled, 'state'>,
    told: boolean,
  ): Promise<Facilitated> {
    const step = { type: 'settled', data: { reference, payer, settledAt, told } }
    const outcome = await ledger.post(key, undefined, step, claim).catch((error: unknown) => {
      fault('post', error)
      return 'unknown'
    })
    if (outcome !== 'posted' && outcome !== 'replayed') return { kind: 'pending', payer, reference }
    if (outcome === 'replayed' && told) await noteTold(key)
    observe({ type: 'settled', at: clock.now(), key, reference, amount: offer.amount })
    return toAnswer(offer, { reference, payer, settledAt })
  }

  async function pending({ key, payer }: Pick<Work, 'key' | 'payer'>): Promise<Facilitated> {
    const reference = referenceIn(await stepsOf(key).catch(() => []))
    return { kind: 'pending', payer, ...(reference !== undefined && { reference }) }
  }

  /** The same spend once more, by the books. */
  async function stood(work: Work, held: Held): Promise<Answer> {
    const { payer } = work
    if (!isSame(work, held)) return { kind: 'failed', problem: foreign, payer }
    if (held.state === 'posted') return await tell(work, held)
    return isIdle(held, clock.now()) ? await close(held) : await follow(work)
  }

  /** The answer of the books; the first time that somebody hears it is written down. */
  async function tell(work: Work, held: Held): Promise<Facilitated> {
    if (wasTold(held)) return again(work, settledIn(held))
    await ledger.step(work.key, { type: 'told', data: {} })
    return settledIn(held)
  }

  /** Another has posted it meanwhile, and may have told nobody. */
  async function noteTold(key: string): Promise<void> {
    const held = await ledger.find(key)
    if (held && !wasTold(held)) await ledger.step(key, { type: 'told', data: {} })
  }

  /** Another process works on it: its answer is ours. */
  async function follow(work: Work): Promise<Answer> {
    for (let tries = 0; tries < FOLLOW_TRIES; tries++) {
      await clock.sleep(FOLLOW_MS)
      const held = await ledger.find(work.key)
      // It was given up there, and the reason stayed there: find it out anew.
      if (!held || !stands(held, clock.now())) return await run(work)
      if (held.state === 'posted') return await tell(work, held)
      if (isIdle(held, clock.now())) break
    }
    return await pending(work)
  }

  /** Closes an open settlement if there is evidence. Doubt leaves it open. */
  async function close(held: Held, told = true): Promise<Facilitated> {
    const { key, claim } = held
    const { offer, payer } = readNote(held.note)
    const rail = railOf(offer)
    const log = { read: () => stepsOf(key), write: (step: Step) => ledger.step(key, step, claim) }
    try {
      const found = rail ? await rail.find(offer, key, log) : open
      if (found?.state === 'unknown') return await pending({ key, payer })
      const answer = await conclude({ key, claim, offer, payer }, found ?? traceless, told)
      await taken({ key, claim }, found ?? traceless, true)
      return answer
    } catch (error) {
      fault('close', error)
      return await pending({ key, payer })
    }
  }

  async function recover(): Promise<void> {
    for (const held of await ledger.pending()) {
      const { key } = held
      if (doing.has(key) || !isIdle(held, clock.now())) continue
      if (await turns.recover(held)) continue
      if (isFacilitated(held) && held.steps.length === 0)
        await ledger.void(key, 'lease-expired', held.claim)
      else if (isFacilitated(held)) await alone(held)
    }
  }

  /** Closes it while nobody else here does. */
  async function alone(held: Held): Promise<void> {
    const { print } = readNote(held.note)
    const answer = close(held, false).finally(() => doing.delete(held.key))
    doing.set(held.key, { purpose: held.purpose, print, answer })
    await answer
  }

  function refused({ offer }: Work, { code, detail }: Problem): void {
    observe({ type: 'refused', at: clock.now(), url: offer.resource.url, code, detail })
  }

  /** A fault becomes a refusal that gives nothing away. */
  function trouble(where: string, error: unknown): Problem {
    fault(where, error)
    const known = error instanceof PaymentError && error.code in problems
    const code = known ? (error.code as Code) : 'internal'
    return problem(code, 'It cannot be told now. Send the same payment again later.')
  }

  return {
    admit,
    verify,
    settle,
    recover,
    async ready() {
      if (closing) return false
      const looked = ledger.find('ready').then(
        () => true,
        () => false,
      )
      return await looked
    },
    async drain() {
      closing = true
      while (doing.size + looking.size > 0)
        await Promise.allSettled([...[...doing.values()].map((one) => one.answer), ...looking])
    },
  }
}

function same(one: Rail, other: Rail): boolean {
  return one.name === other.name && one.network === other.network
}

/** Whether the claim keeps others out: it does unless it was given up, or ran out without a trace. */
function stands({ state, steps, leaseUntilAt }: Held, now: number): boolean {
  return state !== 'voided' && (state === 'posted' || steps.length > 0 || leaseUntilAt > now)
}

/** Whether nobody works on it any more. */
function isIdle({ steps, leaseUntilAt, madeAt }: Held, now: number): boolean {
  const last = steps.at(-1)
  if (last === undefined) return leaseUntilAt <= now
  return last.type === 'unknown' || madeAt + TAKEOVER_MS <= now
}

/** What was found good: this proof, for these terms and no others. */
function goodOf({ print, purpose }: Work): string {
  return `${print} ${purpose}`
}

/** The very same proof for the very same terms. */
function isSame({ purpose, print }: Work, held: Held): boolean {
  return isFacilitated(held) && held.purpose === purpose && readNote(held.note).print === print
}

function settledIn(held: Held): Facilitated {
  const { reference, payer, settledAt } = settledStep(held)
  assert(typeof reference === 'string', 'what is posted has its reference')
  assert(typeof payer === 'string', 'what is posted has its payer')
  assert(typeof settledAt === 'number', 'what is posted has its time')
  return toAnswer(readNote(held.note).offer, { reference, payer, settledAt })
}

/** Whether somebody has heard that it is settled. */
function wasTold(held: Held): boolean {
  return settledStep(held)['told'] === true || held.steps.some(({ type }) => type === 'told')
}

function settledStep({ steps }: Held): Step['data'] {
  return steps.findLast(({ type }) => type === 'settled')?.data ?? {}
}

function toAnswer(offer: Offer, settled: Omit<Settled, 'state'>): Facilitated {
  const { rail, network, payee, amount } = offer
  const { reference, payer, settledAt } = settled
  const receipt = { rail, network, payee, amount, reference, payer, settledAt, settled: true }
  return { kind: 'settled', receipt }
}

/** Where what was sent last can be looked up, if the rail wrote a hash beside it. */
function referenceIn(steps: readonly Step[]): string | undefined {
  for (const { data } of steps.toReversed()) {
    const { hash } = data
    if (typeof hash === 'string' && hash !== '') return hash
  }
  return undefined
}

/** A look without a claim: nothing was written ahead, and nothing will be. */
const noLog: Log = {
  read: () => Promise.resolve([]),
  write: () => Promise.reject(new PaymentError('internal', 'A look writes nothing.')),
}

const open: Settlement = { state: 'unknown', detail: 'There is no rail to ask.' }

const traceless: Settlement = {
  state: 'failed',
  problem: problem('settlement-failed', 'The payment was not sent. Nothing was taken.'),
}

const unauthorized = denial('unauthorized', 'The key is missing or not known here.')

const unsupported = problem('credential-unsupported', 'Payments of this kind are not settled here.')

const foreign = problem('payment-spent', 'The payment was used for other terms, or otherwise.')

const used = problem('payment-spent', 'The payment was settled before.')

const inFlight = problem('payment-in-flight', 'The payment is being settled.')
