// Deposits on a chain that takes blocks back: looked at until they are final, sent again, and given up only when they can never be.
import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { after, before, describe, test } from 'node:test'
import type { World } from './fixture.test.ts'
import { createWorld } from './fixture.test.ts'

const DOLLAR = 1_000_000n

describe('a deposit', () => {
  let world: World
  before(async () => {
    world = await createWorld()
  })
  after(() => world.stop())

  async function made() {
    const { rail, wallet } = world
    const offer = world.offer()
    const proof = await wallet.pay(offer, 60_000)
    const verdict = await rail.verify(offer, proof)
    assert.ok(verdict.ok, inspect(verdict))
    const log = world.log()
    const settled = await rail.settle(offer, proof, verdict.key, log)
    assert.ok(settled.state === 'settled', inspect(settled))
    return { offer, proof, key: verdict.key, log, settled, id: wallet.channels.idOf(proof) }
  }

  test('is open until its block is final', async () => {
    const { offer, key, log, settled } = await made()
    const first = await world.rail.stands?.(offer, key, settled.reference, log)
    assert.deepEqual(first, { state: 'open', reference: settled.reference })
    await world.chain.mine(8)
    world.skip(10_000)
    const last = await world.rail.stands?.(offer, key, settled.reference, log)
    assert.deepEqual(last, { state: 'final', reference: settled.reference })
  })

  test('that a block has taken back is made again, and counts once', async () => {
    const past = await world.chain.request('evm_snapshot')
    const { offer, key, log, settled, id } = await made()
    await world.chain.request('evm_revert', [past])
    world.skip(10_000)
    assert.equal(await world.rail.vouchers.allowance(id), undefined)
    const again = await world.rail.stands?.(offer, key, settled.reference, log)
    assert.equal(again?.state, 'open', inspect(again))
    assert.equal((await world.wallet.state(id))?.deposit, DOLLAR)
    world.skip(10_000)
    assert.deepEqual(await world.rail.vouchers.allowance(id), { accepted: 0n, deposit: DOLLAR })
    await world.chain.mine(8)
    world.skip(10_000)
    const last = await world.rail.stands?.(offer, key, settled.reference, log)
    assert.equal(last?.state, 'final', inspect(last))
  })

  test('that is not there when its authorization has ended is gone, and buys nothing', async () => {
    const past = await world.chain.request('evm_snapshot')
    const { offer, key, log, settled, id } = await made()
    await world.chain.request('evm_revert', [past])
    world.skip(120_000)
    await world.align()
    await world.chain.mine(8)
    world.skip(10_000)
    const gone = await world.rail.stands?.(offer, key, settled.reference, log)
    assert.equal(gone?.state, 'gone', inspect(gone))
    assert.equal(await world.rail.vouchers.allowance(id), undefined)
    const late = await world.rail.vouchers.accept(
      id,
      await world.wallet.channels.sign(offer, id, 1_000n),
    )
    assert.ok('code' in late && late.reason === 'channel-not-found')
  })
})
