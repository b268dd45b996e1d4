import { PaymentError } from '../../core/problem.ts'
import type { StripeClient } from './client.ts'

/** How long one call may take. */
const CALL_MS = 20_000
/** How often the SDK asks again by itself, always under the same key. */
const RETRIES = 2

/** By which Stripe is asked. */
export interface SdkSettings {
  /** `sk_…` or `rk_…`. */
  readonly key: string
  /** Where the API is, for a stand-in: `http://127.0.0.1:12111`. */
  readonly url?: string
}

/**
 * Loads npm `stripe`, which is yours to install, and makes a client of it.
 * @throws {PaymentError} `misconfigured` when it is not installed.
 */
export async function loadStripe({ key, url }: SdkSettings): Promise<StripeClient> {
  const { default: Stripe } = await import('stripe').catch((cause: unknown) => {
    const how = 'Install it: npm install stripe.'
    throw new PaymentError('misconfigured', `The package "stripe" is not there. ${how}`, { cause })
  })
  return new Stripe(key, {
    telemetry: false,
    timeout: CALL_MS,
    maxNetworkRetries: RETRIES,
    ...(url !== undefined && placeOf(url)),
  })
}

function placeOf(said: string): {
  readonly host: string
  readonly port: number
  readonly protocol: 'http' | 'https'
} {
  const { hostname, port, protocol } = new URL(said)
  const isPlain = protocol === 'http:'
  return {
    host: hostname,
    port: port === '' ? (isPlain ? 80 : 443) : Number(port),
    protocol: isPlain ? 'http' : 'https',
  }
}
