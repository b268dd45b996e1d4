import { systemClock } from '../../core/clock.ts'
import { assert } from '../../core/assert.ts'
import { isObject } from '../../core/json.ts'
import type { JsonObject } from '../../core/json.ts'
import { readPrice } from '../../core/money.ts'
import type { Price } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Method, Rail, Settlement, Step, Verdict } from '../../core/ports.ts'
import { PaymentError, problem, problems } from '../../core/problem.ts'
import type { Code, Problem } from '../../core/problem.ts'
import { createPlace, inOrder, isTurnedAway, sentence, Unsent } from './facilitator-place.ts'
import type { FacilitatorAddress, Operation, Place } from './facilitator-place.ts'
import { formOf, requirementsOf } from './part.ts'
import { codeOf } from './reasons.ts'
import { read, SettleResponse, SupportedResponse, VerifyResponse } from './wire.ts'
import type { FacilitatorRequest, Words } from './wire.ts'

export { ANSWER_BYTES_MAX } from './facilitator-place.ts'
export type { FacilitatorAddress } from './facilitator-place.ts'

/** How long after a proof's end a chain may still show a transfer that was made in time. */
export const DEAD_MARGIN_MS = 600_000

/** Looks at the chain for a transaction that should be there, and how often. */
const LOOK_MS = 500
const LOOK_TRIES = 20

/**
 * How far a facilitator's word that it has settled is believed: as it is; once an own look at the chain shows the payment; or
 * once that is so many blocks deep, its own counted.
 */
export type Trust = 'word' | 'receipt' | { readonly confirmations: number }

/** Where the facilitators are, and how far they are believed. */
export interface FacilitatedOptions<D, P> extends Omit<FacilitatorAddress, 'url'> {
  /**
   * The facilitator's address, or several in the order of preference. Fields, time-out and `repeatable` beside it are for
   * those that are given as text; an address with fields of its own says for itself.
   */
  readonly url: string | readonly (string | FacilitatorAddress)[]
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
  /** A price that the rail can quote, with which the start asks what a facilitator must support. */
  readonly sample?: Price
  /** `word` if absent. The others need `find`, and confirmations need `depth`. */
  readonly trust?: Trust
  /** How many blocks deep a transaction is, its own counted; 0 while it is in none. */
  readonly depth?: (reference: string) => Promise<number>
  /**
   * An own look at the chain, for instance a rail's own `find`. It is handed an empty log, for nothing of its own was
   * written ahead. Without it an outcome that the facilitator did not tell stays unknown until a person closes it.
   */
  readonly find?: Rail<D, P>['find']
  /**
   * When a proof stops being payable, in milliseconds. With it a proof that ends before the work does is refused, and
   * with `find` beside it a payment that never came can be called dead.
   */
  readonly expiresAt?: (proof: P) => number
}

/**
 * A rail with a wire in the middle: what the method says and identifies here, an x402 facilitator verifies and settles
 * (version 2, whatever version the payer speaks). Its word is believed no further than it is whole and fits the offer.
 *
 * Of several, the next is asked to verify whenever one cannot, but to settle only when it is certain that the one before has
 * not taken the payment: it was never reached, or turned the request away at the door.
 * @throws {RangeError} with what to do, when the settings cannot be.
 */
