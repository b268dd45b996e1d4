// Transactions that the buyer signs and the seller sends (MPP, `transaction`): nothing moves before the work is done.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { LocalAccount } from 'viem'
import { word } from '../abi.ts'
import type { Hex } from '../hex.ts'
import { lower } from '../hex.ts'
import type { World } from './fixture.test.ts'
import {
  CHAIN_ID,
  NETWORK,
  PRICE,
  account,
  held,
  openWorld,
  said,
  works,
  textOf,
} from './fixture.test.ts'
import type { Proof } from './proof.ts'
import { hashOf, transferData } from './raw.ts'

/** The wire of one world may be cut. */
let cut: (body: string) => boolean = () => false
let w: World
before(async () => {
  w = await openWorld(() => ({
    submit: true,
    settleTimeoutMs: 3_000,
    async fetch(input, init) {
      const response = await globalThis.fetch(input, init)
      if (cut(textOf(init?.body))) throw new TypeError('cut')
      return response
    },
  }))
})
after(() => w?.stop())

interface Change {
  readonly to?: Hex
  readonly data?: Hex
  readonly value?: bigint
  readonly nonce?: number
  readonly chainId?: number
  readonly gas?: bigint
  readonly maxFeePerGas?: bigint
}

/** A signed transfer of the price, or something like it. */
async function signed(from: LocalAccount, change: Change = {}): Promise<Proof & { raw: Hex }> {
  const raw = await from.signTransaction({
    type: 'eip1559',
    chainId: CHAIN_ID,
    nonce: 0,
    to: w.token,
    data: transferData(lower(w.seller.address), PRICE),
    gas: 120_000n,
    maxFeePerGas: 10n ** 10n,
    maxPriorityFeePerGas: 10n ** 6n,
    ...change,
  })
  return { raw, transaction: hashOf(raw) }
}

async function earned(): Promise<bigint> {
  return w.chain.balanceOf(w.seller.address)
}

