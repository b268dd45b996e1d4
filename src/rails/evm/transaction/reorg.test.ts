// Blocks are taken back: before a payment is served, and after.
import assert from 'node:assert/strict'
import { after, before, beforeEach, test } from 'node:test'
import { encode, padded, selectors, word } from '../abi.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import type { World } from './fixture.test.ts'
import { CHAIN_ID, NETWORK, PRICE, holds, openWorld, said, works } from './fixture.test.ts'

let w: World
before(async () => {
  w = await openWorld()
})
beforeEach(() => w.align())
after(() => w?.stop())

/** Blocks after which one is final here. */
const FINAL = 6

async function snapshot(): Promise<() => Promise<void>> {
  const id = await w.chain.request('evm_snapshot')
  return async () => {
    assert.equal(await w.chain.request('evm_revert', [id]), true)
  }
}

/** Our clock goes on until the sale is looked at again, and what is known of the final block is old. */
async function look(): Promise<void> {
  w.skip(20_000)
  await w.gate.recover()
}

test('a payment that stays is served, looked at again, and final', async () => {
  const from = await w.payer()
  const offer = await w.offer()
  const transaction = await w.pay(from)
  const proof = { transaction, signature: await w.sign(from, offer, transaction) }
  assert.equal(said(await w.show(offer, proof)), 'served')
  await w.chain.mine(FINAL)
  await look()
  assert.equal(await holds(w, 'sales/GET /a'), PRICE)
})

test('replaced between the check and the answer, it is not served, and its claim is let go when that is final', async () => {
  const from = await w.payer()
  const offer = await w.offer()
  const earned = await holds(w, 'sales/GET /a')
  const back = await snapshot()
  const transaction = await w.pay(from)
  const proof = { transaction, signature: await w.sign(from, offer, transaction) }
  const entry = await w.gate.admit({ ...w.ask(), credential: { offer, proof } })
  assert(entry.kind === 'pass')
  await back()
  // The same number of the same payer, spent on himself.
  await w.pay(from, PRICE, { to: from.address })
  w.skip(1_500)
  const outcome = await entry.finish(true)
  assert(outcome.kind === 'refused')
  assert.equal(outcome.problem.code, 'payment-unknown')
  assert.equal(said(await w.show(offer, { ...proof })), 'payment-unknown not-mined')
  await w.chain.mine(FINAL)
  await look()
  const key = `${NETWORK}/tx:${transaction}/0`
  assert.equal((await w.ledger.find(key))?.state, 'voided')
  assert.equal(await holds(w, 'sales/GET /a'), earned)
})

test('dropped between the check and the answer and mined again later, it is the same payment', async () => {
  const from = await w.payer()
  const offer = await w.offer()
  const had = works.count
  const raw = await from.signTransaction({
    type: 'eip1559',
    chainId: CHAIN_ID,
    nonce: 0,
    to: w.token,
    data: encode(selectors.transfer, padded(lower(w.seller.address)), word(PRICE)),
    gas: 120_000n,
    maxFeePerGas: 10n ** 10n,
    maxPriorityFeePerGas: 10n ** 6n,
  })
  const send = async () => {
    const mined = await w.chain.request('eth_sendRawTransactionSync', [raw])
    return (mined as { transactionHash: Hex }).transactionHash
  }
  const back = await snapshot()
  const transaction = await send()
  const proof = { transaction, signature: await w.sign(from, offer, transaction) }
  const entry = await w.gate.admit({ ...w.ask(), credential: { offer, proof } })
  assert(entry.kind === 'pass')
  await back()
  w.skip(1_500)
  const outcome = await entry.finish(true)
  assert(outcome.kind === 'refused')
  assert.equal(outcome.problem.code, 'payment-unknown')
  assert.equal(await send(), transaction)
  await look()
  // Paid, never delivered, and posted by its evidence: the same proof fetches it.
  assert.equal(said(await w.show(offer, { ...proof })), 'served')
  assert.equal(works.count, had + 1)
  assert.equal(said(await w.show(offer, { ...proof })), 'payment-delivered')
})

test('dropped after the answer for good, it is booked back with an alarm, and never taken again', async () => {
  const from = await w.payer()
  const offer = await w.offer()
  const earned = await holds(w, 'sales/GET /a')
  const back = await snapshot()
  const transaction = await w.pay(from)
  const proof = { transaction, signature: await w.sign(from, offer, transaction) }
  assert.equal(said(await w.show(offer, proof)), 'served')
  assert.equal(await holds(w, 'sales/GET /a'), earned + PRICE)
  await back()
  await look()
  // It may come again as long as its number is free.
  assert.equal(await holds(w, 'sales/GET /a'), earned + PRICE)
  await w.pay(from, PRICE, { to: from.address })
  await w.chain.mine(FINAL)
  w.skip(60_000)
  await look()
  assert.equal(await holds(w, 'sales/GET /a'), earned)
  const [undone] = w.events.filter((event) => event.type === 'undone')
  assert(undone?.type === 'undone')
  assert.equal(undone.reference, transaction)
})

test('a block that the node takes back by itself counts as well', async () => {
  const from = await w.payer()
  const offer = await w.offer()
  const transaction = await w.pay(from)
  const proof = { transaction, signature: await w.sign(from, offer, transaction) }
  const before = await w.rail.verify(offer, { ...proof })
  assert.equal(before.ok, true)
  await w.chain.request('anvil_reorg', [1, []])
  assert.equal(said(await w.show(offer, proof)), 'payment-unknown not-mined')
})