export function facilitated<D, P>(
  method: Method<D, P>,
  options: FacilitatedOptions<D, P>,
): Rail<D, P> {
  const { clock = systemClock, find: look, expiresAt, trust = 'word', depth } = options
  if (trust !== 'word' && !look)
    throw new RangeError('To trust more than its word, give `find`: an own look at the chain.')
  if (typeof trust === 'object' && !depth)
    throw new RangeError('To count confirmations, give `depth`.')
  const places = placesOf(options, clock)
  const form = formOf<D, P>(method)
  assert(form, 'a facilitated method can be said in x402')
  let able = places

  return {
    name: method.name,
    network: method.network,
    forms: method.forms,
    quote: (price) => method.quote(price),
    ...(method.units && { units: method.units }),
    identify: (offer, proof) => method.identify(offer, proof),

    async open() {
      const faults = await Promise.all(places.map(unable))
      able = places.filter((_, i) => !isUnfit(faults[i]))
      const [first] = faults
      if (faults.every((fault) => fault !== undefined)) throw first
    },

    async verify(offer, proof, payableForMs = 0) {
      const { key, payer } = method.identify(offer, proof)
      if (expiresAt && expiresAt(proof) < clock.now() + payableForMs)
        return { ok: false, problem: problem('proof-expired', tooShort), key, payer }
      const why = await judged(request(offer, form.writeProof(proof)))
      if (!why) return { ok: true, key, payer }
      return (await spentOnUs(offer, key, why)) ?? { ok: false, problem: why, key, payer }
    },

    async settle(offer, proof, key, log) {
      const steps = await log.read()
      if (steps.some(isPrepared))
        return (await find(offer, key, log)) ?? unknown('It was sent before.')
      const payload = form.writeProof(proof)
      const { payer } = method.identify(offer, proof)
      const end = expiresAt && { expiresAt: expiresAt(proof) }
      for (const place of inOrder(able, clock.now())) {
        await log.write({ type: 'prepared', data: { via: place.via, payer, payload, ...end } })
        const said = await send(place, offer, payload, payer, key, log, true)
        if (said !== 'not-taken') return said
        // Without this line a crash would leave a doubt about it, and the next must not be sent what is in doubt.
        await log.write({ type: 'turned-away', data: { via: place.via } })
      }
      return { state: 'failed', problem: problem('rail-unavailable', nobody) }
    },

    find,
    close: () => Promise.resolve(),
  }

  function request(offer: Offer<D>, payload: JsonObject): FacilitatorRequest {
    assert(form, 'a facilitated method can be said in x402')
    const words: Words = form.writeDetails(offer)
    const requirements = requirementsOf(words, words.extra)
    return {
      x402Version: 2,
      paymentPayload: {
        x402Version: 2,
        resource: { url: offer.resource.url },
        accepted: requirements,
        payload,
      },
      paymentRequirements: requirements,
    }
  }

  /** Why the facilitator cannot be used; undefined if it can. */
  async function unable(place: Place): Promise<PaymentError | undefined> {
    try {
      const supported = read(SupportedResponse, (await place.ask('supported')).json)
      if (!supported.ok) return unavailable('supported', supported.why)
      const wanted = method.quote(options.sample ?? readPrice('1 USD'))
      if (wanted.length === 0)
        return misconfigured('Give `sample`, a price that the rail can quote.')
      assert(form, 'a facilitated method can be said in x402')
      for (const { scheme, network } of wanted.map((terms) => form.writeDetails(terms)))
        if (!supported.value.kinds.some((k) => isKind(k, scheme, network)))
          return misconfigured(`The facilitator does not support "${scheme}" on ${network}.`)
      return undefined
    } catch (error) {
      place.rest()
      assert(error instanceof PaymentError, 'a place fails with a payment error')
      return error
    }
  }

  /** Asks until one can tell: a problem, or undefined for a yes. */
  async function judged(body: FacilitatorRequest): Promise<Problem | undefined> {
    let fault: unknown
    let unsupported: Problem | undefined
    for (const place of inOrder(able, clock.now()))
      try {
        const why = await judgedBy(place, body)
        if (why?.code !== 'credential-unsupported') return why
        unsupported ??= why
      } catch (error) {
        place.rest()
        fault ??= error
      }
    if (unsupported) return unsupported
    throw fault
  }

  /** Verifies with one. @throws {PaymentError} when it cannot tell. */
  async function judgedBy(place: Place, body: FacilitatorRequest): Promise<Problem | undefined> {
    const answer = await place.ask('verify', body)
    const verified = read(VerifyResponse, answer.json)
    if (!verified.ok || !fits(answer.status, verified.value.isValid))
      throw unavailable('verify', `It said ${answer.status}.`)
    if (verified.value.isValid) return undefined
    const why = refusal(verified.value.invalidReason, 'proof-invalid')
    if (why.code === 'rail-unavailable' || why.code === 'payment-unknown')
      throw unavailable('verify', 'It could not look.')
    return why
  }

  /** A nonce that is used may have been used to pay us, by an observer who was faster: an own look can tell. */
  async function spentOnUs(
    offer: Offer<D>,
    key: string,
    why: Problem,
  ): Promise<Verdict | undefined> {
    if (why.code !== 'payment-spent') return undefined
    const found = await evidence(offer, key)
    return found?.state === 'settled' ? { ok: true, key, payer: found.payer } : undefined
  }

  /** What an own look shows, as deep as is asked for. */
  async function evidence(offer: Offer<D>, key: string): Promise<Settlement | undefined> {
    const found = await look?.(offer, key, emptyLog)
    if (found?.state !== 'settled' || typeof trust !== 'object' || !depth) return found
    if ((await depth(found.reference)) >= trust.confirmations) return found
    return unknown('It is in a block that is not deep enough yet.')
  }

  /** Sends the payment. Only the answer to the first sending can say that nothing moved. */
  async function send(
    place: Place,
    offer: Offer<D>,
    payload: JsonObject,
    payer: string,
    key: string,
    log: Log,
    first: boolean,
  ): Promise<Settlement | 'not-taken'> {
    const said = await settleOnce(place, offer, payload, payer)
    if (said === 'not-taken') return said
    const failed = said.state === 'failed' && first && !isSpent(said)
    if (failed || (said.state === 'settled' && trust === 'word')) {
      // An outcome in hand is worth more than its record: books that cannot be written now will tell at the posting.
      await log.write({ type: 'answered', data: toData(said) }).catch(() => undefined)
      return said
    }
    if (said.state === 'settled') return await seen(offer, key)
    const found = await evidence(offer, key).catch(() => undefined)
    if (found) return found
    return said.state === 'unknown'
      ? said
      : unknown('The facilitator says that the payment was used before.')
  }

  /** Waits until an own look shows what the facilitator says. */
  async function seen(offer: Offer<D>, key: string): Promise<Settlement> {
    for (let tries = 0; tries < LOOK_TRIES; tries++) {
      if (tries > 0) await clock.sleep(LOOK_MS)
      const found = await evidence(offer, key).catch(() => undefined)
      if (found && found.state !== 'unknown') return found
    }
    return unknown('The facilitator says that it is settled, and the chain does not show it yet.')
  }

  async function settleOnce(
    place: Place,
    offer: Offer<D>,
    payload: JsonObject,
    payer: string,
  ): Promise<Settlement | 'not-taken'> {
    const answer = await place.ask('settle', request(offer, payload)).catch((error: unknown) => {
      place.rest()
      return error instanceof Unsent ? 'not-taken' : undefined
    })
    if (answer === 'not-taken') return answer
    if (!answer) return unknown('The facilitator did not answer.')
    if (isTurnedAway(answer)) {
      place.rest()
      return 'not-taken'
    }
    const settled = read(SettleResponse, answer.json)
    if (!settled.ok || !fits(answer.status, settled.value.success))
      return unknown(`The facilitator answered ${answer.status} without an outcome.`)
    return outcomeOf(settled.value, offer, payer, clock.now())
  }

  async function find(offer: Offer<D>, key: string, log: Log): Promise<Settlement | undefined> {
    const steps = await log.read()
    const answered = answerIn(steps)
    if (answered) return answered
    const prepared = steps.findLast(isPrepared)
    const found = await evidence(offer, key)
    if (found || !prepared) return found
    const { payload, payer, expiresAt, via } = prepared.data
    if (isClosed(steps)) return { state: 'failed', problem: problem('rail-unavailable', nobody) }
    // The look came after the proof's end and found nothing: now nothing can come any more.
    if (look && typeof expiresAt === 'number' && clock.now() > expiresAt + DEAD_MARGIN_MS)
      return { state: 'failed', problem: problem('settlement-failed', never) }
    const place = places.find((one) => one.via === via && one.repeatable)
    if (!place || !isObject(payload) || typeof payer !== 'string') return unknown(untold)
    const again = await send(place, offer, payload, payer, key, log, false)
    // That it is turned away now says nothing of the first time.
    return again === 'not-taken' ? unknown(untold) : again
  }
}

