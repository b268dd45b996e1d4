/** What answers used: counters over their bytes, whoever passes them on. */
export type { Counter, Exchange, FrameHead, MeterSettings, SocketCounter } from './meters.ts'
export { createMeters, createSocketMeters } from './meters.ts'
export type { Tokens, UsageReader } from './usage.ts'
export { createUsageReader } from './usage.ts'
