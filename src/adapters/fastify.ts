import type { FastifyPluginAsync } from 'fastify'
import { createDoor } from './http.ts'
import type { Seller } from './http.ts'
import { incomingOf, pass } from './node.ts'
import { prove } from './prove.ts'
import type { Routes } from './routes.ts'

/**
 * Puts a toll on a Fastify app: `await app.register(toll(seller, routes))`, before the routes it sells. When the app gets
 * ready it proves itself that each paid route is behind the toll, and does not start otherwise.
 * @throws {RangeError} with a sentence, when the routes or the origin cannot be meant.
 */
export function toll(seller: Seller, routes: Routes): FastifyPluginAsync {
  const door = createDoor(seller, routes)
  const plugin: FastifyPluginAsync = async (app) => {
    app.addHook('onRequest', (request, reply, done) => {
      const { raw } = request
      pass(door, raw, reply.raw, incomingOf(raw, request.originalUrl), done)
    })
    // `inject` waits for readiness itself, so the router is asked directly.
    app.addHook('onReady', async () => {
      await prove((request, response) => app.routing(request, response), routes)
    })
  }
  // Fastify's way to say that the hooks are for the whole app, not for this plugin's own routes.
  return Object.assign(plugin, { [Symbol.for('skip-override')]: true })
}
