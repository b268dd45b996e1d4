/** Bearer tokens that say nothing to their holder. */
export type { Opaques, OpaqueSettings } from './opaques.ts'
export { createOpaques } from './opaques.ts'
