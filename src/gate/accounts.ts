import { hash } from 'node:crypto'
import { assert } from '../core/assert.ts'
import type { Grant, Unbound } from '../core/credential.ts'
import type { JsonObject } from '../core/json.ts'
import type { Account, Measure, Plan } from '../core/plan.ts'
import type { Accounts, Ask, Held, Ledger, Leg, Pass, Transfer } from '../core/ports.ts'
import { ACCOUNT_FRESH_MS, WORLD } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import { PaymentError, problem } from '../core/problem.ts'
import { allows } from '../core/rights.ts'
import type { Limit } from '../core/rights.ts'
import {
  SCALE,
  TIME,
  USES,
  accountOf,
  amountOf,
  drawsOf,
  fine,
  isPaymentBack,
  keyOf,
  limitLeg,
  putBackOf,
  readAccount,
  restsOf,
  toEntry,
  topUpsOf,
  unitOf,
  writeAccount,
  writeDraw,
  writeLastDraw,
} from './account.ts'
import type { Known, PaidIn } from './account.ts'
import { boughtBy, promiseLeg, promisedOf, writeDeposited } from './channel.ts'
import {
  ACCOUNTS_MAX,
  DRAW_LIMITS_MAX,
  KEEP_MS,
  RETRY_MS,
  SETTLE_MS,
  TOP_UPS_MAX,
  WORK_MS,
} from './limits.ts'
import { createFreeMeter, createMetering } from './metering.ts'
import type { Metering, Portion } from './metering.ts'
import type { Refusals } from './refusals.ts'
import type { Shelf } from './delivery.ts'
import { readNote } from './note.ts'
import type { Entry, House } from './sale.ts'
import { purposeOf } from './sale.ts'
import { createWindows } from './windows.ts'

/** What a payment is booked into. */
export interface Deposit {
  readonly plan: Plan
  /** The account, which is opened by it, or stands already. */
  readonly id: string
  /** The key of the payment: one payment is booked once. */
  readonly payment: string
  readonly payer: string
  /** Where what is left goes back to; a session has one. */
  readonly returnTo?: string
  /** Where it was paid into a channel. */
  readonly channel?: PaidIn
}

/** The accounts of tokens: a transfer into one when it is paid, and one out of it for each request. */
export interface AccountBooks extends Accounts {
  /** Safe to call twice for one payment. */
  open(deposit: Deposit): Promise<Account>
  /** Safe to call twice for one payment. */
  topUp(deposit: Deposit): Promise<Account>
  /** Whether a payment for the plan can be booked into the account; to be asked before it is taken. `by`: the rail that it comes by. */
  takes(id: string, plan: Plan, by?: Unbound): Promise<boolean>
  /** Why the grant does not cover the request, whatever is left in its account. */
  forbids(ask: Ask, grant: Grant, plan?: string): Problem | undefined
  /** Lets the request in for what it takes out of the account. */
  draw(ask: Ask, grant: Grant): Promise<Entry>
  /** The same at once, where nothing is taken and the account is known; undefined, and nothing counted, where it is not so. */
  drawNow(ask: Ask, grant: Grant): Pass | undefined
  /** What could be drawn of an account now, in its own unit, and what is held of it, by one look. */
  free(id: string, unit: string): Promise<{ readonly left: bigint; readonly held: bigint }>
  /** The account as it stands now, however lately that was asked. */
  look(id: string): Promise<Known | undefined>
  /** Draws the amount at once, for no request: what the voucher that ends a channel promises beyond what was drawn. */
  drawLast(account: Known, amount: bigint, most: bigint): Promise<boolean>
  /** Puts a part of a posted draw back into its account, rounded down. Once; false where what was drawn is gone. */
  putBack(draw: Held, numerator: bigint, denominator: bigint): Promise<boolean>
  /** A payment goes back whole: the account that it was booked into pays nothing more, unless that fails. Safe to call twice. */
  goesBack(sale: Held, isFailed: boolean): Promise<void>
}

/** What the books were asked of an account, and what they said once they did. */
interface Recalled {
  readonly at: number
  readonly account: Promise<Known | undefined>
  found?: Known
}

/** What a request has taken, by the claim that it made. */
type Taken = Portion

/** Why nothing was taken: an account is short, or a request under the same name was there before. */
type Miss =
  | { readonly kind: 'short'; readonly account: string }
  | { readonly kind: 'replayed' | 'foreign'; readonly held: Held }

