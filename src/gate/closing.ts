import type { JsonObject } from '../core/json.ts'
import type { Offer } from '../core/offer.ts'
import type { Held, Ledger } from '../core/ports.ts'
import { bookCost, bookPassedOn } from '../core/cost.ts'
import { CLOSE_WAIT_MS, LOOK_SHARED_MS } from './limits.ts'
import { readNote } from './note.ts'
import type { Failed, House, Settled } from './sale.ts'
import { logOf } from './sale.ts'

/** Closes sales in the books, by evidence only. */
export interface Closing {
  /** The commit that makes it a sale. Until `deliverBy` its maker delivers it; after that whoever brings the proof. */
  post(
    claim: Pick<Held, 'key' | 'claim'>,
    offer: Offer,
    settlement: Settled,
    deliverBy: number,
  ): ReturnType<Ledger['post']>
  /** Nothing was taken and never will be. What trying has cost is booked all the same. */
  abandon(claim: Pick<Held, 'key' | 'claim'>, offer: Offer, failed: Failed): Promise<void>
  /**
   * Closes an open sale if there is evidence, and tells whether there was. Doubt and faults leave it open. Whoever comes
   * while somebody looks waits for the same look, and none for longer than {@link CLOSE_WAIT_MS}: the look goes on then.
   */
  closed(held: Held): Promise<boolean>
}

/** A look that is under way. */
interface Look {
  readonly sinceAt: number
  readonly found: Promise<boolean>
}

/** Makes the closing. `posted` is told of what may still come undone. */
export function createClosing(house: House, posted: (key: string, offer: Offer) => void): Closing {
  const { ledger, rails, clock, observe, fault } = house
  const post: Closing['post'] = async ({ key, claim }, offer, settlement, deliverBy) => {
    const { reference, payer, settledAt, cost, passedOn: amount = 0n } = settlement
    const data: JsonObject = {
      reference,
      payer,
      settledAt,
      deliverBy,
      ...(cost !== undefined && { cost: cost.toString() }),
    }
    // Before the sale: while that is open, whoever comes after a crash does both.
    if (amount > 0n) {
      const { name, booked = name } = rails.of(offer)
      await bookPassedOn(house, { key }, offer, { booked, amount, reference })
    }
    const done = await ledger.post(key, undefined, { type: 'settled', data }, claim)
    if (done !== 'posted') return done
    posted(key, offer)
    const { amount: whole, rail, network } = offer
    observe({ type: 'settled', at: clock.now(), key, reference, amount: whole, rail, network })
    return done
  }

  const abandon: Closing['abandon'] = async (held, offer, { problem: { code }, cost }) => {
    const { key, claim } = held
    if (cost !== undefined) await bookCost(house, `${key}/${claim}/cost`, held, offer, cost)
    await ledger.void(key, code, claim)
    observe({ type: 'voided', at: clock.now(), key, code })
  }

  /** By the claims that they are for. */
  const looks = new Map<string, Look>()

  /** One look at a time, unless one hangs for ever. */
  async function shared(held: Held): Promise<boolean> {
    const claim = `${held.key}/${held.claim}`
    const before = looks.get(claim)
    if (before && clock.now() - before.sinceAt < LOOK_SHARED_MS) return await before.found
    const look: Look = { sinceAt: clock.now(), found: found(held) }
    looks.set(claim, look)
    try {
      return await look.found
    } finally {
      if (looks.get(claim) === look) looks.delete(claim)
    }
  }

  async function found(held: Held): Promise<boolean> {
    try {
      const { offer } = readNote(held.note)
      const settlement = await rails.of(offer).find(offer, held.key, logOf(ledger, held))
      if (settlement?.state === 'settled') await post(held, offer, settlement, 0)
      if (settlement?.state === 'failed') await abandon(held, offer, settlement)
      return settlement?.state === 'settled' || settlement?.state === 'failed'
    } catch (error) {
      fault('close', error)
      return false
    }
  }

  return {
    post,
    abandon,
    async closed(held) {
      const done = new AbortController()
      const late = clock.sleep(CLOSE_WAIT_MS, done.signal).then(() => false)
      try {
        return await Promise.race([shared(held), late])
      } finally {
        // With a reason: without one the machine makes an error, and its stack, for each.
        done.abort('done')
      }
    },
  }
}
