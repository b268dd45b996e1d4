// Sessions of MPP over Lightning through node:http: real connections and streams, and the stand-in for Lightning of the rail's
// tests, in which hashes, signatures and states are real.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import type { TestContext } from 'node:test'
import { systemClock } from '../core/clock.ts'
import type { Price } from '../core/money.ts'
import { memory } from '../ledger/memory.ts'
import { l402 } from '../protocols/l402/index.ts'
import { createPayer } from '../payer/payer.ts'
import type { Payer } from '../payer/payer.ts'
import { keepSession, mpp, ownSession } from '../protocols/mpp/index.ts'
import { PROBLEMS } from '../protocols/mpp/problems.ts'
import { createClock, createNode, hashHex, plainInvoice } from '../rails/lightning/fixture.test.ts'
import type { FakeNode, Table } from '../rails/lightning/fixture.test.ts'
import { lightning, lightningWallet } from '../rails/lightning/index.ts'
import type { PaymentRequest } from '../rails/lightning/node.ts'
import { createMacaroons } from '../tokens/macaroon/index.ts'
import { serve } from './fixture.test.ts'
import { meterOf } from './meter.ts'
import { toll } from './node.ts'
import type { Routes } from './routes.ts'
import { createSeller } from './seller.ts'
import { TOP_UP_LOOK_MS, TOP_UP_WAIT_MS, tellIn } from './session-stream.ts'
import { SECRET } from './shop.test.ts'

const routes: Routes = {
  'GET /words': { plan: 'purse', meter: { unit: '10 SAT' } },
  'GET /time': { plan: 'day' },
  'GET /kept': { plan: 'kept', meter: { unit: '10 SAT' } },
}

interface Asked {
  readonly id: string
  readonly request: Readonly<Record<string, string>>
  readonly [member: string]: unknown
}

interface Shop {
  readonly origin: string
  readonly buyer: FakeNode
  /** What the seller's node was told to pay. */
  readonly sent: PaymentRequest[]
  /** How often money has left the seller's node. */
  readonly moves: () => number
  /** What the seller asks for in one line of a 402. */
  readonly ask: (intent?: string, path?: string) => Promise<Asked>
  /** Pays its invoice, and tells the preimage. */
  readonly pay: (asked: Asked) => Promise<string>
  readonly say: (asked: Asked, payload: object, path?: string) => Promise<Response>
  /** An invoice of the buyer's that names no amount. */
  readonly back: () => string
}

/** Three words are served for ten satoshis each, or as many as the query wants. */
async function open(t: TestContext, can: object = { amountless: true }): Promise<Shop> {
  const table: Table = new Map()
  const node = createNode(table, systemClock, can)
  const buyer = createNode(table, systemClock)
  const sent: PaymentRequest[] = []
  const pay = node.pay?.bind(node)
  assert.ok(pay)
  node.pay = async (request, signal) => {
    sent.push(request)
    return await pay(request, signal)
  }
  const rail = lightning({ node, network: 'regtest' })
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [
      l402({ parts: [rail], mint: createMacaroons({ secrets: [SECRET] }) }),
      mpp({ parts: [rail] }),
    ],
    ledger: memory(),
    plans: {
      purse: { price: '50 SAT', balance: '50 SAT', refund: true, rights: ['path=/words'] },
      day: { price: '50 SAT' },
      kept: { price: '50 SAT', balance: '50 SAT' },
    },
  })
  const { origin, close } = await serve(
    toll(seller, routes, async (request, response) => {
      const meter = meterOf(request)
      const most = Number(new URL(request.url ?? '', 'http://a').searchParams.get('n') ?? 3)
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      for (let i = 0; i < most && (await meter.take('10 SAT')); i++)
        response.write(`data: word ${i}\n\n`)
      response.end('data: [DONE]\n\n')
    }),
  )
  t.after(async () => {
    await close()
    await seller.close()
  })
  return {
    origin,
    buyer,
    sent,
    moves: () => node.sent(),
    async ask(intent = 'session', path = '/words') {
      const { headers } = await fetch(origin + path)
      const field = headers.get('www-authenticate') ?? ''
      const found = asksIn(field).find((one) => one['intent'] === intent)
      assert.ok(found, `there is a challenge for ${intent}: ${field}`)
      return found
    },
    async pay({ request }) {
      const { methodDetails } = request as { methodDetails?: { invoice: string } }
      const invoice = request['depositInvoice'] ?? methodDetails?.invoice ?? ''
      const paid = await buyer.pay?.({ invoice, feeMaxMsat: 0n, timeoutMs: 1_000 })
      assert.equal(paid?.state, 'succeeded')
      return paid.preimage
    },
    say({ text, ...challenge }, payload, path = '/words') {
      const said = { challenge: { ...challenge, request: text }, payload }
      const value = Buffer.from(JSON.stringify(said)).toString('base64url')
      return fetch(origin + path, { headers: { Authorization: `Payment ${value}` } })
    },
    back() {
      const preimage = randomBytes(32).toString('hex')
      const hash = hashHex(preimage)
      const { promise, resolve } = Promise.withResolvers<void>()
      const expiresAt = systemClock.now() + 600_000
      const state = { state: 'open', payers: 0, wake: resolve, ended: promise } as const
      table.set(hash, { msat: 0n, expiresAt, holds: false, preimage, ...state })
      return plainInvoice(hash, undefined, systemClock.now())
    },
  }
}

