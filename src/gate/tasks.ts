import { Buffer } from 'node:buffer'
import { hash, timingSafeEqual } from 'node:crypto'
import type { JsonObject } from '../core/json.ts'
import type { Chance, Held, Step, Transfer } from '../core/ports.ts'
import { WORLD } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { PROGRESS_MAX } from '../core/task.ts'
import type { Task, TaskOrder, TaskRun, Tasks } from '../core/task.ts'
import { isDraw } from './account.ts'
import type { AccountBooks } from './accounts.ts'
import type { Shelf } from './delivery.ts'
import { TASK_BEAT_MS, TASK_KEEP_MS, TASK_TURN_MS, TASKS_MAX } from './limits.ts'
import { isSale, textIn } from './note.ts'
import { createQueue, isQueued } from './queue.ts'
import type { Refunds } from './refunds.ts'
import type { House } from './sale.ts'

/** The tasks of a gate. */
export interface TaskBooks extends Tasks {
  /** Goes on with what a process has left behind: its task has failed, and what was charged for it goes back. */
  resume(held: Held): Promise<void>
}

const TASK = 'task'
const BACK = 'task-back'
const TURN = 'task-turn'

/** Whether the books hold a task here, or what goes back of one. */
export function isTask({ note }: Held): boolean {
  return note['kind'] === TASK || note['kind'] === BACK
}

/** Whether the books hold a sign of life of a task's process here. */
export function isTaskTurn({ note }: Held): boolean {
  return note['kind'] === TURN
}

/** The order under which a task gives back: one for each payment. */
const ORDER = 'task'
/** Bytes of what makes an address unguessable. */
const SECRET_BYTES = 18
/** A step of progress is written down each time that so much more is done. */
const PROGRESS_STEP = PROGRESS_MAX / 100

/**
 * Makes the tasks. A task is a transfer of nothing under the key of its payment, pending while it runs: the commit that posts
 * it says how it has ended, once, whoever was thought dead. Its process shows that it lives by a claim that it renews; one that
 * does not is failed by whoever looks next. What a failure gives back is a claim of its own, made before the failure is
 * written: it is found again after a crash, and carried out once by the keys of the payments.
 */
