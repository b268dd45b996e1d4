import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Chance, Clock } from '../core/ports.ts'
import { CSRF_FIELD, isSafe } from './guard.ts'
import { Refused } from './refusal.ts'

/** Shortest token of an operator, in characters. */
export const TOKEN_CHARS_MIN = 20
/** Longest token that is looked at. */
export const TOKEN_CHARS_MAX = 1_024
/** How long a login holds. */
export const SESSION_MS = 43_200_000
/** Most logins at once; the oldest goes first. */
export const SESSIONS_MAX = 100
/** Wrong tokens that one caller may bring in {@link FAILURE_WINDOW_MS}. */
export const FAILURES_MAX = 5
/** How long wrong tokens are remembered. */
export const FAILURE_WINDOW_MS = 60_000
/** Callers whose failures are remembered. */
const FAILING_MAX = 10_000

/**
 * Browsers send a cookie to every port of a host, and to every dashboard that is mounted there: it holds a login of each, and
 * each dashboard knows its own.
 */
const COOKIE = 'tolsey-admin'
/** Most logins in one cookie; the oldest goes first. */
export const LOGINS_MAX = 8
const SESSION_BYTES = 32
const PAIR = new RegExp(
  `(?:^|;\\s*)${COOKIE}=([0-9a-f]{64}(?:\\.[0-9a-f]{64}){0,${LOGINS_MAX - 1}})(?:;|$)`,
)

/** Who is logged in, and how. */
export interface Session {
  readonly expiresAt: number
  /** Whether it still holds. */
  holds(): boolean
}

/** The one login. */
export interface Login {
  /** @throws {Refused} for a wrong token, and for everybody who has brought too many. */
  enter(request: IncomingMessage, caller: string, token: string): { readonly cookie: string }
  /** @throws {Refused} where nobody is logged in, or a cookie would change something unasked. */
  check(request: IncomingMessage, caller: string): Session
  /** Until when the request is logged in; undefined if it is not. @throws {Refused} for a wrong token. */
  look(request: IncomingMessage, caller: string): number | undefined
  /** Ends the login of the request; the cookie that takes it from the browser. */
  leave(request: IncomingMessage): string
}

/**
 * Makes the login.
 * @throws {RangeError} when the token is too short to stand between strangers and money.
 */
export function createLogin(token: string, clock: Clock, chance: Chance): Login {
  if (token.length < TOKEN_CHARS_MIN || token.length > TOKEN_CHARS_MAX)
    throw new RangeError(
      `The token of the dashboard has at least ${TOKEN_CHARS_MIN} characters. Make one with "openssl rand -hex 32".`,
    )
  const wanted = digest(token)
  /** By the hash of what the browser holds: whoever reads our memory cannot log in with it. */
  const sessions = new Map<string, number>()
  const failures = createFailures(clock)

  function prove(caller: string, brought: string): void {
    failures.check(caller)
    const isRight = timingSafeEqual(digest(brought), wanted) && brought.length <= TOKEN_CHARS_MAX
    if (isRight) return
    failures.count(caller)
    throw new Refused('unauthorized', 'The token is not right.')
  }

  /** The login that is one of ours, or was none. */
  function nameOf(request: IncomingMessage): string | undefined {
    const names = valuesOf(request).map(nameOfValue)
    return names.find((name) => sessions.has(name)) ?? names.at(0)
  }

  /** Those of other dashboards at the same host, and those that are over. */
  function others(request: IncomingMessage): readonly string[] {
    return valuesOf(request).filter((value) => !sessions.has(nameOfValue(value)))
  }

  const check: Login['check'] = (request, caller) => {
    const [, brought] = /^bearer (\S+)$/i.exec(request.headers.authorization ?? '') ?? []
    if (brought !== undefined) {
      prove(caller, brought)
      return { expiresAt: clock.now() + SESSION_MS, holds: () => true }
    }
    const name = nameOf(request)
    const expiresAt = name === undefined ? 0 : (sessions.get(name) ?? 0)
    if (name === undefined || expiresAt <= clock.now())
      throw new Refused('unauthorized', 'Log in with the token of the dashboard.')
    if (!isSafe(request) && request.headers[CSRF_FIELD] === undefined)
      throw new Refused('forbidden', `Send the field ${CSRF_FIELD} with what changes something.`)
    return { expiresAt, holds: () => (sessions.get(name) ?? 0) > clock.now() }
  }

  return {
    enter(request, caller, brought) {
      prove(caller, brought)
      const value = Buffer.from(chance(SESSION_BYTES)).toString('hex')
      const [oldest] = sessions.keys()
      if (sessions.size >= SESSIONS_MAX && oldest !== undefined) sessions.delete(oldest)
      const kept = others(request).slice(1 - LOGINS_MAX)
      sessions.set(nameOfValue(value), clock.now() + SESSION_MS)
      return { cookie: cookieOf(request, [...kept, value]) }
    },
    check,
    look(request, caller) {
      const isAsked = nameOf(request) !== undefined || request.headers.authorization !== undefined
      try {
        return isAsked ? check(request, caller).expiresAt : undefined
      } catch (error) {
        if (error instanceof Refused && error.code === 'limited') throw error
        return undefined
      }
    },
    leave(request) {
      const kept = others(request)
      for (const value of valuesOf(request)) sessions.delete(nameOfValue(value))
      return cookieOf(request, kept)
    },
  }
}

function valuesOf({ headers }: IncomingMessage): readonly string[] {
  return PAIR.exec(headers.cookie ?? '')?.[1]?.split('.') ?? []
}

function nameOfValue(value: string): string {
  return digest(value).toString('hex')
}

/** Without a login it takes the cookie from the browser. */
function cookieOf({ socket }: IncomingMessage, values: readonly string[]): string {
  const secure = 'encrypted' in socket && socket.encrypted === true ? '; Secure' : ''
  const ms = values.length > 0 ? SESSION_MS : 0
  return `${COOKIE}=${values.join('.')}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${ms / 1_000}${secure}`
}

/** Of the same length whatever it is of, so that comparing takes the same time. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

interface Failures {
  check(caller: string): void
  count(caller: string): void
}

function createFailures(clock: Clock): Failures {
  const failed = new Map<string, { count: number; readonly untilAt: number }>()
  return {
    check(caller) {
      const { count = 0, untilAt = 0 } = failed.get(caller) ?? {}
      const waitMs = untilAt - clock.now()
      if (waitMs <= 0) failed.delete(caller)
      else if (count >= FAILURES_MAX)
        throw new Refused('limited', 'Too many wrong tokens. Wait a minute.', waitMs)
    },
    count(caller) {
      const [oldest] = failed.keys()
      if (failed.size >= FAILING_MAX && oldest !== undefined) failed.delete(oldest)
      const before = failed.get(caller)
      if (before) before.count++
      else failed.set(caller, { count: 1, untilAt: clock.now() + FAILURE_WINDOW_MS })
    },
  }
}