/** The challenges of MPP in a field. */
function asksIn(field: string): readonly Asked[] {
  const lines = field.split(/, (?=Payment )/).filter((line) => line.startsWith('Payment '))
  return lines.map((line) => {
    const said = Object.fromEntries(
      [...line.matchAll(/(\w+)="([^"]*)"/g)].map(([, k, v]) => [k, v]),
    ) as Record<string, string>
    const text = said['request'] ?? ''
    const request = JSON.parse(Buffer.from(text, 'base64url').toString())
    return { ...said, id: said['id'] ?? '', request, text }
  })
}

/** A session that was opened, and the answer to the request that opened it. */
async function opened(
  shop: Shop,
  returnInvoice = shop.back(),
): Promise<{
  readonly asked: Asked
  readonly id: string
  readonly preimage: string
  readonly answer: Response
  readonly text: string
}> {
  const asked = await shop.ask()
  const preimage = await shop.pay(asked)
  const answer = await shop.say(asked, { action: 'open', preimage, returnInvoice })
  const text = await answer.text()
  assert.equal(answer.status, 200, text)
  return { asked, id: hashHex(preimage), preimage, answer, text }
}

/** What an event of that name said. */
function told(text: string, event: string): Record<string, unknown> | undefined {
  const [, data] = new RegExp(`event: ${event}\ndata: (.*)\n`).exec(text) ?? []
  return data === undefined ? undefined : (JSON.parse(data) as Record<string, unknown>)
}

