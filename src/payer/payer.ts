import { systemChance } from '../core/chance.ts'
import { systemClock } from '../core/clock.ts'
import type { Observe } from '../core/event.ts'
import type { Offer } from '../core/offer.ts'
import type { Chance, Clock, Ledger, Protocol, Wallet } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { PaymentError } from '../core/problem.ts'
import type { Receipt } from '../core/receipt.ts'
import type { Spent } from './budget.ts'
import { reportSpent } from './budget.ts'
import type { Found } from './challenge.ts'
import { readChallenges } from './challenge.ts'
import type { Choice } from './choose.ts'
import { choose } from './choose.ts'
import { BODY_BYTES_MAX, PAID_SENDS_MAX, RESULT_MS, SENDS_MS_MAX, SWEEP_MS } from './limits.ts'
import type { Payment } from './payment.ts'
import { evidenceOf, faultOf, setByToken, setPayment } from './payment.ts'
import type { Place, Policy } from './policy.ts'
import { readPolicy, writeCost } from './policy.ts'
import type { Purchase } from './purchases.ts'
import { createPurchases, isUnsigned } from './purchases.ts'
import type { Answer, Fields, Outgoing } from './request.ts'
import {
  addressOf,
  isRepeatable,
  mayWrite,
  orAbort,
  readRequest,
  resourceOf,
  send,
} from './request.ts'
import type { Intake } from './receive.ts'
import { receive, wrap } from './receive.ts'
import { resultAt, waitForResult } from './result.ts'
import type { Result } from './result.ts'
import { isPassing, isUnpayable, waitingFor, waitMs } from './retry.ts'
import type { Fate, ReadToken, Token } from './tokens.ts'
import { createTokens } from './tokens.ts'

export type { Spent } from './budget.ts'
export type { Payment } from './payment.ts'
export { isByToken, paymentOf } from './payment.ts'
export type { Policy } from './policy.ts'
export type { ReadToken, Said } from './tokens.ts'

/** Pays for requests. */
export interface Payer {
  /**
   * Does what fetch does, and pays a 402 if the policy allows it. The answer is the seller's plain response;
   * {@link paymentOf} tells what was paid for it.
   *
   * A payment is signed once. When its outcome is not known, the same one is sent again, by this call and by later calls
   * of the same method, address and body, also after a crash. Calls at the same time are purchases of their own. Where
   * another machine may still be at work on an equal purchase, the call waits for it, for a minute at most.
   *
   * What was paid and has not come is asked for with the same payment: when the answer breaks off in the beginning by this
   * call, when it breaks off later by the next equal call, up to a day after the payment's own end. A body that is cancelled
   * has come. If the seller will not serve it any more, his 402 or 410 is the answer and {@link paymentOf} says `posted` and
   * why: that money is lost, and only a further call pays anew.
   *
   * Where paying moves the money (Lightning), it has moved before the seller is asked again. If he then does not serve, the
   * answer is his, {@link paymentOf} says `posted` and why, and the next equal call shows the same payment once more before any
   * is made anew. A call pays once at most.
   *
   * A seller who has taken the request and works on (202 with the address of a task) is asked for the result with the same payment
   * until it is there, for `resultMs` at most. After that the 202 is the answer, and the next equal call asks again.
   *
   * What was bought and is good for more than one request is kept in the books and shown again, to the origin that sold it: L402
   * tokens, where they were good or for the service that they name, and tokens that a seller hands out beside an answer. When it
   * is taken no more, the call pays anew, once.
   *
   * Fields that the caller has set are his: no protocol writes over them, and no token is shown in their place. A request with
   * an `Authorization` of its own is not paid over L402, which needs that field.
   * @throws {PaymentError} `offers-unacceptable`, `budget-exceeded`, `declined`, `body-unrepeatable`: nothing was signed.
   * `settlement-failed`: the wallet could not pay, and nothing was paid. `payment-unknown`: the connection broke, or the answer,
   * or the wallet does not know yet whether it has paid; call again. `payment-in-flight`: another machine has paid for
   * an equal request and may be at work on it; nothing was paid now; call again. `task-failed`: the seller took the request and
   * could not do it. Whatever else fetch throws.
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>
  /** Looks at all open purchases and closes those whose outcome is known. Runs by itself beside purchases. */
  recover(): Promise<void>
  /** What was spent so far, for each way of adding up. */
  spent(): Promise<readonly Spent[]>
}

