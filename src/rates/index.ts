/** What currencies are worth: given, or asked for over HTTP. */
export { eachOf, fixedRates } from './fixed.ts'
export type { FixedOptions } from './fixed.ts'
export { httpRates } from './http.ts'
export type { HttpRates, HttpRatesSettings, RatePair, RateSource } from './http.ts'
