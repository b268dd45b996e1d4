import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, test } from 'node:test'
import { bech32 } from '@scure/base'
import type { Offer } from '../../core/offer.ts'
import type { Settlement } from '../../core/ports.ts'
import { readOfferInvoice } from './bolt12.ts'
import type { Details } from './forms.ts'
import type { FakeNode } from './fixture.test.ts'
import {
  createClock,
  createLog,
  createNode,
  hashHex,
  offerOf,
  plainInvoice,
} from './fixture.test.ts'
import { isPublic } from '../../net/addresses.ts'
import { bitcoinOn, chains } from './networks.ts'
import type { PayoutSettings } from './payout.ts'
import { createPayout } from './payout.ts'

const network = chains['bcrt'] ?? ''
const offer: Offer<Details> = offerOf({
  rail: 'lightning',
  network,
  intent: 'charge',
  amount: { asset: bitcoinOn(network), amount: 50_000n },
  payee: '',
  timeoutMs: 0,
  details: { hash: '00'.repeat(32) },
})

interface Stage {
  readonly clock: ReturnType<typeof createClock>
  /** Pays back. */
  readonly node: FakeNode
  /** Is paid. */
  readonly payer: FakeNode
  readonly log: ReturnType<typeof createLog>
  invoice(msat?: bigint): Promise<string>
  /** A new process each time. */
  send(destination: string, more?: Partial<PayoutSettings>, msat?: bigint): Promise<Settlement>
}

function stage(): Stage {
  const clock = createClock()
  const table = new Map()
  const node = createNode(table, clock)
  const payer = createNode(table, clock)
  const log = createLog()
  return {
    clock,
    node,
    payer,
    log,
    async invoice(msat = 50_000n) {
      return (await payer.createInvoice({ msat, memo: '', expiresInS: 600 })).invoice
    },
    send(destination, more = {}, msat = 50_000n) {
      const amount = { ...offer.amount, amount: msat }
      return createPayout({ node, network, clock, ...more })(offer, destination, amount, 'k', log)
    },
  }
}

describe('a payout', () => {
  test('to an invoice of exactly the amount arrives, and tells what it has cost', async () => {
    const s = stage()
    const sent = await s.send(`lightning:${await s.invoice()}`)
    assert(sent.state === 'settled')
    assert.equal(sent.cost, 7n)
    assert.deepEqual(
      s.log.steps.map(({ type, data }) => [type, data['kind'], data['hash']]),
      [['prepared', 'refund', sent.reference]],
    )
  })

  test('is made once, whoever asks again and however', async () => {
    const s = stage()
    const destination = await s.invoice()
    const first = await s.send(destination)
    assert.deepEqual(await s.send(destination), first)
    const other = await s.send(await s.invoice())
    assert(other.state === 'settled' && first.state === 'settled')
    assert.equal(other.reference, first.reference)
    assert.equal(s.node.sent(), 1)
  })

  test('asked for twice at once is one', async () => {
    const s = stage()
    const pay = createPayout({ node: s.node, network, clock: s.clock })
    const to = await s.invoice()
    const both = [await s.invoice(), to].map((one) => pay(offer, one, offer.amount, 'k', s.log))
    const [a, b] = await Promise.all(both)
    assert.deepEqual(a, b)
    assert.equal(s.node.sent(), 1)
    assert.equal(s.log.steps.length, 1)
  })

  test('to the invoice of another payout is not that payment told a second time', async () => {
    for (const atOnce of [true, false]) {
      const s = stage()
      const pay = createPayout({ node: s.node, network, clock: s.clock })
      const to = await s.invoice()
      const send = (key: string, log = createLog()) => pay(offer, to, offer.amount, key, log)
      const first = send('a')
      if (!atOnce) await first
      const second = await send('b')
      assert.equal((await first).state, 'settled')
      assert.equal(second.state, 'failed')
      assert.equal(s.node.sent(), 1)
      const other = await pay(offer, await s.invoice(), offer.amount, 'b', createLog())
      assert.equal(other.state, 'settled')
      assert.equal(s.node.sent(), 2)
    }
  })

  test('to nobody, or for another amount, network or time, is refused before anything is written', async () => {
    const s = stage()
    const hash = 'ab'.repeat(32)
    const wrong: Record<string, string> = {
      anonymous: `${network}/anonymous`,
      nothing: '',
      garbage: 'lnbc1',
      'less than it': await s.invoice(49_999n),
      'more than it': await s.invoice(50_001n),
      'any amount': plainInvoice(hash, undefined, s.clock.now()),
      expired: plainInvoice(hash, 50_000n, s.clock.now() - 600_000),
      'an offer that the node cannot pay': 'lno1qqq',
    }
    for (const [name, destination] of Object.entries(wrong))
      assert.equal((await s.send(destination)).state, 'failed', name)
    assert.equal(s.log.steps.length, 0)
    assert.equal(s.node.sent(), 0)
    assert.equal((await s.send(await s.invoice())).state, 'settled')
  })

  test('that cannot be written ahead is not sent', async () => {
    const s = stage()
    s.log.full = true
    await assert.rejects(s.send(await s.invoice()), { code: 'store-unavailable' })
    assert.equal(s.node.sent(), 0)
  })

  for (const when of ['before', 'after'] as const)
    test(`is unknown when the node is lost ${when} it was asked, and then made once`, async () => {
      const s = stage()
      const destination = await s.invoice()
      s.node.trouble = { pay: when, payment: when }
      assert.equal((await s.send(destination)).state, 'unknown')
      assert.equal((await s.send(await s.invoice())).state, 'unknown')
      s.node.trouble = {}
      const done = await s.send(await s.invoice())
      assert(done.state === 'settled')
      assert.equal(done.reference, s.log.steps[0]?.data['hash'])
      assert.equal(s.node.sent(), 1)
      assert.equal(s.log.steps.length, 1)
    })

  test('that found no way may be tried with another invoice, not with the same', async () => {
    const s = stage()
    const destination = await s.invoice()
    s.node.noRoute = true
    assert.equal((await s.send(destination)).state, 'failed')
    s.node.noRoute = false
    assert.equal((await s.send(destination)).state, 'failed')
    assert.equal((await s.send(await s.invoice())).state, 'settled')
    assert.equal(s.node.sent(), 1)
  })

  test('that died before it was sent waits for the end of its invoice before another is paid', async () => {
    const s = stage()
    s.node.trouble = { pay: 'before' }
    await s.send(await s.invoice())
    s.node.trouble = {}
    s.clock.turn(610_000)
    assert.equal((await s.send(await s.invoice())).state, 'unknown')
    s.clock.turn(60_000)
    assert.equal((await s.send(await s.invoice())).state, 'settled')
    assert.equal(s.log.steps.length, 2)
  })

  test('hands its fee cap to the node', async () => {
    const s = stage()
    const caps: bigint[] = []
    const node: FakeNode = {
      ...s.node,
      pay: async (request) => {
        caps.push(request.feeMaxMsat)
        return { state: 'failed', reason: 'fee' }
      },
    }
    assert.equal((await s.send(await s.invoice(), { node })).state, 'failed')
    assert.equal((await s.send(await s.invoice(), { node, feeMaxMsat: () => 3n })).state, 'failed')
    assert.deepEqual(caps, [5_000n, 3n])
  })

  test('of a part of a satoshi needs a node that sends such', async () => {
    const s = stage()
    const node: FakeNode = { ...s.node, can: { ...s.node.can, msat: false } }
    assert.equal((await s.send(await s.invoice(1_500n), { node }, 1_500n)).state, 'failed')
    assert.equal((await s.send(await s.invoice(1_500n), {}, 1_500n)).state, 'settled')
  })
})

