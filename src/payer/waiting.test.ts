import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import type { Event } from '../core/event.ts'
import { memory } from '../ledger/memory.ts'
import { asking, closeSellers, counting, leaping, receiptFor, selling, toy } from './fakes.test.ts'
import { BACKOFF_MS_MAX, BACKOFF_MS_MIN, BODY_BYTES_MAX, SENDS_MAX } from './limits.ts'
import { createPayer } from './payer.ts'

after(closeSellers)

function paying(byte = 0) {
  const clock = leaping()
  const wallet = counting(clock)
  const events: Event[] = []
  const payer = createPayer({
    ...{ wallets: [wallet], protocols: [toy], ledger: memory({ clock }), clock },
    policy: { perRequest: '0.05 USD', total: '1 USD' },
    chance: (count) => new Uint8Array(count).fill(byte),
    observe: (event) => events.push(event),
  })
  const waits = (): readonly (Event & { readonly type: 'waiting' })[] =>
    events.flatMap((event) => (event.type === 'waiting' ? [event] : []))
  return { payer, wallet, waits }
}

const unpayable = JSON.stringify({ code: 'rail-unavailable', retry: 'same' })
const json = { 'content-type': 'application/problem+json' }

describe('a payer that waits', () => {
  test('says what for, how long and with which purchase; each pause is longer, and partly chance', async () => {
    for (const [byte, part] of [
      [0, 0.5],
      [255, 0.5 + 255 / 512],
    ] as const) {
      const script = [409, 429, 503, 0, 200]
      const seller = await selling(({ req }, res) => {
        if (!req.headers['toy-payment'])
          return void res.writeHead(402, asking({ amount: '10000' })).end()
        const status = script.shift()
        if (status === 0) return void res.destroy()
        if (status !== 200) return void res.writeHead(status ?? 500).end()
        return void res.writeHead(200, receiptFor(req)).end('served')
      })
      const { payer, wallet, waits } = paying(byte)
      assert.equal(await (await payer.fetch(`${seller.url}/a`)).text(), 'served')
      assert.equal(wallet.signed.length, 1)
      const expected = [1, 2, 4, 8].map((times) =>
        Math.round(Math.min(BACKOFF_MS_MIN * times, BACKOFF_MS_MAX) * part),
      )
      assert.deepEqual(
        waits().map(({ waitMs }) => waitMs),
        expected,
      )
      assert.deepEqual(
        waits().map(({ sends }) => sends),
        [1, 2, 3, 4],
      )
      const [busy, often, away, broken] = waits().map(({ detail }) => detail)
      assert.match(busy ?? '', /working on this payment/)
      assert.match(often ?? '', /too often/)
      assert.match(away ?? '', /503/)
      assert.match(broken ?? '', /did not answer/)
      assert.equal(new Set(waits().map(({ purchase }) => purchase)).size, 1)
      assert.ok(waits().every(({ purchase, url }) => purchase && url.startsWith(seller.url)))
    }
  })

  test('asks again where the seller says that nobody can pay just now, and buys once', async () => {
    let down = 2
    const seller = await selling(({ req }, res) => {
      if (req.headers['toy-payment']) return void res.writeHead(200, receiptFor(req)).end('served')
      if (down-- > 0) return void res.writeHead(503, { ...json, 'retry-after': '2' }).end(unpayable)
      return void res.writeHead(402, asking({ amount: '10000' })).end()
    })
    const { payer, wallet, waits } = paying()
    assert.equal(await (await payer.fetch(seller.url)).text(), 'served')
    assert.equal(wallet.signed.length, 1)
    assert.deepEqual(
      waits().map(({ waitMs, purchase }) => [waitMs, purchase]),
      [
        [2_000, undefined],
        [2_000, undefined],
      ],
    )
  })

  test('gives up after so many, with the seller’s own words', async () => {
    const seller = await selling((_, res) => void res.writeHead(503, json).end(unpayable))
    const { payer, wallet, waits } = paying()
    const response = await payer.fetch(seller.url)
    assert.equal(response.status, 503)
    assert.equal(await response.text(), unpayable)
    assert.equal(waits().length, SENDS_MAX - 1)
    assert.equal(wallet.signed.length, 0)
  })

  for (const [what, status, body, headers] of [
    ['a 503 that says nothing of payments', 503, 'down', {}],
    ['a 503 with another code', 503, JSON.stringify({ code: 'misconfigured' }), json],
    ['a 503 of JSON that is none', 503, '{"code":', json],
    ['a 429 without a payment', 429, unpayable, json],
  ] as const)
    test(`does not wait for ${what}: that is the caller’s own affair`, async () => {
      const seller = await selling((_, res) => void res.writeHead(status, headers).end(body))
      const { payer, waits } = paying()
      const response = await payer.fetch(seller.url)
      assert.equal(response.status, status)
      assert.equal(await response.text(), body)
      assert.deepEqual(waits(), [])
    })

  test('sends no body twice that is too large to be kept', async () => {
    const seller = await selling((_, res) => void res.writeHead(503, json).end(unpayable))
    const { payer, waits } = paying()
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new Uint8Array(BODY_BYTES_MAX + 1))
        controller.close()
      },
    })
    const init = { method: 'POST', body, duplex: 'half' } as RequestInit
    assert.equal((await payer.fetch(seller.url, init)).status, 503)
    assert.deepEqual(waits(), [])
  })
})
