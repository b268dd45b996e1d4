// Tasks, names, rests and graces as a document says them, through the gateway that it makes and payments that are signed.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { TestContext } from 'node:test'
import { setTimeout as after } from 'node:timers/promises'
import { countsOf, isEntry, plansOf, readDocument } from '../config/document.ts'
import { freePort } from '../../test/ports.ts'
import { upstream } from './fixture.test.ts'
import { ask, createBuyer, openDocument, startFacilitator } from './market.test.ts'

const HOST = 'api.example.com'
const payTo = `0x${'11'.repeat(20)}`

async function open(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'tasks-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const facilitator = await startFacilitator(t)
  let runs = 0
  const api = await upstream(t, (request, response) => response.end(`${++runs} ${request.url}`))
  const rails = `{ evm: { network: base-sepolia, payTo: "${payTo}", facilitator: "${facilitator.url}" } }`
  const text = `listen: 0
origin: http://${HOST}
secret: { env: SECRET }
vault: ${directory}
rails: ${rails}
upstreams: { api: "${api}", dead: "http://127.0.0.1:${await freePort()}" }
plans: { purse: { price: 1 USD, balance: 1 USD, refund: 2% } }
routes:
  POST /films: { price: 0.10 USD, upstream: api, task: 2h }
  POST /orders: { price: 0.10 USD, upstream: dead, fallback: queue }
  GET /kept: { price: 0.10 USD, upstream: api, keep: true }
  GET /socket: { plan: purse, upstream: api, meter: { per: event, price: 0.01 USD, unit: 0.01 USD, grace: 30s } }
`
  return { opened: await openDocument(t, text), facilitator, runs: () => runs, text }
}

test('a document sells a task, and whoever has paid fetches it', async (t) => {
  const { opened, facilitator, runs } = await open(t)
  const buyer = createBuyer()
  const asking = { method: 'POST', headers: { host: HOST } }
  const first = await ask(opened, '/films', asking)
  const fields = await buyer.sign(first, HOST, '/films', 'POST')
  const paid = { ...asking, headers: { ...asking.headers, ...fields } }
  const said = await ask(opened, '/films', paid)
  assert.equal(said.status, 202, said.body)
  const address = said.response.headers.location ?? ''
  const state = async (): Promise<string> =>
    (await ask(opened, address, { headers: { host: HOST } })).body
  while (!(await state()).includes('"done"')) await after(5)
  const result = await ask(opened, address, { headers: { host: HOST, ...fields } })
  assert.deepEqual([result.status, result.body], [200, '1 /films'])
  assert.equal((await ask(opened, '/films', paid)).response.headers.location, address)
  assert.deepEqual([runs(), facilitator.settled.length], [1, 1])
})

test('a document’s named request is charged once, though it is signed anew', async (t) => {
  const { opened, facilitator, runs } = await open(t)
  const [buyer, other] = [createBuyer(), createBuyer()]
  const headers = { 'idempotency-key': 'order-7' }
  const first = await buyer.buy(opened.port, HOST, '/kept', { headers })
  const again = await buyer.buy(opened.port, HOST, '/kept', { headers })
  assert.deepEqual([first.status, again.status, again.body], [200, 200, first.body])
  assert.deepEqual([runs(), facilitator.settled.length], [1, 1])
  const changed = await buyer.buy(opened.port, HOST, '/kept?more', { headers })
  assert.equal(changed.status, 422, changed.body)
  const theirs = await other.buy(opened.port, HOST, '/kept', { headers })
  assert.deepEqual([theirs.status, runs(), facilitator.settled.length], [200, 2, 2])
})

test('a document’s queued request has one address under one name, though it is signed anew', async (t) => {
  const { opened, facilitator } = await open(t)
  const [buyer, other] = [createBuyer(), createBuyer()]
  const headers = { 'idempotency-key': 'order-7' }
  const order = { method: 'POST', headers, body: 'one' }
  const first = await buyer.buy(opened.port, HOST, '/orders', order)
  const again = await buyer.buy(opened.port, HOST, '/orders', order)
  assert.deepEqual([first.status, again.status], [202, 202], first.body)
  const address = first.response.headers.location ?? ''
  assert.equal(again.response.headers.location, address)
  assert.equal(facilitator.settled.length, 1)
  const changed = await buyer.buy(opened.port, HOST, '/orders', { ...order, body: 'two' })
  assert.equal(changed.status, 422, changed.body)
  const theirs = await other.buy(opened.port, HOST, '/orders', order)
  assert.equal(theirs.status, 202)
  assert.notEqual(theirs.response.headers.location, address)
  const state = await ask(opened, address, { headers: { host: HOST } })
  assert.match(state.body, /"waits":/)
  assert.equal((await opened.ledger.pending('queued-task')).length, 2)
})

test('a document says the fee of a rest and the grace of a socket, and what cannot be meant has its line', async (t) => {
  const { text } = await open(t)
  const read = readDocument(text, 'a.yaml')
  assert.ok(read.ok)
  assert.equal(plansOf(read.document)['purse']?.refund, '2%')
  const route = read.document.routes['GET /socket']
  assert.ok(route !== undefined && isEntry(route) && route.meter)
  assert.equal(countsOf(route.meter).graceMs, 30_000)
  for (const [from, to, what] of [
    ['refund: 2%', 'refund: 100%', /plans › purse.*keeps all/],
    ['refund: 2%', 'refund: 0.10 EUR', /plans › purse.*currency/],
    ['grace: 30s', 'grace: 2h', /GET \/socket › meter.*grace/],
    ['task: 2h', 'task: 30d', /POST \/films.*task/],
  ] as const) {
    const wrong = readDocument(text.replace(from, to), 'a.yaml')
    assert.ok(!wrong.ok, to)
    const lines = wrong.mistakes.map(({ path, sentence }) => `${path}: ${sentence}`)
    assert.match(lines.join('\n'), what)
  }
})
