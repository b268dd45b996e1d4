// A process dies at each call that it makes, of the books or of the chain: the call is done, and its answer lost. Another one goes on
// with what is written. Each deposit must be there once, and each channel be closed once with what was promised.
import assert from 'node:assert/strict'
import { inspect } from 'node:util'
import { after, before, describe, test } from 'node:test'
import type { Log } from '../../../core/ports.ts'
import type { World } from './fixture.test.ts'
import { createWorld } from './fixture.test.ts'
import type { ChannelRail } from './rail.ts'

const DOLLAR = 1_000_000n
/** More than any of these acts makes calls; an act that was done without dying ends the sweep. */
const CALLS_MAX = 120
/** A claim of whoever died runs out. */
const LEASE_MS = 130_000

/** A process that dies at one of its calls. */
interface Mortal {
  readonly rail: ChannelRail
  readonly log: (log: Log) => Log
  readonly isDead: () => boolean
}

describe('a process that dies', () => {
  let world: World
  before(async () => {
    world = await createWorld({ bumpAfterMs: 300, settleTimeoutMs: 20_000 })
  })
  after(() => world.stop())

  async function mortal(dieAt: number): Promise<Mortal> {
    let calls = -Infinity
    let dead = false
    async function through<T>(call: () => Promise<T>): Promise<T> {
      if (dead) throw new Error('dead')
      if (++calls < dieAt) return await call()
      dead = true
      await call()
      throw new Error('died')
    }
    const ledger = new Proxy(world.ledger, {
      get(books, name) {
        const verb: unknown = Reflect.get(books, name)
        if (typeof verb !== 'function') return verb
        return (...args: unknown[]) => through(() => verb.apply(books, args) as Promise<unknown>)
      },
    })
    const rail = await world.another({
      ledger,
      fetch: (input, init) => through(() => fetch(input, init)),
      settleTimeoutMs: 150,
    })
    calls = 0
    return {
      rail,
      isDead: () => dead,
      log: (log) => ({
        read: () => through(() => log.read()),
        write: (step) => through(() => log.write(step)),
      }),
    }
  }

  /** Dies at each call of the act in turn, and checks what another process makes of it. Resolves with how many deaths there were. */
  async function sweep(
    act: (one: Mortal) => Promise<() => Promise<void>>,
    step = 1,
  ): Promise<number> {
    for (let dieAt = 1; dieAt < CALLS_MAX; dieAt += step) {
      const one = await mortal(dieAt)
      const check = await act(one)
      const wasDead = one.isDead()
      await one.rail.close()
      world.skip(LEASE_MS)
      await world.align()
      try {
        await check()
      } catch (error) {
        throw new Error(`died at its call ${dieAt}`, { cause: error })
      }
      if (!wasDead) return dieAt - 1
    }
    return assert.fail('it makes more calls than that')
  }

  // First, while there are no channels beside this one.
  test('while it collects has collected once, or another does', async () => {
    const { wallet } = world
    const { offer, proof } = await world.deposit()
    const id = wallet.channels.idOf(proof)
    let sum = 0n
    const deaths = await sweep(async ({ rail }) => {
      sum += 5_000n
      const voucher = await wallet.channels.sign(offer, id, sum)
      assert.ok('accepted' in (await world.rail.vouchers.accept(id, voucher)))
      world.skip(86_400_000)
      await rail.collect().catch(() => undefined)
      return async () => {
        await world.rail.collect()
        assert.equal((await wallet.state(id))?.settled, sum)
      }
      // Every second call: each costs a wait for a block.
    }, 2)
    assert.ok(deaths > 15, `${deaths} deaths`)
  })

  test('while it deposits has deposited once, or another does', async () => {
    const deaths = await sweep(async ({ rail, log }) => {
      const { wallet } = world
      const offer = world.offer()
      const proof = await wallet.pay(offer, 3_600_000)
      const verdict = await world.rail.verify(offer, proof)
      assert.ok(verdict.ok, inspect(verdict))
      const { key } = verdict
      const steps = world.log()
      await rail.settle(offer, proof, key, log(steps)).catch(() => undefined)
      return async () => {
        const had = await world.chain.balanceOf(world.wallet.payer?.(proof) ?? '')
        const id = wallet.channels.idOf(proof)
        const isThere = (await wallet.state(id)) !== undefined
        const found = await world.rail.find(offer, key, steps)
        assert.notEqual(found?.state, 'failed', inspect(found))
        const done =
          found?.state === 'settled' ? found : await world.rail.settle(offer, proof, key, steps)
        assert.equal(done.state, 'settled', inspect(done))
        assert.equal((await wallet.state(id))?.deposit, DOLLAR)
        const paid = had - (await world.chain.balanceOf(world.wallet.payer?.(proof) ?? ''))
        assert.equal(paid, isThere ? 0n : DOLLAR)
        const voucher = await wallet.channels.sign(offer, id, 1_000n)
        const accepted = await world.rail.vouchers.accept(id, voucher)
        assert.ok('accepted' in accepted, inspect(accepted))
      }
    })
    assert.ok(deaths > 15, `${deaths} deaths`)
  })

  test('while it closes has closed once, or another does', async () => {
    const deaths = await sweep(async ({ rail, log }) => {
      const { wallet, chain } = world
      const { offer, proof, key } = await world.deposit()
      const id = wallet.channels.idOf(proof)
      const payer = wallet.payer?.(proof) ?? ''
      const voucher = await wallet.channels.sign(offer, id, 300_000n)
      assert.ok('accepted' in (await world.rail.vouchers.accept(id, voucher)))
      const [had, earned] = [await chain.balanceOf(payer), await chain.balanceOf(world.payee)]
      const steps = world.log()
      const money = { ...offer.amount, amount: 700_000n }
      const order = `${key}/refund/a`
      await rail.refund?.(offer, payer, money, order, log(steps)).catch(() => undefined)
      return async () => {
        const done = await world.rail.refund?.(offer, payer, money, order, steps)
        assert.equal(done?.state, 'settled', inspect(done))
        assert.equal((await chain.balanceOf(payer)) - had, 700_000n)
        assert.equal((await chain.balanceOf(world.payee)) - earned, 300_000n)
      }
    })
    assert.ok(deaths > 15, `${deaths} deaths`)
  })

  test('while it takes a voucher has taken it, or takes it again', async () => {
    const { wallet } = world
    const { offer, proof } = await world.deposit()
    const id = wallet.channels.idOf(proof)
    let sum = 0n
    const deaths = await sweep(async ({ rail }) => {
      sum += 5_000n
      const mine = sum
      const voucher = await wallet.channels.sign(offer, id, mine)
      const said = await rail.vouchers.accept(id, voucher).catch(() => undefined)
      return async () => {
        // What it has said stands, whoever died.
        if (said && 'accepted' in said)
          assert.equal((await world.rail.vouchers.allowance(id))?.accepted, mine)
        const again = await world.rail.vouchers.accept(id, voucher)
        assert.ok('accepted' in again && again.accepted === mine, inspect(again))
      }
    })
    assert.ok(deaths > 5, `${deaths} deaths`)
  })
})
