// What a document says of taxes, of NATS, of channels and of what gateways share, on real servers.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { missing, startNats } from '../../test/nats.ts'
import { createCluster, missing as noPostgres } from '../../test/postgres.ts'
import { openParts } from '../config/registry.ts'
import { createMac } from '../core/mac.ts'
import { readPrice } from '../core/money.ts'
import { createOffers } from '../core/offers.ts'
import { memory } from '../ledger/memory.ts'
import { sell, until } from '../outbox/fixture.test.ts'
import { channelWallet } from '../rails/evm/channel/index.ts'
import type { ChannelRail } from '../rails/evm/channel/index.ts'
import { startChain } from '../sandbox/chain.ts'
import { openOffice } from './office.ts'
import { readSource } from './open.ts'
import type { SharedParts } from './open.ts'

const KEY = `0x${'4c'.repeat(32)}`
const CHANNEL_KEY: `0x${string}` = `0x${'5d'.repeat(32)}`
const PAYEE = '0x2222222222222222222222222222222222222222'

function sourceOf(
  more: string,
  rpc = 'http://127.0.0.1:1',
  rail = '',
): ReturnType<typeof readSource> {
  const text = `
listen: 127.0.0.1:0
origin: https://shop.example
secret: { env: SECRET }
rails: { evm: { network: base-sepolia, rpc: "${rpc}", payTo: "${PAYEE}", signer: { env: KEY }${rail} } }
upstreams: { api: "http://127.0.0.1:1" }
routes: { GET /a: 0.01 USD }
limits: { unpaid: "3/m" }
${more}
`
  const environment: Readonly<Record<string, string>> = {
    SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    ...{ KEY, CHANNEL_KEY, NATS_TOKEN: 'a-token' },
  }
  return readSource(text, 'a.yaml', { directory: '.', variable: (name) => environment[name] })
}

test('events go to the stream that the document names', { skip: missing }, async () => {
  const server = await startNats(['--auth', 'a-token'])
  const servers = `nats://127.0.0.1:${server.port}`
  const client = await connect({ servers, token: 'a-token' })
  try {
    const manager = await jetstreamManager(client)
    await manager.streams.add({ name: 'shop', subjects: ['shop.>'] })
    const nats = `{ servers: "${servers}", stream: shop, prefix: shop, token: { env: NATS_TOKEN } }`
    const office = await openOffice(sourceOf(`events: { nats: ${nats} }`))
    const ledger = memory()
    const seller = { close: () => Promise.resolve() }
    office.use({ ledger, rails: [], seller } as unknown as SharedParts)
    await sell(ledger, 'one')
    const count = async (): Promise<number> => (await manager.streams.info('shop')).state.messages
    await until(async () => (await count()) === 2, 'both events are kept')
    await office.close()
  } finally {
    await client.close()
    await server.stop()
  }
})

test('a tax that cannot be meant is told at its line', async () => {
  const tax = 'tax: { place: Germany, rates: { DE: [{ name: VAT, percent: "19" }] } }'
  const chain = await startChain()
  try {
    await assert.rejects(
      openParts(sourceOf(tax, chain.rpc), { ledger: memory() }),
      /"Germany" is no place/,
    )
    const good = sourceOf(tax.replace('Germany', 'DE'), chain.rpc)
    await (await openParts(good, { ledger: memory() })).close()
  } finally {
    await chain.stop()
  }
})

test('channels are sold over MPP, and what is promised is collected', async () => {
  const chain = await startChain()
  try {
    const payee = privateKeyToAddress(CHANNEL_KEY)
    await chain.fundEther(payee, 10n ** 19n)
    const channels = ', channels: { key: { env: CHANNEL_KEY }, collectFrom: 0.2 USD }'
    const source = sourceOf('', chain.rpc, channels)
    const parts = await openParts(source, { ledger: memory() })
    assert.ok(parts.seller.protocols.some(({ name }) => name === 'mpp'))
    const rail = parts.rails.find(({ name }) => name === 'channel') as ChannelRail | undefined
    assert.ok(rail)
    const account = generatePrivateKey()
    await chain.mint(privateKeyToAddress(account), 1_000_000n)
    const wallet = channelWallet({ network: 'base-sepolia', account })
    const [terms] = rail.quote(readPrice('1 USD'))
    assert.ok(terms)
    assert.equal(terms.payee, payee)
    const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
    const resource = { realm: 'a', method: 'GET', authority: 'a', path: '/', query: '', url: '' }
    const offer = offers.bind(terms, resource, Date.now() + 60_000, 'once')
    const proof = await wallet.pay(offer, 60_000)
    const { key } = rail.identify(offer, proof)
    const log = { read: async () => [], write: async () => undefined }
    assert.equal((await rail.settle(offer, proof, key, log)).state, 'settled')
    const id = wallet.channels.idOf(proof)
    const voucher = await wallet.channels.sign(offer, id, 300_000n)
    assert.ok('accepted' in (await rail.vouchers.accept(id, voucher)))
    const office = await openOffice(source)
    office.use(parts as unknown as SharedParts)
    const isCollected = async (): Promise<boolean> => (await chain.balanceOf(payee)) === 300_000n
    await until(isCollected, 'it is collected')
    await office.close()
    await parts.close()
  } finally {
    await chain.stop()
  }
})

test('a network that does not answer keeps nobody from collecting on another', async () => {
  const source = sourceOf('')
  const ledger = memory()
  const stuck = Promise.withResolvers<void>()
  let looks = 0
  const collects = [async () => await stuck.promise, async () => void looks++]
  const rails = collects.map((collect, i) => ({ name: 'channel', network: `eip155:${i}`, collect }))
  const office = await openOffice(source)
  office.use({ ledger, rails } as unknown as SharedParts)
  await until(async () => looks > 0, 'the other one is looked at')
  stuck.resolve()
  await office.close()
  await ledger.close()
})

test('gateways on one PostgreSQL share what they count', { skip: noPostgres }, async () => {
  const cluster = await createCluster()
  const chain = await startChain()
  try {
    const parts = await openParts(
      sourceOf(`ledger: { postgres: "${cluster.url}", schema: books }`, chain.rpc),
    )
    await parts.close()
    const { Client } = await import('pg')
    const client = new Client({ connectionString: cluster.url })
    await client.connect()
    const sql = 'SELECT table_name FROM information_schema.tables WHERE table_schema = $1'
    const { rows } = await client.query<{ table_name: string }>(sql, ['books_shared'])
    await client.end()
    assert.deepEqual(rows.map(({ table_name }) => table_name).toSorted(), ['counters', 'seen'])
  } finally {
    await chain.stop()
    await cluster.stop()
  }
})
