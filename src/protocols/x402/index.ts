/** x402 over HTTP, the rail that settles through facilitators, and a facilitator's own HTTP side. */
export { x402 } from './http.ts'
export type { Options } from './http.ts'
export { facilitated } from './facilitator.ts'
export type { FacilitatedOptions, FacilitatorAddress, Trust } from './facilitator.ts'
export type { Handler, Service, ServiceOptions } from './facilitator-service.ts'
export { facilitatorHandler, facilitatorService } from './facilitator-service.ts'
export type { Part } from './part.ts'
export type { Words } from './wire.ts'
