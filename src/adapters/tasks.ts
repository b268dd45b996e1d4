import { Buffer } from 'node:buffer'
import { hash, timingSafeEqual } from 'node:crypto'
import type { Answered, Asked, Fields, Protocol, Refusal, Service, Shop } from '../core/ports.ts'
import { PaymentError, problem } from '../core/problem.ts'
import { PROGRESS_MAX, TASK_FIELD, TASKS_PATH } from '../core/task.ts'
import type { Task, TaskRun, Tasks } from '../core/task.ts'
import { readWhole, writeWhole } from './kept.ts'
import type { Whole } from './kept.ts'
import type { RequestMeter } from './meter.ts'
import { meterOf } from './meter.ts'

/** How long a task may take where its route does not say: an hour. */
export const TASK_MS = 3_600_000
/** Longest time that a route may give its tasks: a day. */
export const TASK_MS_MAX = 86_400_000
/** Largest result of a task, in bytes. */
export const TASK_RESULT_BYTES_MAX = 16_777_216
/** When to come back for a task that runs, in seconds. */
export const TASK_RETRY_SECONDS = 5

/** A task while its work runs. */
export interface RunningTask {
  /** Fires when the task is over for another reason than its work: it took too long, or the process ends. */
  readonly signal: AbortSignal
  /** The meter of the request, on a route with a `meter`: it counts until the work has ended. */
  readonly meter?: RequestMeter
  /** So much is done of so much, in whole numbers. What fails is given back less that part. */
  progress(done: number, of: number): void
}

/** What a task has made. */
export interface TaskResult {
  /** 200 if absent. One that the route does not charge for is a failure. */
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
}

