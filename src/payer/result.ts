import { isObject } from '../core/json.ts'
import type { Chance, Clock } from '../core/ports.ts'
import { TASK_FIELD, TASKS_PATH } from '../core/task.ts'
import { readBody } from './challenge.ts'
import { STRANGER_CHARS_MAX } from './limits.ts'
import type { Answer, Fields, Outgoing } from './request.ts'
import { isPassing, pauseMs, waitingFor } from './retry.ts'

/** What came of work that went on after its request was answered. */
export type Result =
  | { readonly kind: 'came'; readonly answer: Answer }
  /** It goes on, or nobody can say. */
  | { readonly kind: 'open' }
  /** It has failed; what the seller says of it. */
  | { readonly kind: 'failed'; readonly why: string }

/** What waiting for a result needs. */
export interface Waiter {
  readonly clock: Clock
  readonly chance: Chance
  readonly send: (request: Outgoing, fields: Fields) => Promise<Answer>
  /** Waits, and says for what. */
  readonly rest: (
    ms: number,
    sends: number,
    detail: string,
    last: Response | undefined,
  ) => Promise<void>
}

/** Where the result of an answer will be, if it is one of a seller who works on; at his own origin alone. */
export function resultAt({ response, request, crossed }: Answer): URL | undefined {
  const said = response.status === 202 && !crossed ? response.headers.get('location') : null
  const at = said === null ? null : URL.parse(said, request.url.href)
  return at?.origin === request.url.origin && at.pathname.startsWith(TASKS_PATH) ? at : undefined
}

/** Asks for it until it is there, with what has paid, each pause longer than the one before and as long as the seller wants. */
export async function waitForResult(
  at: URL,
  { request, response }: Answer,
  fields: Fields,
  untilAt: number,
  { clock, chance, send, rest }: Waiter,
): Promise<Result> {
  const asking: Outgoing = {
    ...request,
    url: at,
    method: 'GET',
    headers: bare(request),
    body: undefined,
  }
  let last: Response | undefined = response
  let detail = 'The seller has taken the request, and works on it.'
  for (let sends = 1; ; sends++) {
    const wait = pauseMs(sends, last, untilAt, clock, chance)
    if (wait === undefined) return { kind: 'open' }
    // The first answer may yet be handed out: it is not touched.
    await rest(wait, sends, detail, sends > 1 ? last : undefined)
    const answer = await send(asking, fields).catch(() => undefined)
    request.signal?.throwIfAborted()
    last = answer?.response
    if (!answer || !last || isPassing(last)) {
      detail = waitingFor(last)
      continue
    }
    const state = answer.crossed ? 'lost' : last.headers.get(TASK_FIELD)
    if (state === null && last.status < 400) return { kind: 'came', answer }
    if (state === 'failed') return { kind: 'failed', why: await whyOf(last, clock) }
    if (last.status === 410) return { kind: 'failed', why: 'it is not kept any more' }
    if (state !== 'accepted' && state !== 'running') return { kind: 'open' }
    detail = await detailOf(last, state, clock)
  }
}

/** What is said of a body, and what it is called, belongs to the first request. */
function bare({ headers }: Outgoing): Headers {
  const kept = [...headers].filter(([name]) => !/^(?:content-.*|idempotency-key)$/.test(name))
  return new Headers(kept)
}

async function detailOf(said: Response, state: string, clock: Clock): Promise<string> {
  const body = await readBody(said, clock)
  const { waits, progress } = isObject(body) ? body : {}
  if (state === 'accepted' && typeof waits === 'string')
    return `The request waits at the seller’s: ${waits.slice(0, STRANGER_CHARS_MAX)}`
  const done = typeof progress === 'number' && progress > 0 && progress <= 1 ? progress : 0
  return `The seller works on it${done > 0 ? ` (${Math.floor(done * 100)} %)` : ''}.`
}

async function whyOf(said: Response, clock: Clock): Promise<string> {
  const body = await readBody(said, clock)
  const { why, refund } = isObject(body) ? body : {}
  const text = (word: unknown): string =>
    typeof word === 'string' ? word.slice(0, STRANGER_CHARS_MAX) : 'not said'
  return `why: ${text(why)}; what was paid: ${text(refund)}`
}
