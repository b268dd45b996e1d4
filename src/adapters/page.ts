import { Buffer } from 'node:buffer'
import { hash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import type { Challenge } from '../core/challenge.ts'
import { isObject, readJson } from '../core/json.ts'
import { writeMoney } from '../core/money.ts'
import type { Clock, Fields, Page, Protocol } from '../core/ports.ts'
import { problems } from '../core/problem.ts'
import type { Code, Problem } from '../core/problem.ts'
import type { Receipt } from '../core/receipt.ts'
import type { Resource } from '../core/resource.ts'
import type { Answer, Pair } from './answer.ts'

/** By which a page says that it pays: it wants the receipt, and what was bought when it asks by its cookie. */
export const PAGE_FIELD = 'Tolsey-Page'
/** Holds what was paid with, for the address that it was paid for: one for each query. Behind it stands of which it is. */
export const PAID_COOKIE = 'tolsey-paid'
/** Most of them for one path: what a browser sends of them with each request must fit into its head. */
export const PAID_MAX = 4
/** Most characters of their values together; the newest is kept whatever it has. */
export const PAID_CHARS_MAX = 6_000
/** Holds a token that was bought on a page, for all of the host. Behind it stands of which seller and plan it is. */
export const TOKEN_COOKIE = 'tolsey-token'
/** Most cookies of one request that are tried. */
export const CARRIED_MAX = 8
/** Longest value of a cookie, in characters: browsers take 4,096 with its name and attributes. */
export const COOKIE_CHARS_MAX = 3_800
/** Longest `Cookie` field that is looked at, in characters. */
export const COOKIES_CHARS_MAX = 16_384
/** How long a payment is kept in its cookie, in seconds. */
export const PAID_COOKIE_S = 86_400
/** How long an answer that a page has paid for waits for it, and is there for a reload. */
export const TRAY_MS = 300_000
/** Most of them. */
export const TRAY_MAX = 256
/** Most bytes of them together. */
export const TRAY_BYTES_MAX = 67_108_864
/** Longest `Accept` that is read, in characters. */
const ACCEPT_CHARS_MAX = 1_024

/** As much of a request as is looked at. */
export interface Coming {
  readonly method: string
  /** Path and query. */
  readonly target: string
  readonly authority: string | undefined
  readonly fields: Fields
}

/** The part of the door where people are received. */
export interface Desk {
  /** What is wanted beside the machine's answer: HTML in a language; empty if nothing is. */
  variant(incoming: Coming): string
  /** The request with what its cookie pays with, where it may. */
  receive<C extends Coming>(incoming: C): C
  /** Whether a cookie brought what the request pays with. */
  carries(incoming: Coming): boolean
  /** The request with what its next cookie pays with, where the one that it has been read out of does not pay. */
  other<C extends Coming>(incoming: C): C | undefined
  /** What waits for whoever brings this cookie; and the receipt, for a page that brings the same payment once more. */
  waiting(incoming: Coming): Answer | undefined
  /** What was paid with, as it goes into a cookie; undefined where a page did not ask for that, or it is too long. */
  purse(incoming: Coming, by: Protocol): Purse | undefined
  /** Puts the answer aside, and gives the receipt with the cookie in its place. */
  hand(purse: Purse, sold: Sold): Answer
  /** The refusal as a page, for who wants one; and for everybody the fields by which caches tell the two apart. */
  show(incoming: Coming, answer: Answer, why: Why): Answer
}

/** What a page has paid with. */
export interface Purse {
  readonly cookie: string
  readonly name: string
  /** Cookies of the same path that must make room for it. */
  readonly dropped: readonly string[]
}

/** What was bought on a page. */
export interface Sold {
  /** As it goes out when it is asked for. */
  readonly answer: Answer
  readonly resource: Resource
  readonly receipt: Receipt | undefined
  /** Header fields of the receipt. */
  readonly fields: readonly Pair[]
  /** A token that was bought with it, and until when it is good. */
  readonly token?: string
  readonly tokenPlan?: string | undefined
  readonly tokenUntilAt?: number | undefined
  /** The first byte leaves. */
  delivered(): void
}

/** What a refusal is about. */
export interface Why {
  readonly problem: Problem
  readonly challenge: Challenge | undefined
  readonly resource: Resource
  readonly request: string
}

interface Waiting {
  readonly answer: Answer
  /** The receipt, as it was handed out. */
  readonly said: Answer
  readonly untilAt: number
  readonly bytes: number
  delivered?: () => void
}

/** What a cookie holds. */
interface Carried {
  readonly name: string
  readonly text: string
  /** Fields that a payment came with. */
  readonly pairs: ReadonlyMap<string, string>
}

/** Requests whose fields were read out of a cookie: as they came, that cookie, and those behind it. */
const carried = new WeakMap<
  object,
  { readonly came: Coming; readonly cookie: Carried; readonly others: readonly Carried[] }
>()

function carry<C extends Coming>(came: C, cookies: readonly Carried[]): C | undefined {
  const [cookie, ...others] = cookies
  if (!cookie) return undefined
  const { fields } = came
  const paying: Fields = {
    get: (name) => cookie.pairs.get(name.toLowerCase()) ?? fields.get(name),
  }
  // What the server tells of the request only when it is asked stays so.
  const received = Object.create(came, { fields: { value: paying } }) as C
  carried.set(received, { came, cookie, others })
  return received
}

/** Makes the desk. */
export function createDesk(
  page: Page,
  protocols: readonly Protocol[],
  clock: Clock,
  realm: string,
): Desk {
  // Several sellers may share a host, and one may sell several plans: no token takes the place of another.
  const tokenCookie = `${TOKEN_COOKIE}-${shortHash(realm)}-`
  const paidCookie = ({ target }: Coming): string =>
    `${PAID_COOKIE}-${shortHash(`${realm} ${target.split('?', 1)[0]}`)}-`
  const paidName = (incoming: Coming): string => paidCookie(incoming) + shortHash(incoming.target)
  const brought = protocols.flatMap((p) => p.fields.request.map((name) => name.toLowerCase()))
  const told = new Set(protocols.flatMap((p) => p.fields.response.map((n) => n.toLowerCase())))
  const tray = createTray(clock)

  /** In which language a page is wanted; empty if none is. */
  function languageOf({ method, fields }: Coming): string {
    if ((method !== 'GET' && method !== 'HEAD') || !prefersHtml(fields.get('accept'))) return ''
    return page.language(fields.get('accept-language') ?? '')
  }

  return {
    variant(incoming) {
      const language = languageOf(incoming)
      return language === '' ? '' : `${language}${packs(incoming) ? ' gzip' : ''}`
    },

    receive(incoming) {
      const { method, fields } = incoming
      if (method !== 'GET' || !isNavigation(fields)) return incoming
      // A page that asks for the price anew wants no answer to what was paid.
      if (fields.get(PAGE_FIELD) != null) return incoming
      // An application may have a use of its own for this one, on every request.
      const isOther = (name: string): boolean => name !== 'authorization'
      if (brought.some((name) => isOther(name) && fields.get(name) != null)) return incoming
      const names = { paid: paidName(incoming), token: tokenCookie }
      const cookies = cookiesOf(fields.get('cookie') ?? '', incoming, names).flatMap(
        ([name, text]) => {
          const pairs = readPurse(text, brought)
          const isFit = pairs && ![...pairs.keys()].some((one) => fields.get(one) != null)
          return isFit ? [{ name, text, pairs }] : []
        },
      )
      return carry(incoming, cookies) ?? incoming
    },

    carries: (incoming) => carried.has(incoming),

    other<C extends Coming>(incoming: C) {
      const found = carried.get(incoming)
      return found && carry(found.came as C, found.others)
    },

    waiting(incoming) {
      const brought = carried.get(incoming)
      if (brought) return tray.take(brought.cookie.text)
      if (!isPage(incoming)) return undefined
      for (const { fields } of protocols) {
        const told = tray.told(cookieFor(incoming, fields.request))
        if (told) return told
      }
      return undefined
    },

    purse(incoming, { fields }) {
      if (!isPage(incoming)) return undefined
      const cookie = cookieFor(incoming, fields.request)
      if (cookie.length > COOKIE_CHARS_MAX) return undefined
      const name = paidName(incoming)
      const before = pairsIn(incoming.fields.get('cookie') ?? '').filter(
        ([other]) => other !== name && other.startsWith(paidCookie(incoming)),
      )
      return { cookie, name, dropped: overflowing(before, cookie.length) }
    },

    hand({ cookie, name, dropped }, sold) {
      const { answer, resource, receipt, fields, token, tokenPlan = '', tokenUntilAt } = sold
      const secure = isSecure(resource)
      const bought = token && `*.${writePurse([['Authorization', `Bearer ${token}`]])}`
      const isKept = bought !== undefined && bought.length <= COOKIE_CHARS_MAX
      const leftS = Math.floor(((tokenUntilAt ?? 0) - clock.now()) / 1000)
      const cookies = [
        cookieOf(name, cookie, resource.path, PAID_COOKIE_S, secure),
        ...dropped.map((one) => cookieOf(one, '', resource.path, 0, secure)),
        ...(isKept && leftS > 0
          ? [cookieOf(tokenCookie + shortHash(tokenPlan), bought, '/', leftS, secure)]
          : []),
      ]
      const body = JSON.stringify({ ...(receipt && { receipt: tell(receipt) }) })
      const said: Answer = {
        status: 200,
        head: [
          ...['Content-Type', 'application/json', 'Content-Length', `${Buffer.byteLength(body)}`],
          ...['Cache-Control', 'private, no-store', PAGE_FIELD, 'receipt'],
          ...cookies.flatMap((one) => ['Set-Cookie', one]),
          ...['Vary', `${VARY}, ${PAGE_FIELD}`],
          ...fields.flat(),
        ],
        body,
      }
      tray.put(cookie, answer, said, () => sold.delivered())
      return said
    },

    show(incoming, answer, why) {
      const { problem, challenge, resource, request } = why
      const language = languageOf(incoming)
      const brought = carried.get(incoming)
      const isSpoilt = !KEEPING.has(problem.code) && problems[problem.code].retry === 'new'
      const dropped = brought && isSpoilt ? droppedBy(brought.cookie.name, resource) : []
      const head = [...varied(answer.head), ...dropped]
      if (language === '') return { ...answer, head }
      const fields = pairsOf(answer.head).filter(([name]) => told.has(name.toLowerCase()))
      const { html, fields: own } = page.write({
        ...{ resource, problem, request, language, fields },
        ...(challenge && { challenge }),
      })
      const body = packs(incoming) ? gzipSync(html) : Buffer.from(html)
      return {
        status: answer.status,
        head: [
          ...['Content-Type', 'text/html; charset=utf-8', 'Content-Language', language],
          ...['Content-Length', String(body.length)],
          ...(packs(incoming) ? ['Content-Encoding', 'gzip'] : []),
          ...own.flat(),
          ...withoutContent(head),
        ],
        body,
      }
    },
  }
}

/** Answers that wait for who has paid for them, for a while, in this process. The books say the same when they are gone. */
function createTray(clock: Clock): {
  put(cookie: string, answer: Answer, said: Answer, delivered: () => void): void
  take(cookie: string): Answer | undefined
  told(cookie: string): Answer | undefined
} {
  const waiting = new Map<string, Waiting>()
  let bytes = 0
  const drop = (key: string): void => {
    bytes -= waiting.get(key)?.bytes ?? 0
    waiting.delete(key)
  }
  const keyOf = (cookie: string): string => hash('sha256', cookie, 'base64url')
  const find = (cookie: string): Waiting | undefined => {
    const found = waiting.get(keyOf(cookie))
    return found && found.untilAt > clock.now() ? found : undefined
  }
  return {
    put(cookie, answer, said, delivered) {
      const now = clock.now()
      for (const [key, { untilAt }] of waiting) if (untilAt <= now) drop(key)
      const key = keyOf(cookie)
      drop(key)
      const length = answer.body === undefined ? 0 : Buffer.byteLength(answer.body)
      waiting.set(key, { answer, said, untilAt: now + TRAY_MS, bytes: length, delivered })
      bytes += length
      for (const [oldest] of waiting) {
        if (waiting.size <= TRAY_MAX && bytes <= TRAY_BYTES_MAX) break
        drop(oldest)
      }
    },
    take(cookie) {
      const found = find(cookie)
      found?.delivered?.()
      if (found) delete found.delivered
      return found?.answer
    },
    told: (cookie) => find(cookie)?.said,
  }
}

/**
 * Whether the field prefers HTML to JSON: it names HTML, and with more weight than any JSON. A list that says the same of both,
 * and `*` alone, are a machine's.
 */
export function prefersHtml(accept: string | null | undefined): boolean {
  if (!accept || accept.length > ACCEPT_CHARS_MAX) return false
  let html = 0
  let json = 0
  for (const range of accept.toLowerCase().split(',')) {
    const [type = '', ...params] = range.split(';').map((part) => part.trim())
    const weight = params.find((param) => param.startsWith('q='))
    const q = weight === undefined ? 1 : Number(weight.slice(2))
    if (type === 'text/html' || type === 'application/xhtml+xml') html = Math.max(html, q)
    else if (/[/+]json$/.test(type)) json = Math.max(json, q)
  }
  return html > json
}

/**
 * Whether a person goes to the address from here or by hand: as a document of its own, not in a frame, not from another site or a
 * sibling of this one, and not ahead of time. Where a browser tells none of that (plain http), HTML must be wanted.
 */
function isNavigation(fields: Fields): boolean {
  if (!prefersHtml(fields.get('accept'))) return false
  if (fields.get('sec-purpose') != null || fields.get('purpose') != null) return false
  const said = (name: string, ...allowed: readonly string[]): boolean => {
    const value = fields.get(name)
    return value === null || value === undefined || allowed.includes(value)
  }
  return (
    said('sec-fetch-mode', 'navigate') &&
    said('sec-fetch-dest', 'document') &&
    said('sec-fetch-site', 'same-origin', 'none')
  )
}

/** The cookies of a field, as it names them: those of longer paths come first, and of those the oldest (RFC 6265, 5.4). */
function pairsIn(field: string): readonly (readonly [name: string, text: string])[] {
  if (field === '' || field.length > COOKIES_CHARS_MAX) return []
  return field.split(';').map((part) => {
    const at = part.indexOf('=')
    return [part.slice(0, at).trim(), part.slice(at + 1).trim()]
  })
}

/** What our cookies hold for this address, by their names: the payment for it before a token. */
function cookiesOf(
  field: string,
  incoming: Coming,
  names: { readonly paid: string; readonly token: string },
): readonly (readonly [name: string, text: string])[] {
  const values = new Map<string, string>()
  for (const [name, value] of pairsIn(field)) {
    if (name !== names.paid && !name.startsWith(names.token)) continue
    const [bound] = value.split('.', 1)
    const wanted = name === names.paid ? bindingOf(incoming) : '*'
    if (bound === wanted && !values.has(name)) values.set(name, value)
  }
  const rankOf = ([name]: readonly [string, string]): number => (name === names.paid ? 0 : 1)
  return [...values].toSorted((a, b) => rankOf(a) - rankOf(b)).slice(0, CARRIED_MAX)
}

/** The oldest of them, as many as must go for one more that is so long. */
function overflowing(
  before: readonly (readonly [name: string, text: string])[],
  length: number,
): readonly string[] {
  let chars = length
  let count = 1
  const kept = before.toReversed().filter(([, text]) => {
    chars += text.length
    return ++count <= PAID_MAX && chars <= PAID_CHARS_MAX
  })
  return before.filter((one) => !kept.includes(one)).map(([name]) => name)
}

/** Which address a payment is for: its cookie comes to all that lies below the path, and to every query. */
function bindingOf({ authority = '', target }: Coming): string {
  return hash('sha256', `${authority.toLowerCase()} ${target}`, 'base64url').slice(0, 12)
}

function shortHash(text: string): string {
  return hash('sha256', text, 'base64url').slice(0, 8)
}

/** Whether the page may be sent packed: most of it is the same for everybody, and nothing of it is secret for long. */
function packs({ fields }: Coming): boolean {
  const said = fields.get('accept-encoding') ?? ''
  return (
    said.length <= ACCEPT_CHARS_MAX &&
    /(?:^|[\s,])gzip(?![\w-])(?!\s*;\s*q=0(?:[\s,]|$))/i.test(said)
  )
}

function isPage({ method, fields }: Coming): boolean {
  return method === 'GET' && fields.get(PAGE_FIELD) === '1'
}

/** What was paid with, as a cookie for this address. */
function cookieFor(incoming: Coming, names: readonly string[]): string {
  const pairs = names.flatMap((name) => {
    const value = incoming.fields.get(name)
    return typeof value === 'string' ? [[name, value] as const] : []
  })
  return `${bindingOf(incoming)}.${writePurse(pairs)}`
}

function writePurse(pairs: readonly Pair[]): string {
  return Buffer.from(JSON.stringify(Object.fromEntries(pairs))).toString('base64url')
}

/** Fields that a payment came with; undefined for anything else. */
function readPurse(text: string, brought: readonly string[]): Map<string, string> | undefined {
  const [, said = ''] = text.split('.')
  if (said.length > COOKIE_CHARS_MAX) return undefined
  const json = readJson(Buffer.from(said, 'base64url').toString(), COOKIE_CHARS_MAX)
  if (!isObject(json)) return undefined
  const pairs = Object.entries(json).flatMap(([name, value]) =>
    typeof value === 'string' && brought.includes(name.toLowerCase())
      ? [[name.toLowerCase(), value] as const]
      : [],
  )
  return pairs.length > 0 ? new Map(pairs) : undefined
}

function cookieOf(
  name: string,
  value: string,
  path: string,
  maxAgeS: number,
  secure: boolean,
): string {
  const safe = /^[!-:<-~]+$/.test(path) ? path : '/'
  return `${name}=${value}; Path=${safe}; Max-Age=${maxAgeS}; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`
}

/**
 * With these a token is as good as before: it opens other addresses, or what costs less. Nobody but its cookie has it, so that who
 * bought it could not bring it again.
 */
const KEEPING: ReadonlySet<Code> = new Set(['payment-required', 'token-exhausted'])

/** What does not pay any more is not brought again. */
function droppedBy(name: string, resource: Resource): readonly string[] {
  const path = name.startsWith(PAID_COOKIE) ? resource.path : '/'
  return ['Set-Cookie', cookieOf(name, '', path, 0, isSecure(resource))]
}

function isSecure({ url }: Resource): boolean {
  return url.startsWith('https:')
}

function tell(receipt: Receipt): object {
  const { amount, reference, payer, payee, network, settledAt } = receipt
  return { amount: writeMoney(amount), reference, payer, payee, network, settledAt }
}

/** A refusal has one of two forms, in one of several languages, by what is asked for and by the cookie. */
const VARY = 'Accept, Accept-Language, Accept-Encoding, Cookie'

function varied(head: readonly string[]): string[] {
  const at = head.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'vary')
  if (at < 0) return [...head, 'Vary', VARY]
  return head.map((value, i) => (i === at + 1 ? `${value}, ${VARY}` : value))
}

function pairsOf(head: readonly string[]): readonly Pair[] {
  return head.flatMap((name, i) => (i % 2 === 0 ? [[name, head[i + 1] ?? ''] as const] : []))
}

function withoutContent(head: readonly string[]): readonly string[] {
  return pairsOf(head)
    .filter(([name]) => !/^content-(?:type|length)$/i.test(name))
    .flat()
}