/** Makes the accounts. Without a shelf no answer is kept. */
export function createAccounts(
  { ledger, rails, clock, observe, fault }: House,
  refusals: Pick<Refusals, 'refuse' | 'trouble'>,
  shelf?: Shelf,
): AccountBooks {
  const known = new Map<string, Recalled>()
  const windows = createWindows()

  /** Many requests of one token ask the books once. */
  function recall(id: string): Promise<Known | undefined> {
    const before = fresh(id, clock.now())
    if (before) return before.account
    const account = look(id)
    const recalled: Recalled = { at: clock.now(), account }
    if (known.size >= ACCOUNTS_MAX) known.clear()
    known.set(id, recalled)
    const forget = (): void => {
      if (known.get(id) === recalled) known.delete(id)
    }
    // One that is not there yet may be opened by another process at any moment: nobody is told to pay twice.
    account.then((found) => (found ? (recalled.found = found) : forget()), forget)
    return account
  }

  function fresh(id: string, now: number): Recalled | undefined {
    const before = known.get(id)
    const ageMs = before ? now - before.at : 0
    return ageMs >= 0 && ageMs < ACCOUNT_FRESH_MS ? before : undefined
  }

  async function look(id: string): Promise<Known | undefined> {
    const held = await ledger.find(keyOf(id))
    return held?.state === 'posted' ? readAccount(id, held) : undefined
  }

  async function open({ plan, id, payment, payer, ...rest }: Deposit): Promise<Account> {
    const note = writeAccount(plan, payment, payer, clock.now(), rest)
    const made = await ledger.transfer(into(keyOf(id), plan, id, note))
    assert(made.outcome !== 'insufficient', 'the outside world is never short of money')
    const by = made.outcome === 'made' ? payment : made.held.note['payment']
    assert(by === payment, 'an account is opened by one payment')
    await ledger.post(keyOf(id))
    return await afresh(id)
  }

  async function topUp({ plan, id, payment, payer, channel }: Deposit): Promise<Account> {
    const opened = await ledger.find(keyOf(id))
    // What it was opened by is in it already.
    if (opened?.note['payment'] === payment) return await afresh(id)
    const key = topUpsOf(id) + hash('sha256', payment, 'hex')
    await ledger.transfer(into(key, plan, id, { kind: 'topup', plan: plan.name, payment, payer }))
    await ledger.post(key)
    const paid = await ledger.find(key)
    assert(paid?.state === 'posted', 'what is posted stands')
    const account = await ledger.find(keyOf(id))
    const isSaid = account?.steps.some((step) => step.data['payment'] === payment)
    // Said twice after a crash it is the same: the end is counted from the making of the transfer.
    const data = {
      payment,
      expiresAt: paid.madeAt + plan.validForMs,
      ...(channel && writeDeposited({ paid: channel.paid, bought: paid.posted })),
    }
    if (!isSaid) await ledger.step(keyOf(id), { type: 'topped-up', data })
    return await afresh(id)
  }

  function into(key: string, plan: Plan, id: string, note: JsonObject): Transfer {
    return {
      key,
      purpose: `plan ${plan.name}`,
      asset: unitOf(plan),
      amount: amountOf(plan),
      legs: [{ debit: `${WORLD}plans/${plan.name}`, credit: accountOf(id) }],
      leaseUntilAt: clock.now() + SETTLE_MS,
      note,
    }
  }

  async function afresh(id: string): Promise<Account> {
    known.delete(id)
    const account = await recall(id)
    assert(account, 'what is posted stands')
    return account
  }

  function forbids(
    ask: Ask,
    { rights, payerKey }: Grant,
    plan?: string,
    now: number = clock.now(),
  ): Problem | undefined {
    const [limit] = rights.budget ?? []
    const price =
      limit && pricesFor(ask, true).find(({ currency }) => currency === limit.most.currency)
    const { resource } = ask
    const use = {
      resource,
      ...(plan !== undefined && { service: plan }),
      ...(payerKey !== undefined && { payerKey }),
      ...(price && { price }),
    }
    const leave = allows(rights, use, now)
    if (leave.ok) return undefined
    const code = leave.right === 'expiresAt' ? 'token-exhausted' : 'token-insufficient'
    return problem(code, leave.detail, { reason: leave.right })
  }

  async function draw(ask: Ask, grant: Grant): Promise<Entry> {
    const account = await recall(grant.id)
    if (!account) return refusals.refuse(ask, unpaid)
    const why = unfit(ask, grant, account, clock.now())
    if (why) return refusals.refuse(ask, why)
    const takes = takesOf(ask, grant, account, await promised(account))
    if ('code' in takes) return refusals.refuse(ask, takes)
    const waitMs = waitFor(grant)
    if (waitMs !== undefined) return refusals.refuse(ask, tooOften(waitMs))
    const taken = await hold(takes)
    if (!isTaken(taken)) return await missed(ask, taken)
    const { measure } = ask.sale
    if (!measure) return passOf(ask, taken)
    const [portion, ...counted] = taken
    return portion && takes[0]?.asset === measure.unit.currency
      ? meteredPass(ask, grant, counted, createMeter(ask, grant, measure, portion))
      : { ...passOf(ask, taken), meter: createFreeMeter(measure) }
  }

  /** What becomes of a request that took nothing. */
  async function missed(ask: Ask, miss: Miss): Promise<Entry> {
    if (miss.kind === 'short') return await refusals.refuse(ask, usedUp(miss.account))
    if (miss.kind === 'foreign') return await refusals.refuse(ask, otherRequest)
    const { state, key, claim } = miss.held
    if (state === 'pending') return await refusals.refuse(ask, sameInFlight)
    const name = shelfName(key, claim)
    const sealed = await shelf?.vault.get(name)
    const answer = sealed && shelf?.seal.open(name, sealed)
    return answer ? { kind: 'kept', answer } : await refusals.refuse(ask, sameAnswered)
  }

  /** A meter over the account: each portion is a draw of its own, and stops where the token does. */
  function createMeter(ask: Ask, grant: Grant, measure: Measure, first: Portion): Metering {
    let portions = 1
    return createMetering({
      ledger,
      measure,
      first,
      async hold(amount) {
        const account = await recall(grant.id)
        if (!account || unfit(ask, grant, account, clock.now())) return undefined
        const request = `${ask.request}.${portions++}`
        const legs = moneyLegs(grant, account, await promised(account))
        const { idempotencyKey: _, ...rest } = ask
        const take = takeOf({ ...rest, request }, account.id, account.unit, amount, legs)
        const taken = await hold([take])
        return isTaken(taken) ? taken[0] : undefined
      },
      left: () => drawable(grant.id, measure.unit.currency),
    })
  }

  function moneyLegs(grant: Grant, { id, plan }: Known, promise: Promised): readonly Leg[] {
    const { budget = none } = grant.rights
    const limited = budget.map((limit) => limitLeg(scopeOf(limit, grant), fine(limit.most)))
    return [{ debit: accountOf(id), credit: `drawn/${plan}` }, ...promise, ...limited]
  }

  /** How far vouchers go by now, whichever process took them: asked anew for each draw. */
  async function promised({ id, channel }: Known): Promise<Promised> {
    if (!channel) return none
    const accepted = (await rails.find(channel)?.vouchers?.allowance(id))?.accepted ?? 0n
    return [promiseLeg(id, boughtBy(channel, accepted))]
  }

  async function standingOf(id: string, unit: string): ReturnType<AccountBooks['free']> {
    const standings = await ledger.balances(accountOf(id))
    const { posted = 0n, pending = 0n } = standings.find(({ asset }) => asset === unit) ?? {}
    return pending < 0n ? { left: posted + pending, held: -pending } : { left: posted, held: 0n }
  }

  /** What is left, as far as vouchers go. */
  async function drawable(id: string, unit: string): Promise<bigint> {
    const { left } = await standingOf(id, unit)
    const account = await recall(id)
    const [leg] = account ? await promised(account) : none
    if (leg?.ceiling === undefined) return left
    const [counted] = await ledger.balances(leg.credit)
    const room = leg.ceiling - (counted ? counted.posted + counted.pending : 0n)
    return room < left ? (room > 0n ? room : 0n) : left
  }

  /** What is served is charged as it is measured, so the end of the work charges nothing yet. */
  function meteredPass(ask: Ask, { id }: Grant, counted: readonly Taken[], meter: Metering): Pass {
    const pass = passOf(ask, counted)
    const close = async (): Promise<void> => {
      try {
        if (!(await meter.close()))
          throw new PaymentError('token-exhausted', `What account ${id} used could not be charged.`)
      } catch (error) {
        fault('meter', error)
      }
    }
    return {
      ...pass,
      settles: true,
      meter,
      async finish(success) {
        if (!success) await close()
        const outcome = await pass.finish(success)
        if (success && outcome.kind === 'serve') meter.served()
        return outcome
      },
      ended: close,
    }
  }

  function drawNow(ask: Ask, grant: Grant): Pass | undefined {
    const now = clock.now()
    const account = fresh(grant.id, now)?.found
    if (!account || ask.sale.measure || unfit(ask, grant, account, now)) return undefined
    // What a channel pays is never nothing.
    const takes = takesOf(ask, grant, account, none)
    // Whoever must wait is not counted: asked again, he hears how long.
    if ('code' in takes || takes.length > 0 || waitFor(grant) !== undefined) return undefined
    return passOf(ask, none)
  }

  /** Counts the request; how long to wait, if it is one too many. */
  function waitFor(grant: Grant): number | undefined {
    const { rate } = grant.rights
    if (!rate) return undefined
    const rates = rate.map((limit) => ({ ...limit, scope: scopeOf(limit, grant) }))
    return windows.take(rates, clock.now())
  }

  function unfit(ask: Ask, grant: Grant, account: Known, now: number): Problem | undefined {
    if (account.revoked) return revoked
    if (now >= account.expiresAt) return over
    return forbids(ask, grant, account.plan, now)
  }

  /** What the request takes: out of the account, and under every limit that the token names. */
  function takesOf(
    ask: Ask,
    grant: Grant,
    account: Known,
    promise: Promised,
  ): readonly Transfer[] | Problem {
    const { uses = none, budget = none } = grant.rights
    if (uses.length + budget.length > DRAW_LIMITS_MAX) return tooManyLimits
    const { id, plan, unit } = account
    const isFor = ask.sale.plan?.name === plan || ask.sale.takes?.includes(plan) === true
    if (isFor && unit === TIME && uses.length === 0) return none
    const counted = uses.map((limit) => limitLeg(scopeOf(limit, grant), BigInt(limit.most)))
    const pays = { debit: accountOf(id), credit: `drawn/${plan}` }
    if (isFor && (unit === USES || unit === TIME)) {
      const legs = unit === USES ? [pays, ...counted] : counted
      return legs.length > 0 ? [takeOf(ask, id, USES, 1n, legs)] : []
    }
    const price = pricesFor(ask, isFor).find(({ currency }) => currency === unit)
    if (!price) return otherService
    // What is spent in one currency cannot be counted in another.
    if (budget.some(({ most }) => most.currency !== unit)) return otherCurrency
    const money = takeOf(ask, id, unit, fine(price), moneyLegs(grant, account, promise))
    return counted.length > 0 ? [money, takeOf(ask, id, USES, 1n, counted)] : [money]
  }

  function takeOf(
    ask: Ask,
    id: string,
    asset: string,
    amount: bigint,
    legs: readonly Leg[],
  ): Transfer {
    const now = clock.now()
    return {
      key: `${drawsOf(id)}${nameOf(ask, now)}/${asset}`,
      purpose: purposeOf(ask.resource),
      asset,
      amount,
      legs,
      leaseUntilAt: now + (ask.sale.workMs ?? WORK_MS) + SETTLE_MS,
      note: writeDraw(ask),
    }
  }

  /** All or none. */
  async function hold(takes: readonly Transfer[]): Promise<readonly Taken[] | Miss> {
    const taken: Taken[] = []
    for (const take of takes) {
      const { key, amount } = take
      const claim = await ledger.transfer(take)
      if (claim.outcome === 'made') taken.push({ key, amount, claim: claim.claim })
      else {
        await release(taken)
        if (claim.outcome === 'insufficient') return { kind: 'short', account: claim.account }
        return { kind: claim.outcome, held: claim.held }
      }
    }
    return taken
  }

  async function release(taken: readonly Taken[]): Promise<void> {
    for (const { key, claim } of taken) await ledger.void(key, 'work-failed', claim)
  }

  function passOf(ask: Ask, takes: readonly Taken[]): Pass {
    const { request } = ask
    const key = takes[0]?.key ?? `time/${request}`
    let finished = false
    return {
      kind: 'pass',
      key,
      settles: takes.length > 0,
      async finish(success, answer, keepMs) {
        assert(!finished, 'work ends once')
        finished = true
        try {
          if (success) await keep(ask, takes, answer, keepMs)
          if (!success) await release(takes)
          else if (!(await charged(takes))) return await refusals.refuse(ask, late)
          return { kind: 'serve' }
        } catch (error) {
          return await refusals.trouble(ask, 'draw', error)
        }
      },
      delivered: () => observe({ type: 'delivered', at: clock.now(), request, key }),
      // What was drawn stays so: whoever asks again asks for another.
      lost: () => undefined,
    }
  }

  /** Before it is charged, for whoever sends the same request under the same name. */
  async function keep(
    { sale, idempotencyKey }: Ask,
    [taken]: readonly Taken[],
    answer: Uint8Array | undefined,
    keepMs = KEEP_MS,
  ): Promise<void> {
    if (!shelf || !taken || !answer || !sale.keep || idempotencyKey === undefined) return
    const name = shelfName(taken.key, taken.claim)
    const sealed = shelf.seal.seal(name, answer)
    await shelf.vault
      .put(name, sealed, clock.now() + keepMs)
      .catch((error: unknown) => fault('keep', error))
  }

  /** False when the work has taken so long that the draw was given up. What pays comes last: nobody pays for nothing. */
  async function charged(takes: readonly Taken[]): Promise<boolean> {
    for (const { key, claim } of takes.toReversed()) {
      // An answer that got lost is asked for once more: what was taken must not be refused.
      const post = (): ReturnType<Ledger['post']> => ledger.post(key, undefined, undefined, claim)
      const done = await post().catch(post)
      if (done !== 'posted' && done !== 'replayed') return false
    }
    return true
  }

  async function takes(id: string, plan: Plan, by?: Unbound): Promise<boolean> {
    const held = await ledger.find(keyOf(id))
    if (held?.state !== 'posted' || held.steps.length >= TOP_UPS_MAX) return false
    const { plan: name, unit, revoked, channel } = readAccount(id, held)
    // What is in a channel and what is not go back on different ways.
    const isSame = channel
      ? channel.rail === by?.rail && channel.network === by.network
      : !(by && rails.find(by)?.vouchers)
    return isSame && !revoked && name === plan.name && unit === unitOf(plan)
  }

  /** Those that were sold before the note said it were opened under the hash of their payment. */
  function accountBy({ key, note }: Held): string {
    return readNote(note).account ?? hash('sha256', key, 'hex')
  }

  return {
    find: recall,
    takes,
    free: standingOf,
    look,
    async drawLast({ id, plan, unit }, amount, most) {
      const key = `${drawsOf(id)}last-${most}/${unit}`
      const made = await ledger.transfer({
        ...{ key, purpose: 'last voucher', asset: unit, amount },
        legs: [{ debit: accountOf(id), credit: `drawn/${plan}` }, promiseLeg(id, most)],
        leaseUntilAt: clock.now() + SETTLE_MS,
        note: writeLastDraw(),
      })
      if (made.outcome === 'insufficient' || made.outcome === 'foreign') return false
      const done = await ledger.post(key)
      return done === 'posted' || done === 'replayed'
    },
    async putBack({ key, asset, posted, legs, note }, numerator, denominator) {
      const amount = (posted * numerator) / denominator
      if (amount === 0n) return true
      const made = await ledger.transfer({
        ...{ key: putBackOf(key), purpose: 'put back', asset, amount },
        legs: legs.map(({ debit, credit }) => ({ debit: credit, credit: debit })),
        leaseUntilAt: clock.now() + SETTLE_MS,
        note: { kind: 'put-back', what: note['what'] ?? '' },
      })
      if (made.outcome === 'insufficient') return false
      await ledger.post(putBackOf(key))
      return true
    },
    async goesBack(sale, isFailed) {
      const id = accountBy(sale)
      const account = await ledger.find(keyOf(id))
      if (account?.state !== 'posted' || isPaymentBack(account.steps, sale.key) !== isFailed) return
      const type = isFailed ? 'refund-failed' : 'refunded'
      await ledger.step(keyOf(id), { type, data: { payment: sale.key } })
      known.delete(id)
    },
    open,
    topUp,
    forbids,
    draw,
    drawNow,
    async left(id) {
      const account = await recall(id)
      if (!account || account.unit === TIME) return {}
      const { unit } = account
      const { left: amount } = await standingOf(id, unit)
      return unit === USES
        ? { uses: Number(amount) }
        : { balance: { currency: unit, amount, scale: SCALE } }
    },
    async statement(id, after, limit) {
      const lists = [keyOf(id), topUpsOf(id), drawsOf(id), restsOf(id), putBackOf(drawsOf(id))]
      // The cursor is the number of a list, and the last key in it without what they all begin with.
      const from = Number(after.slice(0, 1))
      const found: Held[] = []
      for (const [i, prefix] of lists.entries()) {
        const room = limit - found.length
        if (i < from || room === 0) continue
        const behind = i === from && after !== '' ? prefix + after.slice(1) : ''
        found.push(...(await ledger.under(prefix, behind, room)))
      }
      const last = found.length === limit ? found.at(-1)?.key : undefined
      const list = lists.findIndex((prefix) => last?.startsWith(prefix))
      return {
        entries: found.map(toEntry).toSorted((a, b) => a.at - b.at),
        ...(last !== undefined && { next: `${list}${last.slice(lists[list]?.length)}` }),
      }
    },
    async revoke(id) {
      const account = await look(id)
      if (account && !account.revoked) await ledger.step(keyOf(id), { type: 'revoked', data: {} })
      known.delete(id)
      return account !== undefined
    },
  }
}

