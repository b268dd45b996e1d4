// Our payer pays unmodified sellers of the peers, within its budget, and its books say what it spent.
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { memory } from '../../src/ledger/memory.ts'
import { createPayer, paymentOf } from '../../src/payer/payer.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import { fromPrivateKey } from '../../src/rails/evm/signer.ts'
import { wallet as createWallet } from '../../src/rails/evm/wallet.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import type { Keys, Peer } from './peers.ts'
import {
  createBuyer,
  createSender,
  startExpressSeller,
  startFacilitator,
  startHonoSeller,
} from './peers.ts'

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

async function pays(
  start: typeof startHonoSeller,
  path: string,
  init: RequestInit,
  expected: object,
): Promise<void> {
  const server = await start(facilitator.url, payee.address)
  try {
    const buyer = await createBuyer(chain, 10_000n)
    const wallet = createWallet({
      signer: fromPrivateKey(buyer.privateKey),
      rpc: { [chain.network]: chain.rpc },
    })
    const payer = createPayer({
      wallets: [wallet],
      protocols: [x402([wallet])],
      ledger: memory(),
      policy: { perRequest: '0.01 USD', total: '0.0015 USD' },
    })
    const before = await chain.balanceOf(payee.address)
    const response = await payer.fetch(`${server.url}${path}`, init)
    assert.equal(response.status, 200)
    assert.deepEqual(await response.json(), expected)
    assert.equal((await chain.balanceOf(payee.address)) - before, 1_000n)
    assert.equal(await chain.balanceOf(buyer.address), 9_000n)
    assert.match(paymentOf(response)?.receipt?.reference ?? '', /^0x[0-9a-f]{64}$/)
    // The budget has room for one purchase: the second signs nothing.
    await assert.rejects(payer.fetch(`${server.url}${path}`, init), { code: 'budget-exceeded' })
    assert.equal(await chain.balanceOf(buyer.address), 9_000n)
  } finally {
    await server.close()
  }
}

test('our payer pays npm @x402/express', () =>
  pays(startExpressSeller, '/paid', {}, { from: 'express' }))

test('our payer pays npm @x402/express for a POST and sends the body again', () =>
  pays(startExpressSeller, '/paid', { method: 'POST', body: 'hello' }, { said: 'hello' }))

test('our payer pays npm @x402/hono', () => pays(startHonoSeller, '/paid', {}, { from: 'hono' }))
