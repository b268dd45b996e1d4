import { createAdaptorServer } from '@hono/node-server'
import { Hono } from 'hono'
import type { Server } from 'node:http'
import { adapterSuite } from '../testing/adapter-suite.ts'
import { gate, serve } from './fixture.test.ts'
import { toll } from './hono.ts'

adapterSuite('Hono', {
  gate,
  start({ seller, routes, work }) {
    const app = new Hono()
    app.use(toll(seller, routes))
    app.all('*', (context) => work.fetch(context.req.raw))
    app.onError((_error, context) => context.text('failed', 500))
    return serve(createAdaptorServer({ fetch: app.fetch }) as Server)
  },
})
