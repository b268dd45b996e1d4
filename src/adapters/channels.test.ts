// Sessions of MPP by vouchers through node:http: real connections and streams over a stand-in for channels (escrow.test.ts).
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import type { JsonObject } from '../core/json.ts'
import type { Ledger } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { mpp } from '../protocols/mpp/index.ts'
import { readChallenges } from '../protocols/mpp/fields.ts'
import { createChannelRail, createEscrow, createPurse } from './escrow.test.ts'
import type { Escrow, Purse } from './escrow.test.ts'
import { serve } from './fixture.test.ts'
import { meterOf } from './meter.ts'
import { toll } from './node.ts'
import type { Routes } from './routes.ts'
import { createSeller } from './seller.ts'
import { SECRET } from './shop.test.ts'

const routes: Routes = {
  'GET /words': { plan: 'purse', meter: { unit: '0.10 USD' } },
  'GET /page': { price: '0.25 USD', takes: ['purse'] },
  'GET /other': { plan: 'other', meter: { unit: '0.10 USD' } },
}

type Asked = Readonly<Record<string, string>>

interface Said {
  readonly status: number
  readonly text: string
  readonly receipt: JsonObject | undefined
  readonly body: JsonObject
}

interface Shop {
  readonly origin: string
  readonly escrow: Escrow
  readonly ledger: Ledger
  readonly ask: (path?: string) => Promise<Asked>
  readonly send: (
    asked: Asked,
    payload: JsonObject,
    path?: string,
    method?: string,
  ) => Promise<Response>
  readonly say: (asked: Asked, payload: JsonObject, path?: string, method?: string) => Promise<Said>
  /** A purse with 5 USD in its channel. */
  readonly opened: (
    cumulative?: bigint,
  ) => Promise<{ readonly purse: Purse; readonly asked: Asked }>
}

async function open(
  t: TestContext,
  { escrow = createEscrow(), ledger = memory() }: Partial<Pick<Shop, 'escrow' | 'ledger'>> = {},
): Promise<Shop> {
  const rail = createChannelRail(escrow)
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [mpp({ parts: [rail as never] })],
    ledger,
    plans: {
      purse: { price: '5 USD', balance: '5 USD', refund: true },
      other: { price: '5 USD', balance: '5 USD', refund: true },
    },
  })
  const { origin, close } = await serve(
    toll(seller, routes, async (request, response) => {
      const url = new URL(request.url ?? '', 'http://a')
      if (url.pathname === '/page') return void response.end('page')
      const meter = meterOf(request)
      const most = Number(url.searchParams.get('n') ?? 3)
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      for (let i = 0; i < most && (await meter.take('0.10 USD')); i++)
        response.write(`data: word ${i}\n\n`)
      response.end('data: [DONE]\n\n')
    }),
  )
  t.after(async () => {
    await close()
    await seller.close()
  })
  const shop: Shop = {
    origin,
    escrow,
    ledger,
    async ask(path = '/words') {
      const { headers } = await fetch(origin + path)
      const [first] = readChallenges(headers.get('www-authenticate') ?? '')
      assert.ok(first && typeof first !== 'string')
      return Object.fromEntries(first)
    },
    send(asked, payload, path = '/words', method = 'GET') {
      const value = Buffer.from(JSON.stringify({ challenge: asked, payload })).toString('base64url')
      return fetch(origin + path, { method, headers: { Authorization: `Payment ${value}` } })
    },
    async say(...args) {
      const answer = await shop.send(...args)
      const text = await answer.text()
      const said = answer.headers.get('payment-receipt')
      const receipt = said === null ? undefined : fromReceipt(said)
      const body = text.startsWith('{') ? (JSON.parse(text) as JsonObject) : {}
      return { status: answer.status, text, receipt, body }
    },
    async opened(cumulative = 0n) {
      const asked = await shop.ask()
      const purse = createPurse()
      const said = await shop.say(asked, purse.open(5_000_000n, cumulative), '/words', 'HEAD')
      assert.equal(said.status, 200)
      return { purse, asked }
    },
  }
  return shop
}

function fromReceipt(said: string): JsonObject {
  return JSON.parse(Buffer.from(said, 'base64url').toString()) as JsonObject
}

/** The data of an event within a stream. */
function told(text: string, event: string): JsonObject | undefined {
  const found = new RegExp(`event: ${event}\\ndata: (.*)\\n\\n`).exec(text)?.[1]
  return found === undefined ? undefined : (JSON.parse(found) as JsonObject)
}

describe('a channel', () => {
  test('is opened, drawn on by vouchers and closed at what was spent', async (t) => {
    const shop = await open(t)
    const asked = await shop.ask()
    assert.equal(asked['intent'], 'session')
    const purse = createPurse()
    const first = await shop.say(asked, purse.open(5_000_000n, 300_000n), '/words?n=3')
    assert.equal(first.status, 200, first.text)
    assert.match(first.text, /word 2/)
    assert.equal(told(first.text, 'payment-receipt')?.['spent'], '300000')
    const second = await shop.say(asked, purse.voucher(550_000n), '/page')
    assert.equal(second.text, 'page')
    assert.deepEqual(
      { ...second.receipt, timestamp: '' },
      {
        ...{ method: 'evm', intent: 'session', status: 'success', timestamp: '' },
        ...{ reference: `0x${purse.channel}`, challengeId: asked['id'] },
        ...{ channelId: `0x${purse.channel}`, acceptedCumulative: '550000', spent: '550000' },
        chainId: 31337,
      },
    )
    const done = await shop.say(asked, purse.close(550_000n))
    assert.equal(done.status, 200, done.text)
    assert.equal(done.body['status'], 'closed')
    assert.equal(done.receipt?.['spent'], '550000')
    assert.equal(shop.escrow.channels.get(purse.channel)?.collected, 550_000n)
  })
})
