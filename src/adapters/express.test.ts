import express from 'express'
import { adapterSuite } from '../testing/adapter-suite.ts'
import { toll } from './express.ts'
import { gate, serve } from './fixture.test.ts'

adapterSuite('Express', {
  gate,
  start({ seller, routes, work }) {
    const app = express()
    // Express tells the errors of handlers on stderr otherwise.
    app.set('env', 'test')
    app.use(toll(seller, routes))
    app.use((request, response) => work.node(request, response))
    return serve(app)
  },
})
