import type { IncomingMessage } from 'node:http'
import type { Open } from '../adapters/http.ts'
import type { Fields } from '../core/ports.ts'
import { TRUST_PREFIX } from './trust.ts'

/** Most different names of fields whose kind is remembered. */
const NAMES_MAX = 4_096

/** What a request's or an answer's fields are changed to on their way. */
export interface FieldRules {
  /** Names and values that are put in the place of what stood there. */
  readonly set?: Readonly<Record<string, string>>
  readonly remove?: readonly string[]
}

/** Fields of one connection (RFC 9110, 7.6.1), and those whose place the gateway takes. */
const ofConnection: readonly string[] = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
]

/** What the gateway says itself towards the upstream. */
const saidAnew: readonly string[] = [
  'host',
  'expect',
  'trailer',
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-real-ip',
]

/**
 * What some servers believe over the request's own method and path: a request that is let in as one thing would be served as
 * another.
 */
const contradicting: readonly string[] = [
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
  'x-original-method',
  'x-original-uri',
  'x-original-url',
  'x-rewrite-url',
  'x-forwarded-path',
  'x-forwarded-prefix',
  'x-forwarded-uri',
]

/** What must never be taken away by a name in `Connection`. */
const essential: ReadonlySet<string> = new Set(['host', 'content-length', 'cookie'])

type Kind = 'keep' | 'drop' | 'connection' | 'credential' | 'cookie'

/** Picks what of a request goes on to the upstream. */
export interface RequestFields {
  /**
   * Names and values in turn. `own`: the credential in the fields that carry both ours and others' is ours.
   */
  pick(request: IncomingMessage, own: boolean): string[]
}

/**
 * Makes the picker. Dropped are fields of the connection, those that only the gateway writes, in every spelling that an
 * upstream could take for them (`Tolsey_Payer`), those that name another method or path, and those that payments come in. `shared` names the fields in which a
 * credential may be ours or the upstream's own.
 */
export function createRequestFields(
  payment: readonly string[],
  shared: readonly string[],
  rules: FieldRules = {},
): RequestFields {
  const set = Object.entries(rules.set ?? {})
  const dropped = new Set(
    [
      ...[...ofConnection, ...saidAnew, ...contradicting, ...payment],
      ...[...(rules.remove ?? []), ...set.map(([name]) => name)],
    ].map((name) => name.toLowerCase()),
  )
  const kinds = createKinds((name) => {
    const lower = name.toLowerCase()
    const read = lower.replaceAll('_', '-')
    if (lower === 'connection') return 'connection'
    // Pseudo-fields of HTTP/2 are no fields.
    if (lower.startsWith(':') || read.startsWith(TRUST_PREFIX)) return 'drop'
    if (dropped.has(read) || dropped.has(lower)) return 'drop'
    if (shared.includes(lower)) return 'credential'
    return lower === 'cookie' ? 'cookie' : 'keep'
  })
  const added = set.flat()
  return {
    pick({ rawHeaders, headers }, own) {
      const picked: string[] = []
      let named: readonly string[] = []
      let cookie = false
      for (let i = 0; i < rawHeaders.length; i += 2) {
        const name = rawHeaders[i] ?? ''
        const value = rawHeaders[i + 1] ?? ''
        const kind = kinds(name)
        if (kind === 'keep' || (kind === 'credential' && !own)) picked.push(name, value)
        else if (kind === 'connection') named = [...named, ...namesIn(value)]
        else if (kind === 'cookie' && !cookie) {
          // HTTP/2 cuts them in pieces (RFC 9113, 8.2.3).
          cookie = true
          const others = withoutOwn(headers.cookie ?? value)
          if (others !== '') picked.push(name, others)
        }
      }
      if (named.length > 0) return [...without(picked, named), ...added]
      if (added.length > 0) picked.push(...added)
      return picked
    },
  }
}

/** Cookies but for those by which the page pays: whoever has one has what was bought. */
function withoutOwn(cookies: string): string {
  if (!cookies.includes(TRUST_PREFIX)) return cookies
  const others = cookies.split(';').filter((one) => !one.trimStart().startsWith(TRUST_PREFIX))
  return others.join(';').trim()
}

