import { isObject } from '../../core/json.ts'
import type { StripeClient } from '../../rails/stripe/index.ts'
import type { StripeStandIn } from './stripe.ts'

/** Asks the stand-in as npm `stripe` would ask Stripe, for those who have not installed that. It asks once. */
export function clientOf({
  url,
  secretKey,
}: Pick<StripeStandIn, 'url' | 'secretKey'>): StripeClient {
  return {
    async rawRequest(method, path, params = {}, options = {}) {
      const { idempotencyKey, apiVersion, stripeAccount } = options
      const said = new URLSearchParams(flat(params, ''))
      const isGet = method === 'GET'
      const answer = await fetch(
        url + path + (isGet && said.size > 0 ? `?${said.toString()}` : ''),
        {
          method,
          headers: {
            authorization: `Bearer ${secretKey}`,
            ...(idempotencyKey !== undefined && { 'idempotency-key': idempotencyKey }),
            ...(apiVersion !== undefined && { 'stripe-version': apiVersion }),
            ...(stripeAccount !== undefined && { 'stripe-account': stripeAccount }),
          },
          ...(!isGet && { body: said }),
        },
      )
      const body: unknown = await answer.json()
      if (answer.ok) return body
      const error = isObject(body) && isObject(body['error']) ? body['error'] : {}
      throw Object.assign(new Error('The stand-in refused it.'), {
        ...{ statusCode: answer.status, code: error['code'], rawType: error['type'] },
      })
    },
  }
}

/** `{ a: { b: [1] } }` as `a[b][0]=1`. */
function flat(value: unknown, name: string): [string, string][] {
  if (value === undefined || value === null) return []
  if (typeof value !== 'object')
    return [[name, typeof value === 'string' ? value : JSON.stringify(value)]]
  return Object.entries(value).flatMap(([key, inner]) =>
    flat(inner, name === '' ? key : `${name}[${key}]`),
  )
}
