import { assert } from '../core/assert.ts'
import type { JsonObject } from '../core/json.ts'
import { FEE_BPS_MAX } from '../core/plan.ts'
import type { RestTerms } from '../core/plan.ts'
import type { Held, Transfer } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { RefundDenial, RefundOutcome, RestOrder, RestOutcome } from '../core/refund.ts'
import { TIME, accountOf, fine, keyOf, readAccount, restsOf, topUpsOf } from './account.ts'
import type { Known } from './account.ts'
import type { AccountBooks } from './accounts.ts'
import {
  REFUND_MARGIN_MS,
  REFUND_TURN_MS,
  REST_TRIES_MAX,
  RESTS_MAX,
  TOP_UPS_MAX,
} from './limits.ts'
import { textIn } from './note.ts'
import { denied, turnOf, unsent } from './refund.ts'
import type { Refunds } from './refunds.ts'
import type { House } from './sale.ts'

/** Gives back what is left in accounts of tokens. */
export interface Rests {
  /** @throws {PaymentError} when the books cannot be asked, or others draw all the time: the same order may be sent again. */
  refund(order: RestOrder): Promise<RestOutcome>
  /** Goes on with one that is open. */
  resume(held: Held): Promise<void>
}

/** What one payment has bought of the rest. */
interface Part {
  readonly payment: string
  /** In the unit of the account. */
  readonly share: bigint
  /** What goes back for it, in the smallest unit of its asset. */
  readonly units: bigint
}

/** What a payment has brought into an account. */
interface Deposit {
  readonly payment: string
  readonly amount: bigint
  readonly left: bigint
}

const REST = 'rest'

/** Whether the books hold a rest that goes back here. */
export function isRest({ note }: Held): boolean {
  return note['kind'] === REST
}

/**
 * Makes the rests. What is left is held out of the account in one transfer, which is what closes it; then each payment gets
 * its share by a refund of its own, whose key is made from the transfer's: whoever goes on after a crash orders the same ones.
 * The last payments go back first, since the first were drawn first.
 */
