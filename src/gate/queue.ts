import type { JsonObject } from '../core/json.ts'
import type { Chance, Held, Transfer } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { QueueOrder, Queued, Task, Tasks, Turn } from '../core/task.ts'
import { uuid } from '../core/chance.ts'
import type { Shelf } from './delivery.ts'
import { isGivenBack } from './life.ts'
import {
  QUEUE_BEAT_MS,
  QUEUE_BYTES_MAX,
  QUEUE_ITEM_BYTES_MIN,
  QUEUE_KEEP_MS,
  QUEUE_TURN_MS,
  SETTLE_MS,
  TASK_KEEP_MS,
  WORK_MS,
} from './limits.ts'
import { isSale, textIn } from './note.ts'
import type { House } from './sale.ts'

/** The purpose of tasks that wait, by which the books find them. */
export const QUEUE = 'queued-task'

/** Whether the books hold a task here that waits until it can be done. */
export function isQueued({ purpose }: Pick<Held, 'purpose'>): boolean {
  return purpose === QUEUE
}

/** What a queue has of the tasks. */
export interface TaskHands {
  /** The transfer of nothing by which a task is claimed. */
  readonly claimOf: (key: string, kind: string, note: JsonObject, leaseMs: number) => Transfer
  /** The kinds of a task, and of a turn at one. */
  readonly kinds: { readonly task: string; readonly turn: string }
  readonly noteOf: (key: string, order: QueueOrder) => JsonObject
  readonly keyOf: (order: Pick<QueueOrder, 'payment' | 'request'>) => Promise<string>
  readonly toTask: (held: Held) => Promise<Task | undefined>
  /** Ends it, and gives back what was charged for it. */
  readonly giveUp: (held: Held, why: string) => Promise<unknown>
  readonly turnOf: (key: string) => string
}

/** Tasks that wait. */
export interface Queue extends Pick<Tasks, 'queue' | 'take'> {
  /** Goes on with one of which nobody shows that he works on it. */
  resume(held: Held): Promise<void>
  /** Whether somebody works on it. */
  isTried(key: string): Promise<boolean>
}

/**
 * Makes the queue. What waits is a task like others, with the work itself sealed in the vault, and holds its bytes of an account
 * with a ceiling: the limit is one step over all processes. Whoever works on it holds its turn, a claim of its own: with nothing
 * written on it, it is free when its lease has run out, and so is the work that surely has not begun. `sending` stands on it
 * before the first byte is sent; from then on the turn is passed on only where doing the work twice is allowed, and else the
 * task is given up. The one commit that posts the task says how it ended.
 */