export function createTasks(
  { ledger, clock, fault }: Pick<House, 'ledger' | 'clock' | 'fault'>,
  { vault, seal }: Shelf,
  chance: Chance,
  refunds: Pick<Refunds, 'partOf' | 'refundUnits'>,
  accounts: Pick<AccountBooks, 'putBack'>,
): TaskBooks {
  const running = new Map<string, Pick<TaskRun, 'fail'>>()

  function claimOf(key: string, kind: string, note: JsonObject, leaseMs: number): Transfer {
    return {
      ...{ key, purpose: kind, asset: TASK, amount: 0n },
      legs: [{ debit: `${WORLD}tasks`, credit: `${WORLD}work` }],
      leaseUntilAt: clock.now() + leaseMs,
      note: { kind, ...note },
    }
  }

  /** A sale is one task, however often its proof is shown; a token pays for many. */
  async function keyOf({
    payment,
    request,
  }: Pick<TaskOrder, 'payment' | 'request'>): Promise<string> {
    const paid = await ledger.find(payment)
    const name = paid && isSale(paid) ? paid.key : `${payment} ${request}`
    return `${TASK}/${hash('sha256', name, 'hex')}`
  }

  function noteOf(key: string, order: TaskOrder): JsonObject {
    const secret = Buffer.from(chance(SECRET_BYTES)).toString('base64url')
    return {
      ...{ payment: order.payment, request: order.request, what: order.what },
      ...{ holder: order.holder, isMetered: order.isMetered },
      untilAt: clock.now() + order.withinMs,
      secret: Buffer.from(seal.seal(key, Buffer.from(secret))).toString('base64'),
    }
  }

  async function begin(order: TaskOrder): Promise<{ readonly task: Task; readonly run?: TaskRun }> {
    const key = await keyOf(order)
    if (running.size >= TASKS_MAX)
      throw new PaymentError('rate-limited', `${TASKS_MAX} tasks run here at once.`)
    const made = await ledger.transfer(claimOf(key, TASK, noteOf(key, order), TASK_TURN_MS))
    const held = await ledger.find(key)
    const task = held && (await toTask(held))
    if (!held || !task) throw new PaymentError('internal', 'A task that was made is not there.')
    if (made.outcome !== 'made' || held.claim !== made.claim) return { task }
    return { task, run: runOf(held, task) }
  }

  function runOf(held: Held, task: Task): TaskRun {
    const { key, claim } = held
    const over = new AbortController()
    let progress = 0
    let written = 0
    let ended: Promise<boolean> | undefined
    running.set(key, { fail })
    void beat().catch((error: unknown) => fault('task', error))

    /** The first end holds. */
    async function end(act: () => Promise<boolean>): Promise<boolean> {
      if (ended) return await ended.then(() => false)
      ended = act().finally(() => {
        running.delete(key)
        over.abort('ended')
        void ledger.void(turnOf(key), 'turn-ended').catch((error: unknown) => fault('task', error))
      })
      return await ended
    }

    async function fail(why: string): Promise<void> {
      over.abort(why)
      await end(() => giveUp(held, why, progress))
    }

    async function beat(): Promise<void> {
      const untilAt = Number(held.note['untilAt'])
      for (;;) {
        await renew(key).catch((error: unknown) => fault('task', error))
        await clock.sleep(Math.min(TASK_BEAT_MS, Math.max(untilAt - clock.now(), 0)), over.signal)
        if (over.signal.aborted) return
        if (clock.now() >= untilAt) return await fail('late')
      }
    }

    return {
      task,
      signal: over.signal,
      async start() {
        await ledger.step(key, { type: 'running', data: {} }, claim)
      },
      async cancel() {
        await end(async () => (await ledger.void(key, 'work-failed', claim)) === 'voided')
      },
      progress(done) {
        progress = Math.max(progress, Math.min(Math.trunc(done), PROGRESS_MAX))
        if (ended || progress < written + PROGRESS_STEP) return
        written = progress
        const step: Step = { type: 'progress', data: { done: progress } }
        void ledger.step(key, step, claim).catch((error: unknown) => fault('task', error))
      },
      done: (result) =>
        end(async () => {
          try {
            await vault.put(key, seal.seal(key, result), clock.now() + TASK_KEEP_MS)
          } catch (error) {
            fault('task', error)
            await giveUp(held, 'unkept', progress)
            return false
          }
          const posted = await ledger.post(key, 0n, { type: 'done', data: {} }, claim)
          return posted === 'posted'
        }),
      fail,
    }
  }

  async function renew(key: string): Promise<void> {
    await ledger.void(turnOf(key), 'turn-ended')
    await ledger.transfer(claimOf(turnOf(key), TURN, {}, TASK_TURN_MS))
  }

  /** True when it had to be given up, and it was. */
  async function giveUp(held: Held, why: string, progress: number): Promise<boolean> {
    const { key, claim } = held
    const note = { of: key, progress }
    const back = await ledger.transfer(claimOf(backOf(key), BACK, note, TASK_TURN_MS))
    if (back.outcome === 'made') await ledger.step(backOf(key), { type: 'ordered', data: {} })
    await ledger.post(key, 0n, { type: 'failed', data: { why, progress } }, claim)
    await carry(backOf(key))
    return true
  }

  /** Gives back what a failed task is owed; nothing where it was done after all. */
  async function carry(key: string): Promise<void> {
    const back = await ledger.find(key)
    if (back?.state !== 'pending') return
    const task = await ledger.find(textIn(back.note, 'of'))
    if (!task) return
    if (task.state === 'pending') {
      // Its process died between the two.
      const data = { why: 'interrupted', progress: Number(back.note['progress']) }
      await ledger.post(task.key, 0n, { type: 'failed', data }, task.claim)
      return await carry(key)
    }
    if (!task.steps.some(({ type }) => type === 'failed')) {
      await ledger.void(key, 'work-failed', back.claim)
      return
    }
    const refund = await giveBack(task, Number(back.note['progress']))
    if (refund !== 'open')
      await ledger.post(key, 0n, { type: 'given-back', data: { refund } }, back.claim)
  }

  async function giveBack(task: Held, progress: number): Promise<NonNullable<Task['refund']>> {
    const { isMetered } = task.note
    const paid = await ledger.find(textIn(task.note, 'payment'))
    const left = BigInt(PROGRESS_MAX - progress)
    if (!paid || isMetered === true || left === 0n || paid.state === 'voided') return 'none'
    if (paid.state === 'pending') return 'open'
    if (isDraw(paid)) {
      const isBack = await accounts.putBack(paid, left, BigInt(PROGRESS_MAX))
      return isBack ? 'refunded' : 'denied'
    }
    const before = await ledger.find(`${paid.key}/refund/${ORDER}`)
    const units =
      before && before.state !== 'voided'
        ? before.amount
        : await refunds.partOf(paid.key, left, BigInt(PROGRESS_MAX))
    if (typeof units !== 'bigint') return 'denied'
    if (units <= 0n) return 'none'
    const order = { key: paid.key, idempotencyKey: ORDER, reason: 'The task failed.' }
    const outcome = await refunds.refundUnits(order, units)
    return outcome.kind
  }

  async function toTask(held: Held): Promise<Task | undefined> {
    const { key, note, steps, state, madeAt } = held
    const sealed = note['secret']
    const secret = typeof sealed === 'string' && seal.open(key, Buffer.from(sealed, 'base64'))
    if (!secret) return undefined
    const failed = steps.findLast(({ type }) => type === 'failed')?.data
    const isOver = state === 'posted'
    const last = steps.findLast(({ type }) => type === 'progress')?.data['done']
    const back = failed && (await ledger.find(backOf(key)))
    const told = back?.steps.findLast(({ type }) => type === 'given-back')?.data['refund']
    const payment = textIn(note, 'payment')
    const account = /^draw\/([^/]+)\//.exec(payment)?.[1]
    const waits = isQueued(held)
    const isRunning = waits
      ? !isOver && (await queue.isTried(key))
      : steps.some(({ type }) => type === 'running')
    return {
      id: `${key.slice(`${TASK}/`.length)}.${Buffer.from(secret).toString()}`,
      state: failed ? 'failed' : isOver ? 'done' : isRunning ? 'running' : 'accepted',
      progress: isOver && !failed ? PROGRESS_MAX : Number(failed?.['progress'] ?? last ?? 0),
      startedAt: madeAt,
      ...(failed && { why: textIn(failed, 'why') }),
      ...(failed && { refund: typeof told === 'string' ? (told as 'none') : 'open' }),
      holder: textIn(note, 'holder'),
      ...(account !== undefined && { account }),
      ...(waits && { waits }),
    }
  }

  const queue = createQueue({ ledger, clock, fault }, { vault, seal }, chance, {
    ...{ claimOf, noteOf, keyOf, toTask, turnOf },
    kinds: { task: TASK, turn: TURN },
    giveUp: (held, why) => giveUp(held, why, 0),
  })

  async function find(id: string): Promise<Task | undefined> {
    if (!/^[0-9a-f]{64}\.[\w-]{24}$/.test(id)) return undefined
    const held = await ledger.find(`${TASK}/${id.slice(0, 64)}`)
    const task = held && held.state !== 'voided' ? await toTask(held) : undefined
    return task && isSame(task.id, id) ? task : undefined
  }

  /** Whether its payer was charged. The answer that names the task may be kept, and is what he gets when he comes again. */
  async function isCharged({ note }: Held): Promise<boolean> {
    return (await ledger.find(textIn(note, 'payment')))?.state === 'posted'
  }

  /** What was written on it keeps a turn from running out, and its task may be over. */
  async function endTurn({ key, claim, steps }: Held): Promise<void> {
    if (steps.length === 0) return
    const task = await ledger.find(key.slice(0, -turnOf('').length))
    if (task?.state !== 'pending') await ledger.void(key, 'turn-ended', claim)
  }

  async function resume(held: Held): Promise<void> {
    if (isTaskTurn(held)) return await endTurn(held)
    if (held.note['kind'] === BACK) return await carry(held.key)
    if (isQueued(held)) return await queue.resume(held)
    if (running.has(held.key)) return
    const turn = await ledger.find(turnOf(held.key))
    if ((turn?.leaseUntilAt ?? 0) > clock.now()) return
    // Nobody has taken it up: whoever shows the payment again has it made anew.
    if (held.steps.length === 0 && !(await isCharged(held)))
      return void (await ledger.expire(held.key, held.claim))
    const last = held.steps.findLast(({ type }) => type === 'progress')?.data['done']
    await giveUp(held, 'interrupted', Number(last ?? 0))
  }

  return {
    begin,
    queue: queue.queue,
    take: queue.take,
    async of(order) {
      const held = await ledger.find(await keyOf(order))
      return held && held.state !== 'voided' ? await toTask(held) : undefined
    },
    find,
    async result(id) {
      const task = await find(id)
      if (task?.state !== 'done') return undefined
      const key = `${TASK}/${id.slice(0, 64)}`
      const done = (await ledger.find(key))?.steps.find(({ type }) => type === 'done')
      const { name = key } = done?.data ?? {}
      if (typeof name !== 'string') return undefined
      const sealed = await vault.get(name)
      return sealed && seal.open(name, sealed)
    },
    resume,
    async close() {
      await Promise.allSettled([...running.values()].map(({ fail }) => fail('interrupted')))
    },
  }
}

function turnOf(key: string): string {
  return `${key}/turn`
}

function backOf(key: string): string {
  return `${key}/back`
}

function isSame(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}
