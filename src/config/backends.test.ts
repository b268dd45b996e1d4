// Back ends that only a real one can show to be opened rightly: a database, wallets behind a relay and an address, a facilitator.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { createCluster, missing } from '../../test/postgres.ts'
import { startLnd } from '../sandbox/lightning/doubles/lnd.ts'
import { startLnurl } from '../sandbox/lightning/doubles/lnurl.ts'
import { startNwc } from '../sandbox/lightning/doubles/nwc.ts'
import type { LightningNetwork } from '../sandbox/lightning/network.ts'
import { startLightning } from '../sandbox/lightning/network.ts'
import { memory } from '../ledger/memory.ts'
import { readDocument } from './document.ts'
import { openParts } from './registry.ts'
import type { OpenParts, Source } from './registry.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const KEY = 'abcd12'

function sourceOf(
  rails: string,
  environment: Readonly<Record<string, string>>,
  more: readonly string[] = [],
): Source {
  const text = [
    'listen: 0',
    'origin: https://api.example.com',
    'secret: { env: SECRET }',
    `rails: ${rails}`,
    'upstreams: { api: "http://127.0.0.1:1" }',
    'routes: { GET /a: 10 SAT }',
    ...more,
  ].join('\n')
  const read = readDocument(text, 'a.yaml')
  assert.ok(read.ok, read.ok ? '' : JSON.stringify(read.mistakes))
  const variable = (name: string): string | undefined => ({ SECRET, ...environment })[name]
  return { ...read, directory: '.', variable }
}

/** An invoice of ten satoshis, by the one rail that is there. */
async function invoiceOf({ rails }: OpenParts): Promise<string> {
  const [rail] = rails
  const [terms] = rail?.quote({ currency: 'SAT', amount: 10n, scale: 0 }) ?? []
  assert.ok(rail?.issue && terms)
  const { invoice } = await rail.issue(terms, 'a trial', Date.now() + 60_000)
  assert.ok(invoice)
  return invoice
}

describe('a document’s wallet', () => {
  let net: LightningNetwork
  before(async () => {
    net = await startLightning()
  })
  after(() => net.close())

  test('is compared with the books where the document says so, and only there', async () => {
    const double = await startLnd(net.seller, KEY)
    const lnd = `lnd: { url: "${double.url}", macaroon: { env: KEY } }, network: regtest`
    try {
      for (const compare of ['', ', compare: true']) {
        const source = sourceOf(`{ lightning: { ${lnd}${compare} } }`, { KEY })
        const open = await openParts(source, { ledger: memory() })
        await open.close()
        assert.equal(open.rails[0]?.holdings !== undefined, compare !== '')
      }
    } finally {
      await double.close()
    }
  })

  test('behind a relay (NWC) makes invoices', async () => {
    const double = await startNwc(net.seller)
    try {
      const source = sourceOf('{ lightning: { nwc: { uri: { env: NWC } }, network: regtest } }', {
        NWC: double.uri,
      })
      const open = await openParts(source, { ledger: memory() })
      try {
        assert.match(await invoiceOf(open), /^lnbcrt/)
      } finally {
        await open.close()
      }
    } finally {
      await double.close()
    }
  })

  test('behind an address (LNURL) makes invoices', async () => {
    const double = await startLnurl(net.seller)
    try {
      const address = `${double.url}/.well-known/lnurlp/shop`
      const source = sourceOf(
        `{ lightning: { lnurl: { address: "${address}" }, network: regtest } }`,
        {},
      )
      const open = await openParts(source, { ledger: memory() })
      try {
        assert.match(await invoiceOf(open), /^lnbcrt/)
      } finally {
        await open.close()
      }
    } finally {
      await double.close()
    }
  })
})

const kinds = JSON.stringify({
  kinds: [{ x402Version: 2, scheme: 'exact', network: 'eip155:84532' }],
  extensions: [],
  signers: {},
})

test('a document’s facilitator is sent the header fields that the document names, and no others', async (t) => {
  const asked: IncomingMessage[] = []
  const server = createServer((request, response) => {
    asked.push(request)
    response.setHeader('content-type', 'application/json').end(kinds)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const payTo = `"0x${'11'.repeat(20)}"`
  const source = sourceOf(
    `{ evm: { network: base-sepolia, payTo: ${payTo}, facilitator: { url: "${url}", headers: { Authorization: { env: KEY } } } } }`,
    { KEY: 'Bearer of-the-facilitator' },
  )
  const open = await openParts(source, { ledger: memory() })
  await open.close()
  assert.deepEqual(
    asked.map(({ headers }) => headers.authorization),
    ['Bearer of-the-facilitator'],
  )
})

describe('a document’s database', { skip: missing ?? false }, () => {
  const payTo = `"0x${'11'.repeat(20)}"`
  const books = ['ledger: { postgres: { env: BOOKS }, schema: shop }']

  test('holds the books of two who open it', async (t) => {
    const cluster = await createCluster()
    t.after(() => cluster.stop())
    const server = createServer((_, response) => {
      response.setHeader('content-type', 'application/json').end(kinds)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const rails = `{ evm: { network: base-sepolia, payTo: ${payTo}, facilitator: "${url}" } }`
    const source = sourceOf(rails, { BOOKS: cluster.url }, books)
    const [one, two] = [await openParts(source), await openParts(source)]
    try {
      const transfer = {
        ...{ key: 'k', purpose: 'p', asset: 'a', amount: 1n, note: {} },
        legs: [{ debit: 'world/a', credit: 'b' }],
        leaseUntilAt: Date.now() + 60_000,
      }
      assert.equal((await one.ledger.transfer(transfer)).outcome, 'made')
      assert.equal((await two.ledger.transfer(transfer)).outcome, 'replayed')
    } finally {
      await one.close()
      await two.close()
    }
  })
})
