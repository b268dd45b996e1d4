// The rail on a real chain with Circle's own token: deposits, vouchers, ends, and what strangers try.
import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { after, before, describe, test } from 'node:test'
import { createWorld } from './fixture.test.ts'
import type { World } from './fixture.test.ts'

describe('a channel', () => {
  let world: World
  before(async () => {
    world = await createWorld()
  })
  after(() => world.stop())

  test('is opened by an authorization, drawn on by vouchers, and closed with what was promised', async () => {
    const { rail, chain, wallet, payee } = world
    const { offer, proof, key, settled } = await world.deposit()
    assert.equal(settled.payer, wallet.payer?.(proof))
    const { channel } = proof
    const id = channel.slice(2)
    assert.deepEqual(await rail.vouchers.allowance(id), { accepted: 0n, deposit: 1_000_000n })
    const one = await wallet.channels.sign(offer, id, 250_000n)
    const accepted = { accepted: 250_000n, deposit: 1_000_000n, proves: true }
    assert.deepEqual(await rail.vouchers.accept(id, one), accepted)
    assert.deepEqual(await rail.vouchers.accept(id, one), accepted)
    const last = await wallet.channels.sign(offer, id, 200_000n)
    assert.deepEqual(await rail.vouchers.accept(id, last, true), accepted)
    const earned = await chain.balanceOf(payee)
    const payer = wallet.payer?.(proof) ?? ''
    const had = await chain.balanceOf(payer)
    const amount = { ...offer.amount, amount: 800_000n }
    const back = await rail.refund?.(offer, payer, amount, `${key}/refund/a`, world.log())
    assert.equal(back?.state, 'settled', inspect(back))
    assert.equal((await chain.balanceOf(payee)) - earned, 200_000n)
    assert.equal((await chain.balanceOf(payer)) - had, 800_000n)
    const again = await rail.refund?.(offer, payer, amount, `${key}/refund/a`, world.log())
    assert.ok(again?.state === 'settled' && back.state === 'settled')
    assert.equal(again.reference, back.reference)
    assert.equal((await chain.balanceOf(payer)) - had, 800_000n)
  })
})
