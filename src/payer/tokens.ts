import { hash } from 'node:crypto'
import { readAuth } from '../core/auth.ts'
import { uuid } from '../core/chance.ts'
import type { Observe } from '../core/event.ts'
import type { JsonObject } from '../core/json.ts'
import type { Chance, Clock, Fields, Held, Ledger, Message, Transfer } from '../core/ports.ts'
import {
  ORIGINS_KNOWN_MAX,
  PATHS_KNOWN_MAX,
  TOKENS_PER_ORIGIN_MAX,
  TOKENS_READ_MAX,
  TOKENS_TRIED_MAX,
  TOKEN_CHARS_MAX,
  TOKEN_MS_MAX,
} from './limits.ts'
import type { Outgoing } from './request.ts'

/** What can be told of a token without its minter's key. */
export interface Said {
  /** Names of the services for which it is good. */
  readonly services?: readonly string[]
  /** Milliseconds since 1970. */
  readonly expiresAt?: number
  /** It pays for one request, and no more. */
  readonly single?: boolean
  /** What is shown in its place from now on, the whole field: where the first showing was the payment itself. */
  readonly shown?: string
}

/**
 * Reads a token as it stands behind its scheme, before a colon, in an `Authorization` field, or as it is handed out. Undefined where
 * it is none that could be shown for another request.
 */
export type ReadToken = (token: string) => Said | undefined

/** A token that was bought and may pay for further requests. */
export interface Token {
  /** In the books. */
  readonly key: string
  /** What is shown, the whole field. */
  readonly authorization: string
  /** Where it was bought. */
  readonly path: string
  readonly services?: readonly string[]
  /** Milliseconds since 1970; from then on it is not shown. */
  readonly expiresAt: number
}

/** What became of a token that was shown: taken, asked to pay anew, not good there, or good for nothing any more. */
export type Fate = 'taken' | 'refused' | 'misplaced' | 'dead'

/**
 * Tokens that were bought, by the origin that sold them, durable in the payer's books. They are shown to nobody else. Books that
 * cannot be read are no reason to fail a request: then there are no tokens.
 */
export interface Tokens {
  /** One that has been good for that path, or was bought there. Asks nobody that is known already. */
  at(request: Outgoing): Promise<Token | undefined>
  /** Those that may be good for what a 402 asks for, beside the ones that were tried; a few, the likeliest first. */
  among(request: Outgoing, challenge: Fields, tried: readonly Token[]): Promise<readonly Token[]>
  /**
   * Notes what became of it. What is dead, or refused where it has been good, is shown no more, by no process that shares the
   * books.
   */
  note(token: Token, request: Outgoing, fate: Fate): Promise<void>
  /** Keeps what was bought, if it pays for more than the one request: a token in the answer, or the credential itself. */
  keep(request: Outgoing, shown: Message['fields'], answer: Fields): Promise<void>
}

/** What the tokens are kept with. */
export interface TokensParts {
  readonly ledger: Ledger
  readonly clock: Clock
  readonly chance: Chance
  readonly observe: Observe
  readonly readToken: ReadToken
}

/** The field in which a seller hands out a token that was bought with the answer. */
const TOKEN_FIELD = 'Tolsey-Token'
/** The scheme under which such a token is shown. */
const HANDED = 'Bearer'
const PREFIX = 'token/'

/** What is known of one origin without a look into the books. */
interface Known {
  tokens: readonly Token[]
  /** Which token was good for a path. */
  readonly good: Map<string, string>
  /** Which token was not good where. */
  readonly bad: Set<string>
}

/** Keeps tokens in a ledger that may be shared with other processes. */
export function createTokens(parts: TokensParts): Tokens {
  const { ledger, clock, readToken } = parts
  const origins = new Map<string, Known>()

  async function look({ url: { origin } }: Outgoing, fresh: boolean): Promise<Known> {
    const known = origins.get(origin)
    if (known && !fresh) return known
    const tokens = await read(origin)
    const now = known ?? { tokens, good: new Map(), bad: new Set() }
    now.tokens = tokens
    bounded(origins, ORIGINS_KNOWN_MAX).set(origin, now)
    return now
  }

  async function read(origin: string): Promise<readonly Token[]> {
    try {
      const held = await ledger.under(placeOf(origin), '', TOKENS_READ_MAX)
      return held.filter((one) => isLive(one, clock.now())).map(tokenOf)
    } catch (error) {
      fault(error)
      return []
    }
  }

  async function make(request: Outgoing, authorization: string, said: Said): Promise<void> {
    const { tokens } = await look(request, true)
    if (tokens.some((one) => one.authorization === authorization)) return
    const now = clock.now()
    const untilAt = Math.min(said.expiresAt ?? Infinity, now + TOKEN_MS_MAX)
    const { origin, pathname: path } = request.url
    const { services } = said
    const note = { authorization, path, ...(services && { services }) }
    await ledger.transfer(transferOf(keyOf(origin, now, parts.chance), untilAt, note))
    for (const one of tokens.slice(TOKENS_PER_ORIGIN_MAX - 1))
      await ledger.void(one.key, 'token-exhausted')
    await look(request, true)
  }

  function fault(error: unknown): void {
    parts.observe({ type: 'fault', where: 'payer/tokens', error, at: clock.now() })
  }

  return {
    async at(request) {
      if (request.headers.has('authorization')) return undefined
      const { pathname: path } = request.url
      const { tokens, good, bad } = await look(request, false)
      const now = clock.now()
      const able = tokens.filter(
        ({ key, expiresAt }) => expiresAt > now && !bad.has(place(key, path)),
      )
      return able.find(({ key }) => key === good.get(path)) ?? able.find((one) => one.path === path)
    },
    async among(request, challenge, tried) {
      if (request.headers.has('authorization')) return []
      const { tokens, bad } = await look(request, true)
      const { pathname: path } = request.url
      const asked = servicesIn(challenge, readToken)
      const able = tokens.filter(
        (one) =>
          !tried.some(({ key }) => key === one.key) &&
          !bad.has(place(one.key, path)) &&
          isLikely(one, path, asked),
      )
      return able.slice(0, TOKENS_TRIED_MAX)
    },
    async note({ key, path: home }, request, fate) {
      const known = await look(request, false)
      const { pathname: path } = request.url
      if (fate === 'taken') return void bounded(known.good, PATHS_KNOWN_MAX).set(path, key)
      const wasGood = known.good.get(path) === key || path === home
      if (known.good.get(path) === key) known.good.delete(path)
      if (fate === 'misplaced' || (fate === 'refused' && !wasGood))
        return void bounded(known.bad, PATHS_KNOWN_MAX).add(place(key, path))
      known.tokens = known.tokens.filter((one) => one.key !== key)
      await ledger.void(key, 'token-invalid').catch(fault)
      return undefined
    },
    async keep(request, shown, answer) {
      const handed = handedOut(answer)
      const found = handed ?? credentialIn(shown)
      if (found === undefined || request.headers.has('authorization')) return
      const said = readToken(partsOf(found).token) ?? (handed === undefined ? undefined : {})
      if (said && !said.single) await make(request, said.shown ?? found, said).catch(fault)
    },
  }
}

