// The peers among themselves, without us: if this fails, the fault is in the set-up and not in Tolsey.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { wrapFetchWithPayment } from '@x402/fetch'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { Peer } from './peers.ts'
import {
  createBuyer,
  createClient,
  createSender,
  startExpressSeller,
  startFacilitator,
} from './peers.ts'

let chain: Chain
let facilitator: Peer
before(async () => {
  chain = await startChain()
  facilitator = await startFacilitator(chain)
})
after(async () => {
  await facilitator?.close()
  await chain?.stop()
})

test('npm @x402/fetch pays npm @x402/express through npm @x402/core on our chain', async () => {
  const buyer = await createBuyer(chain, 10_000n)
  const seller = await createSender(chain)
  const server = await startExpressSeller(facilitator.url, seller.address)
  try {
    const response = await wrapFetchWithPayment(
      fetch,
      createClient(buyer.account),
    )(`${server.url}/paid`)
    assert.equal(response.status, 200)
    assert.equal(await chain.balanceOf(seller.address), 1_000n)
  } finally {
    await server.close()
  }
})
