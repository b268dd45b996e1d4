// Sessions of MPP over real Lightning channels and two hops: a payer opens one, streams, tops it up within the stream, and closes
// it; what is left comes back over the same hops, to an invoice that leaves its amount open, by each back end that can pay one.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { meterOf } from '../../src/adapters/meter.ts'
import { toll } from '../../src/adapters/node.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import { memory } from '../../src/ledger/memory.ts'
import { createPayer } from '../../src/payer/payer.ts'
import { keepSession, mpp, ownSession } from '../../src/protocols/mpp/index.ts'
import { createCln, createLnd } from '../../src/rails/lightning/adapters/index.ts'
import { lightning, lightningWallet } from '../../src/rails/lightning/index.ts'
import type { LightningNode } from '../../src/rails/lightning/index.ts'
import { startCln } from '../../src/sandbox/lightning/doubles/cln.ts'
import { startLnd } from '../../src/sandbox/lightning/doubles/lnd.ts'
import type { LightningNetwork } from '../../src/sandbox/lightning/network.ts'
import { startLightning } from '../../src/sandbox/lightning/network.ts'
import { payInvoice } from './l402-shop.ts'
import { listen } from './peers.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const KEY = 'abcd12'
/** What the router takes for each payment. */
const ROUTE_MSAT = 1_000n

let net: LightningNetwork
const ends: (() => unknown)[] = []

before(async () => {
  net = await startLightning()
})
after(async () => {
  for (const end of ends.toReversed()) await end()
  await net?.close()
})

const nodes: Readonly<Record<string, () => Promise<LightningNode>>> = {
  LDK: async () => net.seller,
  LND: async () => {
    const double = await startLnd(net.seller, KEY)
    ends.push(() => double.close())
    return createLnd({ url: double.url, macaroon: KEY })
  },
  'Core Lightning': async () => {
    const double = await startCln(net.seller, KEY)
    ends.push(() => double.close())
    return createCln({ url: double.url, rune: KEY })
  },
}

/** Ten satoshis a word, a hundred at a time. */
async function openShop(node: LightningNode): Promise<string> {
  const rail = lightning({ node, network: 'regtest' })
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [mpp({ parts: [rail] })],
    ledger: memory(),
    plans: { purse: { price: '100 SAT', balance: '100 SAT', refund: true } },
  })
  const routes = { 'GET /words': { plan: 'purse', meter: { unit: '10 SAT' } } }
  const peer = await listen(
    createServer(
      toll(seller, routes, async (request, response) => {
        const meter = meterOf(request)
        const words = Number(new URL(request.url ?? '', 'http://shop').searchParams.get('n'))
        response.writeHead(200, { 'Content-Type': 'text/event-stream' })
        for (let i = 0; i < words && (await meter.take('10 SAT')); i++)
          response.write(`data: ${i}\n\n`)
        response.end()
      }),
    ).listen(0, '127.0.0.1'),
  )
  ends.push(() => peer.close())
  ends.push(() => seller.close())
  return `${peer.url}/words`
}

/** What a fresh challenge asks for, and the credential that answers it so. */
async function askAnew(
  url: string,
): Promise<{ readonly invoice: string; readonly answer: (payload: object) => string }> {
  const { headers } = await fetch(url)
  const lines = (headers.get('www-authenticate') ?? '').split(/, (?=Payment )/)
  const line = lines.find((one) => one.includes('intent="session"')) ?? ''
  const params = [...line.matchAll(/(\w+)="([^"]*)"/g)].map(([, k, v]) => [k, v])
  const challenge = Object.fromEntries(params) as Record<string, string>
  const request = JSON.parse(Buffer.from(challenge['request'] ?? '', 'base64url').toString()) as {
    readonly depositInvoice: string
  }
  return {
    invoice: request.depositInvoice,
    answer: (payload) =>
      `Payment ${Buffer.from(JSON.stringify({ challenge, payload })).toString('base64url')}`,
  }
}

describe('a session over real channels', () => {
  for (const [name, start] of Object.entries(nodes))
    test(`is opened, streamed from, topped up and closed, and the rest comes back (${name})`, async () => {
      const url = await openShop(await start())
      const was = { buyer: net.buyer.balanceMsat(), seller: net.seller.balanceMsat() }
      const back = await net.buyer.createInvoice({ msat: 0n, memo: 'rest', expiresInS: 600 })
      const wallet = lightningWallet({ node: net.buyer })
      let shown = ''
      const payer = createPayer({
        wallets: [wallet],
        protocols: [mpp({ parts: [wallet], returnTo: back.invoice })],
        ledger: memory(),
        policy: { perRequest: '1000 SAT', total: '1000 SAT' },
        readToken: keepSession,
        fetch: async (input, init) => {
          shown = new Headers(init?.headers).get('authorization') ?? shown
          return await fetch(input, init)
        },
      })
      assert.match(await (await payer.fetch(`${url}?n=8`)).text(), /"spent":80,"units":8/)
      const own = ownSession(shown.slice('Payment '.length))
      assert.ok(own)
      // The first payment brought two more words, and the next one ten.
      const stream = await fetch(`${url}?n=5`, { headers: { Authorization: own.use } })
      assert.ok(stream.body)
      let text = ''
      let topUps = 0
      for await (const chunk of stream.body) {
        text += Buffer.from(chunk).toString()
        if (topUps > 0 || !text.includes('payment-need-topup')) continue
        topUps++
        const { invoice, answer } = await askAnew(url)
        const [, sessionId = ''] = /"sessionId":"(\w+)"/.exec(text) ?? []
        const topUpPreimage = await payInvoice(net, invoice)
        const Authorization = answer({ action: 'topUp', sessionId, topUpPreimage })
        const done = await fetch(url, { headers: { Authorization } })
        assert.deepEqual(await done.json(), { status: 'ok' })
      }
      assert.equal(topUps, 1)
      assert.match(text, /^data: 0\n\ndata: 1\n\nevent: payment-need-topup\n/)
      assert.match(text, /data: 4\n\nevent: payment-receipt\ndata: .*"spent":50,"units":5\}\n\n$/)
      const closed = await fetch(url, { headers: { Authorization: own.close } })
      assert.deepEqual(await closed.json(), {
        status: 'closed',
        refundSats: 70,
        refundStatus: 'succeeded',
      })
      const over = await fetch(`${url}?n=1`, { headers: { Authorization: own.use } })
      assert.equal(over.status, 402)
      // Two hundred were paid in, a hundred and thirty are spent, and each of the three ways has cost its payer a fee.
      assert.equal(net.seller.balanceMsat() - was.seller, 130_000n - ROUTE_MSAT)
      assert.equal(was.buyer - net.buyer.balanceMsat(), 130_000n + 2n * ROUTE_MSAT)
    })
})