/** The field that shows a token which came with an answer. */
function handedOut(answer: Fields): string | undefined {
  const token = answer.get(TOKEN_FIELD) ?? undefined
  return token !== undefined && isToken(token) ? `${HANDED} ${token}` : undefined
}

/** A credential that may be a token itself. One that was only locked has no proof yet that could be shown again. */
function credentialIn(shown: Message['fields']): string | undefined {
  const [, field] = shown.find(([name]) => /^authorization$/i.test(name)) ?? []
  return field === undefined || field.length > TOKEN_CHARS_MAX || field.endsWith(':')
    ? undefined
    : field
}

function isToken(text: string): boolean {
  return text.length <= TOKEN_CHARS_MAX && /^[!-~]+$/.test(text)
}

interface Field {
  readonly scheme: string
  readonly token: string
}

function partsOf(field: string): Field {
  const [, scheme = '', token = ''] = /^(\S+) ([^\s:]+)/.exec(field) ?? []
  return { scheme, token }
}

/** The services that a seller sells tokens for, as far as its challenge tells. */
function servicesIn(challenge: Fields, readToken: ReadToken): readonly string[] {
  const said = readAuth(challenge.get('WWW-Authenticate') ?? '')
  return said
    .flatMap(({ params }) => [...params.values()])
    .flatMap((value) => readToken(value)?.services ?? [])
}

/**
 * Whether a token may be good where it was not shown before. One that names its services is, where one of them is asked for; a
 * token that was handed out beside an answer, where nothing speaks against it.
 */
function isLikely(token: Token, path: string, asked: readonly string[]): boolean {
  const { services, authorization } = token
  if (services && asked.length > 0) return services.some((name) => asked.includes(name))
  return token.path === path || partsOf(authorization).scheme === HANDED
}

/** Names an origin in keys: whatever stands in it fits. */
function placeOf(origin: string): string {
  return `${PREFIX}${hash('sha256', origin).slice(0, 32)}/`
}

/** Later keys come first. */
function keyOf(origin: string, now: number, chance: Chance): string {
  const age = String(Number.MAX_SAFE_INTEGER - now).padStart(16, '0')
  return `${placeOf(origin)}${age}/${uuid(chance)}`
}

function transferOf(key: string, leaseUntilAt: number, note: JsonObject): Transfer {
  const legs = [{ debit: 'world/token', credit: 'world/payer' }]
  return { key, purpose: 'token', asset: 'token', amount: 0n, legs, leaseUntilAt, note }
}

/** Whether it is a token of ours whose time is over. */
export function isStaleToken({ key, leaseUntilAt }: Held, now: number): boolean {
  return key.startsWith(PREFIX) && leaseUntilAt <= now
}

function isLive(held: Held, now: number): boolean {
  return held.state === 'pending' && !isStaleToken(held, now)
}

function tokenOf({ key, note, leaseUntilAt: expiresAt }: Held): Token {
  const { authorization, path, services } = note
  return {
    key,
    expiresAt,
    authorization: typeof authorization === 'string' ? authorization : '',
    path: typeof path === 'string' ? path : '',
    ...(Array.isArray(services) && { services: services as readonly string[] }),
  }
}

function place(key: string, path: string): string {
  return `${key} ${path}`
}

/** Makes room for one more: the oldest goes. */
function bounded<
  T extends { readonly size: number; keys(): Iterator<K>; delete(key: K): boolean },
  K,
>(kept: T & { keys(): Iterator<K> }, most: number): T {
  const oldest = kept.size < most ? undefined : kept.keys().next().value
  if (oldest !== undefined) kept.delete(oldest)
  return kept
}