/** What is about to be paid. */
export interface Question {
  readonly url: string
  readonly method: string
  /** The cost in the policy's currency, `0.01 USD`, with the fees that it may have at most. */
  readonly cost: string
  /** How much of it may be fees, `5 SAT`; absent if there are none. */
  readonly feeMax?: string
}

/** What a payer is made of. */
export interface PayerParts {
  /** In the order of preference between equal prices. */
  readonly wallets: readonly Wallet[]
  /** In the order of preference where a wallet can pay the same by several. */
  readonly protocols: readonly Protocol[]
  /** May be shared by many payers and processes: they keep the budget together. */
  readonly ledger: Ledger
  readonly policy: Policy
  /** The kind of promise that it makes; a charge if absent. Another must be kept by whoever makes it: `createChannelPayer` does. */
  readonly intent?: string
  readonly fetch?: typeof globalThis.fetch
  readonly clock?: Clock
  readonly chance?: Chance
  readonly observe?: Observe
  /**
   * What can be told of a credential in the `Authorization` field, which may be a token: for which services it is good, until when,
   * and whether for one request only. Without it, only tokens that sellers hand out beside answers are shown again.
   */
  readonly readToken?: ReadToken
  /** How long the result of work that goes on after its answer (202) is waited for. {@link RESULT_MS} if absent, 0: not at all. */
  readonly resultMs?: number
  /** Asked before each signature. */
  readonly confirm?: (offer: Offer, question: Question) => Promise<boolean>
}

/**
 * Makes a payer.
 *
 * @example
 * const payer = createPayer({
 *   wallets: [wallet({ signer })],
 *   protocols: [x402({ … })],
 *   ledger: await sqlite({ file: 'payer.db' }),
 *   policy: { perRequest: '0.05 USD', perDay: '5 USD' },
 * })
 * const response = await payer.fetch('https://api.example/weather')
 * console.log(await response.json(), paymentOf(response)?.receipt?.reference)
 *
 * @throws {RangeError} with a sentence, when the policy is not complete.
 */
