import { uuid } from '../core/chance.ts'
import type { Event, Observe } from '../core/event.ts'
import type { JsonObject } from '../core/json.ts'
import { writeMoney } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type { Chance, Clock, Held, Ledger, Protocol, Wallet } from '../core/ports.ts'
import { PaymentError, problems } from '../core/problem.ts'
import type { Receipt } from '../core/receipt.ts'
import { explain, legsOf } from './budget.ts'
import type { Choice } from './choose.ts'
import {
  ADOPTION_MS_MAX,
  LEASE_MS,
  NOTE_URL_CHARS_MAX,
  PURCHASE_STEPS_MAX,
  SWEEP_MS_MIN,
  VALIDITY_LEFT_MS_MIN,
} from './limits.ts'
import { give, isWorking, ownerUntil, take } from './owner.ts'
import type { Rules } from './policy.ts'
import { readStanding, writeSigned } from './record.ts'
import type { Outgoing } from './request.ts'
import { addressOf, fingerprint, orAbort } from './request.ts'

/** A payment that is reserved and signed, and may be sent as often as needed. */
export interface Purchase {
  readonly key: string
  readonly protocol: Protocol
  readonly wallet: Wallet
  readonly offer: Offer
  readonly proof: unknown
  /** When the payment stops being payable. */
  readonly expiresAt: number
}

/**
 * The payer's books: a purchase is reserved before it is signed, signed once, written ahead before it is sent, and
 * closed by evidence alone. Until then it counts as spent.
 */
export interface Purchases {
  /** Reserves and signs. Throws `budget-exceeded` before anything is signed. */
  make(choice: Choice, request: Outgoing): Promise<Purchase>
  /** An open purchase of the same request that nobody works on any more. */
  adopt(request: Outgoing): Promise<Purchase | undefined>
  /** The money is spent. */
  post(purchase: Purchase, receipt: Receipt | undefined, url: string): Promise<void>
  /** Gives the purchase up without an outcome. `refused` says that sending it again is of no use. */
  release(purchase: Purchase, refused: boolean): Promise<void>
  /** This process does not work on it any more. */
  leave(purchase: Purchase): void
  /** Looks at everything open that nobody works on, and closes what there is evidence for. */
  sweep(): Promise<void>
  /** Joins a sweep that runs, or starts one if the last is that long ago. */
  sweepSoon(afterMs: number): Promise<void>
}

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
const LOCK = 'adoption/'

