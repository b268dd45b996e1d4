import { assert } from '../core/assert.ts'
import type { Offer } from '../core/offer.ts'
import { nonceOf } from '../core/offers.ts'
import type { Held, Kept, Vault } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { Seal } from '../core/seal.ts'
import type { Life } from './life.ts'
import { deliverByOf, lifeOf } from './life.ts'
import { DELIVER_MS, GONE_MAX, KEEP_MS, WORK_MS } from './limits.ts'
import { isSale, readNote } from './note.ts'
import type { Refusals } from './refusals.ts'
import type { Claimed, Entry, House, Work } from './sale.ts'
import { receiptOf } from './sale.ts'

/** Where answers are kept, and the seal that they lie under. */
export interface Shelf {
  readonly vault: Vault
  readonly seal: Seal
}

/** Sees that what was paid for reaches its payer: by one request at a time, and from the vault where it is kept. */
export interface Delivery {
  /** The state of a sale, with what has left and could not be written down yet. */
  lifeOf(held: Held): Life
  /** What a posted sale has for whoever brings the same proof. */
  fetch(work: Work, held: Held): Promise<Entry>
  /** The same for whoever shows another payment, and has proved to be the payer of this one. */
  fetchNamed(work: Work, held: Held): Promise<Entry>
  /** Keeps the answer before the money moves: whatever happens then, it is there. Want of room is told, and no more. */
  keep(work: Claimed, answer: Uint8Array | undefined, keepMs?: number): Promise<void>
  /** Whether what was sold is still ours to deliver: in its time, or by a turn that nobody has had before. */
  mayDeliver(work: Work, until: number): Promise<boolean>
  /** The first byte has left. Until that is written down, this process remembers it. */
  delivered(work: Claimed): void
  /** Nobody is being served: whoever brings the proof may have it at once. */
  release(work: Claimed): Promise<void>
  /** Writes down what could not be written before. */
  flush(): Promise<void>
}

/** Makes the delivery. Without a shelf nothing is kept. */
export function createDelivery(
  { ledger, clock, observe, fault }: House,
  refusals: Refusals,
  shelf: Shelf | undefined,
): Delivery {
  /** What has left, where that could not be written yet: claims by their keys. */
  const gone = new Map<string, number>()

  function lifeNow(held: Held): Life {
    const life = lifeOf(held, clock.now())
    return gone.get(held.key) === held.claim && (life === 'settled' || life === 'owed')
      ? 'delivered'
      : life
  }

  /** The answer itself, for whoever names the very offer that was paid. */
  async function kept({ offer }: Work, held: Held): Promise<Kept | undefined> {
    if (!shelf || !isPaid(held, offer)) return undefined
    const name = shelfOf(held)
    const sealed = await shelf.vault.get(name)
    const answer = sealed && shelf.seal.open(name, sealed)
    return answer && { kind: 'kept', receipt: receiptOf(held), answer }
  }

  async function keep(
    work: Claimed,
    answer: Uint8Array | undefined,
    keepMs = KEEP_MS,
  ): Promise<void> {
    const { ask, offer } = work
    if (!shelf || !answer || !ask.sale.keep || nonceOf(offer) === undefined) return
    const name = shelfOf(work)
    const sealed = shelf.seal.seal(name, answer)
    await shelf.vault
      .put(name, sealed, clock.now() + keepMs)
      .catch((error: unknown) => fault('keep', error))
  }

  /** Paid, and perhaps never received: the same proof may fetch it again, one at a time, until a first byte has left. */
  async function redeliver(work: Work, held: Held): Promise<Entry> {
    const early = notOwed(work, held)
    if (early) return early
    // A token is good for many requests, and for whoever has it.
    if (work.ask.sale.plan && !isPaid(held, work.offer)) return refusals.unnamed(work, held)
    const turn = await takeTurn(work)
    if (turn === undefined) return refusals.inFlight(work)
    // Only now is nobody else at it: what was read before the turn may be old.
    const now = await ledger.find(work.key)
    assert(now?.state === 'posted', 'what is posted stays so')
    const late = notOwed(work, now)
    if (!late) return turnPass({ ...work, claim: now.claim }, now, turn)
    if (lifeNow(now) === 'settled') await giveTurn(work.key, turn)
    return late
  }

  /** Why nobody may fetch it now. */
  function notOwed(work: Work, held: Held): Entry | undefined {
    const life = lifeNow(held)
    if (life === 'owed') return undefined
    if (life === 'delivered') return refusals.delivered(work, held)
    return life === 'settled'
      ? refusals.inFlight(work, deliverByOf(held) - clock.now())
      : refusals.inFlight(work)
  }

  function turnPass(work: Claimed, held: Held, turn: number): Entry {
    const { key } = work
    const served = createFlag()
    return {
      kind: 'pass',
      key,
      finish: async (success, answer, keepMs) => {
        const mine = await ledger.find(turnOf(key))
        if (mine?.claim !== turn || mine.state !== 'pending') return refusals.inFlight(work)
        if (success) await keep(work, answer, keepMs)
        else await giveTurn(key, turn)
        served.set(success)
        return { kind: 'serve', receipt: receiptOf(held) }
      },
      delivered: () => void (served.is() && delivered(work)),
      lost: () => void giveTurn(key, turn).catch((error: unknown) => fault('lost', error)),
    }
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

  function delivered({ ask: { request }, key, claim }: Claimed): void {
    observe({ type: 'delivered', at: clock.now(), request, key })
    if (gone.size < GONE_MAX) gone.set(key, claim)
    void writeDelivered(key, claim)
  }

  async function writeDelivered(key: string, claim: number): Promise<void> {
    try {
      await ledger.step(key, { type: 'delivered', data: {} }, claim)
      gone.delete(key)
    } catch (error) {
      // What was served on credit and could not be collected is voided, and no sale any more.
      if (error instanceof PaymentError && error.code === 'payment-in-flight') gone.delete(key)
      else fault('delivered', error)
    }
  }

  return {
    lifeOf: lifeNow,
    fetch: async (work, held) => (await kept(work, held)) ?? (await redeliver(work, held)),
    async fetchNamed(work, held) {
      const { offer } = readNote(held.note)
      const paid = { ...work, key: held.key, offer }
      return (await kept(paid, held)) ?? (await redeliver(paid, held))
    },
    keep,
    async mayDeliver(work, until) {
      if (clock.now() < until) return true
      if ((await takeTurn(work)) === undefined) return false
      const held = await ledger.find(work.key)
      const life = held && lifeNow(held)
      return life === 'settled' || life === 'owed'
    },
    delivered,
    release: ({ key, claim }) =>
      ledger.step(key, { type: 'released', data: { deliverBy: 0 } }, claim),
    async flush() {
      for (const [key, claim] of gone) await writeDelivered(key, claim)
    },
  }
}

/** What a turn at delivery moves nothing of. */
const TURN = 'delivery'

/** Whether the books hold a turn at delivery here. */
export function isTurn({ asset }: Held): boolean {
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

/**
 * Whether it is the very offer that was paid, and one of its kind. What a payment shows on a chain everybody can say again,
 * its signature included.
 */
export function isPaid(held: Held, offer: Offer): boolean {
  return nonceOf(offer) !== undefined && isSale(held) && readNote(held.note).offer.id === offer.id
}

/** Whether the work was done and its answer may be called delivered. */
export function createFlag(): { set(value: boolean): void; is(): boolean } {
  let flag = false
  return { set: (value) => void (flag = value), is: () => flag }
}