type Pages = Record<string, unknown>

function serve(pages: Pages): typeof globalThis.fetch & { asked: string[] } {
  const asked: string[] = []
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const url = input instanceof Request ? input.url : String(input)
    asked.push(url)
    assert.equal(init?.redirect, 'error')
    const page = pages[url.split('?')[0] ?? '']
    if (page === undefined) throw new TypeError('fetch failed')
    return new Response(typeof page === 'string' ? page : JSON.stringify(page))
  }
  return Object.assign(fetch, { asked })
}

describe('a Lightning address', () => {
  const metadata = '[["text/plain","bob"]]'
  const service = {
    tag: 'payRequest',
    callback: 'https://pay.test/cb?id=1',
    minSendable: 1_000,
    maxSendable: 100_000,
    metadata,
  }
  const start = 'https://pay.test/.well-known/lnurlp/bob'
  const resolve = async (): Promise<readonly string[]> => ['93.184.216.34']

  async function sendTo(s: Stage, destination: string, pages: Pages): Promise<string> {
    return (await s.send(destination, { fetch: serve(pages), resolve })).state
  }

  test('is asked for an invoice of exactly the amount, as is an LNURL', async () => {
    for (const to of ['Bob@pay.test', lnurlOf(start)]) {
      const s = stage()
      const fetch = serve({ [start]: service, 'https://pay.test/cb': { pr: await s.invoice() } })
      assert.equal((await s.send(to, { fetch, resolve })).state, 'settled')
      assert.deepEqual(fetch.asked, [start, 'https://pay.test/cb?id=1&amount=50000'])
      // The second time the invoice is known.
      assert.equal((await s.send(to, { fetch, resolve })).state, 'settled')
      assert.equal(fetch.asked.length, 2)
    }
  })

  test('that answers anything else is not paid', async () => {
    const s = stage()
    const cb = 'https://pay.test/cb'
    const good = { [start]: service, [cb]: { pr: await s.invoice() } }
    const wrong: Record<string, Pages> = {
      silent: {},
      'no JSON': { ...good, [start]: '<html>' },
      error: { ...good, [start]: { status: 'ERROR', reason: 'x' } },
      'another tag': { ...good, [start]: { ...service, tag: 'withdrawRequest' } },
      'too little': { ...good, [start]: { ...service, minSendable: 50_001 } },
      'too much': { ...good, [start]: { ...service, maxSendable: 49_999 } },
      'no limits': { ...good, [start]: { ...service, minSendable: '1' } },
      'no callback': { ...good, [start]: { ...service, callback: 'x' } },
      'callback in the clear': { ...good, [start]: { ...service, callback: 'http://pay.test/cb' } },
      'no invoice': { ...good, [cb]: { pr: 5 } },
      'another amount': { ...good, [cb]: { pr: await s.invoice(50_001n) } },
      endless: { ...good, [start]: 'x'.repeat(100_000) },
    }
    for (const [name, pages] of Object.entries(wrong))
      assert.equal(await sendTo(s, 'bob@pay.test', pages), 'failed', name)
    assert.equal(s.log.steps.length, 0)
    assert.equal(await sendTo(s, 'bob@pay.test', good), 'settled')
  })

  test('that leads to this machine or a private network is not asked', async () => {
    const s = stage()
    const on = chains['bc'] ?? ''
    const fetch = serve({})
    const closed = ['127.0.0.1', '10.1.2.3', '169.254.169.254', '::1', 'fd00::1', '::ffff:10.0.0.1']
    for (const address of closed) {
      const to = { fetch, network: on, resolve: async () => ['93.184.216.34', address] }
      assert.equal((await s.send('bob@inner.test', to)).state, 'failed', address)
    }
    for (const host of ['localhost', '127.0.0.1', '10.0.0.1:8080', 'x.onion'])
      assert.equal((await s.send(`bob@${host}`, { fetch, network: on, resolve })).state, 'failed')
    const clear = lnurlOf('http://pay.test/lnurl')
    assert.equal((await s.send(clear, { fetch, network: on, resolve })).state, 'failed')
    assert.deepEqual(fetch.asked, [])
    await s.send('bob@pay.test', { fetch, network: on, resolve })
    assert.deepEqual(fetch.asked, [start])
    // A test's own service on this machine, on regtest alone.
    await s.send('bob@localhost:8080', { fetch, resolve })
    assert.equal(fetch.asked[1], 'http://localhost:8080/.well-known/lnurlp/bob')
  })
})

