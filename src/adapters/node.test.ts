import { adapterSuite } from '../testing/adapter-suite.ts'
import { gate, serve } from './fixture.test.ts'
import { toll } from './node.ts'

adapterSuite('node:http', {
  gate,
  start: ({ seller, routes, work }) => serve(toll(seller, routes, work.node)),
})