describe('a session', () => {
  test('is opened, used, closed, and the rest goes back', async (t) => {
    const shop = await open(t)
    const asked = await shop.ask()
    assert.deepEqual(
      { ...asked.request, depositInvoice: '', timeoutMs: 0, paymentHash: '' },
      {
        amount: '10',
        currency: 'sat',
        depositAmount: '50',
        depositInvoice: '',
        timeoutMs: 0,
        paymentHash: '',
      },
    )
    const { id, preimage, answer, text } = await opened(shop)
    assert.ok(answer.headers.get('payment-receipt'))
    assert.equal(answer.headers.get('tolsey-token'), null)
    assert.match(text, /word 2\n\ndata: \[DONE\]\n\nevent: payment-receipt\n/)
    const receipt = told(text, 'payment-receipt')
    assert.deepEqual([receipt?.['spent'], receipt?.['units'], receipt?.['reference']], [30, 3, id])
    const used = await shop.say(asked, { action: 'bearer', sessionId: id, preimage }, '/words?n=1')
    assert.equal(used.status, 200, await used.text())
    const closing = { action: 'close', sessionId: id, preimage }
    const done = await shop.say(asked, closing)
    const body = { status: 'closed', refundSats: 10, refundStatus: 'succeeded' }
    assert.deepEqual(await done.json(), body)
    assert.deepEqual(
      shop.sent.map(({ msat }) => msat),
      [10_000n],
    )
    // Twice it is the same, and nothing moves again.
    assert.deepEqual(await (await shop.say(asked, closing)).json(), body)
    assert.equal(shop.sent.length, 1)
    // Nothing is served or taken by it any more.
    const more = await shop.ask()
    const topUpPreimage = await shop.pay(more)
    for (const payload of [
      { action: 'bearer', sessionId: id, preimage },
      { action: 'topUp', sessionId: id, topUpPreimage },
    ]) {
      const refused = await shop.say(more, payload)
      assert.equal(refused.status, 402, payload.action)
      assert.equal(await typeIn(refused), `${PROBLEMS}lightning/session-closed`)
      assert.match(refused.headers.get('www-authenticate') ?? '', /intent="session"/)
    }
    // What was paid for the top-up that was refused opens another.
    const other = await shop.say(more, {
      action: 'open',
      preimage: topUpPreimage,
      returnInvoice: shop.back(),
    })
    assert.equal(other.status, 200, await other.text())
  })

  test('that is used up within a stream waits for its top-up, and goes on', async (t) => {
    const shop = await open(t)
    const { asked, id, preimage } = await opened(shop)
    const bearer = { action: 'bearer', sessionId: id, preimage }
    const stream = await shop.say(asked, bearer, '/words?n=4')
    assert.ok(stream.body)
    let text = ''
    for await (const chunk of stream.body) {
      text += Buffer.from(chunk).toString()
      if (!text.endsWith('\n\n') || !/need-topup/.test(text) || /receipt/.test(text)) continue
      assert.deepEqual(told(text, 'payment-need-topup'), {
        sessionId: id,
        balanceSpent: 20,
        balanceRequired: 10,
      })
      const fresh = await shop.ask()
      const topUp = { action: 'topUp', sessionId: id, topUpPreimage: await shop.pay(fresh) }
      const done = await shop.say(fresh, topUp)
      assert.deepEqual(await done.json(), { status: 'ok' })
      // Shown twice it is booked once.
      assert.deepEqual(await (await shop.say(fresh, topUp)).json(), { status: 'ok' })
    }
    assert.match(text, /word 1\n\nevent: payment-need-topup\n.*\n\ndata: word 2\n\ndata: word 3\n/)
    assert.equal(told(text, 'payment-receipt')?.['spent'], 40)
    const done = await shop.say(asked, { action: 'close', sessionId: id, preimage })
    assert.deepEqual(await done.json(), {
      status: 'closed',
      refundSats: 30,
      refundStatus: 'succeeded',
    })
  })

  test('that is used up by its first request is told so behind the head, and not before it', async (t) => {
    const shop = await open(t)
    const asked = await shop.ask()
    const preimage = await shop.pay(asked)
    const opening = { action: 'open', preimage, returnInvoice: shop.back() }
    const stream = await shop.say(asked, opening, '/words?n=6')
    assert.ok(stream.body && stream.headers.get('payment-receipt'))
    let text = ''
    for await (const chunk of stream.body) {
      text += Buffer.from(chunk).toString()
      if (text.includes('need-topup')) break
    }
    assert.match(text, /^(data: word \d\n\n){5}event: payment-need-topup\n/)
  })

  test('that is used up, or never was, is refused in the words of its method', async (t) => {
    const shop = await open(t)
    const { asked, id, preimage } = await opened(shop)
    const bearer = { action: 'bearer', sessionId: id, preimage }
    assert.equal((await shop.say(asked, bearer, '/words?n=2')).status, 200)
    const over = await shop.say(asked, bearer, '/words?n=1')
    assert.equal(await typeIn(over), `${PROBLEMS}lightning/insufficient-balance`)
    const other = randomBytes(32).toString('hex')
    const none = await shop.say(asked, { ...bearer, sessionId: hashHex(other), preimage: other })
    assert.equal(await typeIn(none), `${PROBLEMS}lightning/session-not-found`)
  })

  test('is nobody’s but of whoever knows its preimage', async (t) => {
    const shop = await open(t)
    const mine = await opened(shop)
    const other = await opened(shop)
    const { asked, id, preimage } = mine
    const wrong = [
      { action: 'bearer', sessionId: other.id, preimage },
      { action: 'bearer', sessionId: id, preimage: '00'.repeat(32) },
      { action: 'bearer', sessionId: id },
      { action: 'close', sessionId: other.id, preimage },
      { action: 'close', sessionId: id, preimage: 'x' },
      { action: 'open', preimage: other.preimage, returnInvoice: shop.back() },
      { action: 'topUp', sessionId: id, topUpPreimage: other.preimage },
      { action: 'topUp', sessionId: 'ab'.repeat(32), topUpPreimage: preimage },
      { action: 'steal', sessionId: id, preimage },
      { preimage },
    ]
    for (const payload of wrong) {
      const answer = await shop.say(asked, payload)
      assert.equal(answer.status, 402, JSON.stringify(payload))
    }
    assert.equal(shop.sent.length, 0)
    const used = await shop.say(asked, { action: 'bearer', sessionId: id, preimage }, '/words?n=1')
    assert.equal(used.status, 200, await used.text())
  })

  test('keeps the destination that it was opened with, however often it is opened', async (t) => {
    const shop = await open(t)
    const first = shop.back()
    const { asked, id, preimage } = await opened(shop, first)
    const again = await shop.say(
      asked,
      { action: 'open', preimage, returnInvoice: shop.back() },
      '/words?n=1',
    )
    assert.equal(again.status, 200, await again.text())
    await shop.say(asked, { action: 'close', sessionId: id, preimage })
    assert.deepEqual(
      shop.sent.map(({ invoice, msat }) => [invoice, msat]),
      [[first, 10_000n]],
    )
  })

  test('buys one balance with one payment, in whatever words it is said', async (t) => {
    const shop = await open(t)
    const session = await shop.ask()
    const preimage = await shop.pay(session)
    const back = shop.back()
    const openIt = { action: 'open', preimage, returnInvoice: back }
    const answer = await shop.say(session, openIt)
    assert.equal(answer.status, 200, await answer.text())
    // The same offer said as a charge: `timeoutMs` and invoice are those of the session.
    const { depositInvoice, paymentHash, timeoutMs } = session.request
    const methodDetails = { invoice: depositInvoice, paymentHash, timeoutMs, network: 'regtest' }
    const request = { amount: '50', currency: 'sat', methodDetails }
    const text = Buffer.from(JSON.stringify(request)).toString('base64url')
    const charge = await shop.say({ ...session, intent: 'charge', text }, { preimage })
    assert.equal(charge.status, 402, await charge.text())
    // As the first payment of a session it cannot top one up either, not even its own.
    const own = { action: 'topUp', sessionId: hashHex(preimage), topUpPreimage: preimage }
    assert.equal(
      ((await (await shop.say(session, own)).json()) as { code?: string }).code ?? 'ok',
      'ok',
    )
    const closing = { action: 'close', sessionId: hashHex(preimage), preimage }
    const { refundSats } = (await (await shop.say(session, closing)).json()) as {
      refundSats: number
    }
    assert.equal(refundSats, 20)
  })

  test('is bound to what its plan may do, and to where it is sold', async (t) => {
    const shop = await open(t)
    const { asked, id, preimage } = await opened(shop)
    const bearer = { action: 'bearer', sessionId: id, preimage }
    assert.equal((await shop.say(asked, bearer, '/kept')).status, 403)
    assert.equal((await shop.say(asked, bearer, '/words?n=1')).status, 200)
    // Nothing is left to give back of a time, and nothing goes back of a plan without terms for it.
    for (const path of ['/time', '/kept']) {
      await shop.ask('charge', path)
      await assert.rejects(shop.ask('session', path), /there is a challenge/)
    }
  })

  test('is not made of an account that was bought as a token, whose holder may have handed it on', async (t) => {
    const shop = await open(t)
    const charge = await shop.ask('charge')
    const { headers } = await fetch(`${shop.origin}/words`)
    const line = headers.get('www-authenticate') ?? ''
    const [, macaroon = ''] = /L402 macaroon="([^"]*)"/.exec(line) ?? []
    const [, invoice = ''] = /invoice="([^"]*)"/.exec(line) ?? []
    const preimage = await shop.pay({ ...charge, request: { depositInvoice: invoice } })
    const token = { Authorization: `L402 ${macaroon}:${preimage}` }
    const bought = await fetch(`${shop.origin}/words?n=1`, { headers: token })
    assert.equal(bought.status, 200, await bought.text())
    for (const action of ['bearer', 'close']) {
      const payload = { action, sessionId: hashHex(preimage), preimage }
      assert.equal((await shop.say(charge, payload)).status, 402)
      assert.equal((await shop.say({ ...charge, intent: 'session' }, payload)).status, 402)
    }
    assert.equal((await fetch(`${shop.origin}/words?n=1`, { headers: token })).status, 200)
  })

  test('is one of three names for one payment, of which only the first buys', async (t) => {
    const shop = await open(t)
    const { headers } = await fetch(`${shop.origin}/words`)
    const field = headers.get('www-authenticate') ?? ''
    const [, macaroon = '', invoice = ''] =
      /L402 macaroon="([^"]*)", invoice="([^"]*)"/.exec(field) ?? []
    const charge = asksIn(field).find((one) => one['intent'] === 'charge')
    const session = asksIn(field).find((one) => one['intent'] === 'session')
    assert.ok(charge && session)
    const preimage = await shop.pay({ ...charge, request: { depositInvoice: invoice } })
    const token = { Authorization: `L402 ${macaroon}:${preimage}` }
    const bought = await fetch(`${shop.origin}/words?n=1`, { headers: token })
    assert.equal(bought.status, 200, await bought.text())
    const others = [
      await shop.say(charge, { preimage }),
      await shop.say(session, { action: 'open', preimage, returnInvoice: shop.back() }),
    ]
    for (const other of others) {
      assert.equal(other.status, 402, await other.text())
      assert.equal(other.headers.get('tolsey-token'), null)
    }
    assert.equal((await fetch(`${shop.origin}/words?n=1`, { headers: token })).status, 200)
  })

  test('wants a destination that can be paid, before any money is taken', async (t) => {
    const shop = await open(t, {})
    const asked = await shop.ask()
    const preimage = await shop.pay(asked)
    const fixed = plainInvoice('ab'.repeat(32), 5_000n, systemClock.now())
    for (const returnInvoice of [shop.back(), fixed, 'x', '', 5, undefined]) {
      const answer = await shop.say(asked, { action: 'open', preimage, returnInvoice })
      assert.equal(answer.status, 402, String(returnInvoice))
    }
    const good = { action: 'open', preimage, returnInvoice: 'me@127.0.0.1:9' }
    assert.equal((await shop.say(asked, good)).status, 200)
    // Nobody answers there: it stays in the books.
    const closing = { action: 'close', sessionId: hashHex(preimage), preimage }
    assert.deepEqual(await (await shop.say(asked, closing)).json(), {
      status: 'closed',
      refundSats: 0,
      refundStatus: 'failed',
    })
  })

  test('is opened by a payer that says where the rest goes, and used by it from then on', async (t) => {
    const shop = await open(t)
    const wallet = lightningWallet({ node: shop.buyer })
    const shown: string[] = []
    const payer = (more: object): Payer =>
      createPayer({
        wallets: [wallet],
        protocols: [mpp({ parts: [wallet], ...more })],
        ledger: memory(),
        policy: { perRequest: '100 SAT', total: '1000 SAT' },
        readToken: keepSession,
        fetch: async (input, init) => {
          shown.push(new Headers(init?.headers).get('authorization') ?? '')
          return await fetch(input, init)
        },
      })
    const mine = payer({ returnTo: shop.back() })
    for (let i = 0; i < 2; i++) {
      const response = await mine.fetch(`${shop.origin}/words?n=1`)
      assert.match(await response.text(), /word 0/)
    }
    assert.equal(shop.buyer.sent(), 1)
    const actions = shown.map((field) => payloadOf(field)?.['action'])
    assert.deepEqual(actions, [undefined, 'open', 'bearer'])
    const close = ownSession(shown[2]?.slice('Payment '.length) ?? '')?.close ?? ''
    const done = await fetch(`${shop.origin}/words`, { headers: { Authorization: close } })
    assert.deepEqual(await done.json(), {
      status: 'closed',
      refundSats: 30,
      refundStatus: 'succeeded',
    })
    // Who names no destination buys a token.
    shown.length = 0
    const other = await payer({}).fetch(`${shop.origin}/words?n=1`)
    assert.equal(other.status, 200, await other.text())
    assert.deepEqual(
      shown.map((field) => payloadOf(field)?.['action'] ?? Object.keys(payloadOf(field) ?? {})),
      [[], ['preimage']],
    )
  })

  test('whose rest came of two payments gives back to an invoice what an invoice can take, and says so', async (t) => {
    const shop = await open(t)
    const { asked, id, preimage } = await opened(shop)
    const fresh = await shop.ask()
    const topUp = { action: 'topUp', sessionId: id, topUpPreimage: await shop.pay(fresh) }
    assert.equal((await shop.say(fresh, topUp)).status, 200)
    const closing = { action: 'close', sessionId: id, preimage }
    const body = { status: 'closed', refundSats: 50, refundStatus: 'failed' }
    assert.deepEqual(await (await shop.say(asked, closing)).json(), body)
    await shop.say(asked, closing)
    // It is asked again, and a node pays an invoice once.
    assert.equal(shop.moves(), 1)
  })
})

