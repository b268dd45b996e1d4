import { problems, writeProblem } from '../core/problem.ts'
import type { Challenge } from '../core/challenge.ts'
import type { Credential } from '../core/credential.ts'
import type { Fields, Protocol } from '../core/ports.ts'
import type { Problem } from '../core/problem.ts'
import type { Receipt } from '../core/receipt.ts'
import { HEAD_BYTES_MAX, bytesOf, layOut } from './layout.ts'
import type { Layout } from './layout.ts'

/** A field as it is written. */
export type Pair = readonly [name: string, value: string]

/** A finished answer of ours. */
export interface Answer {
  readonly status: number
  /** Names and values in turn, as `writeHead` of node:http takes them. */
  readonly head: readonly string[]
  /** Undefined for `HEAD` and 204. Text goes out in one write with its head. */
  readonly body: string | Uint8Array | undefined
}

/** Who may read the answers from a page of another origin. */
export type Cors = false | { readonly origins: '*' | readonly string[] }

/** Writes what the door says: one place for problem bodies, caching and CORS. */
export interface Writer {
  refusal(
    problem: Problem,
    request: string,
    more?: {
      readonly challenge?: Challenge | undefined
      /** Whose credential is refused. */
      readonly by?: Protocol | undefined
      readonly fields?: readonly Pair[] | undefined
      /** What the request says, by which protocols order what they offer. */
      readonly asker?: Fields | undefined
    },
  ): Answer
  preflight(fields: Fields): Answer
  json(status: number, value: unknown, head?: readonly string[]): Answer
  /** The answer with the fields that only a page of that origin needs, where origins are listed. */
  forOrigin(answer: Answer, origin: string | null | undefined): Answer
  /** What a paid answer's head needs, given what the work has put there. */
  paid(
    said: Fields,
    origin: string | null | undefined,
    charged: boolean,
    receipt: readonly Pair[],
  ): readonly Pair[]
  /** The same for a charged answer without a receipt on whose head nothing stands: names and values in turn. */
  plain(origin: string | null | undefined): readonly string[]
}

/** How long a browser may remember a preflight. */
export const PREFLIGHT_MAX_AGE_S = 600
/** Longest list of names that a preflight may ask for. */
export const PREFLIGHT_CHARS_MAX = 1_024

const VERBS = 'GET, HEAD, POST, PUT, PATCH, DELETE'

