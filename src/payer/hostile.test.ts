import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import type { Serve } from './fakes.test.ts'
import { closeSellers, counting, honest, leaping, receiptFor, selling, toy } from './fakes.test.ts'
import { createPayer } from './payer.ts'

after(closeSellers)

const json = { 'content-type': 'application/json' }

function paying() {
  const clock = leaping()
  const wallet = counting(clock)
  const policy = { perRequest: '0.05 USD', total: '1 USD' }
  const ledger = memory({ clock })
  const payer = createPayer({ wallets: [wallet], protocols: [toy], ledger, policy, clock })
  return { payer, wallet, clock }
}

/** The same payer that the attack met pays an honest seller: a payer that refuses everything proves nothing. */
async function pays({ payer, wallet }: ReturnType<typeof paying>): Promise<void> {
  const seller = await selling(honest({ amount: '10000' }))
  const before = wallet.signed.length
  assert.equal((await payer.fetch(seller.url)).status, 200)
  assert.equal(wallet.signed.length, before + 1)
}

describe('a hostile 402', () => {
  const unread: Readonly<Record<string, Serve>> = {
    'deep JSON': (_, res) =>
      res.writeHead(402, json).end(`{"toy":${'['.repeat(100_000)}${']'.repeat(100_000)}}`),
    HTML: (_, res) =>
      res.writeHead(402, { 'content-type': 'text/html' }).end('<script>{"toy":[]}</script>'),
    'JSON that is none': (_, res) => res.writeHead(402, json).end('{"toy":[{"amount":"1"'),
    'bytes that are no UTF-8': (_, res) => res.writeHead(402, json).end(Buffer.from([0xff, 0xfe])),
    'a proto member': (_, res) =>
      res.writeHead(402, json).end('{"__proto__":{"toy":[]},"toy":[{"amount":"1"}]}'),
    'an empty body': (_, res) => res.writeHead(402, json).end(),
  }
  for (const [kind, serve] of Object.entries(unread))
    test(`${kind}: it is no challenge, and comes back whole`, async () => {
      const seller = await selling(serve)
      const parts = paying()
      const response = await parts.payer.fetch(seller.url)
      assert.equal(response.status, 402)
      const plain = await (await fetch(seller.url)).arrayBuffer()
      assert.deepEqual(await response.arrayBuffer(), plain)
      assert.equal(parts.wallet.signed.length, 0)
      await pays(parts)
    })

  test('a million offers in a body are not read, and no more of it than the limit', async () => {
    let sent = 0
    const seller = await selling((_, res) => {
      res.writeHead(402, json).write('{"toy":[{"amount":"1"}')
      const chunk = ',{"amount":"1"}'.repeat(4096)
      const more = (): void => {
        while (sent < 1_000_000) {
          sent += 4096
          if (!res.write(chunk)) return void res.once('drain', more)
        }
        res.end(']}')
      }
      more()
    })
    const parts = paying()
    const response = await parts.payer.fetch(seller.url)
    assert.equal(response.status, 402)
    assert.ok(sent < 1_000_000, `${sent} offers were taken off the wire`)
    await response.body?.cancel()
    assert.equal(parts.wallet.signed.length, 0)
    await pays(parts)
  })

  test('a body that drips is waited for until the limit, and not longer', async () => {
    const seller = await selling((_, res) => {
      res.writeHead(402, json).write('{"toy":[')
      parts.clock.expire()
    })
    const parts = paying()
    const response = await parts.payer.fetch(seller.url)
    assert.equal(response.status, 402)
    await response.body?.cancel()
    assert.equal(parts.wallet.signed.length, 0)
    await pays(parts)
  })

  test('a header bomb is a failed request', async () => {
    const seller = await selling((_, res) =>
      res.writeHead(402, { 'toy-required': `[${' '.repeat(200_000)}]` }).end(),
    )
    const parts = paying()
    await assert.rejects(parts.payer.fetch(seller.url), TypeError)
    await pays(parts)
  })

  test('many offers: the first ones are looked at, and the error stays short', async () => {
    const asks = Array.from({ length: 5000 }, (_, i) => ({ amount: String(9_000_000 + i) }))
    const seller = await selling((_, res) =>
      res.writeHead(402, json).end(JSON.stringify({ toy: asks })),
    )
    const parts = paying()
    await assert.rejects(parts.payer.fetch(seller.url), (error: PaymentError) => {
      assert.equal(error.code, 'offers-unacceptable')
      assert.ok(error.message.length < 6000)
      assert.match(error.message, /Only the first 64 were looked at\./)
      return true
    })
    await pays(parts)
  })

  test('words of a stranger cannot write on a terminal', async () => {
    const network = 'toy:\u001B[2J\u202E\n\u2028evil'
    const seller = await selling((_, res) =>
      res.writeHead(402, json).end(JSON.stringify({ toy: [{ amount: '9000000', network }] })),
    )
    await assert.rejects(paying().payer.fetch(seller.url), (error: PaymentError) => {
      for (const sign of ['\u001B', '\u202E', '\n', '\u2028'])
        assert.ok(!error.message.includes(sign))
      assert.match(error.message, /evil/)
      return true
    })
  })

  test('an answer that repeats the challenge with a new price is not paid again', async () => {
    let price = 10_000
    const seller = await selling((_, res) => {
      price += 1
      res.writeHead(402, { 'toy-required': JSON.stringify([{ amount: String(price) }]) }).end()
    })
    const parts = paying()
    assert.equal((await parts.payer.fetch(seller.url)).status, 402)
    assert.equal(parts.wallet.signed.length, 1)
    await pays(parts)
  })

  test('a paid answer that streams is handed on before it ends', async () => {
    const parts = paying()
    const seller = await selling(({ req }, res) => {
      if (!req.headers['toy-payment']) return honest({ amount: '1' })({ req, body: '' }, res)
      res.writeHead(200, receiptFor(req)).write('first')
      return parts.clock.expire()
    })
    const response = await parts.payer.fetch(seller.url)
    const reader = response.body?.getReader()
    assert.equal(Buffer.from((await reader?.read())?.value ?? []).toString(), 'first')
    await reader?.cancel()
  })
})
