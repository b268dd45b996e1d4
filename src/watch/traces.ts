import type { Event, Observe } from '../core/event.ts'
import { factsOf } from './logs.ts'

/** Most spans that are open at once; the oldest is ended when there is no room. */
export const SPANS_MAX = 10_000

/** What a span is told: texts, numbers and flags by their names. */
export type Attributes = Readonly<Record<string, string | number | boolean>>

/** A `Span` of `@opentelemetry/api`, as far as it is used. */
export interface Span {
  setAttributes(attributes: Attributes): unknown
  setStatus(status: { code: number; message?: string }): unknown
  end(endTime?: number): void
}

/** A `Tracer` of `@opentelemetry/api`, as far as it is used. */
export interface Tracer {
  startSpan(name: string, options?: { startTime?: number; attributes?: Attributes }): Span
}

/** `SpanStatusCode.ERROR`. */
const ERROR = 2

/** What ends the span of a payment. */
const ENDS: ReadonlySet<string> = new Set(['settled', 'voided', 'unknown'])
/** What has a span of its own, without length. */
const MOMENTS: ReadonlySet<string> = new Set([
  ...['refused', 'undone', 'refunded', 'mismatch', 'lost', 'rail', 'fault'],
])
/** What has gone wrong. */
const WRONG: ReadonlySet<string> = new Set(['unknown', 'undone', 'mismatch', 'lost', 'fault'])

/**
 * A subscriber that tells OpenTelemetry: a span `tolsey.payment` from the claim of a payment to its settlement, below the span
 * that is active when it is claimed, and a moment for each refusal and fault. It says no more than the logs.
 *
 * @example
 * import { trace } from '@opentelemetry/api'
 * const observe = traces(trace.getTracer('tolsey'))
 */
export function traces(tracer: Tracer): Observe {
  const open = new Map<string, Span>()

  function begin(event: Event & { readonly type: 'held' }): void {
    const [oldest] = open.size < SPANS_MAX ? [] : open
    if (oldest) {
      open.delete(oldest[0])
      oldest[1].end(event.at)
    }
    open.get(event.key)?.end(event.at)
    const attributes = attributesOf(event)
    open.set(event.key, tracer.startSpan('tolsey.payment', { startTime: event.at, attributes }))
  }

  /** A payment that another process claimed, or that was open too long, has a moment in its place. */
  function end(event: Event & { readonly key: string }): void {
    const span = open.get(event.key)
    open.delete(event.key)
    if (span) finish(span, event)
    else moment(event)
  }

  function moment(event: Event): void {
    finish(tracer.startSpan(`tolsey.${event.type}`, { startTime: event.at }), event)
  }

  return (event) => {
    if (event.type === 'held') begin(event)
    else if (ENDS.has(event.type) && 'key' in event) end(event)
    else if (MOMENTS.has(event.type)) moment(event)
  }
}

function finish(span: Span, event: Event): void {
  span.setAttributes({ 'tolsey.outcome': event.type, ...attributesOf(event) })
  if (WRONG.has(event.type)) span.setStatus({ code: ERROR, message: event.type })
  span.end(event.at)
}

function attributesOf(event: Event): Attributes {
  const { request } = event
  const facts = { ...(request !== undefined && { request }), ...factsOf(event) }
  return Object.fromEntries(
    Object.entries(facts).map(([name, value]) => {
      return [`tolsey.${name}`, typeof value === 'string' ? value : JSON.stringify(value)]
    }),
  )
}