/** Makes the payer's books over a ledger that may be shared with other processes. */
export function createPurchases(parts: Parts): Purchases {
  const { ledger, rules, clock } = parts
  let sweeping: Promise<void> | undefined
  let sweptAt = -Infinity

  async function make(choice: Choice, request: Outgoing): Promise<Purchase> {
    const key = PREFIX + uuid(parts.chance)
    take(key)
    try {
      await reserve(key, choice, request)
      return await sign(key, choice, request.signal)
    } catch (error) {
      give(key)
      throw error
    }
  }

  async function reserve(key: string, choice: Choice, request: Outgoing): Promise<void> {
    const { cost, offer } = choice
    let claim = await ledger.transfer(transferOf(key, choice, request))
    if (claim.outcome === 'insufficient') {
      // Payments that died since may still fill the budget.
      await sweepSoon(SWEEP_MS_MIN)
      claim = await ledger.transfer(transferOf(key, choice, request))
    }
    if (claim.outcome === 'insufficient')
      throw new PaymentError('budget-exceeded', explain(rules, claim.account, cost))
    if (claim.outcome !== 'made')
      throw new PaymentError('store-unavailable', 'The key of the purchase is taken.')
    tell({ type: 'reserved', key, url: addressOf(request.url), amount: offer.amount })
  }

  function transferOf(
    key: string,
    choice: Choice,
    request: Outgoing,
  ): Parameters<Ledger['transfer']>[0] {
    const { cost, offer, protocol } = choice
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
    }
    const legs = legsOf(rules, cost, request.url.host, now)
    const purpose = fingerprint(request)
    return { key, purpose, asset: cost.unit, amount: cost.amount, legs, leaseUntilAt, note }
  }

  /**
   * Signs once. A wallet that fails has surely signed nothing only if it says so, with a code by which no money moved:
   * a remote signer may have signed and lost the answer, and a wallet may pay while it proves. So any other failure
   * leaves the reservation, and it counts as spent.
   */
  async function sign(
    key: string,
    choice: Choice,
    signal: AbortSignal | undefined,
  ): Promise<Purchase> {
    const { protocol, wallet, form, offer } = choice
    if (signal?.aborted) {
      await cancel(key)
      throw signal.reason
    }
    const proof = await orAbort(wallet.pay(offer, validForMs(offer), signal), signal).catch(
      async (error) => {
        if (isUnsigned(error)) await cancel(key)
        throw error
      },
    )
    const expiresAt = wallet.expiresAt(proof)
    const written = form.writeProof(proof)
    await ledger.step(
      key,
      writeSigned({ protocol: protocol.name, offer, proof: written, expiresAt }),
    )
    return { key, protocol, wallet, offer, proof, expiresAt }
  }

  async function cancel(key: string): Promise<void> {
    await ledger.void(key, 'declined')
    tell({ type: 'voided', key, code: 'payment-required' })
  }

  function validForMs(offer: Offer): number {
    return Math.min(offer.timeoutMs, rules.validityMaxMs)
  }

  async function adopt(request: Outgoing): Promise<Purchase | undefined> {
    const print = fingerprint(request)
    for (const held of await ledger.pending()) {
      if (held.purpose !== print || !isFree(held)) continue
      const purchase = revive(held)
      if (!purchase || !take(held.key)) continue
      const owned = await own(held).catch((error: unknown) => {
        give(held.key)
        throw error
      })
      if (owned) return purchase
      give(held.key)
    }
    return undefined
  }

  function isFree(held: Held): boolean {
    if (!held.key.startsWith(PREFIX) || held.steps.length > PURCHASE_STEPS_MAX) return false
    const { signed, owner, refused } = readStanding(held)
    if (!signed || refused || signed.expiresAt - clock.now() < VALIDITY_LEFT_MS_MIN) return false
    return !owner || !isWorking(held.key, owner, clock.now())
  }

  /** Between finding a purchase and owning it, another process may do the same: a claim in the books decides. */
  async function own({ key, steps }: Held): Promise<boolean> {
    const lock = LOCK + key
    const now = clock.now()
    const { outcome } = await ledger.transfer({
      key: lock,
      purpose: key,
      asset: 'adoption',
      amount: 1n,
      legs: [{ debit: 'world/adoption', credit: 'world/payer' }],
      leaseUntilAt: now + ADOPTION_MS_MAX,
      note: {},
    })
    if (outcome !== 'made') return false
    try {
      const held = await ledger.find(key)
      if (held?.state !== 'pending' || held.steps.length !== steps.length) return false
      await ledger.step(key, { type: 'adopted', data: ownerUntil(now + LEASE_MS) })
      return true
    } finally {
      await ledger.void(lock, 'payment-in-flight')
    }
  }

  /** Makes the purchase again from what was written ahead, if its parts are still there. */
  function revive(held: Held): Purchase | undefined {
    const { signed } = readStanding(held)
    if (!signed) return undefined
    const { offer, expiresAt } = signed
    const protocol = parts.protocols.find(({ name }) => name === signed.protocol)
    const able = parts.wallets.filter((wallet) => wallet.rail === offer.rail)
    for (const wallet of able) {
      const proof = wallet.forms[signed.protocol]?.readProof(signed.proof)
      if (!protocol || proof === undefined || typeof proof === 'string') continue
      return { key: held.key, protocol, wallet, offer, proof, expiresAt }
    }
    return undefined
  }

  async function post(
    purchase: Purchase,
    receipt: Receipt | undefined,
    url: string,
  ): Promise<void> {
    const { key, offer } = purchase
    const reference = receipt?.reference ?? ''
    try {
      await ledger.post(key, undefined, { type: 'receipt', data: receiptData(receipt) })
      tell({ type: 'paid', key, url, amount: offer.amount, reference })
    } catch (error) {
      // What was bought must not be lost with the books: the reservation stands, and a sweep will post it.
      tell({ type: 'fault', where: 'payer/post', error })
    }
  }

  async function release({ key }: Purchase, refused: boolean): Promise<void> {
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
      if (isStaleLock(held)) await ledger.void(held.key, 'payment-in-flight')
      if (!held.key.startsWith(PREFIX)) continue
      const { owner } = readStanding(held)
      if (owner && isWorking(held.key, owner, clock.now())) continue
      await close(held).catch((error: unknown) =>
        tell({ type: 'fault', where: 'payer/sweep', error }),
      )
    }
  }

  /** Its process died between finding a purchase and owning it. */
  function isStaleLock({ key, leaseUntilAt }: Held): boolean {
    return key.startsWith(LOCK) && leaseUntilAt <= clock.now()
  }

  async function close(held: Held): Promise<void> {
    const { key } = held
    const state = await stateOf(held)
    if (state === 'open') return
    // Paid, and what was bought may still be fetched: by the next call of the same request, which must find it open.
    if (state === 'paid' && isFree(held)) return
    if (state !== 'dead') {
      await ledger.post(key, undefined, { type: state, data: {} })
      return
    }
    if ((await ledger.void(key, 'proof-expired')) === 'voided')
      tell({ type: 'voided', key, code: 'proof-expired' })
  }

  /** What became of a purchase. Whoever cannot be asked is believed to have been paid once the payment's time is over. */
  async function stateOf(held: Held): Promise<'paid' | 'dead' | 'open' | 'doubtful'> {
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

  return { make, adopt, post, release, leave: ({ key }) => give(key), sweep, sweepSoon }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

function isUnsigned(error: unknown): boolean {
  if (!(error instanceof PaymentError)) return false
  const { code } = error
  return !(code in problems) || problems[code as keyof typeof problems].moved === 'no'
}

function receiptData(receipt: Receipt | undefined): JsonObject {
  if (!receipt) return { verified: false }
  const { rail, network, reference, payer, payee, amount, settledAt, settled } = receipt
  return { rail, network, reference, payer, payee, amount: writeMoney(amount), settledAt, settled }
}
