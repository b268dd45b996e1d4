import type { RequestHandler } from 'express'
import { createDoor } from './http.ts'
import type { Seller } from './http.ts'
import { incomingOf, pass } from './node.ts'
import type { Routes } from './routes.ts'

/**
 * Puts a toll on an Express app: `app.use(toll(seller, routes))`, before body parsers and before the routes it sells. Keys
 * are whole paths as the payer writes them, also where it is mounted under a prefix; `await prove(app, routes)` tells.
 * @throws {RangeError} with a sentence, when the routes or the origin cannot be meant.
 */
export function toll(seller: Seller, routes: Routes): RequestHandler {
  const door = createDoor(seller, routes)
  return (request, response, next) =>
    pass(door, request, response, incomingOf(request, request.originalUrl), next)
}
