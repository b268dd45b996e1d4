// Upstreams that work on after their request was answered 202, behind the real gateway and gate.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import type { ServerResponse } from 'node:http'
import { setTimeout as after } from 'node:timers/promises'
import { TOKENS_PATH } from '../adapters/exchange.ts'
import { createSeller } from '../adapters/seller.ts'
import { SECRET, bearer, createRail, fake, pay } from '../adapters/shop.test.ts'
import type { Vault } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { oauth } from '../protocols/oauth/index.ts'
import { createMacaroonMint, createMacaroons } from '../tokens/macaroon/index.ts'
import { stage, upstream } from './fixture.test.ts'

type Answer = (path: string, body: string, response: ServerResponse) => unknown

async function open(t: TestContext, answer: Answer) {
  const seen: string[] = []
  const url = await upstream(t, async (request, response) => {
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += String(chunk)
    seen.push(`${request.method} ${request.url} ${body}`)
    await answer(request.url ?? '', body, response)
  })
  const kept = new Map<string, Uint8Array>()
  const vault: Vault = {
    put: async (key, sealed) => void kept.set(key, sealed),
    get: async (key) => kept.get(key),
  }
  const back: bigint[] = []
  const rail = createRail(new Set())
  const mints = [createMacaroonMint(createMacaroons({ secrets: [SECRET] }))]
  const seller = await createSeller({
    ...{ secret: SECRET, ledger: memory(), vault, mints },
    rails: [
      {
        ...rail,
        async refund(_offer, _to, { amount }, key) {
          back.push(amount)
          return { state: 'settled', reference: `back-${key}`, payer: 'buyer', settledAt: 1 }
        },
      },
    ],
    protocols: [fake, oauth({ mints })],
    plans: { purse: { price: '1 USD', balance: '1 USD' } },
  })
  t.after(() => seller.close())
  const gateway = await stage(t, {
    upstreams: { one: { url } },
    routes: {
      'POST /render': { sale: { price: '0.10 USD', task: true } },
      'POST /stream': {
        sale: { plan: 'purse', meter: { unit: '0.05 USD' }, task: true },
        counts: { per: 'event', price: '0.10 USD' },
      },
    },
    seller,
  })
  const send = (path: string, headers = {}, body?: string): Promise<Response> =>
    fetch(gateway.url + path, { method: 'POST', headers, ...(body !== undefined && { body }) })
  return {
    ...{ back, seen, send, house: gateway.house },
    get: (path: string, headers = {}) => fetch(gateway.url + path, { headers }),
    async paying(path: string, nonce: string, body?: string) {
      const { offers } = (await (await send(path, {}, body)).json()) as {
        readonly offers: unknown[]
      }
      return { 'fake-payment': pay(offers[0], nonce) }
    },
    /** How it stands, once it is over. */
    async ended(address: string): Promise<Record<string, unknown>> {
      for (;;) {
        const said = (await (await fetch(gateway.url + address)).json()) as Record<string, unknown>
        const isOpen = said['state'] === 'failed' && said['refund'] === 'open'
        if (!isOpen && (said['state'] === 'done' || said['state'] === 'failed')) return said
        await after(5)
      }
    },
  }
}

const addressOf = ({ headers }: Response): string => headers.get('location') ?? ''

describe('an upstream behind a task', () => {
  test('is asked once, after the answer, and what it says is fetched by whoever has paid', async (t) => {
    const go = Promise.withResolvers<void>()
    const world = await open(t, async (_, body, response) => {
      await go.promise
      response.writeHead(201, {
        'Content-Type': 'image/x',
        'X-Own': 'yes',
        'Tolsey-Payer': 'forged',
      })
      response.end(`${body} painted`)
    })
    const fields = await world.paying('/render', 'n1', 'a cat')
    const said = await world.send('/render', fields, 'a cat')
    assert.deepEqual([said.status, said.headers.get('fake-receipt')], [202, 'tx-n1'])
    const address = addressOf(said)
    assert.equal(addressOf(await world.send('/render', fields, 'a cat')), address)
    go.resolve()
    assert.equal((await world.ended(address))['state'], 'done')
    const result = await world.get(address, fields)
    assert.deepEqual([result.status, await result.text()], [201, 'a cat painted'])
    assert.equal(result.headers.get('content-type'), 'image/x')
    assert.equal(result.headers.get('x-own'), 'yes')
    assert.equal(result.headers.get('tolsey-payer'), null)
    assert.deepEqual(world.seen, ['POST /render a cat'])
    assert.deepEqual(world.back, [])
  })

  test('that fails, or breaks off, costs what it says that it has done', async (t) => {
    const world = await open(t, (_, body, response) => {
      if (body === 'breaks') {
        response.writeHead(200, { 'Content-Length': '100' })
        return response.write('half', () => response.destroy())
      }
      if (body === 'tells') {
        response.socket?.write('HTTP/1.1 102 Processing\r\nTolsey-Progress: 1/2\r\n\r\n')
        return response.writeHead(500).end()
      }
      return response.writeHead(503, { 'Tolsey-Progress': '4/10' }).end('no')
    })
    for (const [body, progress, back] of [
      ['fails', 0.4, 60_000n],
      ['tells', 0.5, 50_000n],
      ['breaks', 0, 100_000n],
    ] as const) {
      const said = await world.send('/render', await world.paying('/render', body, body), body)
      const state = await world.ended(addressOf(said))
      assert.deepEqual([state['state'], state['progress']], ['failed', progress], body)
      assert.equal(world.back.at(-1), back, body)
    }
    assert.equal(world.back.length, 3)
  })

  test('is paid by measure out of a balance, and what was covered is handed out', async (t) => {
    const event = 'data: x\n\n'
    const world = await open(t, async (_, body, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      for (let i = 0; i < Number(body) && !response.destroyed; i++) {
        response.write(event)
        await after(2)
      }
      response.end()
    })
    const path = `${TOKENS_PATH}/purse`
    const bought = await world.send(path, await world.paying(path, 'p'))
    const { token } = (await bought.json()) as { readonly token: string }
    const left = async (): Promise<unknown> => {
      const said = await world.get(TOKENS_PATH, bearer(token))
      return ((await said.json()) as Record<string, unknown>)['balance']
    }
    const first = await world.send('/stream', bearer(token), '3')
    assert.equal((await world.ended(addressOf(first)))['state'], 'done')
    assert.equal(await (await world.get(addressOf(first), bearer(token))).text(), event.repeat(3))
    while ((await left()) !== '0.7 USD') await after(5)
    const second = await world.send('/stream', bearer(token), '20')
    assert.equal((await world.ended(addressOf(second)))['state'], 'done')
    const part = await world.get(addressOf(second), bearer(token))
    assert.equal(part.headers.get('tolsey-incomplete'), 'token-exhausted')
    assert.equal(await part.text(), event.repeat(7))
    while ((await left()) !== '0 USD') await after(5)
  })

  test('is stopped when the gateway ends, and what was paid goes back at once', async (t) => {
    const asked = Promise.withResolvers<ServerResponse>()
    const world = await open(t, (_, __, response) => asked.resolve(response))
    const said = await world.send('/render', await world.paying('/render', 'n1'))
    const behind = await asked.promise
    await Promise.all([world.house.interrupt(), once(behind, 'close')])
    assert.equal((await world.ended(addressOf(said)))['why'], 'interrupted')
    assert.deepEqual(world.back, [100_000n])
  })
})