/** @throws {RangeError} when two of them cannot be told apart in the log, or there is none. */
function placesOf<D, P>(options: FacilitatedOptions<D, P>, clock: Clock): readonly Place[] {
  const { url, fetch = (...args) => globalThis.fetch(...args) } = options
  const { headers, timeoutMs, repeatable } = options
  const common = {
    ...(headers && { headers }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(repeatable !== undefined && { repeatable }),
  }
  const places = (typeof url === 'string' ? [url] : url).map((one) =>
    createPlace(typeof one === 'string' ? { ...common, url: one } : one, { clock, fetch }),
  )
  if (places.length === 0) throw new RangeError('Give the address of a facilitator.')
  if (new Set(places.map(({ via }) => via)).size < places.length)
    throw new RangeError('Two of the facilitators are at the same host: give one of them.')
  return places
}

/** It answered, and cannot do what is needed; one that did not answer may do so later. */
function isUnfit(fault: PaymentError | undefined): boolean {
  return fault?.code === 'misconfigured'
}

/** Whether all that was sent was turned away. */
function isClosed(steps: readonly Step[]): boolean {
  const last = steps.findLast((step) => isPrepared(step) || step.type === 'turned-away')
  return last?.type === 'turned-away'
}

const untold = 'It was sent to the facilitator, and what became of it was not told.'

const nobody = 'No facilitator has taken the payment. Nothing was taken; send it again later.'

const never = 'The payment was not collected in its time and can no longer be. Nothing was taken.'

const tooShort =
  'The payment ends before the work would. Nothing was taken; make one that stays payable for longer.'

const isPrepared = (step: Step): boolean => step.type === 'prepared'

const emptyLog: Log = { read: () => Promise.resolve([]), write: () => Promise.resolve() }

/** What the facilitator's whole, readable answer means for the offer. */
function outcomeOf(
  said: SettleResponse,
  offer: Offer,
  payer: string,
  settledAt: number,
): Settlement {
  if (said.success) {
    if (said.transaction === '') return unknown('The facilitator names no transaction.')
    if (said.network !== offer.network) return unknown('The facilitator names another network.')
    if (said.amount && BigInt(said.amount) !== offer.amount.amount)
      return unknown('The facilitator names another amount.')
    return { state: 'settled', reference: said.transaction, payer, settledAt }
  }
  const code = said.errorReason ? codeOf(said.errorReason) : undefined
  // With a transaction, or in words that we do not know, something may have been sent.
  if (said.transaction !== '' || code === undefined || !isDefinite(code))
    return unknown('The facilitator failed after it may have sent the payment.')
  return { state: 'failed', problem: refusal(said.errorReason, code) }
}

/** Refusals that are found before anything is sent. */
function isDefinite(code: Code): boolean {
  return (
    problems[code].moved === 'no' && code !== 'settlement-failed' && code !== 'rail-unavailable'
  )
}

function isSpent(said: Settlement): boolean {
  return said.state === 'failed' && said.problem.code === 'payment-spent'
}

function toData(said: Settlement): JsonObject {
  if (said.state === 'unknown') return { ...said }
  if (said.state === 'settled') {
    const { state, reference, payer, settledAt } = said
    return { state, reference, payer, settledAt }
  }
  const { code, detail } = said.problem
  return { state: 'failed', code, detail }
}

/** What the facilitator was heard to say, as {@link toData} wrote it. */
function answerIn(steps: readonly Step[]): Settlement | undefined {
  const data = steps.find(({ type }) => type === 'answered')?.data
  if (!data) return undefined
  const { state, reference, payer, settledAt, code, detail } = data
  if (state === 'failed') {
    assert(isCode(code) && typeof detail === 'string', 'a failure was written with its code')
    return { state, problem: problem(code, detail) }
  }
  assert(typeof reference === 'string', 'an answer was written with its reference')
  assert(typeof payer === 'string', 'an answer was written with its payer')
  assert(typeof settledAt === 'number', 'an answer was written with its time')
  return { state: 'settled', reference, payer, settledAt }
}

function isCode(value: unknown): value is Code {
  return typeof value === 'string' && Object.hasOwn(problems, value)
}

function refusal(reason: string | null | undefined, otherwise: Code): Problem {
  const code = (reason && codeOf(reason)) || otherwise
  return problem(code, `The facilitator refuses the payment: ${problems[code].title}.`)
}

function unknown(detail: string): Settlement {
  return { state: 'unknown', detail }
}

function isKind(
  kind: { readonly x402Version: number; readonly scheme: string; readonly network: string },
  scheme: string,
  network: string,
): boolean {
  return kind.x402Version === 2 && kind.scheme === scheme && kind.network === network
}

function misconfigured(sentence: string): PaymentError {
  return new PaymentError('misconfigured', sentence)
}

function unavailable(operation: Operation, why: string): PaymentError {
  return new PaymentError('rail-unavailable', sentence(operation, why), { retryable: true })
}

/** A yes comes with success, a no also with a client's error; a server's error says nothing. */
function fits(status: number, yes: boolean): boolean {
  return status >= 200 && status < (yes ? 300 : 500)
}
