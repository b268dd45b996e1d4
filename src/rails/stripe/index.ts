/** Cards by Stripe, stablecoins by Stripe, and what else Stripe tells and is told: `tolsey/rails/stripe`. */
export { stripe } from './rail.ts'
export type { StripeSettings } from './rail.ts'
export type { AccountSettings } from './account.ts'
export { CRYPTO_NETWORKS, createRecorder, stripeCrypto } from './crypto.ts'
export type {
  CryptoDetails,
  CryptoProof,
  Recorder,
  StripeCryptoSettings,
  Transferred,
} from './crypto.ts'
export { PREVIEW_VERSION } from './client.ts'
export type { StripeClient, StripeOptions } from './client.ts'
export { createBearerForm, createMppForm } from './forms.ts'
export type { BearerWords, Details, FormSettings, MppWords, Proof, Reason } from './forms.ts'
export { minimums } from './minimum.ts'
export { loadStripe } from './sdk.ts'
export type { SdkSettings } from './sdk.ts'
export { stripeMeter } from './meter.ts'
export type { MeterSettings, MeterSink } from './meter.ts'
export { EVENT_BYTES_MAX, SIGNATURE_AGE_MS, WEBHOOK_PATH, stripeWebhook } from './webhook.ts'
export type { News, WebhookSettings } from './webhook.ts'
export { sharedTokens } from './wallet.ts'
export type { SharedTokensSettings, TokenOrder } from './wallet.ts'
