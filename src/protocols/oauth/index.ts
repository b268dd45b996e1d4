/** OAuth 2.0 at a protected resource, and what the endpoints beside it say. */
export type { Proofs, ProofSettings, Proven } from './dpop.ts'
export { createProofs } from './dpop.ts'
export type {
  Account,
  Accounts,
  Endpoints,
  Form,
  ResourceSettings,
  TokenError,
} from './endpoints.ts'
export {
  documentAnswer,
  GRANT_TYPE_PAYMENT,
  introspect,
  readForm,
  refuseCaller,
  refuseTokenRequest,
  RESOURCE_METADATA_PATH,
  resourceMetadata,
  revoke,
  SERVER_METADATA_PATH,
  serverMetadata,
  tokenAnswer,
  tokenError,
} from './endpoints.ts'
export type { OAuthSettings } from './http.ts'
export { oauth } from './http.ts'
export type { ServiceSettings } from './service.ts'
export { oauthService } from './service.ts'
