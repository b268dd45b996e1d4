/** JWT access tokens (RFC 9068). */
export type { Jwts, JwtSettings } from './jwts.ts'
export { createJwts } from './jwts.ts'
export type { JwtAlg, JwtKey, PublicJwk } from './key.ts'
export { newJwtKey } from './key.ts'