const none: readonly never[] = []

/** How far vouchers let an account be drawn on; nothing where it is no channel. */
type Promised = readonly Leg[]

/** Digits of a time in base 36: enough until the year 5188. */
const TIME_CHARS = 9

/** What a draw is called: by the time and the request, or by the name that its payer gave it. */
function nameOf({ request, idempotencyKey }: Ask, now: number): string {
  return idempotencyKey === undefined
    ? `${now.toString(36).padStart(TIME_CHARS, '0')}-${request}`
    : `named-${hash('sha256', idempotencyKey, 'base64url')}`
}

/** Where an answer lies. One that was made too late lies beside the one that counts. */
function shelfName(key: string, claim: number): string {
  return `${key}/${claim}`
}

function isTaken(taken: readonly Taken[] | Miss): taken is readonly Taken[] {
  return Array.isArray(taken)
}

/** What the request costs those who spend a balance. */
function priced({ sale }: Ask): Ask['sale']['prices'] {
  return sale.plan ? [] : sale.prices
}

/** What is held of a balance when the request comes. */
function pricesFor(ask: Ask, isFor: boolean): Ask['sale']['prices'] {
  const { measure } = ask.sale
  if (!measure) return priced(ask)
  return isFor ? [measure.unit] : []
}

/** Where a limit is counted: one that no token has said yet, for the account. */
function scopeOf({ scope }: Limit<unknown>, { id }: Grant): string {
  return scope === '' ? id : scope
}

