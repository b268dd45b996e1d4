/** x402 over HTTP, and the rail that settles through a facilitator. */
export { x402 } from './http.ts'
export type { Options } from './http.ts'
export { facilitated } from './facilitator.ts'
export type { FacilitatedOptions } from './facilitator.ts'
export type { Part } from './part.ts'
export type { Words } from './wire.ts'
