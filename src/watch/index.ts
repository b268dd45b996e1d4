/** Subscribers of what engines tell: `tolsey/watch`. */
export { observers } from './observers.ts'
export { logs } from './logs.ts'
export type { Level, LogsSettings } from './logs.ts'
export { metrics } from './metrics.ts'
export type { Gauge, Metrics } from './metrics.ts'
export { traces } from './traces.ts'
export type { Attributes, Span, Tracer } from './traces.ts'
export { redact } from './redact.ts'
