import { hash } from 'node:crypto'
import { WORLD } from '../core/ports.ts'
import type { Held } from '../core/ports.ts'
import { problem } from '../core/problem.ts'
import type { Delivery } from './delivery.ts'
import type { Life } from './life.ts'
import { NAMES_MAX, SETTLE_MS, WORK_MS } from './limits.ts'
import { textIn } from './note.ts'
import type { Refusals } from './refusals.ts'
import type { Entry, House, Name, Work } from './sale.ts'
import { purposeOf } from './sale.ts'

/** What an earlier payment of the same payer says, which holds the name; and itself, where it has bought a token. */
export interface Holder {
  readonly entry: Entry
  readonly sale?: Held
}

/** What payers call their requests, where they pay anew each time. */
export interface Names {
  /**
   * Takes the name of a request for the payment that it brings; its payer was checked. The entry is there where an earlier
   * payment of the same payer holds the name: then this one is not taken. Undefined where there is no name.
   */
  take(work: Work): Promise<Name | Holder | undefined>
  /** The payment was claimed: the name is its own. False where another has it by now. */
  keep(name: Name): Promise<boolean>
  /** The payment was not claimed. */
  release(name: Name): Promise<void>
}

const NAME = 'name'

/** Whether the books hold the name of a request here. */
export function isName({ note }: Held): boolean {
  return note['kind'] === NAME
}

/**
 * Makes the names. Each is a claim under the payer and the name: in one step, across processes. What has come to nothing, or
 * was given back, leaves its name to the next.
 */
export function createNames(
  { ledger, clock }: Pick<House, 'ledger' | 'clock'>,
  delivery: Pick<Delivery, 'lifeOf' | 'fetchNamed'>,
  refusals: Pick<Refusals, 'refuse' | 'inFlight' | 'unknown' | 'delivered'>,
): Names {
  function claim(work: Work, key: string): ReturnType<House['ledger']['transfer']> {
    return ledger.transfer({
      ...{ key, purpose: purposeOf(work.ask.resource), asset: NAME, amount: 0n },
      legs: [{ debit: `${WORLD}names`, credit: `${WORLD}named` }],
      leaseUntilAt: clock.now() + (work.ask.sale.workMs ?? WORK_MS) + SETTLE_MS,
      note: { kind: NAME, sale: work.key },
    })
  }

  /** What the payment that has the name says; undefined where it came to nothing. */
  async function before(work: Work, key: string): Promise<Holder | undefined> {
    const sale = await ledger.find(key)
    // Its process is about to claim it, or is gone.
    if (!sale) return { entry: refusals.inFlight(work) }
    const life = delivery.lifeOf(sale)
    if (isNothing.has(life)) return undefined
    if (life === 'unknown') return { entry: refusals.unknown({ ...work, key }) }
    if (!isPaid.has(life)) return { entry: refusals.inFlight(work) }
    // A token is handed out again to whoever has paid for it.
    if (work.ask.sale.plan) return { entry: refusals.delivered(work, sale), sale }
    return { entry: await delivery.fetchNamed(work, sale) }
  }

  /** Whether a payment that had a name came to nothing, so that another may have been taken for the request. */
  async function isOver(key: string): Promise<boolean> {
    const sale = await ledger.find(key)
    const life = sale && delivery.lifeOf(sale)
    return life !== undefined && (life === 'free' || isNothing.has(life))
  }

  return {
    async take(work) {
      const { ask, payer, rail } = work
      // What is paid before it is shown has moved already, and its payer is often not known.
      if (ask.idempotencyKey === undefined || payer === '' || rail.prepaid) return undefined
      const who = [rail.name, work.offer.network, payer, ask.idempotencyKey]
      const name = `named/${hash('sha256', JSON.stringify(who), 'hex')}`
      for (let i = 0; i < NAMES_MAX; i++) {
        const key = `${name}/${i}`
        const made = await claim(work, key)
        if (made.outcome === 'made') return { key, claim: made.claim, isNew: true }
        if (made.outcome !== 'replayed') return { entry: await refusals.refuse(ask, otherRequest) }
        const { note, state, claim: theirs } = made.held
        const sale = textIn(note, 'sale')
        if (sale === work.key) {
          const isOpen = state === 'pending' || !(await isOver(sale))
          // One that was kept is not kept twice: what comes to nothing meanwhile is not claimed anew under it.
          if (isOpen) return { key, claim: theirs, isNew: false }
          // The next name may be another payment's by now, which was taken in its place.
          continue
        }
        const holder = await before(work, sale)
        if (holder) return holder
      }
      return { entry: await refusals.refuse(ask, tooOften) }
    },
    keep: async ({ key, claim: mine }) =>
      (await ledger.post(key, undefined, undefined, mine)) === 'posted',
    async release({ key, claim: mine, isNew }) {
      if (isNew) await ledger.void(key, 'work-failed', mine)
    },
  }
}

/** Nothing was taken, or it went back. */
const isNothing: ReadonlySet<Life> = new Set(['voided', 'refunded', 'undone'])
const isPaid: ReadonlySet<Life> = new Set(['settled', 'owed', 'delivered'])

const otherRequest = problem(
  'idempotency-conflict',
  'The Idempotency-Key was used by this payer for another request. Give each request a key of its own. Nothing was taken.',
)
const tooOften = problem(
  'idempotency-conflict',
  `The request came to nothing ${NAMES_MAX} times under this Idempotency-Key. Use another. Nothing was taken.`,
)