export function createRests(
  { ledger, clock, fault }: Pick<House, 'ledger' | 'clock' | 'fault'>,
  accounts: Pick<AccountBooks, 'free' | 'revoke'>,
  refunds: Pick<Refunds, 'refundUnits' | 'partOf'>,
  ends: (account: string) => Promise<unknown>,
): Rests {
  /** Those that this process is at: who orders one again waits for the same. */
  const running = new Map<string, Promise<RestOutcome>>()

  async function take(order: RestOrder): Promise<Held | RefundDenial> {
    const account = await ledger.find(keyOf(order.account))
    if (account?.state !== 'posted') return unknownAccount
    const known = readAccount(order.account, account)
    const { unit, revoked } = known
    if (unit === TIME) return uncounted
    // A holder whose token was revoked for another reason has nothing to say of what is left.
    const isOver = revoked && order.terms !== undefined
    if (isOver && (await ledger.under(restsOf(order.account), '', 1)).length === 0)
      return revokedAccount
    for (let i = 0; i < REST_TRIES_MAX; i++) {
      const taken = await tryTake(order, account, known)
      if (taken) return taken
    }
    throw new PaymentError(
      'payment-in-flight',
      `Account ${order.account} is drawn on all the time.`,
    )
  }

  /** Undefined where somebody has drawn on it meanwhile. */
  async function tryTake(
    order: RestOrder,
    account: Held,
    { unit, channel }: Known,
  ): Promise<Held | RefundDenial | undefined> {
    const { account: id } = order
    const before = await ledger.under(restsOf(id), '', RESTS_MAX)
    const last = before.at(-1)
    if (last?.state === 'pending') return last
    const { left, held } = await accounts.free(id, unit)
    // A channel is closed once: nothing could go back of what is put back later.
    if (channel && held > 0n) return atWork
    if (left <= 0n) return before.findLast(({ state }) => state === 'posted') ?? nothingLeft
    if (before.length === RESTS_MAX) return tooOften
    const parts = await divide(await depositsOf(account, before), left, order.terms)
    if (!Array.isArray(parts)) return parts as RefundDenial
    const key = `${restsOf(id)}${String(before.length).padStart(4, '0')}`
    const transfer = restOf(order, account, unit, left, parts as readonly Part[])
    const made = await ledger.transfer({ ...transfer, key })
    if (made.outcome !== 'made') return undefined
    // From here on it is not given up when its lease is over.
    await ledger.step(key, { type: 'ordered', data: {} }, made.claim)
    return await heldOf(key)
  }

  function restOf(
    { account: id, to, reason }: RestOrder,
    { note }: Held,
    unit: string,
    amount: bigint,
    parts: readonly Part[],
  ): Omit<Transfer, 'key'> {
    const { plan, payer = '' } = note
    assert(typeof plan === 'string', 'an account has a plan')
    return {
      purpose: REST,
      asset: unit,
      amount,
      legs: [{ debit: accountOf(id), credit: `${WORLD}plans/${plan}` }],
      leaseUntilAt: clock.now() + REFUND_TURN_MS,
      note: {
        ...{ kind: REST, account: id, plan, payer },
        parts: parts.map(({ payment, share, units }) => ({
          payment,
          share: share.toString(),
          units: units.toString(),
        })),
        ...(to !== undefined && { to }),
        ...(reason !== undefined && { reason }),
      },
    }
  }

  /** What was paid for the account, the last first, each with what has not gone back by a rest before. */
  async function depositsOf(account: Held, before: readonly Held[]): Promise<readonly Deposit[]> {
    const id = account.key.slice(keyOf('').length)
    const topUps = await ledger.under(topUpsOf(id), '', TOP_UPS_MAX)
    const paid = topUps.filter(({ state }) => state === 'posted')
    const all = [account, ...paid.toSorted((a, b) => a.madeAt - b.madeAt)]
    return all.toReversed().map(({ note, posted }) => {
      const payment = textIn(note, 'payment')
      return { payment, amount: posted, left: posted - sharesOf(before, payment) }
    })
  }

  /** The parts that go back, or why nothing does. */
  async function divide(
    deposits: readonly Deposit[],
    left: bigint,
    terms: RestTerms = { feeBps: 0 },
  ): Promise<readonly Part[] | RefundDenial> {
    const kept = terms.fee ? fine(terms.fee) : 0n
    let open = left - kept
    if (open <= 0n) return belowFee
    const parts: Part[] = []
    for (const { payment, amount, left: rest } of deposits) {
      const share = rest < open ? rest : open
      if (share <= 0n) continue
      const bps = BigInt(FEE_BPS_MAX - terms.feeBps)
      const units = await refunds.partOf(payment, share * bps, amount * BigInt(FEE_BPS_MAX))
      if (typeof units !== 'bigint') return units
      open -= share
      if (units > 0n) parts.push({ payment, share, units })
    }
    return parts.length > 0 ? parts : tooLittle
  }

  async function heldOf(key: string): Promise<Held> {
    const held = await ledger.find(key)
    assert(held, 'what goes back stands in the books')
    return held
  }

  function work({ key }: Held): Promise<RestOutcome> {
    const at = running.get(key) ?? inTurn(key).finally(() => running.delete(key))
    running.set(key, at)
    return at
  }

  /** One process at a time: a part that one has given up must not be ordered again by another. */
  async function inTurn(key: string): Promise<RestOutcome> {
    const untilAt = clock.now() + REFUND_TURN_MS
    const turn = await ledger.transfer(turnOf(`turns/${key}`, untilAt))
    const held = await heldOf(key)
    if (turn.outcome !== 'made') return held.state === 'pending' ? openRest(held) : await tell(held)
    try {
      return held.state === 'pending'
        ? await closeBy(held, untilAt - REFUND_MARGIN_MS)
        : await tell(held)
    } finally {
      // What is not given up now runs out.
      await ledger
        .void(`turns/${key}/turn`, 'turn-ended', turn.claim)
        .catch((error: unknown) => fault('rest', error))
    }
  }

  async function closeBy(held: Held, untilAt: number): Promise<RestOutcome> {
    // All is held by now, so that nothing is drawn beyond what a channel is closed with.
    await ends(readRest(held.note).account)
    // What another has put on the token again meanwhile must not be sent.
    return await close(held, await order(held, () => clock.now() < untilAt), untilAt)
  }

  async function order(
    held: Held,
    isWanted: (payment: string) => boolean,
  ): Promise<readonly RefundOutcome[]> {
    const { account, parts, rest } = readRest(held.note)
    const idempotencyKey = `rest.${held.key.slice(restsOf(account).length)}`
    const outcomes: RefundOutcome[] = []
    for (const { payment: key, units } of parts)
      if (isWanted(key))
        outcomes.push(await refunds.refundUnits({ key, idempotencyKey, ...rest }, units))
    return outcomes
  }

  function openRest({ note }: Held): RestOutcome {
    return { kind: 'open', account: readRest(note).account, parts: [] }
  }

  /** How one stands that is closed. */
  async function tell(held: Held): Promise<RestOutcome> {
    const back = (await order(held, (payment) => sharesOf([held], payment) > 0n)).filter(
      (one) => one.kind === 'refunded',
    )
    if (back.length === 0) return unsent
    return { kind: 'refunded', account: readRest(held.note).account, parts: back }
  }

  /** Books what has gone back once all of it is known; what has not is in the account again. */
  async function close(
    held: Held,
    outcomes: readonly RefundOutcome[],
    untilAt: number,
  ): Promise<RestOutcome> {
    const { account, parts } = readRest(held.note)
    // Somebody else may be at it by now.
    if (clock.now() >= untilAt || outcomes.length < parts.length) return openRest(held)
    const good = outcomes.filter((one) => one.kind !== 'denied')
    const back = good.filter((one) => one.kind === 'refunded')
    if (back.length < good.length) return { kind: 'open', account, parts: good }
    const [why] = outcomes.filter((one) => one.kind === 'denied')
    if (back.length === 0) {
      await ledger.void(held.key, 'settlement-failed', held.claim)
      return why ?? nothingLeft
    }
    const failed = parts.filter((_, i) => outcomes[i]?.kind === 'denied')
    const stays = failed.reduce((sum, { share }) => sum + share, 0n)
    const given = parts.filter((part) => !failed.includes(part))
    const shares = Object.fromEntries(given.map(({ payment, share }) => [payment, `${share}`]))
    const step = { type: 'given-back', data: { shares } }
    await ledger.post(held.key, held.amount - stays, step, held.claim)
    if (stays === 0n) await accounts.revoke(account)
    return { kind: 'refunded', account, parts: back }
  }

  return {
    async refund(order) {
      const held = await take(order)
      return 'kind' in held ? held : await work(held)
    },
    async resume(held) {
      await work(held)
    },
  }
}