/** Picks what of an upstream's answer goes on to the payer: names and values in turn. */
export type AnswerFields = (raw: readonly (Buffer | string)[]) => string[]

/** Makes the picker of answers: all but fields of the connection, and those that only the gateway writes. */
export function createAnswerFields(rules: FieldRules = {}): AnswerFields {
  const set = Object.entries(rules.set ?? {})
  const dropped = new Set(
    [...ofConnection, ...(rules.remove ?? []), ...set.map(([name]) => name)].map((name) =>
      name.toLowerCase(),
    ),
  )
  const kinds = createKinds((name) => {
    const lower = name.toLowerCase()
    if (lower === 'connection') return 'connection'
    return dropped.has(lower) || lower.startsWith(TRUST_PREFIX) ? 'drop' : 'keep'
  })
  const added = set.flat()
  return (raw) => {
    const picked: string[] = []
    let named: readonly string[] = []
    for (let i = 0; i < raw.length; i += 2) {
      const name = textOf(raw[i])
      const kind = kinds(name)
      if (kind === 'keep') picked.push(name, textOf(raw[i + 1]))
      else if (kind === 'connection') named = [...named, ...namesIn(textOf(raw[i + 1]))]
    }
    return [...(named.length > 0 ? without(picked, named) : picked), ...added]
  }
}

/** Fields of which what the upstream says matters for what is added. */
const joined = /^(?:vary|access-control-allow-origin|access-control-expose-headers)$/i

/** The names of fields that are added again and again, in small letters. */
const namesOf = new WeakMap<readonly string[], ReadonlySet<string>>()

/** The head with the fields of what was paid, in the place of those of the same name: names and values in turn. */
export function withPaid(head: readonly string[], open: Open): string[] {
  const isPlain = !head.some((name, i) => i % 2 === 0 && joined.test(name))
  const added = isPlain ? open.plain : open.fields(fieldsOf(head)).flat()
  const names = namesOf.get(added) ?? lowerNames(added)
  if (isPlain) namesOf.set(added, names)
  const made: string[] = []
  for (let i = 0; i < head.length; i += 2) {
    const name = head[i] ?? ''
    if (!names.has(name.toLowerCase())) made.push(name, head[i + 1] ?? '')
  }
  made.push(...added)
  return made
}

function lowerNames(fields: readonly string[]): ReadonlySet<string> {
  return new Set(fields.flatMap((name, i) => (i % 2 === 0 ? [name.toLowerCase()] : [])))
}

/** A head to be looked into; several lines of a field are one list. */
export function fieldsOf(head: readonly string[]): Fields {
  return {
    get(name) {
      const lower = name.toLowerCase()
      const found = head.filter((_, i) => i % 2 === 1 && head[i - 1]?.toLowerCase() === lower)
      return found.length > 0 ? found.join(', ') : undefined
    },
  }
}

/** Bytes on the wire are ISO 8859-1 to us, so that each goes out as it came in. */
function textOf(said: Buffer | string | undefined): string {
  return typeof said === 'string' ? said : (said?.toString('latin1') ?? '')
}

function namesIn(value: string): readonly string[] {
  const plain = /^[\s,]*(?:close|keep-alive|upgrade)[\s,]*$/i.test(value)
  return plain ? [] : value.split(',').map((name) => name.trim().toLowerCase())
}

function without(picked: readonly string[], names: readonly string[]): string[] {
  const gone = new Set(names.filter((name) => !essential.has(name)))
  return picked.filter((_, i) => !gone.has((picked[i - (i % 2)] ?? '').toLowerCase()))
}

/** Names come in few spellings, so what a spelling means is looked up once. */
function createKinds(kindOf: (name: string) => Kind): (name: string) => Kind {
  const known = new Map<string, Kind>()
  return (name) => {
    const found = known.get(name)
    if (found) return found
    const kind = kindOf(name)
    if (known.size < NAMES_MAX) known.set(name, kind)
    return kind
  }
}