export function createPayer(parts: PayerParts): Payer {
  const { wallets, protocols, ledger, confirm } = parts
  const fetch = parts.fetch ?? globalThis.fetch
  const clock = parts.clock ?? systemClock
  const chance = parts.chance ?? systemChance
  const observe = parts.observe ?? (() => undefined)
  const { resultMs = RESULT_MS } = parts
  const rules = readPolicy(parts.policy, parts.intent)
  const paying = protocols.flatMap((protocol) => protocol.fields.request)
  const kept = { ledger, clock, chance, observe }
  const purchases = createPurchases({ ...kept, wallets, protocols, rules })
  const tokens = createTokens({ ...kept, readToken: parts.readToken ?? (() => undefined) })

  /** The first send, with a token where one has been good before. */
  async function enter(request: Outgoing): Promise<Entry> {
    const token = rules.shuns(placeOf(request, false)) ? undefined : await tokens.at(request)
    if (!token) return { ...(await send(fetch, request, [], paying)), tried: [] }
    const shown = await show(token, request)
    const told = { ...shown.answer, tried: [token] }
    if (shown.fate === 'taken') setToken(shown.answer)
    if (shown.fate === 'taken' || !isRepeatable(request) || (await isAsked(shown.answer)))
      return told
    discard(shown.answer.response)
    return { ...(await send(fetch, request, [], paying)), tried: [token] }
  }

  /** Whether a 402 says what is to be paid. */
  async function isAsked({ request, response }: Answer): Promise<boolean> {
    if (response.status !== 402) return false
    return (await readChallenges(response, protocols, resourceOf(request), clock)).length > 0
  }

  /** Shows a token, to the origin that sold it alone. Nothing new is paid. */
  async function show(
    token: Token,
    request: Outgoing,
  ): Promise<{ readonly answer: Answer; readonly fate: Fate }> {
    const fields = [['Authorization', token.authorization]] as const
    const first = await send(fetch, request, fields, paying)
    const result = await resultOf(first, fields)
    if (result.kind === 'failed') throw taskFailed(result.why)
    const answer = result.kind === 'came' ? result.answer : first
    const fate = answer.crossed ? 'taken' : fateOf(answer.response.status)
    if (!answer.crossed && (fate !== 'taken' || answer.response.ok))
      await tokens.note(token, request, fate)
    return { answer, fate }
  }

  /** What was asked for, for a token that was not tried yet; undefined if there is none that is taken. */
  async function redeem({
    request,
    response,
    crossed,
    tried,
  }: Entry): Promise<Response | undefined> {
    if (rules.shuns(placeOf(request, crossed))) return undefined
    for (const token of await tokens.among(request, response.headers, tried)) {
      const { answer, fate } = await show(token, request)
      if (fate === 'taken') return setToken(answer)
      discard(answer.response)
    }
    return undefined
  }

  async function pay(first: Entry): Promise<Response> {
    const { request, response } = first
    const found = await readChallenges(response, protocols, resourceOf(request), clock)
    request.signal?.throwIfAborted()
    if (found.length === 0) return response
    discard(response)
    if (!isRepeatable(request)) throw unrepeatable()
    // Beside the purchase, which does not wait for it.
    purchases.sweepSoon(SWEEP_MS).catch((error: unknown) => fault('payer/sweep', error))
    const open = await purchases.adopt(request)
    if (!open) return (await redeem(first)) ?? present(await buy(found, first), request)
    const shown = await present(open, request)
    if (!open.refused || !(open.ended || open.dead)) return shown
    discard(shown)
    return present(await buy(found, first), request)
  }

  async function buy(found: readonly Found[], { request, crossed }: Answer): Promise<Purchase> {
    const place = placeOf(request, crossed)
    const mayWriteOver = (protocol: Protocol): boolean => mayWrite(protocol, request)
    const chooser = { wallets, rules, now: clock.now(), place, mayWrite: mayWriteOver }
    const over: string[] = []
    let failed: PaymentError | undefined
    for (const choice of choose(found, chooser)) {
      await ask(choice, request)
      const made = await purchases.make(choice, request).catch((error: unknown) => {
        if (choice.wallet.moves && isUnsigned(error)) return error
        throw error
      })
      if (made instanceof PaymentError) failed ??= made
      else if (typeof made !== 'string') return made
      else over.push(made)
    }
    throw failed ?? exceeded(over)
  }

  async function ask({ offer, cost }: Choice, { url, method, signal }: Outgoing): Promise<void> {
    if (!confirm) return
    const { unit, fee = 0n } = cost
    const feeMax = fee > 0n && { feeMax: writeCost({ unit, amount: fee }) }
    const question = { url: addressOf(url), method, cost: writeCost(cost), ...feeMax }
    const said = await orAbort(confirm(offer, question), signal)
    if (!said) throw new PaymentError('declined', 'The payment was declined before it was signed.')
  }

  /** Sends the payment until there is an answer to it, and closes the books as far as the answer allows. */
  async function present(purchase: Purchase, request: Outgoing): Promise<Response> {
    let arriving = false
    try {
      const shown = await sendPaid(purchase, request).catch(async (error: unknown) => {
        await purchases.release(purchase, false)
        throw request.signal?.aborted ? error : lost(error)
      })
      const came = await arrive(purchase, shown)
      arriving = came.intake?.reader !== undefined
      return await close(purchase, came)
    } finally {
      // Whoever reads the body goes on with it.
      if (!arriving) purchases.leave(purchase)
    }
  }

  /** The result of work that goes on after its answer. Until it is there the purchase stays open, so that it can be fetched. */
  async function arrive(purchase: Purchase, shown: Shown): Promise<Shown> {
    if (!isServed(shown) || !resultAt(shown)) return shown
    const url = addressOf(shown.request.url)
    const said = readReceipt(purchase, shown)
    const receipt = said && !('code' in said) ? said : undefined
    const sure = await purchases.proven(purchase)
    // What was bought with it stands on this answer, and not on the result.
    await tokens.keep(shown.request, credentialOf(sure), shown.response.headers)
    if (resultMs > 0) await purchases.receive(purchase, receipt, url)
    const result = await resultOf(shown, credentialOf(sure), purchase.key).catch(
      async (error: unknown) => {
        await purchases.release(purchase, false)
        throw error
      },
    )
    if (result.kind === 'open') return { ...shown, said, isOpen: resultMs > 0 }
    discard(shown.response)
    if (result.kind === 'failed') {
      await purchases.lose(purchase, receipt, url)
      throw taskFailed(result.why)
    }
    const { answer } = result
    const { body } = answer.response
    const intake = body && (await receive(body, clock).catch(broken))
    return { ...answer, request: shown.request, said, ...(intake && { intake }) }

    async function broken(error: unknown): Promise<never> {
      await purchases.release(purchase, false)
      throw lost(error)
    }
  }

  async function resultOf(first: Answer, fields: Fields, purchase?: string): Promise<Result> {
    const at = first.crossed ? undefined : resultAt(first)
    if (!at || resultMs <= 0) return { kind: 'open' }
    const { request } = first
    return await waitForResult(at, first, fields, clock.now() + resultMs, {
      ...{ clock, chance },
      send: (asking, shown) => send(fetch, asking, shown, paying),
      rest: (ms, sends, detail, last) =>
        rest(ms, { ...(purchase !== undefined && { purchase }), sends }, request, last, detail),
    })
  }

  async function close(purchase: Purchase, shown: Shown): Promise<Response> {
    const said = readReceipt(purchase, shown)
    const receipt = said && !('code' in said) ? said : undefined
    const fault = receipt && faultOf(receipt, purchase)
    if (shown.isOpen) {
      await purchases.release(purchase, false)
      return note(purchase, wholeOf(shown), said, fault)
    }
    if (isServed(shown)) {
      const sure = await purchases.proven(purchase)
      await tokens.keep(shown.request, credentialOf(sure), shown.response.headers)
      return served(sure, shown, said, fault)
    }
    const paid = purchase.paid || (receipt !== undefined && fault === undefined)
    const refused = !shown.crossed && isRefusal(purchase, shown)
    const problem = said && 'code' in said ? said : await readProblem(purchase, shown)
    const rest = { ...(receipt && { receipt }), ...(problem && { problem }) }
    if (purchase.wallet.moves && purchase.paid && !(refused && purchase.resumed)) {
      await purchases.release(purchase, false)
      return noted(purchase, shown.response, 'posted', { why: unserved, ...rest })
    }
    if (paid && refused) {
      await purchases.lose(purchase, receipt, addressOf(shown.request.url))
      return noted(purchase, shown.response, 'posted', { why: gone, ...rest })
    }
    if (paid && receipt) return posted(purchase, shown, said, fault)
    await purchases.release(purchase, refused)
    if (purchase.dead) return noted(purchase, shown.response, 'voided', { why: givenBack, ...rest })
    return noted(purchase, shown.response, 'held', { why: mayBeTaken, ...rest })
  }

  /** What is whole is closed at once; what is on its way stays open until it has arrived. */
  async function served(
    purchase: Purchase,
    shown: Shown,
    said: Receipt | Problem | undefined,
    fault: string | undefined,
  ): Promise<Response> {
    const { intake, response } = shown
    if (!intake) return posted(purchase, shown, said, fault)
    const url = addressOf(shown.request.url)
    const receipt = said && !('code' in said) ? said : undefined
    const whole = wrap(response, intake, {
      reading: () => purchases.reading(purchase),
      async ended() {
        await purchases.post(purchase, receipt, url)
        purchases.leave(purchase)
      },
      async broke() {
        await purchases.release(purchase, false)
        purchases.leave(purchase)
      },
    })
    if (!intake.reader) return posted(purchase, { ...shown, response: whole }, said, fault)
    await purchases.receive(purchase, receipt, url)
    purchases.reading(purchase)
    return note(purchase, whole, said, fault)
  }

  async function posted(
    purchase: Purchase,
    { request, response }: Answer,
    said: Receipt | Problem | undefined,
    fault: string | undefined,
  ): Promise<Response> {
    const receipt = said && !('code' in said) ? said : undefined
    await purchases.post(purchase, receipt, addressOf(request.url))
    return note(purchase, response, said, fault)
  }

  async function note(
    purchase: Purchase,
    response: Response,
    said: Receipt | Problem | undefined,
    fault: string | undefined,
  ): Promise<Response> {
    const problem = said && 'code' in said ? said : undefined
    const receipt = said && !('code' in said) ? said : undefined
    const why = fault ?? problem?.detail ?? (await doubt(purchase, receipt))
    return noted(purchase, response, 'posted', {
      ...(receipt && { receipt }),
      ...(problem && { problem }),
      ...(why !== undefined && { why }),
    })
  }

  /** Undefined if the wallet saw the payment happen, otherwise a sentence why nobody can be sure. */
  async function doubt(
    { wallet, offer, proof }: Purchase,
    receipt: Receipt | undefined,
  ): Promise<string | undefined> {
    // Whoever has moved the money needs nobody to say so.
    if (!receipt && !wallet.moves) return 'The seller gave no receipt.'
    if (!rules.checkReceipts && !wallet.moves)
      return 'The policy does not ask for receipts to be checked.'
    if (!wallet.outcome) return 'The wallet cannot look whether the payment was made.'
    try {
      const outcome = await wallet.outcome(offer, proof)
      return outcome === 'paid' ? undefined : 'The wallet does not see that the payment was made.'
    } catch (error) {
      fault('payer/receipt', error)
      return 'The wallet could not look whether the payment was made.'
    }
  }

  async function sendPaid(purchase: Purchase, request: Outgoing): Promise<Shown> {
    const { expiresAt } = purchase
    const fields = credentialOf(purchase)
    const now = clock.now()
    // What is paid is not paid again by being late.
    const untilAt = purchase.paid ? now + SENDS_MS_MAX : Math.min(now + SENDS_MS_MAX, expiresAt)
    for (let sends = 1; ; sends++) {
      const answer = await send(fetch, request, fields, paying)
        .then((answer) => begin(purchase, answer))
        .catch(failed)
      if ('response' in answer && !mayChange(purchase, answer, sends)) return answer
      request.signal?.throwIfAborted()
      const response = 'response' in answer ? answer.response : undefined
      const wait = waitMs(sends, response, untilAt, clock, chance)
      if (wait === undefined) return orThrow(answer)
      await rest(wait, { purchase: purchase.key, sends }, request, response)
    }
  }

  /** Waits, and says for what. */
  async function rest(
    forMs: number,
    said: { readonly purchase?: string; readonly sends: number },
    { url, signal }: Outgoing,
    response: Response | undefined,
    detail = waitingFor(response),
  ): Promise<void> {
    observe({
      ...{ type: 'waiting', at: clock.now(), url: addressOf(url), waitMs: forMs, detail },
      ...said,
    })
    if (response) discard(response)
    await clock.sleep(forMs, signal)
    signal?.throwIfAborted()
  }

  /** A seller whom nobody can pay just now says so, and may be asked again: nothing was bought yet. */
  async function enterPayable(request: Outgoing): Promise<Entry> {
    const untilAt = clock.now() + SENDS_MS_MAX
    for (let sends = 1; ; sends++) {
      const entry = await enter(request)
      const { response, crossed } = entry
      if (crossed || !isRepeatable(request) || !(await isUnpayable(response, clock))) return entry
      const wait = waitMs(sends, response, untilAt, clock, chance)
      if (wait === undefined) return entry
      await rest(wait, { sends }, request, response)
    }
  }

  /** The beginning of what was bought. If it breaks, the same payment may be shown again: it is known to be taken. */
  async function begin(purchase: Purchase, answer: Answer): Promise<Shown> {
    const { response, request } = answer
    if (!isServed(answer) || !response.body) return answer
    try {
      return { ...answer, intake: await receive(response.body, clock) }
    } catch (error) {
      const said = readReceipt(purchase, answer)
      const receipt = said && !('code' in said) ? said : undefined
      if (!purchase.paid) await purchases.receive(purchase, receipt, addressOf(request.url))
      throw error
    }
  }

  function mayChange(purchase: Purchase, answer: Answer, sends: number): boolean {
    if (answer.crossed) return false
    if (isLateToLearn(purchase, answer)) return sends < PAID_SENDS_MAX
    if (!isPassing(answer.response)) return false
    const said = readReceipt(purchase, answer)
    return !said || 'code' in said
  }

  /** Another origin, to which the payment was not sent, has nothing to say about it. */
  function readReceipt(purchase: Purchase, answer: Shown): Receipt | Problem | undefined {
    if (answer.said) return answer.said
    if (answer.crossed) return undefined
    const { status, headers: fields } = answer.response
    return purchase.protocol.readReceipt({ status, fields }, purchase.offer)
  }

  async function readProblem({ protocol }: Purchase, answer: Answer): Promise<Problem | undefined> {
    const { status } = answer.response
    if (answer.crossed || !(status === 402 || isOwn(protocol, status))) return undefined
    const resource = resourceOf(answer.request)
    const [found] = await readChallenges(answer.response, [protocol], resource, clock)
    return found?.challenge.problem
  }

  function fault(where: string, error: unknown): void {
    observe({ type: 'fault', where, error, at: clock.now() })
  }

  return {
    async fetch(input, init) {
      const request = await readRequest(input, init)
      const first = await enterPayable(request)
      return first.response.status === 402 ? pay(first) : first.response
    },
    recover: () => purchases.sweep(),
    spent: () => reportSpent(ledger, rules, clock.now()),
  }
}