function lnurlOf(url: string): string {
  return bech32.encode('lnurl', bech32.toWords(Buffer.from(url)), false)
}

test('addresses on the internet are told from all others', () => {
  for (const address of ['8.8.8.8', '93.184.216.34', '2606:4700::1111'])
    assert(isPublic(address), address)
  const others = [
    '0.0.0.0',
    '100.64.0.1',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '224.0.0.1',
  ]
  for (const address of [
    ...others,
    '255.255.255.255',
    'fe80::1',
    '2002:0a00::1',
    '2001:db8::1',
    'x',
  ])
    assert(!isPublic(address), address)
})

describe('a BOLT12 offer', () => {
  const letters = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
  const field = (type: number, hex: string): string =>
    Buffer.from([type, hex.length / 2]).toString('hex') + hex
  const write = (...fields: string[]): string =>
    `lni1${bech32
      .toWords(Buffer.from(fields.join(''), 'hex'))
      .map((word) => letters[word])
      .join('')}`
  const createdAt = field(164, (1_800_000_000).toString(16))
  const amount = field(170, 'c350')

  test('is paid by the invoice that the node fetches, if that is for the amount', async () => {
    const s = stage()
    const preimage = '05'.repeat(32)
    const text = write(createdAt, field(168, hashHex(preimage)), amount)
    const can = { ...s.node.can, offers: true }
    const pay: FakeNode['pay'] = async () => ({ state: 'succeeded', preimage, feeMsat: 1n })
    const cheap = write(createdAt, field(168, hashHex(preimage)), field(170, 'c34f'))
    const bad: FakeNode = { ...s.node, can, pay, fetchInvoice: async () => cheap }
    assert.equal((await s.send('lno1qqq', { node: bad })).state, 'failed')
    const node: FakeNode = { ...s.node, can, pay, fetchInvoice: async () => text }
    const sent = await s.send('lno1qqq', { node })
    assert(sent.state === 'settled')
    assert.equal(
      sent.reference,
      createHash('sha256').update(Buffer.from(preimage, 'hex')).digest('hex'),
    )
  })

  test('has an invoice whose fields rise and are whole', () => {
    const hash = field(168, 'ab'.repeat(32))
    assert.deepEqual(readOfferInvoice(write(createdAt, hash, amount)), {
      hash: 'ab'.repeat(32),
      msat: 50_000n,
      expiresAt: 1_800_007_200_000,
    })
    const short = readOfferInvoice(write(createdAt, field(166, '3c'), hash, amount))
    assert(typeof short !== 'string')
    assert.equal(short.expiresAt, 1_800_000_060_000)
    const bad = [
      write(hash, createdAt, amount),
      write(createdAt, amount),
      write(createdAt, hash, amount, 'aa'),
      write(createdAt, hash, 'aa20'),
      'lni1b',
      'lno1qqq',
    ]
    for (const text of bad) assert.equal(typeof readOfferInvoice(text), 'string', text)
  })
})
