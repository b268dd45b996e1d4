// Circle's own contract refuses accounts that are on its list, and all when it is paused. Here the buyer has paid by a transaction of
// his own, before that or after it.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Chain } from '../../../sandbox/chain.ts'
import { startChain } from '../../../sandbox/chain.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import type { Issuer } from '../issuer.test.ts'
import { createIssuer, stopsOf } from '../issuer.test.ts'
import type { World } from './fixture.test.ts'
import { CHAIN_ID, NETWORK, PRICE, account, holds, openWorld, said } from './fixture.test.ts'
import { hashOf, transferData } from './raw.ts'

let chain: Chain
let w: World
let issuer: Issuer
const seller = account()
before(async () => {
  chain = await startChain({ slotsInAnEpoch: 2 })
  await chain.fundEther(seller.address, 10n ** 19n)
  issuer = await createIssuer(chain)
  w = await openWorld(
    () => ({ payTo: seller.address, refundSigner: seller, submit: true }),
    chain,
    seller,
  )
})
after(async () => {
  await w?.stop()
  await chain?.stop()
})

const short = (): string => `suspense/evm-transaction/${NETWORK}/${seller.address}/short`

for (const { name, says, begin, end } of stopsOf(() => issuer, seller.address))
  describe(`while ${name}`, () => {
    test('what was paid before is served, and goes back by the same order when that is over', async () => {
      const from = await w.payer()
      const offer = await w.offer()
      const transaction = await w.pay(from)
      const proof = { transaction, signature: await w.sign(from, offer, transaction) }
      await begin(from.address)
      const shown = await w.show(offer, proof)
      const order = { key: `${NETWORK}/tx:${transaction}/0`, idempotencyKey: 'back' }
      const denied = await w.gate.refund(order)
      await end(from.address)
      assert.equal(said(shown), 'served')
      assert(denied.kind === 'denied')
      assert.match(denied.detail, says)
      assert.match(denied.detail, /Nothing was sent.*order/)
      const done = await w.gate.refund(order)
      assert.equal(done.kind, 'refunded')
      assert.deepEqual(await w.gate.refund(order), done)
      assert.equal(await chain.balanceOf(from.address), 10n ** 9n)
    })

    test('what came short stands in the books until it can go back, and goes back once', async () => {
      const from = await w.payer()
      const offer = await w.offer()
      const transaction = await w.pay(from, PRICE - 1n)
      const proof = { transaction, signature: await w.sign(from, offer, transaction) }
      await begin(from.address)
      assert.equal(said(await w.show(offer, proof)), 'amount-mismatch amount-short')
      const order = { key: `${NETWORK}/tx:${transaction}/0`, idempotencyKey: 'back' }
      assert.equal((await w.gate.refund(order)).kind, 'denied')
      assert.equal(await holds(w, short()), PRICE - 1n)
      await end(from.address)
      assert.equal((await w.gate.refund(order)).kind, 'refunded')
      assert.equal(await holds(w, short()), 0n)
      assert.equal(await chain.balanceOf(from.address), 10n ** 9n)
    })

    test('a transaction that the contract reverts has moved nothing, and says so; another pays', async () => {
      const from = await w.payer()
      const offer = await w.offer()
      await begin(from.address)
      await chain.request('anvil_impersonateAccount', [from.address])
      const data = transferData(lower(seller.address), PRICE)
      const sent = { from: from.address, to: w.token, data, gas: '0x30000' }
      const mined = await chain.request('eth_sendTransactionSync', [sent])
      const { transactionHash: transaction } = mined as { transactionHash: Hex }
      const signature = await w.sign(from, offer, transaction)
      const refused = await w.show(offer, { transaction, signature })
      await end(from.address)
      assert.equal(said(refused), 'proof-invalid transaction-failed')
      assert.match(refused.problem?.detail ?? '', /moved nothing.*new payment/)
      const again = await w.pay(from)
      const proof = { transaction: again, signature: await w.sign(from, offer, again) }
      assert.equal(said(await w.show(offer, proof)), 'served')
    })

    test('a signed transaction is not sent, and is when it can be', async () => {
      const from = await w.payer()
      const offer = await w.offer()
      const raw = await from.signTransaction({
        ...{ type: 'eip1559', chainId: CHAIN_ID, nonce: 0, gas: 100_000n },
        ...{ maxFeePerGas: 10n ** 10n, maxPriorityFeePerGas: 1n },
        ...{ to: w.token, data: transferData(lower(seller.address), PRICE) },
      })
      const proof = { raw, transaction: hashOf(raw) }
      await begin(from.address)
      const refused = await w.show(offer, { ...proof })
      await end(from.address)
      assert.equal(said(refused), 'proof-invalid not-sendable')
      assert.match(refused.problem?.detail ?? '', /token refuses.*was not sent/)
      assert.equal(said(await w.show(offer, { ...proof })), 'served')
      assert.equal(await chain.balanceOf(from.address), 10n ** 9n - PRICE)
    })
  })
