import { systemClock } from '../../core/clock.ts'
import { assert } from '../../core/assert.ts'
import { isObject, readJson } from '../../core/json.ts'
import type { Json, JsonObject } from '../../core/json.ts'
import { readPrice } from '../../core/money.ts'
import type { Price } from '../../core/money.ts'
import type { Offer } from '../../core/offer.ts'
import type { Clock, Log, Method, Rail, Settlement, Step, Verdict } from '../../core/ports.ts'
import { PaymentError, problem, problems } from '../../core/problem.ts'
import type { Code, Problem } from '../../core/problem.ts'
import { formOf, requirementsOf } from './part.ts'
import { codeOf } from './reasons.ts'
import { read, SettleResponse, SupportedResponse, VerifyResponse } from './wire.ts'
import type { FacilitatorRequest, Words } from './wire.ts'

/** Most bytes of an answer that are read. */
export const ANSWER_BYTES_MAX = 262_144

/** How long an answer may take, in all, if nothing else is said: as long as upstream waits. */
const ANSWER_TIMEOUT_MS = 90_000

/** How long after a proof's end a chain may still show a transfer that was made in time. */
export const DEAD_MARGIN_MS = 600_000

/** What a facilitator is asked. */
type Operation = 'verify' | 'settle' | 'supported'

/** Where the facilitator is, and how far it is believed. */
export interface FacilitatedOptions<D, P> {
  /** Address under which `/verify`, `/settle` and `/supported` lie. */
  readonly url: string
  /** Header fields of each call, for instance an API key. */
  readonly headers?: (
    operation: Operation,
  ) => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>
  readonly timeoutMs?: number
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
  /** A price that the rail can quote, with which the start asks what the facilitator must support. */
  readonly sample?: Price
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
  /** Set if the facilitator answers a repeated `/settle` from its record. By default nothing is sent twice. */
  readonly repeatable?: boolean
}

/**
 * A rail with a wire in the middle: what the method says and identifies here, an x402 facilitator verifies and settles
 * (version 2, whatever version the payer speaks). Its word is believed no further than it is whole and fits the offer.
 */