/** The first answer, and which tokens have been shown for it. */
interface Entry extends Answer {
  readonly tried: readonly Token[]
}

/** Notes what paid, unless another origin answered, which was shown nothing. */
function setToken({ response, crossed }: Answer): Response {
  return response.ok && !crossed ? setByToken(response) : response
}

function placeOf({ url }: Outgoing, crossed: boolean): Place {
  return { host: url.host, crossed }
}

/** What an answer says of the token that it was given. Whether the work itself went well is another matter. */
function fateOf(status: number): Fate {
  if (status === 401) return 'dead'
  if (status === 402) return 'refused'
  return status === 403 || status === 410 ? 'misplaced' : 'taken'
}

function credentialOf({ protocol, offer, proof }: Purchase): Fields {
  return protocol.writeCredential({ offer, proof }).fields
}

/** The money has moved, and the seller may not have heard of it yet. */
function isLateToLearn({ wallet, paid, resumed }: Purchase, { response }: Answer): boolean {
  return wallet.moves === true && paid && !resumed && response.status === 402
}

/** An answer to a payment, and what is here of the body that was bought. */
interface Shown extends Answer {
  readonly intake?: Intake
  /** What the seller said of the payment before, where this is the result of work that went on. */
  readonly said?: Receipt | Problem | undefined
  /** The seller has taken it and works on. */
  readonly isOpen?: boolean
}