function tooOften(retryAfterMs: number): Problem {
  const detail = 'The token is used more often than it may be. Send the request again later.'
  return problem('rate-limited', detail, { retryAfterMs })
}

function usedUp(account: string): Problem {
  if (account.startsWith(promisedOf(''))) return unpromised
  return account.startsWith('limits/') ? limitReached : exhausted
}

const unpaid = problem(
  'token-invalid',
  'The token has not been paid for here. Send the request without it to be told how.',
)
const revoked = problem('token-invalid', 'The token has been revoked. Buy a new one.')
const over = problem('token-exhausted', 'The token has expired. Buy a new one.')
const exhausted = problem(
  'token-exhausted',
  'What the token could pay is used up, or too little is left for this. Buy a new one, or top it up.',
)
const unpromised = problem(
  'token-exhausted',
  'The vouchers of this channel do not go so far. Send one that promises more, or top the channel up first.',
  { reason: 'insufficient-balance' },
)
const limitReached = problem(
  'token-exhausted',
  'A limit that was written into the token is reached. Use the token that it was made from, or buy a new one.',
)
const tooManyLimits = problem(
  'token-insufficient',
  `The token names more than ${DRAW_LIMITS_MAX} limits that must be counted.`,
)
const otherService = problem(
  'token-insufficient',
  'The token is for another service than this. Send the request without it to be told the price.',
)
const otherCurrency = problem(
  'token-insufficient',
  'A budget of the token is in another currency than what it draws on.',
)
const otherRequest = problem(
  'idempotency-conflict',
  'The Idempotency-Key was used with this token for another request. Give each request a key of its own.',
)
const sameInFlight = problem(
  'payment-in-flight',
  'The same request is being worked on. Send it again later, under the same Idempotency-Key.',
  { retryAfterMs: RETRY_MS },
)
const sameAnswered = problem(
  'payment-delivered',
  'The same request was answered and charged before, under the same Idempotency-Key. Use another key to have it done again.',
)
const late = problem(
  'work-timed-out',
  'The work was not done in time, so the token was not used for it. Send the request again.',
)
