import type { Event, Observe } from '../core/event.ts'
import type { JsonObject } from '../core/json.ts'
import { writeMoney } from '../core/money.ts'
import { redact, withoutQuery } from './redact.ts'

/** How much a line matters. */
export type Level = 'debug' | 'info' | 'warn' | 'error'

const ranks: Readonly<Record<Level, number>> = { debug: 0, info: 1, warn: 2, error: 3 }

/** What each event matters; `info` if it is not here. */
const levels: Readonly<Partial<Record<Event['type'], Level>>> = {
  challenged: 'debug',
  held: 'debug',
  delivered: 'debug',
  reserved: 'debug',
  waiting: 'debug',
  unknown: 'warn',
  rail: 'warn',
  lost: 'warn',
  undone: 'error',
  mismatch: 'error',
  fault: 'error',
}

/** How many causes of a fault are told. */
const CAUSES_MAX = 4

/** Settings of the log. */
export interface LogsSettings {
  /** Takes one line, with its end. Nobody waits for it. */
  readonly write: (line: string) => void
  /** The least that is written; `info` if absent. */
  readonly level?: Level
}

/**
 * A subscriber that writes one JSON object a line: `time`, `level`, `event`, `request` and what the event says. Only members
 * that are known to be harmless are written, addresses without their query, and faults {@link redact redacted}.
 *
 * @example
 * const seller = await createSeller({ ...parts, observe: logs({ write: (line) => process.stdout.write(line) }) })
 */
export function logs({ write, level = 'info' }: LogsSettings): Observe {
  return (event) => {
    const its = levels[event.type] ?? 'info'
    if (ranks[its] < ranks[level]) return
    const { at, request, type } = event
    const head = { time: new Date(at).toISOString(), level: its, event: type }
    const line = { ...head, ...(request !== undefined && { request }), ...factsOf(event) }
    write(`${JSON.stringify(line)}\n`)
  }
}

/** Members that are written as they are: names and sentences of our own. */
const PLAIN = [
  ...['code', 'key', 'of', 'payer', 'reference', 'account', 'rail', 'network'],
  ...['holder', 'finding', 'state', 'tenant', 'purchase'],
] as const

/** What an event says, as far as it may be told. */
export function factsOf(event: Event): JsonObject {
  const said: Readonly<Record<string, unknown>> = { ...event }
  const plain = PLAIN.flatMap((name) => {
    const value = said[name]
    return typeof value === 'string' ? [[name, value] as const] : []
  })
  return {
    ...Object.fromEntries(plain),
    ...('url' in event && { url: withoutQuery(event.url) }),
    ...('detail' in event && { detail: redact(event.detail) }),
    ...('amount' in event && { amount: writeMoney(event.amount) }),
    ...('where' in event && { where: redact(event.where), ...faultOf(event.error) }),
  }
}

/** A fault and what caused it. No stack: it may hold what was passed. */
function faultOf(error: unknown): JsonObject {
  const causes: string[] = []
  let one = error
  for (let i = 0; i < CAUSES_MAX && one !== undefined && one !== null; i++) {
    causes.push(sentenceOf(one))
    one = one instanceof Error ? one.cause : undefined
  }
  const [first = '', ...rest] = causes
  return { error: first, ...(rest.length > 0 && { causes: rest }) }
}

function sentenceOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error === 'string' ? redact(error) : typeof error
  const code = 'code' in error && typeof error.code === 'string' ? ` (${error.code})` : ''
  return redact(`${error.name}${code}: ${error.message}`)
}
