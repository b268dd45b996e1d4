import type { Denial, Held, Ledger } from '../core/ports.ts'
import type { Due } from './allowance.ts'
import { tomorrow } from './allowance.ts'
import { turnNote, turnOf } from './note.ts'

/** A settlement in one of its makings: a payment that failed may be sent again, and takes of the day again. */
export interface Making {
  readonly key: string
  readonly claim: number
}

/** What settlements take of their callers' days: held before they are sent, and posted when it is known. */
export interface Turns {
  /** Holds all of it; if there is not so much left, holds nothing and says so. */
  take(making: Making, dues: readonly Due[], now: number): Promise<Denial | undefined>
  /** Gives back what was held for a settlement of which nothing was sent. */
  free(making: Making): Promise<void>
  /** Posts it: what it has cost, or, where nobody can tell, all that was held. */
  spend(making: Making, cost: bigint | undefined): Promise<void>
  /** Closes one that a crash left open. False if the books hold something else here. */
  recover(held: Held): Promise<boolean>
}

/** Makes them, on the books. A maker that dies leaves them to {@link Turns.recover} after so long. */
export function createTurns(ledger: Ledger, leaseMs: number): Turns {
  async function spendGas(turn: string, cost: bigint): Promise<void> {
    const held = await ledger.find(turn)
    if (!held || cost <= held.amount) return void (await ledger.post(turn, cost))
    await ledger.post(turn)
    await beyond(held, cost - held.amount)
  }

  /** It has cost more than was held. That is booked whatever the limit says, so that the rest of the day knows of it. */
  async function beyond(held: Held, amount: bigint): Promise<void> {
    const { asset, purpose, leaseUntilAt, note } = held
    const key = `${held.key}/beyond`
    const legs = held.legs.map(({ debit, credit }) => ({ debit, credit }))
    await ledger.transfer({ key, purpose, asset, amount, legs, leaseUntilAt, note })
    await ledger.post(key)
  }

  const turns: Turns = {
    async take(making, dues, now) {
      const { key: purpose } = making
      const rest = { purpose, leaseUntilAt: now + leaseMs, note: turnNote(purpose) }
      for (const { kind, asset, amount, leg, exhausted } of dues) {
        const turn = { key: keyOf(making, kind), asset, amount, legs: [leg], ...rest }
        const taken = await ledger.transfer(turn)
        if (taken.outcome !== 'insufficient') continue
        await turns.free(making)
        return tomorrow(exhausted, now)
      }
      return undefined
    },
    async free(making) {
      await ledger.void(keyOf(making, 'sent'), 'unsent')
      await ledger.void(keyOf(making, 'gas'), 'unsent')
    },
    async spend(making, cost) {
      await ledger.post(keyOf(making, 'sent'))
      const turn = keyOf(making, 'gas')
      await (cost === undefined ? ledger.post(turn) : spendGas(turn, cost))
    },
    async recover(held) {
      const of = turnOf(held)
      if (of === undefined) return false
      const settlement = await ledger.find(of)
      // One that is open will be closed with what it has cost. Otherwise nobody can tell any more, and all of it counts.
      if (settlement?.state !== 'pending') await ledger.post(held.key)
      return true
    },
  }
  return turns
}

function keyOf({ key, claim }: Making, kind: Due['kind']): string {
  return `${key}/${claim}/${kind}`
}
