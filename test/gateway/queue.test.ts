// Paid requests that wait for their upstream, behind gateways as operators start them, on a real chain: killed while a request
// waits and while it is sent, another gateway on the same books goes on.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { systemClock } from '../../src/core/clock.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import { createSender } from '../interop/peers.ts'
import { freePort } from '../ports.ts'
import { join } from 'node:path'
import { createPurse } from './buyer.ts'
import type { Running, Stage } from './stage.ts'
import { openStage, startGateway } from './stage.ts'

/** 0.01 USDC. */
const PRICE = 10_000n
const PAUSE_MS = 100
/** Longer than a turn that nobody shows any more, with a look at the books behind it. */
const PATIENCE_MS = 75_000

describe('a gateway that is killed', { concurrency: 1 }, () => {
  let stage: Stage
  let payTo: string
  let pay: Awaited<ReturnType<typeof createPurse>>
  before(async () => {
    stage = await openStage()
    const sender = await createSender(stage.chain)
    payTo = sender.address
    // Its own key is that of the money: what was paid can go back.
    const common = stage.common.replace(stage.payTo, payTo)
    stage = { ...stage, common, env: { ...stage.env, SENDER_KEY: sender.privateKey } }
    pay = await createPurse(stage.chain)
  })
  after(() => stage.close())

  async function world(books: string) {
    const port = await freePort()
    const seen: { readonly what: string; readonly body: string }[] = []
    const hanging = new Set<string>()
    const asked = new Map<string, PromiseWithResolvers<void>>()
    const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const body = Buffer.concat(await request.toArray()).toString()
      const what = `${request.method} ${request.url}`
      seen.push({ what, body })
      asked.get(what)?.resolve()
      if (hanging.delete(what)) return
      response.writeHead(201, { 'x-own': 'yes' }).end(`did ${what} ${body}`)
    }
    const server = createServer((request, response) => void serve(request, response))
    const document = `upstreams: { api: "http://127.0.0.1:${port}" }\nvault: kept-${books}\nroutes:\n  '* /a/*': { price: 0.01 USD, fallback: { queue: 10m } }\n`
    return {
      seen,
      start: (): Promise<Running> => startGateway(stage, document, `${books}.sqlite`),
      async up(): Promise<void> {
        server.listen(port, '127.0.0.1')
        await once(server, 'listening')
      },
      /** The next request of that kind gets no answer; resolves when it is there. */
      hang(what: string): Promise<void> {
        hanging.add(what)
        const came = Promise.withResolvers<void>()
        asked.set(what, came)
        return came.promise
      },
      close(): void {
        server.closeAllConnections()
        server.close()
      },
    }
  }

  /** Pays while the upstream is away: the address, and what has paid. */
  async function queue({ origin }: Running, method: string, path: string, body?: string) {
    const init = { method, ...(body !== undefined && { body }) }
    const fields = await pay(origin + path, init)
    const said = await fetch(origin + path, { ...init, headers: fields })
    assert.equal(said.status, 202, await said.clone().text())
    assert.ok(said.headers.get('payment-response'), 'it is paid for')
    return { address: said.headers.get('location') ?? '', fields }
  }

  async function ended({ origin }: Running, address: string): Promise<Record<string, unknown>> {
    const untilAt = Date.now() + PATIENCE_MS
    for (;;) {
      const said = (await (await fetch(origin + address)).json()) as Record<string, unknown>
      const { state, refund } = said
      if (state === 'done' || (state === 'failed' && refund !== 'open')) return said
      assert.ok(Date.now() < untilAt, JSON.stringify(said))
      await systemClock.sleep(PAUSE_MS)
    }
  }

  async function kill({ child }: Running): Promise<void> {
    const over = once(child, 'exit')
    child.kill('SIGKILL')
    await over
  }

  async function sound(books: string): Promise<void> {
    const ledger = await sqlite({ file: join(stage.directory, `${books}.sqlite`) })
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
    assert.deepEqual(await ledger.pending('queued-task'), [])
    await ledger.close()
  }

  test('while a request waits leaves it to the next, which sends it once', async () => {
    const books = 'waits'
    const w = await world(books)
    const before = await stage.chain.balanceOf(payTo)
    const first = await w.start()
    const { address, fields } = await queue(first, 'POST', '/a/film', 'of four scenes')
    await kill(first)
    const [second, third] = await Promise.all([w.start(), w.start()])
    try {
      await w.up()
      assert.equal((await ended(second, address))['state'], 'done')
      for (const one of [second, third]) {
        const result = await fetch(one.origin + address, { headers: fields })
        assert.deepEqual([result.status, result.headers.get('x-own')], [201, 'yes'])
        assert.equal(await result.text(), 'did POST /a/film of four scenes')
      }
      assert.deepEqual(w.seen, [{ what: 'POST /a/film', body: 'of four scenes' }])
      assert.equal((await stage.chain.balanceOf(payTo)) - before, PRICE)
    } finally {
      await Promise.all([second.stop(), third.stop()])
      w.close()
    }
    await sound(books)
  })

  test('while a request is sent: what may come twice is sent again, and all else is paid back', async () => {
    const books = 'sends'
    const w = await world(books)
    const before = await stage.chain.balanceOf(payTo)
    const first = await w.start()
    const get = await queue(first, 'GET', '/a/map')
    const post = await queue(first, 'POST', '/a/order', 'one')
    const hung = [w.hang('GET /a/map'), w.hang('POST /a/order')]
    await w.up()
    await Promise.all(hung)
    await kill(first)
    const second = await w.start()
    try {
      const [done, failed] = await Promise.all(
        [get, post].map(({ address }) => ended(second, address)),
      )
      assert.equal(done?.['state'], 'done')
      const result = await fetch(second.origin + get.address, { headers: get.fields })
      assert.equal(await result.text(), 'did GET /a/map ')
      assert.deepEqual(
        [failed?.['state'], failed?.['why'], failed?.['refund']],
        ['failed', 'interrupted', 'refunded'],
      )
      const counts = w.seen.map(({ what }) => what).toSorted()
      assert.deepEqual(counts, ['GET /a/map', 'GET /a/map', 'POST /a/order'])
      assert.equal((await stage.chain.balanceOf(payTo)) - before, PRICE)
      const late = await fetch(second.origin + post.address, { headers: post.fields })
      assert.equal(late.headers.get('tolsey-task'), 'failed')
    } finally {
      await second.stop()
      w.close()
    }
    await sound(books)
  })
})
