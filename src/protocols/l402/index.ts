export {
  CREDENTIAL_CHARS_MAX,
  INVOICE_CHARS_MAX,
  TOKENS_MAX,
  TOKEN_CHARS_MAX,
  l402,
} from './http.ts'
export type { Checked, L402, L402Settings, Part, Words } from './part.ts'
export type { Mint as L402Mint } from './part.ts'
