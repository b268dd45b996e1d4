import { pass } from './fetch.ts'
import type { FetchOptions, Handler } from './fetch.ts'
import { createDoor } from './http.ts'
import type { Door, Seller } from './http.ts'
import { readRoutes } from './routes.ts'
import type { Routes, RouteValue } from './routes.ts'

/**
 * A seller, or a function that gives it. Next imports every route while it builds, where neither keys nor networks
 * should be, so an app hands over a function: it is called by requests only, until it has given a seller.
 */
export type SellerSource = Seller | (() => Seller | Promise<Seller>)

/**
 * Puts a toll on a Next route handler: `export const GET = toll(seller, '0.01 USD', handler)`. The file's place is the
 * route; `account` says which account earns (`sales/* /*` if absent). A whole app, with its configuration and one seller
 * for the process, is in `test/interop/next-app`.
 *
 * Next answers `OPTIONS` itself, without the fields that let pages of other origins pay; for them, add
 * `export const OPTIONS = GET`.
 *
 * Next does not tell the address at the other end. Behind a proxy of your own say `trusted: ['unix']` in the seller's
 * `limits`: then the field that the proxy writes is believed, as far as the proxy lets no other through.
 * @throws {RangeError} with a sentence, when the route or the origin cannot be meant.
 */
export function toll<R extends Request, A extends readonly unknown[]>(
  seller: SellerSource,
  route: RouteValue,
  handler: Handler<R, A>,
  { address }: FetchOptions<R, A> = {},
): (request: R, ...rest: A) => Promise<Response> {
  const doorOf = createDoorOf(seller, { '* /*': route })
  return async (request, ...rest) =>
    await pass(
      await doorOf(),
      request,
      async () => await handler(request, ...rest),
      () => address?.(request, ...rest),
    )
}

/** A door that cannot be meant fails here, as far as it can be seen without the seller. */
function createDoorOf(seller: SellerSource, routes: Routes): () => Door | Promise<Door> {
  if (typeof seller !== 'function') {
    const door = openDoor(seller, routes)
    return () => door
  }
  readRoutes(routes)
  let door: Door | undefined
  return async () => (door ??= openDoor(await seller(), routes))
}

/** Next writes the name that the server listens on into the address, whatever name the payer has used. */
function openDoor(seller: Seller, routes: Routes): Door {
  const door = createDoor(seller, routes)
  return {
    ...door,
    enter(incoming) {
      const { authority, fields } = incoming
      return door.enter({ ...incoming, authority: fields.get('host') ?? authority })
    },
  }
}
