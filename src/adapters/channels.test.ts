// Sessions of MPP by vouchers through node:http: real connections and streams over a stand-in for channels (escrow.test.ts).
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as after } from 'node:timers/promises'
import type { TestContext } from 'node:test'
import type { JsonObject } from '../core/json.ts'
import type { Ledger } from '../core/ports.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { mpp } from '../protocols/mpp/index.ts'
import { PROBLEMS } from '../protocols/mpp/problems.ts'
import { readChallenges } from '../protocols/mpp/fields.ts'
import { createChannelRail, createEscrow, createPurse, pathOf, sayWords } from './escrow.test.ts'
import type { Escrow, Purse } from './escrow.test.ts'
import { serve } from './fixture.test.ts'
import { meterOf } from './meter.ts'
import { toll as tollFetch } from './fetch.ts'
import { toll } from './node.ts'
import type { Routes } from './routes.ts'
import { createSeller } from './seller.ts'
import type { OpenSeller } from './seller.ts'
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
  readonly seller: OpenSeller
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
    protocols: [mpp({ parts: [rail] })],
    ledger,
    plans: {
      purse: { price: '5 USD', balance: '5 USD', refund: true },
      other: { price: '5 USD', balance: '5 USD', refund: true },
    },
  })
  const { origin, close } = await serve(
    toll(seller, routes, async (request, response) => {
      if (pathOf(request) === '/page') response.end('page')
      else await sayWords(request, response)
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
    seller,
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

function textIn(said: JsonObject, member: string): string {
  const text = said[member]
  assert.ok(typeof text === 'string')
  return text
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

  test('that is used up within a stream asks for a voucher, waits for it, and goes on', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    const stream = await shop.send(asked, purse.voucher(200_000n), '/words?n=4')
    assert.ok(stream.body)
    let text = ''
    for await (const chunk of stream.body) {
      text += Buffer.from(chunk).toString()
      if (!/need-voucher/.test(text) || /receipt/.test(text)) continue
      const need = told(text, 'payment-need-voucher')
      assert.deepEqual(need, {
        channelId: `0x${purse.channel}`,
        requiredCumulative: '300000',
        acceptedCumulative: '200000',
        deposit: '5000000',
      })
      const more = await shop.say(asked, purse.voucher(400_000n), '/words', 'HEAD')
      assert.equal(more.status, 200)
      assert.equal(more.text, '')
      assert.equal(more.receipt?.['acceptedCumulative'], '400000')
    }
    assert.match(
      text,
      /word 1\n\nevent: payment-need-voucher\n.*\n\ndata: word 2\n\ndata: word 3\n/,
    )
    const last = told(text, 'payment-receipt')
    assert.deepEqual([last?.['spent'], last?.['units']], ['400000', 4])
    assert.match(text, /event: payment-receipt\ndata: .*\n\n$/)
  })

  test('is taken by any process that shares the books, and a stream of another hears of it', async (t) => {
    const shop = await open(t)
    const other = await open(t, shop)
    const { purse, asked } = await shop.opened()
    const stream = await shop.send(asked, purse.voucher(100_000n), '/words?n=2')
    assert.ok(stream.body)
    let text = ''
    for await (const chunk of stream.body) {
      text += Buffer.from(chunk).toString()
      if (!/need-voucher/.test(text) || /receipt/.test(text)) continue
      const there = { ...asked, realm: '127.0.0.1' }
      const more = await other.say(there, purse.voucher(200_000n), '/words', 'HEAD')
      assert.equal(more.status, 200)
    }
    assert.equal(told(text, 'payment-receipt')?.['spent'], '200000')
  })

  test('pays a retry by the same voucher as far as it goes, and nothing by an older one', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    const old = purse.voucher(250_000n)
    assert.equal((await shop.say(asked, old, '/page')).text, 'page')
    const best = purse.voucher(750_000n)
    for (const spent of ['500000', '750000']) {
      const said = await shop.say(asked, best, '/page')
      assert.deepEqual([said.text, said.receipt?.['spent']], ['page', spent])
    }
    const over = await shop.say(asked, best, '/page')
    assert.equal(over.status, 402)
    assert.equal(over.body['type'], `${PROBLEMS}session/insufficient-balance`)
    assert.equal(over.receipt, undefined)
    const leaked = await shop.say(asked, old, '/page')
    assert.deepEqual([leaked.status, leaked.body['status']], [200, 'ok'])
    assert.equal(leaked.receipt?.['spent'], '750000')
    assert.equal((await shop.say(asked, purse.voucher(1_000_000n), '/page')).text, 'page')
  })

  test('is nobody’s but of whoever signs for it, and promises no more than lies there', async (t) => {
    const shop = await open(t)
    const mine = await shop.opened(100_000n)
    const other = await shop.opened(100_000n)
    const { purse, asked } = mine
    const forged = {
      ...purse.voucher(900_000n),
      signature: purse.voucher(800_000n)['signature'] ?? '',
    }
    const stolen = { ...other.purse.voucher(900_000n), channelId: `0x${purse.channel}` }
    const wrong: readonly (readonly [JsonObject, number, string])[] = [
      [forged, 402, 'invalid-signature'],
      [stolen, 402, 'invalid-signature'],
      [{ ...forged, action: 'close' }, 402, 'invalid-signature'],
      // Also one that promises less than before.
      [{ ...stolen, cumulativeAmount: '0' }, 402, 'invalid-signature'],
      [purse.voucher(5_000_001n), 402, 'amount-exceeds-deposit'],
      [createPurse().voucher(1n), 410, 'channel-not-found'],
      [createPurse().close(1n), 410, 'channel-not-found'],
    ]
    for (const [payload, status, word] of wrong)
      for (const method of ['GET', 'HEAD']) {
        const said = await shop.say(asked, payload, '/page', method)
        assert.equal(said.status, status, `${method} ${JSON.stringify(payload)}`)
        if (method === 'GET') assert.equal(said.body['type'], `${PROBLEMS}session/${word}`)
        assert.equal(said.receipt, undefined)
      }
    for (const [id, lying] of shop.escrow.channels)
      assert.deepEqual([lying.best.cumulative, lying.collected], [100_000n, undefined], id)
    assert.equal((await shop.say(asked, purse.voucher(350_000n), '/page')).text, 'page')
  })

  test('serves copies and streams that come at once no further than its voucher goes', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    const copies = await Promise.all(
      Array.from({ length: 8 }, () => shop.say(asked, purse.voucher(600_000n), '/page')),
    )
    assert.equal(copies.filter(({ text }) => text === 'page').length, 2)
    const both = [1_000_000n, 1_100_000n].map((cumulative) =>
      shop.send(asked, purse.voucher(cumulative), '/words?n=9'),
    )
    const streams = await Promise.all(both)
    let words = 0
    let isEnough = false
    await Promise.all(
      streams.map(async ({ body }) => {
        for await (const chunk of body ?? []) {
          const text = Buffer.from(chunk).toString()
          words += text.match(/word/g)?.length ?? 0
          if (/need-voucher/.test(text)) {
            if (isEnough) continue
            // Between them they may have what the better voucher promises beyond the two pages: six words.
            assert.ok(words <= 6, `${words} words`)
            isEnough = true
            await shop.say(asked, purse.voucher(5_000_000n), '/words', 'HEAD')
          }
        }
      }),
    )
    assert.ok(words >= 9 && isEnough)
  })

  test('is topped up by a fresh challenge, by a payment into the same channel alone', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    const full = await shop.say(asked, purse.voucher(5_000_000n), '/words', 'HEAD')
    assert.equal(full.status, 200)
    const topUp = purse.topUp(5_000_000n)
    const fresh = await shop.ask()
    for (let i = 0; i < 2; i++) {
      const said = await shop.say(fresh, topUp)
      assert.deepEqual([said.status, said.body['status']], [200, 'ok'], said.text)
    }
    assert.equal(shop.escrow.channels.get(purse.channel)?.deposit, 10_000_000n)
    const spent = await shop.say(asked, purse.voucher(6_000_000n), '/words?n=55')
    assert.equal(told(spent.text, 'payment-receipt')?.['spent'], '5500000')
    assert.match(spent.text, /word 54/)
    const nobody = await shop.say(await shop.ask(), createPurse().topUp(5_000_000n))
    assert.equal(nobody.status, 410)
    const elsewhere = await shop.say(await shop.ask('/other'), purse.topUp(5_000_000n), '/other')
    assert.equal(elsewhere.status, 402)
    assert.equal(shop.escrow.channels.get(purse.channel)?.deposit, 10_000_000n)
    const done = await shop.say(asked, purse.close(5_500_000n))
    assert.equal(done.receipt?.['spent'], '5500000', done.text)
  })

  test('is closed by a voucher over what was spent, once, and drawn on no more', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    assert.equal((await shop.say(asked, purse.voucher(1_000_000n), '/page')).text, 'page')
    const short = await shop.say(asked, purse.close(249_999n))
    assert.equal(short.status, 402)
    assert.match(textIn(short.body, 'detail'), /250000/)
    // It goes on as before.
    assert.equal((await shop.say(asked, purse.voucher(1_000_000n), '/page')).text, 'page')
    const done = await shop.say(asked, purse.close(500_000n))
    assert.deepEqual([done.status, done.body['spent']], [200, '500000'])
    const again = await shop.say(asked, purse.close(500_000n))
    assert.deepEqual([again.status, again.body], [200, done.body])
    assert.equal(shop.escrow.channels.get(purse.channel)?.collected, 500_000n)
    for (const payload of [purse.voucher(1_000_000n), purse.voucher(2_000_000n)]) {
      const late = await shop.say(asked, payload, '/page')
      assert.deepEqual([late.status, late.receipt], [410, undefined])
      assert.equal(late.body['type'], `${PROBLEMS}session/channel-finalized`)
    }
    const reopened = await shop.say(asked, purse.open(5_000_000n, 0n))
    assert.equal(reopened.status, 410)
    const late = await shop.say(await shop.ask(), purse.topUp(5_000_000n))
    assert.equal(late.status, 410)
    assert.deepEqual((await verifyBooks(shop.ledger)).problems, [])
  })

  test('is closed with a voucher beyond what was spent, and all that it promises is charged', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    assert.equal((await shop.say(asked, purse.voucher(250_000n), '/page')).text, 'page')
    const done = await shop.say(asked, purse.close(700_000n), '/words', 'HEAD')
    assert.equal(done.receipt?.['spent'], '700000')
    const [drawn] = await shop.ledger.balances('drawn/purse')
    assert.equal(drawn?.posted, 7n * 10n ** 17n)
    // All of it: nothing is left that could go back.
    const whole = await shop.opened()
    const all = await shop.say(whole.asked, whole.purse.close(5_000_000n))
    assert.deepEqual([all.status, all.receipt?.['spent']], [200, '5000000'], all.text)
    assert.equal(shop.escrow.channels.get(whole.purse.channel)?.collected, 5_000_000n)
  })

  test('is not closed while a request draws on it', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    const stream = await shop.send(asked, purse.voucher(100_000n), '/words?n=2')
    const reader = stream.body?.getReader()
    await reader?.read()
    const busy = await shop.say(asked, purse.close(200_000n))
    assert.equal(busy.status, 409, busy.text)
    await shop.say(asked, purse.voucher(200_000n), '/words', 'HEAD')
    while (!(await reader?.read())?.done);
    const done = await shop.say(asked, purse.close(200_000n))
    assert.deepEqual([done.status, done.receipt?.['spent']], [200, '200000'], done.text)
  })

  test('is bound to its host, and to where its plan is taken', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    const realm = await shop.say(
      { ...asked, realm: 'other.test' },
      purse.voucher(250_000n),
      '/page',
    )
    assert.equal(realm.status, 402)
    const route = await shop.say(asked, purse.voucher(250_000n), '/other')
    assert.equal(route.status, 403)
    assert.equal((await shop.say(asked, purse.voucher(250_000n), '/page')).text, 'page')
    // An opening answers one challenge, and its deposit is as large as that asks.
    const small = await shop.say(await shop.ask(), createPurse().open(1_000_000n, 0n))
    assert.equal(small.status, 402)
    const changed = { ...(await shop.ask()), expires: '2099-01-01T00:00:00Z' }
    assert.equal((await shop.say(changed, createPurse().open(5_000_000n, 0n))).status, 402)
  })

  test('is not refunded but by its end, which the operator may order too', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    assert.equal((await shop.say(asked, purse.voucher(500_000n), '/page')).text, 'page')
    const [sale] = (await shop.ledger.under('escrow/', '', 1)).map(({ key }) => key)
    const one = await shop.seller.gate.refund({ key: sale ?? '', idempotencyKey: 'a' })
    assert.equal(one.kind === 'denied' && one.code, 'rail-unable')
    const all = await shop.seller.gate.refundRest({ account: purse.channel })
    assert.equal(all.kind, 'refunded', all.kind)
    const back = all.kind === 'refunded' ? all.parts.map(({ amount }) => amount.amount) : []
    // The best voucher is what the network gives its payee.
    assert.deepEqual(back, [4_500_000n])
    assert.equal((await shop.say(asked, purse.voucher(750_000n), '/page')).status, 410)
  })

  test('whose payer says that he owes nothing, once he has drawn, is closed with what he has promised', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    assert.equal((await shop.say(asked, purse.voucher(500_000n), '/page')).text, 'page')
    const said = await shop.say(asked, purse.close(0n))
    assert.equal(said.body['type'], `${PROBLEMS}session/insufficient-balance`)
    assert.equal(shop.escrow.channels.get(purse.channel)?.collected, undefined)
    const all = await shop.seller.gate.refundRest({ account: purse.channel })
    assert.equal(all.kind, 'refunded', all.kind)
    assert.equal(shop.escrow.channels.get(purse.channel)?.collected, 500_000n)
  })

  test('whose seller dies after it has taken a voucher, and before it has served, loses nothing', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    const voucher = {
      cumulative: 250_000n,
      signature: textIn(purse.voucher(250_000n), 'signature'),
    }
    const taken = await shop.seller.gate.channels.accept(purse.channel, voucher)
    assert.ok(!('code' in taken) && taken.accepted === 250_000n)
    // Here it dies; another process has the books.
    const other = await open(t, shop)
    const said = await other.say({ ...asked, realm: '127.0.0.1' }, purse.voucher(250_000n), '/page')
    assert.deepEqual([said.text, said.receipt?.['spent']], ['page', '250000'])
    const twice = await other.say(
      { ...asked, realm: '127.0.0.1' },
      purse.voucher(250_000n),
      '/page',
    )
    assert.equal(twice.status, 402)
  })

  test('whose seller dies while it serves is charged for what has left, and the rest can be drawn again', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    const stream = await shop.send(asked, purse.voucher(300_000n), '/words?n=4')
    const reader = stream.body?.getReader()
    let text = ''
    while (!/need-voucher/.test(text))
      text += Buffer.from((await reader?.read())?.value ?? []).toString()
    // The payer leaves: what was counted is charged.
    await reader?.cancel()
    while ((await shop.ledger.pending()).length > 0) await after(5)
    const drawn = await shop.seller.gate.channels.look(purse.channel)
    assert.deepEqual([drawn?.spent, drawn?.held], [300_000n, 0n])
    assert.equal((await shop.say(asked, purse.voucher(550_000n), '/page')).text, 'page')
  })

  test('pays handlers of fetch too, which are metered and told on their heads', async (t) => {
    const shop = await open(t)
    const { purse, asked } = await shop.opened()
    const handler = tollFetch(shop.seller, routes, async (request) => {
      const meter = meterOf(request)
      let words = 0
      while (words < 3 && (await meter.take('0.10 USD'))) words++
      return new Response(`${words} words`)
    })
    const said = { challenge: asked, payload: purse.voucher(200_000n) }
    const value = Buffer.from(JSON.stringify(said)).toString('base64url')
    const headers = { Authorization: `Payment ${value}` }
    const answer = await handler(new Request(`${shop.origin}/words`, { headers }))
    assert.equal(await answer.text(), '2 words')
    const receipt = fromReceipt(answer.headers.get('payment-receipt') ?? '')
    assert.equal(receipt['acceptedCumulative'], '200000')
    while ((await shop.ledger.pending()).length > 0) await after(5)
    assert.equal((await shop.seller.gate.channels.look(purse.channel))?.spent, 200_000n)
  })

  test('is never closed with less than was drawn, however its end and its use come at once', async (t) => {
    const shop = await open(t)
    for (let i = 0; i < 6; i++) {
      const { purse, asked } = await shop.opened()
      assert.equal((await shop.say(asked, purse.voucher(1_000_000n), '/page')).text, 'page')
      const use = (): Promise<Said> => shop.say(asked, purse.voucher(1_000_000n), '/page')
      const end = (): Promise<Said> => shop.say(asked, purse.close(250_000n))
      const said = await Promise.all(i % 2 === 0 ? [end(), use(), use()] : [use(), end(), use()])
      const pages = 1 + said.filter(({ text }) => text === 'page').length
      const { collected } = shop.escrow.channels.get(purse.channel) ?? {}
      if (collected === undefined) continue
      assert.ok(collected >= 250_000n * BigInt(pages), `${collected} for ${pages} pages`)
    }
    // Beside it one that is closed in peace.
    const { purse, asked } = await shop.opened(250_000n)
    assert.equal((await shop.say(asked, purse.voucher(250_000n), '/page')).text, 'page')
    assert.equal((await shop.say(asked, purse.close(250_000n))).status, 200)
  })
})
