import type { Json } from '../core/json.ts'
import { writePrice } from '../core/money.ts'
import type { Price } from '../core/money.ts'
import type { Measure, Meter } from '../core/plan.ts'
import type { Ledger } from '../core/ports.ts'
import { SCALE, fine } from './account.ts'
import { METER_WORDS_MAX } from './limits.ts'

/** What was held for a request, under its key. */
export interface Portion {
  readonly key: string
  readonly amount: bigint
  /** Which making of the key is ours: under a name that the payer gave there may be another. */
  readonly claim: number
}

/** What a meter stands on. */
export interface MeteringParts {
  readonly ledger: Pick<Ledger, 'post' | 'void'>
  readonly measure: Measure
  /** What was held when the request came. */
  readonly first: Portion
  /** Holds more; undefined when there is not so much. */
  hold(amount: bigint): Promise<Portion | undefined>
  /** What could still be held. */
  left(): Promise<bigint>
}

/** A meter, and the end of it. */
export interface Metering extends Meter {
  /** The answer leaves: from now on what was counted is charged, portion by portion, whatever becomes of the rest. */
  served(): void
  /** Charges what was counted and frees the rest; all of it where nothing was served. Once. False if something was lost. */
  close(): Promise<boolean>
}

/**
 * Counts a request in portions. A portion is posted when it is used up and the answer is on its way, so that a process that
 * dies has charged all but the last; the last is freed when its lease is over.
 */
export function createMetering(parts: MeteringParts): Metering {
  const { ledger, measure, first } = parts
  const unit = fine(measure.unit)
  const most = measure.most && fine(measure.most)
  const { currency } = measure.unit
  /** Held, and not yet posted. */
  const open: Portion[] = [first]
  const words = new Map<string, bigint>()
  let held = first.amount
  let counted = 0n
  let posted = 0n
  let isServed = false
  let isOver = false
  let allPaid = true
  let turn: Promise<unknown> = Promise.resolve()

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const next = turn.then(work)
    turn = next.catch(() => undefined)
    return next
  }

  /** Holds until so much is held. A last portion is as small as it must be. */
  async function reach(total: bigint): Promise<boolean> {
    const need = total - held
    if (need <= 0n) return true
    const room = most === undefined ? undefined : most - held
    if (room !== undefined && room < need) return false
    const wide = need > unit ? need : unit
    const size = room !== undefined && room < wide ? room : wide
    return (await more(size)) || (size > need && (await more(need)))
  }

  async function more(amount: bigint): Promise<boolean> {
    const portion = amount > 0n ? await parts.hold(amount) : undefined
    if (!portion) return false
    open.push(portion)
    held += amount
    return true
  }

  async function count(amount: bigint, what: string): Promise<void> {
    counted += amount
    if (words.has(what) || words.size < METER_WORDS_MAX)
      words.set(what, (words.get(what) ?? 0n) + amount)
    if (isServed) await postUsedUp()
  }

  async function postUsedUp(): Promise<void> {
    for (let [one] = open; one && posted + one.amount < counted; [one] = open) {
      open.shift()
      await charge(one, one.amount)
    }
  }

  async function add(amount: bigint, what: string): Promise<boolean> {
    if (await reach(counted + amount)) {
      await count(amount, what)
      return true
    }
    const left = await parts.left()
    await more(most === undefined ? left : smaller(left, most - held))
    await count(smaller(amount, held - counted), what)
    return false
  }

  async function charge(portion: Portion, amount: bigint): Promise<void> {
    posted += amount
    // An answer that got lost is asked for once more.
    const post = ({ key, claim }: Portion): ReturnType<Ledger['post']> =>
      ledger.post(key, amount, { type: 'measured', data: wordsSaid() }, claim)
    const done = await post(portion).catch(() => post(portion))
    if (done === 'posted' || done === 'replayed') return
    // Its lease was over before it was used up.
    const again = await parts.hold(amount)
    if (again) await post(again)
    else allPaid = false
  }

  function wordsSaid(): Record<string, Json> {
    return Object.fromEntries([...words].map(([what, amount]) => [what, priceOf(amount)]))
  }

  function priceOf(amount: bigint): string {
    return writePrice({ currency, amount, scale: SCALE })
  }

  return {
    get used(): Price {
      return { currency, amount: counted, scale: SCALE }
    },
    take: (price, what = '') =>
      inTurn(async () => {
        const amount = fine(price)
        if (isOver || !(await reach(counted + amount))) return false
        await count(amount, what)
        return true
      }),
    add: (price, what = '') => inTurn(async () => !isOver && (await add(fine(price), what))),
    correct: (price) =>
      inTurn(async () => {
        if (isOver) return false
        const total = fine(price)
        if (total > counted) return await add(total - counted, '')
        counted = total > posted ? total : posted
        return true
      }),
    served() {
      isServed = true
    },
    close: () =>
      inTurn(async () => {
        if (isOver) return true
        isOver = true
        for (const one of open.splice(0)) {
          const rest = isServed ? smaller(one.amount, counted - posted) : 0n
          if (rest > 0n) await charge(one, rest)
          else await ledger.void(one.key, 'work-failed', one.claim)
        }
        return allPaid
      }),
  }
}

/** For whoever pays otherwise than by measure, or is let in for nothing. */
export function createFreeMeter({ unit: { currency } }: Measure): Meter {
  const covered = async (): Promise<boolean> => true
  return { take: covered, add: covered, correct: covered, used: { currency, amount: 0n, scale: 0 } }
}

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}
