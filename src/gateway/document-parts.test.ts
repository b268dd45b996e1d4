// What a document says of taxes, of NATS and of what gateways share, on real servers.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { missing, startNats } from '../../test/nats.ts'
import { createCluster, missing as noPostgres } from '../../test/postgres.ts'
import { openParts } from '../config/registry.ts'
import { memory } from '../ledger/memory.ts'
import { sell, until } from '../outbox/fixture.test.ts'
import { startChain } from '../sandbox/chain.ts'
import { openOffice } from './office.ts'
import { readSource } from './open.ts'
import type { SharedParts } from './open.ts'

const KEY = `0x${'4c'.repeat(32)}`
const PAYEE = '0x2222222222222222222222222222222222222222'

function sourceOf(more: string, rpc = 'http://127.0.0.1:1'): ReturnType<typeof readSource> {
  const text = `
listen: 127.0.0.1:0
origin: https://shop.example
secret: { env: SECRET }
rails: { evm: { network: base-sepolia, rpc: "${rpc}", payTo: "${PAYEE}", signer: { env: KEY } } }
upstreams: { api: "http://127.0.0.1:1" }
routes: { GET /a: 0.01 USD }
limits: { unpaid: "3/m" }
${more}
`
  const environment: Readonly<Record<string, string>> = {
    SECRET: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    ...{ KEY, NATS_TOKEN: 'a-token' },
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