/** What has gone back of a payment by rests before. */
function sharesOf(before: readonly Held[], payment: string): bigint {
  return before.reduce((sum, { steps }) => {
    const shares = steps.findLast(({ type }) => type === 'given-back')?.data['shares']
    const said = (shares as JsonObject | undefined)?.[payment]
    return typeof said === 'string' ? sum + BigInt(said) : sum
  }, 0n)
}

/** Reads back what the books keep. They are ours and hashed, so another shape is a bug. */
function readRest({ account, parts, to, reason }: JsonObject): {
  readonly account: string
  readonly parts: readonly Part[]
  readonly rest: { readonly to?: string; readonly reason?: string }
} {
  assert(typeof account === 'string' && Array.isArray(parts), 'a rest names its account and parts')
  return {
    account,
    parts: (parts as readonly JsonObject[]).map((part) => ({
      payment: textIn(part, 'payment'),
      share: BigInt(textIn(part, 'share')),
      units: BigInt(textIn(part, 'units')),
    })),
    rest: {
      ...(typeof to === 'string' && { to }),
      ...(typeof reason === 'string' && { reason }),
    },
  }
}

const unknownAccount = denied('sale-unknown', 'There is no account of a token with this id.')
const revokedAccount = denied('order-invalid', 'The token was revoked, with what was left on it.')
const uncounted = denied(
  'order-invalid',
  'The token is good for a time, of which nothing is counted: refund its payment instead.',
)
const atWork = denied(
  'sale-open',
  'Requests that draw on this channel are being worked on. Close it when they have ended.',
)
const nothingLeft = denied('amount-exceeded', 'Nothing is left in this account that could go back.')
const belowFee = denied(
  'amount-exceeded',
  'What is left is no more than the fee that is kept of it.',
)
const tooLittle = denied(
  'amount-exceeded',
  'What is left is less than the smallest amount that can be paid, or has gone back already.',
)
const tooOften = denied('order-invalid', `What is left has gone back ${RESTS_MAX} times.`)