/** What the request is answered: 202 with the address of the task. Also a web `Response` can be made of it. */
export interface Accepted {
  readonly status: 202
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** What a request on a route with `task` is, beside what it pays. */
export interface Lasting {
  readonly tasks: Tasks
  readonly payment: string
  readonly request: string
  readonly what: string
  readonly holder: string
  readonly isMetered: boolean
  readonly withinMs: number
  readonly success: (status: number) => boolean
  /** Whether it was charged: known when the answer may leave. */
  readonly charged: Promise<boolean>
  /** The meter counts until then. */
  until(work: Promise<unknown>): void
}

const lent = new WeakMap<object, Lasting>()

/** Notes for the handler of a request that it may start a task. */
export function lendTask(request: object, lasting: Lasting | undefined): void {
  if (lasting) lent.set(request, lasting)
}

/** What a request on a route with `task` is; undefined on others. */
export function lastingOf(request: object): Lasting | undefined {
  return lent.get(request)
}

/**
 * Starts the task of a request on a route with `task: true`, and gives what the request is to be answered with. The work runs
 * when the answer may leave, and only if it was charged. The same payment shown again finds the same task. What the work throws
 * has failed, and what was charged goes back, less the part that was done.
 *
 * @example
 * const { status, headers, body } = await startTask(request, async (task) => ({ body: await render(task) }))
 * response.writeHead(status, headers).end(body)
 *
 * @throws {RangeError} when the route has no `task`, {PaymentError} `rate-limited` when too many run.
 */
export async function startTask(
  request: object,
  work: (task: RunningTask) => Promise<TaskResult>,
): Promise<Accepted> {
  const lasting = lent.get(request)
  if (!lasting) throw new RangeError('The request has no task. Say { task: true } at its route.')
  const { tasks, isMetered, charged } = lasting
  const { task, run } = await tasks.begin(lasting)
  if (run) {
    const meter = isMetered ? { meter: meterOf(request) } : {}
    const ended = charged.then((is) =>
      is ? runTask(run, meter, work, lasting.success) : run.cancel(),
    )
    lasting.until(ended.catch(() => undefined))
  }
  return accepted(task)
}

/**
 * Queues the task of a request, for whichever process that shares the books: `work` is what it needs. What the request is answered
 * is the address of the task; it is worked on when it was charged. `fault` is told when that could not be written down.
 *
 * @throws {PaymentError} `rate-limited` where too much waits, `store-unavailable` where the work cannot be kept.
 */
export async function queueTask(
  lasting: Lasting,
  { work, repeats }: { readonly work: Uint8Array; readonly repeats: boolean },
  fault: (error: unknown) => void,
): Promise<Accepted> {
  const { task, charged } = await lasting.tasks.queue({ ...lasting, work, repeats })
  if (charged) lasting.charged.then(charged).catch(fault)
  return accepted(task)
}

async function runTask(
  run: TaskRun,
  meter: { readonly meter?: RequestMeter },
  work: (task: RunningTask) => Promise<TaskResult>,
  isSuccess: (status: number) => boolean,
): Promise<void> {
  const { signal } = run
  try {
    await run.start()
    const progress = (done: number, of: number): void =>
      run.progress(of > 0 ? (done * PROGRESS_MAX) / of : 0)
    const whole = wholeOf(await work({ signal, progress, ...meter }))
    if (!isSuccess(whole.status)) await run.fail(`status-${whole.status}`)
    else if (whole.body.length > TASK_RESULT_BYTES_MAX) await run.fail('too-large')
    else await run.done(writeWhole(whole))
  } catch (error) {
    await run.fail(error instanceof PaymentError ? error.code : 'work-failed')
  }
}

function wholeOf({ status = 200, headers = {}, body = '' }: TaskResult): Whole {
  return { status, head: Object.entries(headers), body: Buffer.from(body) }
}

/** What a request is answered whose task is there. */
export function accepted(task: Task): Accepted {
  const address = `${TASKS_PATH}${task.id}`
  const body = JSON.stringify({ task: address, state: task.state })
  return {
    status: 202,
    headers: {
      ...{ Location: address, 'Retry-After': String(TASK_RETRY_SECONDS) },
      ...{ 'Content-Type': 'application/json', 'Cache-Control': 'private, no-store' },
    },
    body,
  }
}

/** What stands for whoever pays by these fields. */
export function holderOf({ name, fields: { request } }: Protocol, fields: Fields): string {
  const said = request.map((field) => [field.toLowerCase(), fields.get(field) ?? ''])
  return hash('sha256', JSON.stringify([name, said]), 'base64url')
}

/**
 * Tells how tasks stand, to whoever has the address, and hands out what they have made to whoever shows what has paid: the
 * same payment, or a token of the same account.
 */
export function taskService(tasks: Tasks, protocols: readonly Protocol[]): Service {
  return {
    paths: [`${TASKS_PATH}*`],
    async answer(asked, shop) {
      const { method, path } = shop.resource
      const task = method === 'GET' ? await tasks.find(path.slice(TASKS_PATH.length)) : undefined
      if (!task) return refused(noTask)
      if (task.state !== 'done' || !(await isHolder(task, asked, shop))) return told(task)
      const bytes = await tasks.result(task.id)
      return bytes ? resultOf(readWhole(bytes)) : refused(forgotten)
    },
  }

  async function isHolder(task: Task, { fields }: Asked, shop: Shop): Promise<boolean> {
    if (task.holder === '') return true
    if (protocols.some((protocol) => isSame(holderOf(protocol, fields), task.holder))) return true
    const credential = await shop.credential()
    const grant = credential && 'grant' in credential ? credential.grant : undefined
    return grant !== undefined && task.account === grant.id && (await isGood(shop, grant.id))
  }

  async function isGood({ accounts }: Shop, id: string): Promise<boolean> {
    const account = await accounts.find(id)
    return account !== undefined && !account.revoked
  }
}

function isSame(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}

function told(task: Task): Answered {
  const { state, progress, why, refund, startedAt, waits } = task
  const isOver = state === 'done' || state === 'failed'
  const said = {
    ...{ state, progress: progress / PROGRESS_MAX, startedAt: new Date(startedAt).toISOString() },
    ...(why !== undefined && { why }),
    ...(refund && { refund }),
    ...(waits && !isOver && { waits: 'The service behind was away, and is asked again.' }),
    ...(state === 'done' && {
      next: 'Send this request with the payment or the token that has paid.',
    }),
  }
  return {
    status: 200,
    fields: {
      'Content-Type': 'application/json',
      'Cache-Control': 'private, no-store',
      [TASK_FIELD]: state,
      ...(!isOver && { 'Retry-After': String(TASK_RETRY_SECONDS) }),
    },
    body: JSON.stringify(said),
  }
}

function resultOf({ status, head, body }: Whole): Answered {
  return { status, fields: Object.fromEntries(head), body: '', bytes: body }
}

function refused(why: Refusal['problem']): Refusal {
  return { kind: 'refused', problem: why }
}

const noTask = problem('route-undeclared', 'There is no task at this address.')
const forgotten = problem(
  'payment-delivered',
  'The task was done, and its result is not kept any more.',
)
