// Our gate settles through the peers' facilitator: a seller needs neither a node nor a key of its own.
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { wrapFetchWithPayment } from '@x402/fetch'
import { toll } from '../../src/adapters/node.ts'
import { memory } from '../../src/ledger/memory.ts'
import { facilitated } from '../../src/protocols/x402/facilitator.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import { exact } from '../../src/rails/evm/exact.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import type { Keys, Peer } from './peers.ts'
import { createBuyer, createClient, createSender, listen, startFacilitator } from './peers.ts'

let chain: Chain
let facilitator: Peer
let payee: Keys
before(async () => {
  chain = await startChain()
  facilitator = await startFacilitator(chain)
  payee = await createSender(chain)
})
after(async () => {
  await facilitator?.close()
  await chain?.stop()
})

test('npm @x402/core settles for our gate, once, and the books have the transaction', async () => {
  const method = exact({ network: chain.network, payTo: payee.address })
  const rail = facilitated(method, { url: facilitator.url })
  const ledger = memory()
  const seller = await createSeller({
    secret: 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA',
    rails: [rail],
    protocols: [x402([rail])],
    ledger,
  })
  const server = await listen(
    createServer(toll(seller, { 'GET /paid': '0.01 USD' }, (_, res) => res.end('sold'))).listen(
      0,
      '127.0.0.1',
    ),
  )
  try {
    const buyer = await createBuyer(chain, 20_000n)
    let credential: string | null = null
    const listening: typeof fetch = async (input, init) => {
      const request = new Request(input, init)
      credential = request.headers.get('PAYMENT-SIGNATURE') ?? credential
      return await fetch(request)
    }
    const response = await wrapFetchWithPayment(
      listening,
      createClient(buyer.account),
    )(`${server.url}/paid`)
    assert.deepEqual([response.status, await response.text()], [200, 'sold'])
    assert.equal(await chain.balanceOf(payee.address), 10_000n)
    const again = await fetch(`${server.url}/paid`, {
      headers: { 'PAYMENT-SIGNATURE': credential ?? assert.fail('no credential') },
    })
    assert.equal(again.status, 410)
    assert.equal(await chain.balanceOf(payee.address), 10_000n)
    const posted = (await ledger.journal(0, 100)).find(({ type }) => type === 'settled')
    const reference = posted?.data['reference']
    assert.ok(typeof reference === 'string' && /^0x[0-9a-f]{64}$/.test(reference))
  } finally {
    await server.close()
    await seller.close()
  }
})
