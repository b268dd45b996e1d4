/** The gateway profile: `WWW-Authenticate: Bearer realm="payment_gateway"`. */
export { bearer } from './http.ts'
export { INTENT_CHARS_MAX } from './intent.ts'
export { PROOF_CHARS_MAX, withBearer } from './part.ts'
export type { BearerSettings, Gateway, Part, Said, Shown, Words } from './part.ts'
export { TIMESTAMP_WINDOW_MS } from './timestamp.ts'