/** An answer of which a copy is here, as it can be read by whoever asked. */
function wholeOf({ response, intake }: Shown): Response {
  const nobody = {
    reading: () => undefined,
    ended: () => Promise.resolve(),
    broke: () => Promise.resolve(),
  }
  return intake ? wrap(response, intake, nobody) : response
}

/** Another origin, to which the payment was not sent, serves nothing for it. */
function isServed({ response, crossed }: Answer): boolean {
  return response.ok && !crossed
}

/** Answers after which the same payment will not be taken: refused, unreadable, used up. */
const refusals = [400, 402, 410, 422]

function isRefusal({ protocol }: Purchase, { response: { status } }: Answer): boolean {
  return refusals.includes(status) || isOwn(protocol, status)
}

/** Whether the protocol refuses payments with that status. */
function isOwn({ statuses = {} }: Protocol, status: number): boolean {
  return Object.values(statuses).includes(status)
}

interface Failure {
  readonly error: unknown
}

function failed(error: unknown): Failure {
  return { error }
}

function orThrow(answer: Shown | Failure): Shown {
  if ('error' in answer) throw answer.error
  return answer
}

function noted(
  purchase: Purchase,
  response: Response,
  state: Payment['state'],
  rest: Pick<Payment, 'why' | 'receipt' | 'problem'>,
): Response {
  const { key, protocol, offer } = purchase
  const verified = rest.why === undefined
  const moved = evidenceOf(purchase)
  const payment = { key, protocol: protocol.name, offer, state, verified, ...moved, ...rest }
  return setPayment(response, payment)
}

