// Against a stand-in on this machine that answers as LUD-06, 12, 16 and 21 say.
import assert from 'node:assert/strict'
import { hash as digest } from 'node:crypto'
import type { TestContext } from 'node:test'
import { describe, test } from 'node:test'
import { bech32 } from '@scure/base'
import type { JsonObject } from '../../../core/json.ts'
import { resolveChain } from '../networks.ts'
import type { LightningNode } from '../node.ts'
import { createLnurl } from './lnurl.ts'
import type { Made, Reply, StandIn } from './stand-in.test.ts'
import { makeInvoice, standIn } from './stand-in.test.ts'

const metadata = '[["text/plain","shop"]]'
const descriptionHash = digest('sha256', metadata)
const wanted = { msat: 21_000n, memo: 'coffee', expiresInS: 600 }
const unavailable = { code: 'rail-unavailable' }

interface Service {
  readonly server: StandIn
  readonly made: Made
  readonly node: LightningNode
}

/** The service, with parts of its answers replaced by what a hostile one would say. */
async function start(
  t: TestContext,
  rest: {
    readonly about?: JsonObject
    readonly back?: (made: Made, url: string) => JsonObject
    readonly verified?: (made: Made) => Reply
    readonly verify?: boolean
    readonly made?: Made
  } = {},
): Promise<Service> {
  const made = rest.made ?? makeInvoice(21, { descriptionHash })
  const server = await standIn(({ path }): Reply => {
    if (path === '/.well-known/lnurlp/shop')
      return {
        json: {
          tag: 'payRequest',
          callback: `${server.url}/pay?k=1`,
          minSendable: 1000,
          maxSendable: 1_000_000,
          metadata,
          commentAllowed: 3,
          ...rest.about,
        },
      }
    if (path.startsWith('/pay'))
      return {
        json: {
          pr: made.invoice,
          routes: [],
          verify: `${server.url}/verify/${made.hash}`,
          ...rest.back?.(made, server.url),
        },
      }
    assert.equal(path, `/verify/${made.hash}`)
    return rest.verified?.(made) ?? { json: { status: 'ERROR', reason: 'Not found' } }
  })
  const node = createLnurl({
    address: server.url.replace('http://', 'Shop@'),
    network: 'regtest',
    ...(rest.verify === true && { verify: `${server.url}/verify/{hash}` }),
  })
  t.after(async () => {
    await node.close()
    await server.close()
  })
  return { server, made, node }
}

const paid = ({ invoice, preimage }: Made, rest: JsonObject = {}): Reply => ({
  json: { status: 'OK', settled: true, preimage, pr: invoice, ...rest },
})