/** Makes the writer for these protocols, and fields that are `own` to Tolsey. */
export function createWriter(
  protocols: readonly Protocol[],
  cors: Cors,
  own: readonly string[] = [],
  headBytesMax: number = HEAD_BYTES_MAX,
): Writer {
  const brought = unique([
    ...protocols.flatMap(({ fields }) => fields.request),
    ...protocols.flatMap(({ fields }) => fields.preference ?? []),
  ])
  const told = unique([...protocols.flatMap((p) => p.fields.response), ...own, 'Retry-After'])
  const listed = cors !== false && cors.origins !== '*'
  const vary = [...brought, ...(listed ? ['Origin'] : [])]
  const open = cors !== false && cors.origins === '*' ? ['Access-Control-Allow-Origin', '*'] : []
  const expose = cors === false ? [] : ['Access-Control-Expose-Headers', told.join(', ')]
  const common = [
    'Cache-Control',
    'no-store',
    ...(vary.length > 0 ? ['Vary', vary.join(', ')] : []),
    ...open,
    ...expose,
  ]

  const allowed = (origin: string | null | undefined): origin is string =>
    listed && typeof origin === 'string' && cors.origins.includes(origin)

  function withBody(status: number, type: string, value: unknown, head: readonly string[]): Answer {
    const body = JSON.stringify(value)
    const own = ownFields(type, String(Buffer.byteLength(body)))
    return { status, head: [...own, ...head, ...common], body }
  }

  /** What a refusal that cannot be paid for needs. */
  function refusalsOf(problem: Problem): Layout {
    const messages = protocols.flatMap((p) => p.writeRefusal?.(problem) ?? [])
    return {
      fields: messages.flatMap(({ fields }) => fields),
      bodies: messages.map((message) => message.body),
    }
  }

  const otherBytes = bytesOf([...common, ...ownFields('application/problem+json', '00000')])

  const writer: Writer = {
    refusal(problem, request, { challenge, by, fields: more = [], asker } = {}) {
      const { code, receipt, retryAfterMs } = problem
      const rest = [...receiptFields(by, receipt).flat(), ...more.flat()]
      if (retryAfterMs !== undefined)
        rest.push('Retry-After', String(Math.max(1, Math.ceil(retryAfterMs / 1_000))))
      const said = challenge
        ? layOut(challenge, protocols, asker, otherBytes + bytesOf(rest), headBytesMax)
        : refusalsOf(problem)
      const status = by?.statuses?.[code] ?? problems[code].status
      const breakdown = challenge?.breakdown && { breakdown: challenge.breakdown }
      const type = by?.typeOf?.(problem)
      const told = {
        ...writeProblem(problem, request, status),
        ...(type !== undefined && { type }),
      }
      const body = Object.assign({}, ...said.bodies, breakdown, told) as object
      return withBody(status, 'application/problem+json', body, [...said.fields.flat(), ...rest])
    },

    preflight(fields) {
      if (cors === false)
        return { status: 204, head: ['Allow', `${VERBS}, OPTIONS`], body: undefined }
      const asked = fields.get('access-control-request-headers') ?? ''
      const plain = asked.length <= PREFLIGHT_CHARS_MAX && /^[\w!#$%&'*+.^`|~, -]*$/.test(asked)
      const names = unique([...brought, ...(plain ? asked.split(',').map((n) => n.trim()) : [])])
      const head = ['Access-Control-Allow-Methods', VERBS]
      if (names.length > 0) head.push('Access-Control-Allow-Headers', names.join(', '))
      head.push('Access-Control-Max-Age', String(PREFLIGHT_MAX_AGE_S), ...common)
      return { status: 204, head, body: undefined }
    },

    json: (status, value, head = []) => withBody(status, 'application/json', value, head),

    forOrigin: (answer, origin) =>
      allowed(origin)
        ? { ...answer, head: [...answer.head, 'Access-Control-Allow-Origin', origin] }
        : answer,

    paid(said, origin, charged, receipt) {
      const pairs: Pair[] = charged ? [...receipt, ['Cache-Control', 'private, no-store']] : []
      if (vary.length > 0) pairs.push(['Vary', joined(said.get('vary'), vary)])
      // No page asks without its origin, and nobody keeps such an answer for one.
      if (cors === false || (charged && !origin)) return pairs
      pairs.push([
        'Access-Control-Expose-Headers',
        joined(said.get('access-control-expose-headers'), told),
      ])
      if (said.get('access-control-allow-origin')) return pairs
      if (cors.origins === '*') pairs.push(['Access-Control-Allow-Origin', '*'])
      else if (allowed(origin)) pairs.push(['Access-Control-Allow-Origin', origin])
      return pairs
    },

    plain: (origin) => (origin ? plainFor(origin) : plain),
  }
  const plainFor = (origin?: string): readonly string[] =>
    writer.paid(new Headers(), origin, true, []).flat()
  const plain = plainFor()
  return writer
}

/** The answer to a `HEAD`: the same head, and no body. */
export function withoutBody({ status, head }: Answer): Answer {
  const kept = head.filter((_, i) => head[i - (i % 2)] !== 'Content-Length')
  return { status, head: kept, body: undefined }
}

/** The fields of a receipt, for what was paid where it is on the head of what that has bought. */
export function receiptFields(
  protocol: Protocol | undefined,
  receipt: Receipt | undefined,
  offer?: Credential['offer'],
): readonly Pair[] {
  return protocol && receipt ? protocol.writeReceipt(receipt, offer).fields : []
}

/** A web `Response`. */
export function toResponse({ status, head, body }: Answer): Response {
  const headers = new Headers()
  for (let i = 0; i < head.length; i += 2) headers.append(head[i] ?? '', head[i + 1] ?? '')
  const init = { status, headers }
  return new Response(typeof body === 'object' ? new Uint8Array(body) : body, init)
}

function ownFields(type: string, length: string): readonly string[] {
  return ['Content-Type', type, 'Content-Length', length]
}

function joined(there: string | null | undefined, names: readonly string[]): string {
  if (there === '*') return '*'
  return unique([...(there ?? '').split(',').map((name) => name.trim()), ...names]).join(', ')
}

/** Field names without repetition and empties; case does not matter in them. */
function unique(names: readonly string[]): string[] {
  const seen = new Map<string, string>()
  for (const name of names)
    if (name !== '' && !seen.has(name.toLowerCase())) seen.set(name.toLowerCase(), name)
  return [...seen.values()]
}
