// A stream of a model behind the gateway that is paid by a session of MPP: it waits for its top-up within the stream.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSeller } from '../adapters/seller.ts'
import { SECRET } from '../adapters/shop.test.ts'
import { systemClock } from '../core/clock.ts'
import { memory } from '../ledger/memory.ts'
import { createPayer } from '../payer/payer.ts'
import { keepSession, mpp } from '../protocols/mpp/index.ts'
import { createNode } from '../rails/lightning/fixture.test.ts'
import type { Table } from '../rails/lightning/fixture.test.ts'
import { lightning, lightningWallet } from '../rails/lightning/index.ts'
import { stage, upstream } from './fixture.test.ts'

/** Forty characters: ten tokens, as far as one can guess. */
const TEN = `data: ${JSON.stringify({ choices: [{ delta: { content: 'x'.repeat(40) } }] })}\n\n`
const DONE = 'data: [DONE]\n\n'

test('a stream through the gateway waits for the top-up of its session, and tells what it has cost', async (t) => {
  const url = await upstream(t, async (_, response) => {
    response.setHeader('content-type', 'text/event-stream')
    for (let i = 0; i < 7; i++) response.write(TEN)
    return void response.end(DONE)
  })
  const table: Table = new Map()
  const rail = lightning({ node: createNode(table, systemClock), network: 'regtest' })
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [mpp({ parts: [rail] })],
    ledger: memory(),
    plans: { purse: { price: '50 SAT', balance: '50 SAT', refund: true } },
  })
  t.after(() => seller.close())
  const gateway = await stage(t, {
    upstreams: { model: { url } },
    routes: {
      'GET /*': {
        sale: { plan: 'purse', meter: { unit: '10 SAT' } },
        counts: { per: 'token', input: '1 SAT', output: '1 SAT' },
      },
    },
    seller,
  })
  const buyer = createNode(table, systemClock)
  const wallet = lightningWallet({ node: buyer })
  const payer = createPayer({
    wallets: [wallet],
    protocols: [mpp({ parts: [wallet], returnTo: 'me@127.0.0.1' })],
    ledger: memory(),
    policy: { perRequest: '100 SAT', total: '1000 SAT' },
    readToken: keepSession,
  })
  const stream = await payer.fetch(`${gateway.url}/stream`)
  assert.ok(stream.body)
  let text = ''
  let topUps = 0
  for await (const chunk of stream.body) {
    text += Buffer.from(chunk).toString()
    if (topUps > 0 || !text.includes('payment-need-topup')) continue
    topUps++
    const { headers } = await fetch(`${gateway.url}/stream`)
    const lines = (headers.get('www-authenticate') ?? '').split(/, (?=Payment )/)
    const line = lines.find((one) => one.includes('intent="session"')) ?? ''
    const challenge = Object.fromEntries(
      [...line.matchAll(/(\w+)="([^"]*)"/g)].map(([, k, v]) => [k, v]),
    ) as Record<string, string>
    const request = JSON.parse(Buffer.from(challenge['request'] ?? '', 'base64url').toString()) as {
      readonly depositInvoice: string
    }
    const invoice = request.depositInvoice
    const paid = await buyer.pay?.({ invoice, feeMaxMsat: 0n, timeoutMs: 1_000 })
    const [, sessionId] = /"sessionId":"(\w+)"/.exec(text) ?? []
    const topUpPreimage = paid?.state === 'succeeded' ? paid.preimage : ''
    const payload = { action: 'topUp', sessionId, topUpPreimage }
    const said = Buffer.from(JSON.stringify({ challenge, payload })).toString('base64url')
    const done = await fetch(`${gateway.url}/stream`, {
      headers: { Authorization: `Payment ${said}` },
    })
    assert.deepEqual(await done.json(), { status: 'ok' })
  }
  assert.equal(topUps, 1)
  assert.equal(text.split(TEN).length - 1, 7)
  assert.match(text, /data: \[DONE\]\n\nevent: payment-receipt\ndata: .*"units":7\}\n\n$/)
})
