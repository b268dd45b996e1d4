import { assert } from '../core/assert.ts'
import type { JsonObject } from '../core/json.ts'
import type { Clock, Held, Ledger } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { writeSequence } from './cloud-event.ts'
import type { Told } from './feed.ts'
import { OUTBOX } from './feed.ts'

/** How long a turn may take. Whoever has died in one is followed after that. */
export const LEASE_MS = 60_000

/** What a cursor counts. */
const ROWS = 'rows'

/**
 * How far a sink has come, in the books: the balance of an account. A turn is a claim on the rows behind it, leased like any
 * other; ending it moves the balance in the same commit. So a turn is had by one at a time, across processes, a dead one is
 * followed, and whoever was thought dead and comes back moves nothing.
 */
export interface Cursor {
  /** The last row that was dealt with. */
  read(): Promise<number>
  /** The right to deliver the rows behind `from`, to that one; or until when somebody else has it. */
  take(from: number, to: number): Promise<Turn | Busy>
  /** Puts down what the receiver will not take, so that it may be passed over. Safe to call twice. */
  bury(told: Told, why: string): Promise<void>
  /** What was put down, from behind that row on. */
  buried(after: number, limit: number): Promise<readonly Buried[]>
  /** Marks what was put down as delivered after all. */
  unbury(sequence: number): Promise<void>
}

/** The right to deliver. */
export interface Turn {
  readonly kind: 'turn'
  readonly untilAt: number
  /** All up to that row is dealt with. False when the turn was lost. */
  end(upTo: number): Promise<boolean>
}

/** Somebody else delivers. */
export interface Busy {
  readonly kind: 'busy'
  readonly untilAt: number
}

/** An event that its receiver refuses to take. */
export interface Buried {
  readonly sequence: number
  readonly id: string
  readonly type: string
  /** What the receiver said of it. */
  readonly why: string
  readonly at: number
  readonly isRedelivered: boolean
}

/** Makes the cursor of a sink, by its name. */
export function createCursor(ledger: Ledger, clock: Clock, name: string): Cursor {
  const account = `${OUTBOX}${name}`
  const graves = `${account}/dead/`

  function turnOf(key: string, from: number, claim: number, untilAt: number): Turn {
    return {
      kind: 'turn',
      untilAt,
      async end(upTo) {
        if (upTo === from) return (await ledger.void(key, 'undelivered', claim)) === 'voided'
        const done = await ledger.post(key, BigInt(upTo - from), undefined, claim)
        return done === 'posted' || done === 'replayed'
      },
    }
  }

  return {
    async read() {
      const standings = await ledger.balances(account)
      return Number(standings.find(({ asset }) => asset === ROWS)?.posted ?? 0n)
    },
    async take(from, to) {
      assert(to > from, 'a turn has rows')
      const key = `${account}/${writeSequence(from)}`
      const untilAt = clock.now() + LEASE_MS
      const claim = await ledger.transfer({
        key,
        purpose: 'outbox',
        asset: ROWS,
        amount: BigInt(to - from),
        legs: [{ debit: `${WORLD}outbox`, credit: account }],
        leaseUntilAt: untilAt,
        note: { kind: 'outbox' },
      })
      assert(claim.outcome !== 'insufficient', 'the outside world is never short of rows')
      if (claim.outcome === 'made') return turnOf(key, from, claim.claim, untilAt)
      const { state, leaseUntilAt } = claim.held
      // Posted means that it was moved since it was read.
      return { kind: 'busy', untilAt: state === 'pending' ? leaseUntilAt : 0 }
    },
    async bury({ sequence, event: { id, type } }, why) {
      const key = graves + writeSequence(sequence)
      await ledger.transfer({
        key,
        purpose: 'outbox',
        asset: ROWS,
        amount: 0n,
        legs: [{ debit: `${WORLD}outbox`, credit: `${WORLD}outbox/dead` }],
        leaseUntilAt: clock.now() + LEASE_MS,
        note: { kind: 'outbox', sequence, id, type, why },
      })
      await ledger.post(key)
    },
    async buried(after, limit) {
      const found = await ledger.under(graves, graves + writeSequence(after), limit)
      return found.map(readBuried)
    },
    unbury: (sequence) =>
      ledger.step(graves + writeSequence(sequence), { type: 'redelivered', data: {} }),
  }
}

function readBuried({ note, madeAt, steps }: Held): Buried {
  const { sequence } = note
  assert(typeof sequence === 'number', 'what was put down has its row')
  return {
    sequence,
    id: textOf(note, 'id'),
    type: textOf(note, 'type'),
    why: textOf(note, 'why'),
    at: madeAt,
    isRedelivered: steps.some(({ type }) => type === 'redelivered'),
  }
}

function textOf(note: JsonObject, name: string): string {
  const value = note[name]
  return typeof value === 'string' ? value : ''
}
