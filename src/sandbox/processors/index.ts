/** Stand-ins for processors. They behave as the documents of Stripe and PayPal say; they are not Stripe and not PayPal. */
export { startStripe } from './stripe.ts'
export type { StripeStandIn, StripeStandInSettings } from './stripe.ts'
export { startPayPal } from './paypal.ts'
export type { PayPalStandIn, PayPalStandInSettings } from './paypal.ts'
export type { Fault, Listening, Trouble } from './server.ts'
export { startCardScript } from './element.ts'
export type { CardScript } from './element.ts'
export { clientOf } from './sdk.ts'