const mayBeTaken =
  'The seller did not serve, and may still take the payment until its time is over.'

const givenBack = 'The seller did not serve, and gave the payment back. Nothing was paid.'

const unserved =
  'The payment was made, and the seller did not serve for it. The next equal request shows it once more.'

const gone =
  'This was paid, its answer was lost on the way, and the seller will not give it again. The next equal request pays anew.'

/** Frees the connection. A body of which a copy was read resolves late or never, so nobody waits for it. */
function discard(response: Response): void {
  response.body?.cancel().catch(() => undefined)
}

function exceeded(over: readonly string[]): PaymentError {
  const limit = over.length > 1 ? 'a limit' : 'the limit'
  return new PaymentError(
    'budget-exceeded',
    `${over.join(' ')} Nothing was signed. Raise ${limit}, or look at what was spent and is held.`,
  )
}

function taskFailed(why: string): PaymentError {
  return new PaymentError(
    'task-failed',
    `The seller has taken the request and could not do it (${why}).`,
  )
}

function unrepeatable(): PaymentError {
  return new PaymentError(
    'body-unrepeatable',
    `The seller asks for a payment, and the body of the request is larger than ${BODY_BYTES_MAX} bytes, so it was sent ` +
      'as it came and cannot be sent again. Nothing was paid. Send less, or in parts.',
  )
}

function lost(cause: unknown): PaymentError {
  return new PaymentError(
    'payment-unknown',
    'The payment was sent and no answer came back. Make the same request again: the same payment is sent, and no other ' +
      'is made while this one is valid.',
    { cause, retryable: true },
  )
}
