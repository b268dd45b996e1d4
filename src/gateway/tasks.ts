import { Buffer } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { meterOf } from '../adapters/meter.ts'
import { hasBody } from '../adapters/node.ts'
import { TASK_RESULT_BYTES_MAX, startTask } from '../adapters/tasks.ts'
import type { Lasting, RunningTask, TaskResult } from '../adapters/tasks.ts'
import { PaymentError } from '../core/problem.ts'
import { meterAnswer } from './metering.ts'
import { bodyTooLarge, refuse, refuseFor, sendRefusal } from './problems.ts'
import type { Trip } from './relay.ts'

/** Largest body of a request whose work goes on after its answer, in bytes: its payer does not stay to send it. */
export const TASK_BODY_BYTES_MAX = 16_777_216
/**
 * How much is done of how much, `3/10`: upstreams say it in interim answers (1xx) while they work, and with an answer that has
 * failed.
 */
const PROGRESS_FIELD = 'tolsey-progress'

/** Stands on a result that ends where the balance did. */
const INCOMPLETE_FIELD = 'Tolsey-Incomplete'

/** Answers 202 and lets the upstream work on. What it answers is kept for whoever has paid; what fails is given back. */
export async function relayTask(trip: Trip, lasting: Lasting): Promise<void> {
  const { request, response, upstream, bodyBytesMax } = trip
  const body = await bodyOf(request, Math.min(bodyBytesMax, TASK_BODY_BYTES_MAX))
  if (body === 'gone') return void response.destroy()
  if (body === 'too-large') {
    response.shouldKeepAlive = false
    return sendRefusal(response, refuse(bodyTooLarge, trip.id()))
  }
  // Told before anything is charged; the work has its place when it begins.
  if (!upstream.enter()) return sendRefusal(response, refuseFor('upstream-busy', trip.id()))
  upstream.leave()
  const accepted = await startTask(request, async (task) => {
    if (!upstream.enter())
      throw new PaymentError('rate-limited', 'The upstream has too much to do.')
    try {
      return await ask(trip, lasting, task, body)
    } catch (error) {
      trip.fault(
        `upstream ${upstream.name}`,
        error instanceof Error ? error : new Error(String(error)),
      )
      throw error
    } finally {
      upstream.leave()
    }
  })
  response.writeHead(accepted.status, accepted.headers).end(accepted.body)
}

async function ask(
  trip: Trip,
  { withinMs, isMetered }: Lasting,
  task: RunningTask,
  sent: Buffer,
): Promise<TaskResult> {
  const { request, upstream, answerFields, counters, clock } = trip
  const spent = new AbortController()
  const heard = (said: unknown): void => {
    const [, done, of] = /^(\d{1,9})\/(\d{1,9})$/.exec(String(said)) ?? []
    if (done !== undefined && of !== undefined) task.progress(Number(done), Number(of))
  }
  const answer = await upstream.dispatcher.request({
    ...{ method: request.method ?? 'GET', path: trip.target, headers: trip.head },
    body: sent.length > 0 ? sent : null,
    ...{ headersTimeout: withinMs, bodyTimeout: withinMs },
    signal: AbortSignal.any([task.signal, spent.signal]),
    onInfo: ({ headers }) => heard(headers[PROGRESS_FIELD]),
  })
  const { statusCode: status, headers } = answer
  const isGood = status >= 200 && status < 300
  if (!isGood) heard(headers[PROGRESS_FIELD])
  const raw = Object.entries(headers).flatMap(([name, said]) =>
    [said ?? []].flat().flatMap((value) => (name.startsWith(':') ? [] : [name, value])),
  )
  const head = pairsOf(answerFields(raw))
  const type = String(headers['content-type'] ?? '')
  const counted =
    isMetered && isGood && counters?.({ contentType: type, requestChars: sent.length })
  let isSpent = false
  const stop = (): void => {
    isSpent = true
    spent.abort('spent')
  }
  const metered = counted ? meterAnswer(meterOf(request), counted, clock, stop) : undefined
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    if (metered && !(await metered.begin())) stop()
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      if (metered && !isSpent && !(await metered.chunk(chunk))) stop()
      if (isSpent) break
      bytes += chunk.length
      if (bytes > TASK_RESULT_BYTES_MAX)
        throw new PaymentError('body-too-large', 'The answer of a task is longer than it may be.')
      chunks.push(chunk)
    }
    await metered?.end()
  } catch (error) {
    if (!isSpent) throw error
  } finally {
    metered?.stop()
  }
  // What was paid is handed out, though it is not all.
  const end = isSpent ? { [INCOMPLETE_FIELD]: 'token-exhausted' } : {}
  return { status, headers: { ...head, ...end }, body: Buffer.concat(chunks) }
}

/** Names and values in turn as pairs. */
export function pairsOf(head: readonly string[]): Readonly<Record<string, string>> {
  const said: Record<string, string> = {}
  for (let i = 0; i < head.length; i += 2) said[head[i] ?? ''] = head[i + 1] ?? ''
  return said
}

/** All of it, while its payer is there. */
export async function bodyOf(
  request: IncomingMessage,
  bytesMax: number,
): Promise<Buffer | 'too-large' | 'gone'> {
  if (!hasBody(request)) return Buffer.alloc(0)
  if (Number(request.headers['content-length'] ?? 0) > bytesMax) return 'too-large'
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > bytesMax) return 'too-large'
      chunks.push(chunk)
    }
  } catch {
    return 'gone'
  }
  return Buffer.concat(chunks)
}
