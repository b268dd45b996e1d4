/** What answers used: counters over their bytes, whoever passes them on. */
export type { Counter, Exchange, MeterSettings } from './meters.ts'
export { createMeters } from './meters.ts'
export type { Tokens, UsageReader } from './usage.ts'
export { createUsageReader } from './usage.ts'
