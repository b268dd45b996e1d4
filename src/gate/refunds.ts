import { assert } from '../core/assert.ts'
import { toMoney } from '../core/money.ts'
import type { Price } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Held, Log } from '../core/ports.ts'
import type { QuotedRate } from '../core/offers.ts'
import { rateOf } from '../core/offers.ts'
import { PaymentError } from '../core/problem.ts'
import { evidenceOf, givenBack } from '../core/refund.ts'
import type { RefundDenial, RefundOrder, RefundOutcome } from '../core/refund.ts'
import { bookCost } from '../core/cost.ts'
import type { AccountBooks } from './accounts.ts'
import { unitsBy } from './exchange.ts'
import { isGivenBack, lifeOf } from './life.ts'
import { REFUND_MARGIN_MS, REFUND_TURN_MS } from './limits.ts'
import { isSale, readNote } from './note.ts'
import {
  askedOf,
  checkOrder,
  conflict,
  denied,
  exceeded,
  fundsShort,
  inChannel,
  keyOf,
  openSale,
  paidBefore,
  readRefund,
  refundOf,
  turnOf,
  unable,
  unpayable,
  unknownSale,
  unpaidSale,
  unsent,
} from './refund.ts'
import type { Failed, House, Settled } from './sale.ts'
import { receiptOf } from './sale.ts'

/** Gives money back. */
export interface Refunds {
  /** @throws {PaymentError} when the books cannot be asked: the same order may be sent again. */
  refund(order: RefundOrder): Promise<RefundOutcome>
  /** The same for so many of the smallest unit. */
  refundUnits(order: Omit<RefundOrder, 'amount'>, units: bigint): Promise<RefundOutcome>
  /** What a part of a sale comes to, rounded down to what its rail can pay, and never more than is left of it. */
  partOf(sale: string, numerator: bigint, denominator: bigint): Promise<bigint | RefundDenial>
  /** Orders that the whole of a sale goes back, and resolves once that is written; it is sent behind. False if it cannot be. */
  order(sale: string): Promise<boolean>
  /** Goes on with a refund that is open. */
  resume(held: Held): Promise<void>
  /** Resolves when nothing is being sent here any more. */
  close(): Promise<void>
}

/** The name of the order that a gate gives by itself: one for each sale. */
const AUTOMATIC = 'automatic'

/**
 * Makes the refunds. The claim is a transfer back under a key of the sale and the order, with the sale's own account as its
 * ceiling: so an order is carried out once, and the sum stays below what was charged, across processes. One process at a time
 * works on it, and what the rail writes ahead is the rail's to find again.
 */
