import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { after, describe, test } from 'node:test'
import type { Event } from '../core/event.ts'
import { TASKS_PATH } from '../core/task.ts'
import { memory } from '../ledger/memory.ts'
import { asking, closeSellers, counting, leaping, receiptFor, selling, toy } from './fakes.test.ts'
import type { Seen } from './fakes.test.ts'
import { BACKOFF_MS_MIN } from './limits.ts'
import { createPayer, paymentOf } from './payer.ts'

after(closeSellers)

type Say = (res: ServerResponse, seen: Seen) => void

/** A seller who takes what is paid with 202, and then says one thing after the other at the task's address. */
async function taking(says: readonly Say[], location = `${TASKS_PATH}task-1`) {
  const script = [...says]
  return await selling((seen, res) => {
    const { req } = seen
    if (req.url?.startsWith(TASKS_PATH)) return (script.shift() ?? is('running'))(res, seen)
    if (!req.headers['toy-payment'])
      return void res.writeHead(402, asking({ amount: '10000' })).end()
    const head = { ...receiptFor(req), location, 'retry-after': '1' }
    return void res.writeHead(202, head).end('taken')
  })
}

function is(state: string, more: object = {}, head: Record<string, string> = {}): Say {
  return (res) =>
    void res
      .writeHead(200, { 'content-type': 'application/json', 'tolsey-task': state, ...head })
      .end(JSON.stringify(more))
}

const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251))
const result: Say = (res) => void res.writeHead(201, { 'x-own': 'yes' }).end(bytes)

function paying(resultMs?: number) {
  const clock = leaping()
  const wallet = counting(clock)
  const events: Event[] = []
  let ids = 0
  const payer = createPayer({
    ...{ wallets: [wallet], protocols: [toy], ledger: memory({ clock }), clock },
    policy: { perRequest: '0.05 USD', total: '1 USD' },
    chance: (count) => new Uint8Array(count).fill(count > 1 ? ids++ : 0),
    observe: (event) => events.push(event),
    ...(resultMs !== undefined && { resultMs }),
  })
  const waits = (): readonly (Event & { readonly type: 'waiting' })[] =>
    events.flatMap((event) => (event.type === 'waiting' ? [event] : []))
  return { payer, wallet, waits, clock }
}

const post = { method: 'POST', body: 'a film', headers: { 'content-type': 'text/plain' } }

describe('a request that a seller takes and works on', () => {
  test('is asked for with what has paid until its result is there, and it is said what is waited for', async () => {
    const seller = await taking([
      is('accepted', { waits: 'The service behind was away.' }, { 'retry-after': '4' }),
      is('running', { progress: 0.3 }),
      (res) => void res.writeHead(503).end(),
      (res) => void res.destroy(),
      result,
    ])
    const { payer, wallet, waits } = paying()
    const response = await payer.fetch(`${seller.url}/films`, post)
    assert.deepEqual([response.status, response.headers.get('x-own')], [201, 'yes'])
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), bytes)
    assert.equal(wallet.signed.length, 1)
    const payment = paymentOf(response)
    assert.deepEqual([payment?.state, payment?.receipt?.reference], ['posted', 'tx-1'])
    assert.equal(seller.proofs().length, 6, 'shown for the request, and each time at the address')
    const asked = seller.seen.filter(({ req }) => req.url?.startsWith(TASKS_PATH))
    assert.ok(asked.every(({ req, body }) => req.method === 'GET' && body === ''))
    assert.ok(asked.every(({ req }) => req.headers['content-type'] === undefined))
    const half = BACKOFF_MS_MIN / 2
    assert.deepEqual(
      waits().map(({ waitMs }) => waitMs),
      [1_000, 4_000, half * 4, half * 8, half * 16],
    )
    const [taken, queued, works, busy, broke] = waits().map(({ detail }) => detail)
    assert.match(taken ?? '', /has taken the request/)
    assert.match(queued ?? '', /service behind was away/)
    assert.match(works ?? '', /30 %/)
    assert.match(busy ?? '', /503/)
    assert.match(broke ?? '', /did not answer/)
    assert.equal(new Set(waits().map(({ purchase }) => purchase)).size, 1)
  })

  test('is answered as the seller did when the time is over; the next equal call fetches it for the same payment', async () => {
    const seller = await taking([is('running', {}, { 'retry-after': '5' }), result])
    const { payer, wallet, clock } = paying(3_000)
    const first = await payer.fetch(`${seller.url}/films`, post)
    assert.deepEqual([first.status, await first.text()], [202, 'taken'])
    assert.equal(paymentOf(first)?.state, 'posted')
    clock.leap(60_000)
    const next = await payer.fetch(`${seller.url}/films`, post)
    assert.equal(next.status, 201)
    assert.equal((await next.arrayBuffer()).byteLength, bytes.length)
    assert.equal(wallet.signed.length, 1)
    await payer.fetch(`${seller.url}/films`, post)
    assert.equal(wallet.signed.length, 2, 'what has come is bought anew')
  })

  test('and could not do is told, and the next call pays anew', async () => {
    const seller = await taking([is('failed', { why: 'late', refund: 'refunded' }), result])
    const { payer, wallet } = paying()
    await assert.rejects(payer.fetch(`${seller.url}/films`, post), {
      code: 'task-failed',
      message: /why: late; what was paid: refunded/,
    })
    assert.equal((await payer.fetch(`${seller.url}/films`, post)).status, 201)
    assert.equal(wallet.signed.length, 2)
  })

  test('is not asked for where the payer does not want to wait', async () => {
    const seller = await taking([result])
    const { payer, waits } = paying(0)
    const response = await payer.fetch(`${seller.url}/films`, post)
    assert.deepEqual([response.status, await response.text(), waits()], [202, 'taken', []])
  })

  test('is asked for nowhere else: the payment is shown to nobody but its seller', async () => {
    const thief = await selling((_, res) => void res.end('thanks'))
    for (const location of [`${thief.url}${TASKS_PATH}x`, '/elsewhere', 'not:an//address', '//']) {
      const seller = await taking([], location)
      const { payer } = paying()
      const response = await payer.fetch(`${seller.url}/films`, post)
      assert.deepEqual([response.status, await response.text()], [202, 'taken'], location)
      assert.equal(seller.seen.length, 2)
    }
    const leading = await taking([
      (res) => void res.writeHead(302, { location: `${thief.url}/x` }).end(),
    ])
    assert.equal((await paying().payer.fetch(`${leading.url}/films`, post)).status, 202)
    assert.equal(thief.proofs().length, 0)
  })
})