describe('a Lightning address', () => {
  test('sells: an invoice by its callback, with the comment that it takes', async (t) => {
    const { node, made, server } = await start(t)
    assert.deepEqual(await node.open(), { network: resolveChain('regtest'), publicKey: '' })
    assert.deepEqual(await node.createInvoice(wanted), { invoice: made.invoice, hash: made.hash })
    assert.deepEqual(
      server.asked.map(({ path }) => path),
      ['/.well-known/lnurlp/shop', '/pay?k=1&amount=21000&comment=cof'],
    )
    assert.equal(node.can.lookup, false)
    assert.ok(!('pay' in node))
  })

  test('that takes no comments gets none', async (t) => {
    // In JSON, what is undefined is left out.
    const about = { commentAllowed: null }
    const { node, server } = await start(t, { about })
    await node.createInvoice(wanted)
    assert.equal(server.asked.at(-1)?.path, '/pay?k=1&amount=21000')
  })

  test('may be given as an LNURL, or as the address in it', async (t) => {
    const { made, server } = await start(t)
    const plain = `${server.url}/.well-known/lnurlp/shop`
    const lnurl = bech32.encode('lnurl', bech32.toWords(Buffer.from(plain)), 2000)
    for (const address of [plain, lnurl, lnurl.toUpperCase(), `lightning:${lnurl}`]) {
      const node = createLnurl({ address, network: 'regtest' })
      assert.equal((await node.createInvoice(wanted)).hash, made.hash)
    }
  })

  test('is none without a user, a host, or TLS where that is needed', () => {
    for (const address of [
      '',
      'shop',
      '@host',
      'lnurl1qqqq',
      'http://shop.example/pay',
      'ftp://shop.example',
      'https://user:password@shop.example/',
    ])
      assert.throws(() => createLnurl({ address }), RangeError)
    assert.ok(createLnurl({ address: 'shop@shop.example' }))
    assert.ok(createLnurl({ address: 'shop@abcdef.onion' }))
  })

  test('takes no amount outside of its limits', async (t) => {
    const { node, server } = await start(t)
    for (const msat of [999n, 1_000_001n])
      await assert.rejects(node.createInvoice({ ...wanted, msat }), { code: 'misconfigured' })
    assert.equal(server.asked.length, 1)
  })

  const hostile: Readonly<Record<string, Parameters<typeof start>[1]>> = {
    'with another amount': { made: makeInvoice(20, { descriptionHash }) },
    'for another description': { made: makeInvoice(21, { descriptionHash: 'ab'.repeat(32) }) },
    'that is none': { back: () => ({ pr: 'lnbcrt1qqqq' }) },
    'and an error': { back: () => ({ status: 'ERROR', reason: 'no' }) },
    'by way of a callback in plain HTTP elsewhere': {
      about: { callback: 'http://169.254.169.254/latest' },
    },
    'by way of a callback with a user name': { about: { callback: 'https://a:b@shop.example/' } },
    'as something else than a payment': { about: { tag: 'withdrawRequest' } },
  }
  for (const [title, rest] of Object.entries(hostile))
    test(`is refused with an invoice ${title}`, async (t) => {
      const { node } = await start(t, rest)
      await assert.rejects(node.createInvoice(wanted), unavailable)
    })

  test('is not believed on another network', async (t) => {
    const { server } = await start(t)
    const node = createLnurl({ address: `${server.url}/.well-known/lnurlp/shop` })
    await assert.rejects(node.createInvoice(wanted), unavailable)
  })
})

describe('verify', () => {
  test('tells that an invoice is settled, by its preimage', async (t) => {
    let settled = false
    const { node, made } = await start(t, {
      verified: (of) => paid(of, settled ? {} : { settled: false, preimage: null }),
    })
    assert.equal(await node.invoice(made.hash), undefined, 'nobody knows where to ask')
    await node.createInvoice(wanted)
    assert.deepEqual(await node.invoice(made.hash), { state: 'open', receivedMsat: 0n })
    settled = true
    assert.deepEqual(await node.invoice(made.hash), { state: 'settled', receivedMsat: 21_000n })
  })

  test('is asked after a restart as well, if its address is known', async (t) => {
    const { node, made } = await start(t, { verify: true, verified: paid })
    assert.equal(node.can.lookup, true)
    assert.deepEqual(await node.invoice(made.hash), { state: 'settled', receivedMsat: 21_000n })
  })

  test('does not know what it has not made', async (t) => {
    const { node, made } = await start(t, { verify: true })
    assert.equal(await node.invoice(made.hash), undefined)
  })

  for (const [title, lie] of [
    ['without a preimage', { preimage: null }],
    ['with another preimage', { preimage: 'ee'.repeat(32) }],
    ['that is not settled', { settled: 'yes' }],
  ] as const)
    test(`is not believed ${title}`, async (t) => {
      const { node, made } = await start(t, { verify: true, verified: (of) => paid(of, lie) })
      assert.deepEqual(await node.invoice(made.hash), { state: 'open', receivedMsat: 0n })
    })

  test('is not believed about another invoice', async (t) => {
    const other = makeInvoice(21, { descriptionHash })
    const { node, made } = await start(t, { verify: true, verified: () => paid(other) })
    await assert.rejects(node.invoice(made.hash), unavailable)
  })

  test('leads nobody into a network', async (t) => {
    const { node, made } = await start(t, {
      back: () => ({ verify: 'http://169.254.169.254/latest' }),
    })
    await node.createInvoice(wanted)
    await assert.rejects(node.invoice(made.hash), unavailable)
  })

  test('must have a place for the hash', () => {
    assert.throws(
      () => createLnurl({ address: 'shop@shop.example', verify: 'https://shop.example/verify' }),
      RangeError,
    )
  })
})