export function createRefunds(house: House, accounts: Pick<AccountBooks, 'goesBack'>): Refunds {
  const { ledger, rails, clock, observe, fault } = house
  /** Refunds that this process works on: who orders one again waits for the same. */
  const running = new Map<string, Promise<RefundOutcome>>()

  async function claim(order: RefundOrder, units?: bigint): Promise<Held | RefundDenial> {
    const wrong = checkOrder(order)
    if (wrong) return wrong
    const before = await ledger.find(keyOf(order))
    if (before && before.state !== 'voided') return sameAs(before, order)
    const sale = await paidSale(order.key)
    if ('code' in sale) return sale
    const { offer } = readNote(sale.note)
    // Only what is left of its account can be sent: the rest is spent, or will be.
    if (units === undefined && rails.of(offer).vouchers) return inChannel
    const amount = units ?? (await amountOf(order, sale, offer))
    return typeof amount === 'bigint' ? await make(order, sale, amount) : amount
  }

  /** The sale, if something of it can go back. */
  async function paidSale(key: string): Promise<Held | RefundDenial> {
    const sale = await ledger.find(key)
    if (!sale || !isSale(sale)) return unknownSale
    if (sale.state === 'pending') return openSale
    if (sale.state === 'voided' || isUndone(sale)) return unpaidSale
    return rails.find(readNote(sale.note).offer)?.refund ? sale : unable
  }

  async function partOf(
    key: string,
    numerator: bigint,
    denominator: bigint,
  ): Promise<bigint | RefundDenial> {
    const sale = await paidSale(key)
    if ('code' in sale) return sale
    const grain = grainOf(readNote(sale.note).offer)
    const left = sale.posted - (await sumOf(key))
    const part = (sale.posted * numerator) / denominator
    const least = part < left ? part : left
    return least - (least % grain)
  }

  /** What the rail counts in, in the smallest unit of the asset. */
  function grainOf(offer: Offer): bigint {
    const { asset } = offer.amount
    const { units = [] } = rails.of(offer)
    const { scale } = units.find((unit) => unit.asset === asset.id) ?? asset
    return 10n ** BigInt(asset.scale - scale)
  }

  async function make(
    order: RefundOrder,
    sale: Held,
    amount: bigint,
  ): Promise<Held | RefundDenial> {
    const leaseUntilAt = clock.now() + REFUND_TURN_MS
    const made = await ledger.transfer(refundOf(order, sale, amount, leaseUntilAt))
    if (made.outcome === 'insufficient')
      return made.account === givenBack(sale.key) ? exceeded : fundsShort
    return made.outcome === 'made' ? await heldOf(keyOf(order)) : sameAs(made.held, order)
  }

  function sameAs(held: Held, order: RefundOrder): Held | RefundDenial {
    return readRefund(held.note).asked === askedOf(order) ? held : conflict
  }

  async function amountOf(
    { amount }: RefundOrder,
    sale: Held,
    offer: Offer,
  ): Promise<bigint | RefundDenial> {
    const left = sale.posted - (await sumOf(sale.key))
    if (!amount) return left > 0n ? left : exceeded
    try {
      const asked = unitsOf(amount, offer)
      if (asked > left) return exceeded
      return asked > 0n ? asked : denied('amount-invalid', 'An amount above zero is given back.')
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      return denied('amount-invalid', error.message)
    }
  }

  /** In the asset's own words, in those that only its rail knows (satoshis), or in the currency by whose rate it was sold. */
  function unitsOf(price: Price, offer: Offer): bigint {
    const { asset } = offer.amount
    const rate = rateOf(offer)
    if (rate?.currency === price.currency) return unitsAt(price, rate, offer)
    const quoted = rails.of(offer).quote(price)
    const same = quoted.find(({ amount }) => amount.asset.id === asset.id)
    return same ? same.amount.amount : toMoney(price, asset).amount
  }

  /** By the rate at which it was sold, rounded down to what the rail can pay: parts are never more than the whole. */
  function unitsAt(price: Price, rate: QuotedRate, offer: Offer): bigint {
    const { asset } = offer.amount
    const { units = [] } = rails.of(offer)
    const { scale } = units.find((unit) => unit.asset === asset.id) ?? asset
    return unitsBy(price, rate, scale) * grainOf(offer)
  }

  /** What was given back of a sale, and is held to be. */
  async function sumOf(sale: string): Promise<bigint> {
    const standings = await ledger.balances(givenBack(sale))
    return standings.reduce((sum, { posted, pending }) => sum + posted + pending, 0n)
  }

  async function heldOf(key: string): Promise<Held> {
    const held = await ledger.find(key)
    assert(held, 'what is given back stands in the books')
    return held
  }

  async function saleOf(refund: Held): Promise<Held> {
    return heldOf(readRefund(refund.note).of)
  }

  /**
   * What goes back whole buys nothing more: written down before the money leaves. The sale first: whoever books it just now looks
   * at it once more after the account stands.
   */
  async function mark(refund: Held): Promise<void> {
    const sale = await saleOf(refund)
    if (isUndone(sale) || (await sumOf(sale.key)) < sale.posted) return
    if (!isGivenBack(sale))
      await ledger.step(sale.key, { type: 'refunded', data: { refund: refund.key } }, sale.claim)
    await accounts.goesBack(sale, false)
  }

  /** Less than all of it goes back, now that this does not: before the claim is let go, so that a crash cannot forget it. */
  async function unmark(refund: Held): Promise<void> {
    const sale = await saleOf(refund)
    if (!isGivenBack(sale)) return
    if (!isUndone(sale)) await accounts.goesBack(sale, true)
    await ledger.step(sale.key, { type: 'refund-failed', data: { refund: refund.key } }, sale.claim)
  }

  function isUndone(sale: Held): boolean {
    return lifeOf(sale, clock.now()) === 'undone'
  }

  function work(key: string): Promise<RefundOutcome> {
    const at = running.get(key) ?? inTurn(key).finally(() => running.delete(key))
    running.set(key, at)
    return at
  }

  /** One process at a time: what one finds out must not be outrun by what another sends. */
  async function inTurn(key: string): Promise<RefundOutcome> {
    const untilAt = clock.now() + REFUND_TURN_MS
    const turn = await ledger.transfer(turnOf(key, untilAt))
    if (turn.outcome !== 'made') return await tell(await heldOf(key))
    try {
      const held = await heldOf(key)
      if (held.state !== 'pending') return await tell(held)
      if (held.steps.length === 0 && isUndone(await saleOf(held)))
        return await give(held, 'settlement-failed', unpaidSale.detail)
      await mark(held)
      return await send(held, untilAt - REFUND_MARGIN_MS)
    } finally {
      // What is not given up now runs out.
      await ledger
        .void(`${key}/turn`, 'turn-ended', turn.claim)
        .catch((error: unknown) => fault('refund', error))
    }
  }

  async function send(held: Held, untilAt: number): Promise<RefundOutcome> {
    const sale = await saleOf(held)
    const { offer } = readNote(sale.note)
    const amount = { asset: offer.amount.asset, amount: held.amount }
    const rail = rails.of(offer)
    const { to } = readRefund(held.note)
    const { reference } = receiptOf(sale)
    try {
      const log = logOf(held, untilAt)
      const found = await rail.refund?.(offer, to, amount, held.key, log, reference)
      if (!found || found.state === 'unknown') return await tell(held)
      return await (found.state === 'settled' ? settle(held, offer, found) : fail(held, found))
    } catch (error) {
      fault('refund', error)
      return await troubled(held, error)
    }
  }

  /** A fault of the world is looked at again. A bug that comes before anything was sent would come for ever. */
  async function troubled(held: Held, error: unknown): Promise<RefundOutcome> {
    const now = await heldOf(held.key)
    if (error instanceof PaymentError || now.steps.length > 0) return await tell(now)
    return await give(held, 'internal', unpayable)
  }

  /** Writes ahead only while nobody else can have the turn. */
  function logOf({ key, claim }: Held, untilAt: number): Log {
    return {
      read: async () => (await heldOf(key)).steps,
      async write(step) {
        if (clock.now() >= untilAt)
          throw new PaymentError('payment-in-flight', 'The time for this refund is over.')
        await ledger.step(key, step, claim)
      },
    }
  }

  async function settle(held: Held, offer: Offer, found: Settled): Promise<RefundOutcome> {
    const { reference, settledAt, cost } = found
    // One payment is the evidence of one refund.
    if (!(await bookCost(house, evidenceOf(offer, reference), held, offer, cost ?? 0n)))
      return await give(held, 'idempotency-conflict', paidBefore.detail)
    const data = { reference, settledAt, ...(cost !== undefined && { cost: cost.toString() }) }
    await ledger.post(held.key, undefined, { type: 'settled', data }, held.claim)
    const amount = { asset: offer.amount.asset, amount: held.amount }
    const { of } = readRefund(held.note)
    observe({ type: 'refunded', at: clock.now(), key: held.key, of, reference, amount })
    return await tell(await heldOf(held.key))
  }

  async function fail(held: Held, found: Failed): Promise<RefundOutcome> {
    const { offer } = readNote((await saleOf(held)).note)
    if (found.cost !== undefined) await bookCost(house, `${held.key}/cost`, held, offer, found.cost)
    return await give(held, found.problem.code, found.problem.detail)
  }

  /**
   * Gives it up: nothing left. An order of which something was written ahead keeps its key for good, for what the world says of
   * it must always be about one try; one of which nothing was may be given again.
   */
  async function give(held: Held, code: string, detail: string): Promise<RefundDenial> {
    await unmark(held)
    const { key, claim } = held
    if ((await heldOf(key)).steps.length === 0) await ledger.void(key, code, claim)
    else await ledger.post(key, 0n, { type: 'failed', data: { code, detail } }, claim)
    return denied('failed', detail)
  }

  /** How it stands in the books. */
  async function tell(held: Held): Promise<RefundOutcome> {
    const { key, amount, steps, state } = held
    const { asset } = readNote((await saleOf(held)).note).offer.amount
    const { reference, settledAt, detail } = steps.at(-1)?.data ?? {}
    if (state === 'pending') return { kind: 'open', key, amount: { asset, amount } }
    if (state === 'voided') return unsent
    if (held.posted === 0n && typeof detail === 'string') return denied('failed', detail)
    assert(typeof reference === 'string' && typeof settledAt === 'number', 'it tells how it went')
    const { to } = readRefund(held.note)
    return {
      kind: 'refunded',
      key,
      amount: { asset, amount: held.posted },
      to,
      reference,
      settledAt,
    }
  }

  return {
    async refund(order) {
      const held = await claim(order)
      return 'kind' in held ? held : await work(held.key)
    },
    async refundUnits(order, units) {
      const held = await claim(order, units)
      return 'kind' in held ? held : await work(held.key)
    },
    partOf,
    async order(sale) {
      const held = await claim({ key: sale, idempotencyKey: AUTOMATIC, reason: 'work-failed' })
      if ('kind' in held) return false
      await mark(held)
      // Recovery goes on with it if this does not.
      work(held.key).catch((error: unknown) => fault('refund', error))
      return true
    },
    async resume({ key }) {
      await work(key)
    },
    async close() {
      await Promise.allSettled(running.values())
    },
  }
}
