import type { ServerResponse } from 'node:http'
import { problem, problems, writeProblem } from '../core/problem.ts'
import type { Problem } from '../core/problem.ts'

/** What can go wrong behind the gateway. Nothing is charged for such an answer. */
export type UpstreamCode = 'upstream-unreachable' | 'upstream-late' | 'upstream-busy' | 'queue-full'

const upstreamProblems = {
  'upstream-unreachable': {
    status: 502,
    title: 'The service behind cannot be reached',
    detail:
      'The service behind did not answer. Nothing was charged. Send the same payment again; do not make a new one.',
  },
  'upstream-late': {
    status: 504,
    title: 'The service behind took too long',
    detail:
      'The service behind did not answer in time. Nothing was charged. Send the same payment again; do not make a new one.',
  },
  'upstream-busy': {
    status: 503,
    title: 'The service behind is busy',
    detail:
      'The service behind has more to do than it can. Nothing was charged. Send the same payment again in a moment.',
  },
  'queue-full': {
    status: 503,
    title: 'No more requests can wait',
    detail:
      'The service behind is away, and no more requests can wait for it. Nothing was charged. Send the same payment again later; do not make a new one.',
  },
} as const satisfies Record<UpstreamCode, object>

/** When to come back, in seconds. */
const RETRY_SECONDS = 1
const QUEUE_RETRY_SECONDS = 30

/** A refusal of the gateway itself, as it is written. */
export interface Refused {
  readonly status: number
  /** Names and values in turn. */
  readonly head: readonly string[]
  readonly body: string
}

/** A refusal of the house's own table. */
export function refuse(why: Problem, request: string): Refused {
  return written(problems[why.code].status, writeProblem(why, request))
}

/** A fault behind the gateway (RFC 9457, with our members). */
export function refuseFor(code: UpstreamCode, request: string): Refused {
  const { status, title, detail } = upstreamProblems[code]
  const type = `urn:tolsey:problem:${code}`
  const value = {
    ...{ type, title, status, detail, code },
    ...{ retry: 'same', moved: 'no', request },
  }
  return written(status, value, code === 'queue-full' ? QUEUE_RETRY_SECONDS : RETRY_SECONDS)
}

/** Sends a refusal, where nothing has been said yet. */
export function sendRefusal(response: ServerResponse, { status, head, body }: Refused): void {
  if (response.destroyed || response.headersSent) return
  response.writeHead(status, [...head])
  response.end(body)
}

function written(status: number, value: object, retrySeconds = RETRY_SECONDS): Refused {
  const body = JSON.stringify(value)
  const head = ['Content-Type', 'application/problem+json', 'Cache-Control', 'no-store']
  head.push('Content-Length', String(Buffer.byteLength(body)))
  if (status === 503) head.push('Retry-After', String(retrySeconds))
  return { status, head, body }
}

/** A path that two servers could read differently is served by neither. */
export const unreadable: Problem = problem(
  'path-ambiguous',
  'The path can be read in more than one way. Send it without encoded slashes, dot segments, empty segments and backslashes.',
)

/** Neither in the table, nor open to all. */
export const undeclared: Problem = problem(
  'route-undeclared',
  'This service declares nothing at this path and method. Look up its address again.',
)

/** Another host than those of the configuration. */
export const hostUnknown: Problem = problem(
  'host-unknown',
  'Nothing is served under this host name. Use the public address of the service.',
)

/** What an answer that is counted as it passes ends with, where the balance does. */
export const spent: Problem = problem(
  'token-exhausted',
  'What the token could pay is used up. Nothing that is not paid is sent. Top it up, and send the request again.',
)
/** What is counted on a connection is not sold as a plain answer to a request for one. */
export const noSocket: Problem = problem(
  'route-undeclared',
  'There is no WebSocket here. Nothing was charged. Send the request without asking for one.',
)
/** More than the route takes. */
export const bodyTooLarge: Problem = problem(
  'body-too-large',
  'The body is larger than this route takes. Nothing was charged.',
)