describe('a signed transaction', () => {
  test('is sent when the work is done, and served once', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const proof = await signed(from)
    const had = await earned()
    const entry = await w.gate.admit({ ...w.ask(), credential: { offer, proof } })
    assert(entry.kind === 'pass')
    assert.equal(await earned(), had)
    const outcome = await entry.finish(true)
    assert(outcome.kind === 'serve')
    entry.delivered()
    assert.equal(await earned(), had + PRICE)
    assert.equal(outcome.receipt?.reference, proof.transaction)
    assert.equal(outcome.receipt?.payer, lower(from.address))
    assert.equal((await held(w, `${NETWORK}/tx:${proof.transaction}/0`)).posted, PRICE)
    assert.equal(said(await w.show(offer, { ...proof })), 'payment-delivered')
  })

  test('of work that failed is never sent, and good for another try', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const proof = await signed(from)
    const entry = await w.gate.admit({ ...w.ask(), credential: { offer, proof } })
    assert(entry.kind === 'pass')
    await entry.finish(false)
    assert.equal(await w.chain.balanceOf(from.address), 10n ** 9n)
    assert.equal(said(await w.show(offer, { ...proof })), 'served')
  })

  test('buys one of two things that are asked for with it at once', async () => {
    const from = await w.payer()
    const proof = await signed(from)
    const offers = await Promise.all(Array.from({ length: 6 }, () => w.offer()))
    const had = works.count
    const all = await Promise.all(offers.map((offer) => w.show(offer, { ...proof })))
    assert.equal(all.filter((one) => said(one) === 'served').length, 1)
    assert.equal(works.count, had + 1)
    // Who reads the bytes in a block has nothing of them.
    const late = await w.show(await w.offer(), { ...proof })
    assert.equal(said(late), 'proof-invalid payer-unproven')
  })

  test('must be exactly the transfer that is asked for', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const other = account().address
    const wrong: readonly Change[] = [
      { data: transferData(lower(w.seller.address), PRICE - 1n) },
      { data: transferData(lower(w.seller.address), PRICE + 1n) },
      { data: transferData(lower(other), PRICE) },
      { data: `${transferData(lower(w.seller.address), PRICE)}${word(7)}` },
      { to: lower(other) },
      { value: 1n },
      { chainId: 1 },
    ]
    for (const change of wrong) {
      const refused = await w.show(offer, await signed(from, change))
      assert.equal(
        said(refused),
        'proof-invalid transfer-inexact',
        JSON.stringify(Object.keys(change)),
      )
    }
    const raw: Hex = `0x02${'ff'.repeat(40)}`
    const garbled = await w.show(offer, { raw, transaction: hashOf(raw) })
    assert.equal(said(garbled), 'proof-invalid raw-unreadable')
    const tagged = `${transferData(lower(w.seller.address), PRICE)}${w.claims.tag(offer).slice(2)}`
    assert.equal(said(await w.show(offer, await signed(from, { data: tagged as Hex }))), 'served')
  })

  test('that would not get into a block, or would fail there, is not sent', async () => {
    const from = await w.payer()
    const poor = await w.payer(PRICE - 1n)
    const offer = await w.offer()
    const cases: readonly (readonly [LocalAccount, Change, string])[] = [
      [from, { nonce: 1 }, 'proof-invalid not-sendable'],
      [from, { maxFeePerGas: 10n ** 6n }, 'proof-invalid not-sendable'],
      [from, { gas: 30_000n }, 'proof-invalid not-sendable'],
      [from, { gas: 2_000_000n }, 'proof-invalid not-sendable'],
      [from, { maxFeePerGas: 10n ** 15n }, 'funds-insufficient funds-insufficient'],
      [poor, {}, 'proof-invalid not-sendable'],
    ]
    for (const [who, change, expected] of cases)
      assert.equal(said(await w.show(offer, await signed(who, change))), expected)
    w.skip(301_000)
    const late = await w.show(offer, await signed(from))
    await w.align()
    assert.equal(said(late), 'offer-expired offer-over')
    assert.equal(await w.chain.balanceOf(from.address), 10n ** 9n)
    assert.equal(said(await w.show(await w.offer(), await signed(from))), 'served')
  })

  test('whose answer was lost on its way is found again, charged once, and served', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const proof = await signed(from)
    let isCut = false
    cut = (body) => {
      isCut ||= body.includes('eth_sendRawTransaction')
      return isCut
    }
    const lost = await w.show(offer, { ...proof })
    cut = () => false
    assert.equal(said(lost), 'payment-unknown')
    assert.equal(lost.challenged, false)
    w.skip(60_000)
    await w.gate.recover()
    assert.equal(said(await w.show(offer, { ...proof })), 'served')
    assert.equal(await w.chain.balanceOf(from.address), 10n ** 9n - PRICE)
    await w.align()
  })

  test('that somebody has sent before is shown as what is there: with the tag, or by its hash with a signature', async () => {
    const from = await w.payer()
    const offer = await w.offer()
    const plain = await signed(from)
    await w.chain.request('eth_sendRawTransactionSync', [plain.raw])
    assert.equal(said(await w.show(offer, plain)), 'proof-invalid payer-unproven')
    const { transaction } = plain
    const signature = await w.sign(from, offer, transaction)
    assert.equal(said(await w.show(offer, { transaction, signature })), 'served')
    const other = await w.offer()
    const data = `${transferData(lower(w.seller.address), PRICE)}${w.claims.tag(other).slice(2)}`
    const tagged = await signed(from, { nonce: 1, data: data as Hex })
    await w.chain.request('eth_sendRawTransactionSync', [tagged.raw])
    assert.equal(said(await w.show(other, tagged)), 'served')
  })

  test('is not taken where the seller does not send', async () => {
    const mine = await openWorld(undefined, w.chain, w.seller)
    try {
      const from = await mine.payer()
      const offer = await mine.offer()
      const proof = await signed(from)
      assert.equal(said(await mine.show(offer, proof)), 'proof-invalid payer-unproven')
      assert.equal(typeof mine.rail.forms['mpp']?.readProof(payloadOf(proof)), 'string')
      assert.equal(typeof w.rail.forms['mpp']?.readProof(payloadOf(proof)), 'object')
    } finally {
      await mine.stop()
    }
  })
})

function payloadOf({ raw }: Proof): object {
  return { id: 'x', realm: 'shop.example', payload: { type: 'transaction', signature: raw } }
}