export function facilitated<D, P>(
  method: Method<D, P>,
  options: FacilitatedOptions<D, P>,
): Rail<D, P> {
  const { clock = systemClock, find: look, expiresAt, repeatable = false } = options
  const ask = createAsk(options, clock)
  const form = formOf<D, P>(method)
  assert(form, 'a facilitated method can be said in x402')

  return {
    name: method.name,
    network: method.network,
    forms: method.forms,
    quote: (price) => method.quote(price),
    identify: (offer, proof) => method.identify(offer, proof),

    async open() {
      const supported = read(SupportedResponse, (await ask('supported')).json)
      if (!supported.ok) throw unavailable('supported', supported.why)
      const wanted = method.quote(options.sample ?? readPrice('1 USD'))
      if (wanted.length === 0)
        throw misconfigured('Give `sample`, a price that the rail can quote.')
      for (const { scheme, network } of wanted.map((terms) => form.writeDetails(terms)))
        if (!supported.value.kinds.some((k) => isKind(k, scheme, network)))
          throw misconfigured(`The facilitator does not support "${scheme}" on ${network}.`)
    },

    async verify(offer, proof, payableForMs = 0) {
      const { key, payer } = method.identify(offer, proof)
      if (expiresAt && expiresAt(proof) < clock.now() + payableForMs)
        return { ok: false, problem: problem('proof-expired', tooShort), key, payer }
      const answer = await ask('verify', request(offer, form.writeProof(proof)))
      const verified = read(VerifyResponse, answer.json)
      if (!verified.ok || !fits(answer.status, verified.value.isValid))
        throw unavailable('verify', `It said ${answer.status}.`)
      if (verified.value.isValid) return { ok: true, key, payer }
      const why = refusal(verified.value.invalidReason, 'proof-invalid')
      if (why.code === 'rail-unavailable' || why.code === 'payment-unknown')
        throw unavailable('verify', 'It could not look.')
      return (await spentOnUs(offer, key, why)) ?? { ok: false, problem: why, key, payer }
    },

    async settle(offer, proof, key, log) {
      const steps = await log.read()
      if (steps.some(isPrepared))
        return (await find(offer, key, log)) ?? unknown('It was sent before.')
      const payload = form.writeProof(proof)
      const { payer } = method.identify(offer, proof)
      const end = expiresAt && { expiresAt: expiresAt(proof) }
      await log.write({
        type: 'prepared',
        data: { via: via(options.url), payer, payload, ...end },
      })
      return send(offer, payload, payer, key, log, true)
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

  /** A nonce that is used may have been used to pay us, by an observer who was faster: an own look can tell. */
  async function spentOnUs(
    offer: Offer<D>,
    key: string,
    why: Problem,
  ): Promise<Verdict | undefined> {
    if (why.code !== 'payment-spent' || !look) return undefined
    const found = await look(offer, key, emptyLog)
    return found?.state === 'settled' ? { ok: true, key, payer: found.payer } : undefined
  }

  /** Sends the payment. Only the answer to the first sending can say that nothing moved. */
  async function send(
    offer: Offer<D>,
    payload: JsonObject,
    payer: string,
    key: string,
    log: Log,
    first: boolean,
  ): Promise<Settlement> {
    const said = await settleOnce(offer, payload, payer)
    const told = said.state === 'settled' || (said.state === 'failed' && first && !isSpent(said))
    if (told) {
      // An outcome in hand is worth more than its record: books that cannot be written now will tell at the posting.
      await log.write({ type: 'answered', data: toData(said) }).catch(() => undefined)
      return said
    }
    const found = await look?.(offer, key, emptyLog).catch(() => undefined)
    if (found) return found
    return said.state === 'unknown'
      ? said
      : unknown('The facilitator says that the payment was used before.')
  }

  async function settleOnce(
    offer: Offer<D>,
    payload: JsonObject,
    payer: string,
  ): Promise<Settlement> {
    const answer = await ask('settle', request(offer, payload)).catch(() => undefined)
    if (!answer) return unknown('The facilitator did not answer.')
    const settled = read(SettleResponse, answer.json)
    if (!settled.ok || !fits(answer.status, settled.value.success))
      return unknown(`The facilitator answered ${answer.status} without an outcome.`)
    return outcomeOf(settled.value, offer, payer, clock.now())
  }

  async function find(offer: Offer<D>, key: string, log: Log): Promise<Settlement | undefined> {
    const steps = await log.read()
    const answered = answerIn(steps)
    if (answered) return answered
    const prepared = steps.find(isPrepared)
    const found = await look?.(offer, key, emptyLog)
    if (found || !prepared) return found
    const { payload, payer, expiresAt } = prepared.data
    // The look came after the proof's end and found nothing: now nothing can come any more.
    if (look && typeof expiresAt === 'number' && clock.now() > expiresAt + DEAD_MARGIN_MS)
      return { state: 'failed', problem: problem('settlement-failed', never) }
    if (repeatable && isObject(payload) && typeof payer === 'string')
      return send(offer, payload, payer, key, log, false)
    return unknown('It was sent to the facilitator, and what became of it was not told.')
  }
}

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
  if (said.state !== 'failed') return { ...said }
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

function via(url: string): string {
  return new URL(url).origin
}

function misconfigured(sentence: string): PaymentError {
  return new PaymentError('misconfigured', sentence)
}

function unavailable(operation: Operation, why: string, cause?: unknown): PaymentError {
  const sentence = `The facilitator's /${operation} gave no usable answer. ${why}`
  return new PaymentError('rail-unavailable', sentence, { cause, retryable: true })
}

interface Answer {
  readonly status: number
  /** Undefined if the answer was not JSON within limits. */
  readonly json: Json | undefined
}

type Ask = (operation: Operation, body?: FacilitatorRequest) => Promise<Answer>

/** Makes the one way to the facilitator: bounded in time and size, and never led elsewhere. */
function createAsk<D, P>(options: FacilitatedOptions<D, P>, clock: Clock): Ask {
  const { headers, timeoutMs = ANSWER_TIMEOUT_MS, fetch = globalThis.fetch } = options
  const base = new URL(options.url).href.replace(/\/+$/, '')
  return async (operation, body) => {
    try {
      const own = (await headers?.(operation)) ?? {}
      return await within(clock, timeoutMs, async (signal) => {
        const response = await fetch(`${base}/${operation}`, {
          method: body ? 'POST' : 'GET',
          headers: { accept: 'application/json', ...(body && json), ...own },
          ...(body && { body: JSON.stringify(body) }),
          redirect: 'error',
          signal,
        })
        const text = await textOf(response)
        return { status: response.status, json: readJson(text, ANSWER_BYTES_MAX) }
      })
    } catch (cause) {
      throw unavailable(operation, 'It could not be reached in time.', cause)
    }
  }
}

const json = { 'content-type': 'application/json' }

/** The body as text; empty when it is longer than the limit. */
async function textOf(response: Response): Promise<string> {
  if (!response.body) return ''
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.byteLength
    // Leaving the loop ends the stream.
    if (bytes > ANSWER_BYTES_MAX) return ''
    chunks.push(chunk)
  }
  return new TextDecoder().decode(Buffer.concat(chunks))
}

/** Does the work in that time, or throws, also when the work does not listen to the signal. */
async function within<T>(
  clock: Clock,
  ms: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ended = new AbortController()
  const cut = new AbortController()
  const late = clock.sleep(ms, ended.signal).then((): never => {
    cut.abort()
    throw new Error('The time is over.')
  })
  try {
    return await Promise.race([work(cut.signal), late])
  } finally {
    late.catch(() => undefined)
    ended.abort()
  }
}

/** A yes comes with success, a no also with a client's error; a server's error says nothing. */
function fits(status: number, yes: boolean): boolean {
  return status >= 200 && status < (yes ? 300 : 500)
}
