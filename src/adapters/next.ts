import { toll as tollFetch } from './fetch.ts'
import type { Handler } from './fetch.ts'
import type { Seller } from './http.ts'
import type { RouteValue } from './routes.ts'

/**
 * Puts a toll on a Next route handler: `export const GET = toll(seller, '0.01 USD', handler)`. The file's place is the
 * route; `account` says which account earns (`sales/* /*` if absent).
 * @throws {RangeError} with a sentence, when the route or the origin cannot be meant.
 */
export function toll<R extends Request, A extends readonly unknown[]>(
  seller: Seller,
  route: RouteValue,
  handler: Handler<R, A>,
): (request: R, ...rest: A) => Promise<Response> {
  return tollFetch(seller, { '* /*': route }, handler)
}