describe('what is told within a stream', () => {
  const id = 'ab'.repeat(32)
  const price = (sat: bigint): Price => ({ currency: 'SAT', amount: sat, scale: 0 })
  const session = { act: 'use', id, rail: 'lightning', unitSat: 10n } as const

  /** A stream of two words, of which the meter covers one; `later` is how often it must be asked for the other. */
  async function streamed(
    t: TestContext,
    type: string,
    later: number,
    most?: Price,
  ): Promise<string> {
    const clock = createClock()
    let asked = 0
    const meter = {
      used: price(10n),
      take: async () => [0, later].includes(asked++),
      add: async () => true,
      correct: async () => true,
    }
    const { origin, close } = await serve(async (_, response) => {
      const told = tellIn(response, meter, {
        ...{ session, clock },
        measure: { unit: price(10n), ...(most && { most }) },
      })
      // As what holds the head back says it again.
      response.setHeader('Content-Type', type)
      response.flushHeaders()
      for (let i = 0; i < 2 && (await told.take(price(10n))); i++) response.write(`data: ${i}\n\n`)
      response.end('data: [DONE]\n\n', 'utf8', () => undefined)
    })
    t.after(close)
    return await (await fetch(origin)).text()
  }

  test('is that nobody topped it up, after a minute', async (t) => {
    const text = await streamed(t, 'text/event-stream', -1)
    const events = [...text.matchAll(/^event: (\S+)$/gm)].map(([, name]) => name)
    assert.deepEqual(events, ['payment-need-topup', 'session-timeout', 'payment-receipt'])
    const body = { sessionId: id, balanceSpent: 10, balanceRequired: 10 }
    assert.deepEqual(told(text, 'session-timeout'), body)
    assert.match(text, /^data: 0\n\n/)
    assert.match(text, /data: \[DONE\]\n\nevent: payment-receipt\n.*\n\n$/)
  })

  test('is nothing more where somebody did in time', async (t) => {
    const looks = TOP_UP_WAIT_MS / TOP_UP_LOOK_MS
    const text = await streamed(t, 'text/event-stream; charset=utf-8', looks)
    assert.doesNotMatch(text, /session-timeout/)
    assert.match(text, /data: 1\n\ndata: \[DONE\]/)
  })

  test('is no need of a top-up where no more may be used', async (t) => {
    const text = await streamed(t, 'text/event-stream', -1, price(19n))
    assert.doesNotMatch(text, /need-topup/)
    const wider = await streamed(t, 'text/event-stream', -1, price(20n))
    assert.match(wider, /need-topup/)
  })

  test('is nothing in what is no stream of events', async (t) => {
    const text = await streamed(t, 'text/plain', -1)
    assert.equal(text, 'data: 0\n\ndata: [DONE]\n\n')
  })
})

/** What a refusal is called. */
async function typeIn(refused: Response): Promise<unknown> {
  return ((await refused.json()) as { readonly type?: string }).type
}

/** What a credential of MPP pays with. */
function payloadOf(field: string): Record<string, unknown> | undefined {
  if (!field.startsWith('Payment ')) return undefined
  const text = Buffer.from(field.slice('Payment '.length), 'base64url').toString()
  return (JSON.parse(text) as { payload: Record<string, unknown> }).payload
}