export function createQueue(
  { ledger, clock, fault }: Pick<House, 'ledger' | 'clock' | 'fault'>,
  { vault, seal }: Shelf,
  chance: Chance,
  { claimOf, kinds, noteOf, keyOf, toTask, giveUp, turnOf }: TaskHands,
): Queue {
  const told = (error: unknown): void => fault('queue', error)
  /** When turns that were another's are free again, so that the books are not asked before. */
  const freeAt = new Map<string, number>()

  async function queue(order: QueueOrder): Promise<Queued> {
    const key = await keyOf(order)
    const before = await ledger.find(key)
    const there = before && before.state !== 'voided' ? await toTask(before) : undefined
    if (there) return { task: there }
    // Each making has work of its own: another's must not be written over.
    const work = `${key}/work/${uuid(chance)}`
    const untilAt = clock.now() + order.withinMs
    await vault.put(work, seal.seal(work, order.work), untilAt + QUEUE_KEEP_MS)
    const note = { ...noteOf(key, order), work, repeats: order.repeats }
    const made = await ledger.transfer({
      ...claimOf(key, kinds.task, note, WORK_MS + 2 * SETTLE_MS),
      ...{ purpose: QUEUE, asset: 'bytes' },
      amount: BigInt(Math.max(order.work.length, QUEUE_ITEM_BYTES_MIN)),
      legs: [{ debit: `${WORLD}tasks`, credit: 'queue/waiting', ceiling: BigInt(QUEUE_BYTES_MAX) }],
    })
    if (made.outcome === 'insufficient') {
      await drop(work)
      throw new PaymentError('rate-limited', full)
    }
    const held = await ledger.find(key)
    const task = held && (await toTask(held))
    if (!held || !task) throw new PaymentError('internal', 'A task that was made is not there.')
    if (made.outcome !== 'made' || held.claim !== made.claim) {
      await drop(work)
      return { task }
    }
    return { task, charged: (is) => charged(held, is) }
  }

  /** What is not known to be charged stays until the books know. */
  async function charged(held: Held, is: boolean): Promise<void> {
    const { key, claim } = held
    if (is) {
      await ledger.step(key, { type: 'queued', data: {} }, claim)
      return await tell(held, 'queued')
    }
    const paid = await ledger.find(textIn(held.note, 'payment'))
    if (paid && paid.state !== 'voided') return
    if ((await ledger.void(key, 'work-failed', claim)) === 'voided')
      await drop(textIn(held.note, 'work'))
  }

  /** What is over, or never was, needs its work no more: strangers who pay nothing must not fill the vault. */
  async function drop(work: string): Promise<void> {
    await vault.drop?.(work).catch(told)
  }

  async function endBy(held: Held, why: string): Promise<void> {
    await giveUp(held, why)
    await drop(textIn(held.note, 'work'))
  }

  /** The story of the payment tells it too. */
  async function tell({ key, note }: Held, type: 'queued' | 'worked-off'): Promise<void> {
    const paid = await ledger.find(textIn(note, 'payment'))
    if (paid?.state === 'posted' && isSale(paid))
      await ledger.step(paid.key, { type, data: { task: key } })
  }

  async function stands(held: Held): Promise<'charged' | 'open' | 'gone'> {
    const paid = await ledger.find(textIn(held.note, 'payment'))
    if (paid?.state === 'posted') {
      const isBack = isSale(paid) && isGivenBack(paid)
      return isBack || paid.steps.some(({ type }) => type === 'undone') ? 'gone' : 'charged'
    }
    // What is let in for nothing stands in no books.
    if (held.steps.length > 0) return paid ? 'gone' : 'charged'
    return paid?.state === 'pending' ? 'open' : 'gone'
  }

  async function resume(held: Held): Promise<void> {
    const turn = await ledger.find(turnOf(held.key))
    const isLate = clock.now() >= Number(held.note['untilAt'])
    if (turn?.state === 'pending' && turn.steps.length > 0) {
      if (clock.now() < lapseOf(turn)) return
      if (held.note['repeats'] !== true) return await endBy(held, 'interrupted')
    }
    const how = await stands(held)
    // Nobody was charged: whoever shows the payment again has it made anew, and must not find it failed and nothing due to him.
    if (how === 'gone' && held.steps.length === 0) {
      if (await ledger.expire(held.key, held.claim)) await drop(textIn(held.note, 'work'))
      return
    }
    if (how === 'open') return
    if (isLate) return await endBy(held, 'late')
    if (how === 'gone') await endBy(held, 'refunded')
  }

  async function take(most: number): Promise<readonly Turn[]> {
    const taken: Turn[] = []
    const waiting = await ledger.pending(QUEUE)
    const there = new Set(waiting.map(({ key }) => key))
    for (const key of freeAt.keys()) if (!there.has(key)) freeAt.delete(key)
    for (const held of waiting) {
      if (taken.length >= most) break
      if (clock.now() < (freeAt.get(held.key) ?? 0)) continue
      const one = await takeOne(held).catch(told)
      if (one) taken.push(one)
    }
    return taken
  }

  async function takeOne(held: Held): Promise<Turn | undefined> {
    const { key, note } = held
    const before = await ledger.find(turnOf(key))
    freeAt.delete(key)
    if (before?.state === 'pending' && clock.now() < lapseOf(before))
      return void freeAt.set(key, Math.min(lapseOf(before), Number(note['untilAt'])))
    const isLate = clock.now() >= Number(note['untilAt'])
    const mayHaveBegun = before?.state === 'pending' && before.steps.length > 0
    const isOver = isLate || (mayHaveBegun && note['repeats'] !== true)
    if (isOver || (await stands(held)) !== 'charged') {
      await resume(held)
      return undefined
    }
    if (mayHaveBegun) await ledger.void(before.key, 'turn-ended', before.claim)
    const tries = Number(before?.note['tries'] ?? 0)
    const claim = await turn(key, tries, QUEUE_TURN_MS)
    if (claim === undefined) return undefined
    // Only now is nobody else at it: what was read before may be old.
    const now = await ledger.find(key)
    if (now?.state !== 'pending' || now.claim !== held.claim) return undefined
    const work = textIn(note, 'work')
    const sealed = await vault.get(work)
    const bytes = sealed && seal.open(work, sealed)
    if (bytes) return turnAt(held, claim, tries, bytes)
    await endBy(held, 'unkept')
    return undefined
  }

  /** The claim on the turn, for that time; undefined where another has it. */
  async function turn(key: string, tries: number, ms: number): Promise<number | undefined> {
    const made = await ledger.transfer(claimOf(turnOf(key), kinds.turn, { tries }, ms))
    return made.outcome === 'made' ? made.claim : undefined
  }

  function turnAt(held: Held, claim: number, tries: number, work: Uint8Array): Turn {
    const { key } = held
    const untilAt = Number(held.note['untilAt'])
    const lost = new AbortController()
    const ended = new AbortController()
    let lapsesAt = 0

    /** False where it is another's by now. */
    async function show(): Promise<boolean> {
      const next = clock.now() + QUEUE_TURN_MS
      try {
        await ledger.step(turnOf(key), { type: 'sending', data: { untilAt: next } }, claim)
      } catch (error) {
        if (error instanceof PaymentError && error.code === 'payment-in-flight') return false
        throw error
      }
      lapsesAt = next
      return clock.now() < next
    }

    async function beat(): Promise<void> {
      for (;;) {
        const restMs = Math.max(untilAt - clock.now(), 0)
        await clock.sleep(Math.min(QUEUE_BEAT_MS, restMs), ended.signal)
        if (ended.signal.aborted) return
        if (clock.now() >= untilAt) return lost.abort('late')
        const isOurs = await show().catch((error: unknown) => {
          fault('queue', error)
          return clock.now() < lapsesAt
        })
        if (!isOurs) return lost.abort('lost')
      }
    }

    /** The turn is over, and may be another's at once. */
    async function leave(): Promise<void> {
      ended.abort('ended')
      await ledger.void(turnOf(key), 'turn-ended', claim)
    }

    /** Where it cannot be written how it ended, the turn stays as it is: what has begun must not look as if it had not. */
    async function end<T>(act: () => Promise<T>): Promise<T> {
      try {
        const how = await act()
        await leave().catch(told)
        return how
      } finally {
        ended.abort('ended')
      }
    }

    return {
      ...{ work, repeats: held.note['repeats'] === true, untilAt, tries, signal: lost.signal },
      async begin() {
        if (clock.now() >= untilAt || !(await show())) return false
        void beat().catch(told)
        return true
      },
      async later(ms) {
        await leave()
        // Nobody tries it before that time.
        await turn(key, tries + 1, ms)
      },
      done: (result) =>
        end(async () => {
          // Whoever was thought dead must not lay his own over the one that counts.
          const name = `${key}/result/${claim}`
          try {
            await vault.put(name, seal.seal(name, result), clock.now() + TASK_KEEP_MS)
          } catch (error) {
            fault('queue', error)
            await endBy(held, 'unkept')
            return false
          }
          const posted = await ledger.post(key, 0n, { type: 'done', data: { name } }, held.claim)
          if (posted === 'posted') await tell(held, 'worked-off').catch(told)
          await drop(textIn(held.note, 'work'))
          return posted === 'posted'
        }),
      fail: (why) => end(() => endBy(held, why)),
    }
  }

  return {
    queue,
    take,
    resume,
    async isTried(key) {
      const turn = await ledger.find(turnOf(key))
      return turn?.state === 'pending' && turn.steps.length > 0
    },
  }
}

/** Until when a turn belongs to whoever has it. */
function lapseOf({ leaseUntilAt, steps }: Held): number {
  const shown = steps.findLast(({ type }) => type === 'sending')?.data['untilAt']
  return typeof shown === 'number' ? shown : leaseUntilAt
}

const full = `${QUEUE_BYTES_MAX} bytes wait here already. Nothing was taken.`
