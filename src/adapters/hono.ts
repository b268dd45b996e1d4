import type { Context, MiddlewareHandler } from 'hono'
import { pass } from './fetch.ts'
import { createDoor } from './http.ts'
import type { Seller } from './http.ts'
import type { Routes } from './routes.ts'

/** What a web request does not tell. */
export interface HonoOptions {
  /**
   * The address at the other end: `(context) => getConnInfo(context).remote.address`, with the `getConnInfo` of the platform
   * (`@hono/node-server/conninfo`, `hono/deno`, `hono/bun`). Without one all callers are one to the seller's `limits`.
   */
  readonly address?: (context: Context) => string | undefined
}

/**
 * Puts a toll on a Hono app: `app.use(toll(seller, routes))`, before the routes it sells. Keys are whole paths as the payer
 * writes them, also where it is mounted under a prefix; `await prove(app, routes)` tells.
 * @throws {RangeError} with a sentence, when the routes or the origin cannot be meant.
 */
export function toll(
  seller: Seller,
  routes: Routes,
  { address }: HonoOptions = {},
): MiddlewareHandler {
  const door = createDoor(seller, routes)
  return async (context, next) => {
    let ran = false
    const work = async (): Promise<Response> => {
      ran = true
      await next()
      return context.res
    }
    const response = await pass(door, context.req.raw, work, () => address?.(context))
    if (!ran) return response
    if (response === context.res) return undefined
    // Setting `res` over another merges the heads of both, and ours has all that may stay.
    context.res = undefined
    context.res = response
    return undefined
  }
}
