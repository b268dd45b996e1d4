// Tasks that wait, in the books: whoever dies at whichever write, what was charged is worked off or goes back, once.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Gate } from '../core/ports.ts'
import type { QueueOrder, Queued } from '../core/task.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { ask, createKeepingShop, failing, offerOf, passed, priced } from './fixture.test.ts'
import { QUEUE_BYTES_MAX, QUEUE_ITEM_BYTES_MIN, QUEUE_TURN_MS, REFUND_TURN_MS } from './limits.ts'

const HOUR_MS = 3_600_000
/** Longer than any lease. */
const LEASES_MS = 2 * REFUND_TURN_MS

function open() {
  const shop = createKeepingShop()
  const { clock, ledger, back, gateOf } = shop
  const order: QueueOrder = {
    ...{ payment: 'n', request: 'r', what: 'POST /a', holder: 'h', isMetered: false },
    ...{ withinMs: HOUR_MS, work: Buffer.from('work'), repeats: false },
  }
  return {
    ...{ ...shop, order },
    /** A process of which nobody hears any more. */
    dying: () =>
      gateOf({ clock: { now: () => clock.now(), sleep: () => new Promise(() => undefined) } }),
    /** Sells, and queues before the money moves, as a door does. */
    async sell(gate: Gate, more: Partial<QueueOrder> = {}): Promise<Queued | undefined> {
      const to = ask(priced('0.10 USD', { keep: true }))
      const credential = { offer: await offerOf(gate, to), proof: 'n' }
      const pass = passed(await gate.admit({ ...to, credential }))
      const queued = await gate.tasks?.queue({ ...order, ...more }).catch(() => undefined)
      const outcome = await pass.finish(queued !== undefined, Buffer.from('202'))
      const isCharged = queued !== undefined && outcome.kind === 'serve'
      await queued?.charged?.(isCharged).catch(() => undefined)
      if (isCharged) pass.delivered()
      for (let i = 0; i < 5; i++) await turn()
      return queued
    },
    sum: () => [...back.values()].reduce((total, one) => total + one, 0n),
    sound: async () => assert.deepEqual((await verifyBooks(ledger)).problems, []),
  }
}

const tasksOf = ({ tasks }: Gate): NonNullable<Gate['tasks']> => tasks ?? assert.fail('No vault.')

describe('a task that waits', () => {
  for (const repeats of [true, false])
    test(`and ${repeats ? 'may' : 'must not'} be repeated survives books that fail at every write`, async () => {
      let hits = 0
      const ends = { done: 0, failed: 0, never: 0 }
      for (const verb of ['transfer', 'step', 'post', 'void'] as const)
        for (const isDone of [false, true])
          for (let call = 1; call <= 8; call++) {
            const what = `${verb} ${call} ${isDone}`
            const w = open()
            const broken = failing(w.ledger, { verb, call, isDone })
            const first = w.gateOf({ ledger: broken.ledger })
            const queued = await w.sell(first, { repeats }).catch(() => undefined)
            let began = 0
            const workOff = async (gate: Gate): Promise<void> => {
              for (const one of await tasksOf(gate).take(8)) {
                assert.equal(Buffer.from(one.work).toString(), 'work', what)
                if (!(await one.begin())) continue
                began++
                await one.done(Buffer.from('goods'))
              }
            }
            await workOff(first).catch(() => undefined)
            if (!broken.hit()) break
            hits++
            const next = w.gateOf()
            for (let i = 0; i < 4; i++) {
              w.clock.pass(LEASES_MS)
              await next.recover()
              await workOff(next)
            }
            const paid = await w.ledger.find('n')
            const task = queued && (await tasksOf(next).find(queued.task.id))
            if (task?.state === 'done') {
              ends.done++
              assert.equal(
                Buffer.from((await tasksOf(next).result(task.id)) ?? []).toString(),
                'goods',
                what,
              )
              assert.deepEqual([paid?.state, w.sum()], ['posted', 0n], what)
            } else if (task?.state === 'failed') {
              ends.failed++
              assert.deepEqual([paid?.state, w.sum()], ['posted', 100_000n], what)
            } else {
              ends.never++
              assert.notEqual(paid?.state, 'posted', `${what}: ${task?.state}`)
            }
            assert.ok(repeats || began <= 1, `${what}: begun ${began} times`)
            assert.ok(w.back.size <= 1, what)
            const waiting = (await w.ledger.balances('queue/waiting')).map(({ pending }) => pending)
            assert.deepEqual(waiting, [], what)
            assert.deepEqual(await w.ledger.pending(), [], what)
            await w.sound()
          }
      assert.ok(hits > 12, `${hits}`)
      assert.ok(ends.done > 3 && ends.never > 0, JSON.stringify(ends))
      if (!repeats) assert.ok(ends.failed > 0, JSON.stringify(ends))
    })

  test('is taken up by one process at a time, and by another when that one is gone', async () => {
    const w = open()
    const gate = w.dying()
    await w.sell(gate, { repeats: true })
    const [one] = await tasksOf(gate).take(8)
    assert.equal(await one?.begin(), true)
    const other = tasksOf(w.gateOf())
    assert.deepEqual(await other.take(8), [])
    w.clock.pass(QUEUE_TURN_MS + 1)
    const [two] = await other.take(8)
    assert.ok(two)
    assert.equal(await two.begin(), true)
    assert.equal(await two.done(Buffer.from('second')), true)
    assert.equal(await one?.done(Buffer.from('first')), false)
    const { task } = await other.queue(w.order)
    assert.equal(Buffer.from((await other.result(task.id)) ?? []).toString(), 'second')
    assert.equal(w.sum(), 0n)
    await w.sound()
  })

  test('that may have begun and must not be repeated is given back, and who had it is told', async () => {
    const w = open()
    const gate = w.dying()
    const queued = await w.sell(gate)
    const [one] = await tasksOf(gate).take(8)
    assert.equal(await one?.begin(), true)
    w.clock.pass(QUEUE_TURN_MS + 1)
    const other = w.gateOf()
    assert.deepEqual(await tasksOf(other).take(8), [])
    const task = await tasksOf(other).find(queued?.task.id ?? '')
    assert.deepEqual([task?.state, task?.why, task?.refund], ['failed', 'interrupted', 'refunded'])
    assert.equal(await one?.done(Buffer.from('goods')), false)
    assert.equal(w.sum(), 100_000n)
    await w.sound()
  })

  test('that surely has not begun is tried again, after its pause and not before', async () => {
    const w = open()
    const gate = w.gateOf()
    await w.sell(gate)
    const [one] = await tasksOf(gate).take(8)
    await one?.begin()
    await one?.later(5_000)
    const other = tasksOf(w.gateOf())
    assert.deepEqual(await other.take(8), [])
    w.clock.pass(5_001)
    const [two] = await other.take(8)
    assert.equal(two?.tries, 1)
    assert.equal(await two?.begin(), true)
    assert.equal(await two?.done(Buffer.from('goods')), true)
    const steps = (await w.ledger.find('n'))?.steps.map(({ type }) => type) ?? []
    assert.ok(
      steps.includes('queued') && steps.includes('worked-off'),
      'its payment tells the story',
    )
  })

  test('that was refunded by hand is not worked off', async () => {
    const w = open()
    const gate = w.gateOf()
    const queued = await w.sell(gate)
    await gate.refund({ key: 'n', idempotencyKey: 'by-hand' })
    assert.deepEqual(await tasksOf(gate).take(8), [])
    const task = await tasksOf(gate).find(queued?.task.id ?? '')
    assert.deepEqual([task?.state, task?.why, task?.refund], ['failed', 'refunded', 'none'])
    assert.equal(w.sum(), 100_000n)
  })

  test('is given back by its end, whoever looks', async () => {
    const w = open()
    const queued = await w.sell(w.gateOf())
    const other = w.gateOf()
    w.clock.pass(HOUR_MS - 1)
    await other.recover()
    assert.equal((await tasksOf(other).find(queued?.task.id ?? ''))?.state, 'accepted')
    w.clock.pass(1)
    await other.recover()
    assert.equal((await tasksOf(other).find(queued?.task.id ?? ''))?.why, 'late')
    assert.deepEqual(await tasksOf(other).take(8), [])
    assert.equal(w.sum(), 100_000n)
    await w.sound()
  })

  test('of which nobody was charged by its end is made anew for whoever pays then', async () => {
    const w = open()
    const withinMs = 60_000
    const dead = w.dying()
    const to = ask(priced('0.10 USD', { keep: true }))
    const credential = { offer: await offerOf(dead, to), proof: 'n' }
    await dead.admit({ ...to, credential })
    const first = await tasksOf(dead).queue({ ...w.order, withinMs })
    w.clock.pass(LEASES_MS)
    const gate = w.gateOf()
    assert.deepEqual(await tasksOf(gate).take(8), [])
    await gate.recover()
    const second = await w.sell(gate, { withinMs })
    assert.equal((await w.ledger.find('n'))?.state, 'posted')
    assert.notEqual(second?.task.id, first.task.id)
    const [one] = await tasksOf(gate).take(8)
    assert.equal(await one?.begin(), true)
    assert.equal(await one?.done(Buffer.from('goods')), true)
    assert.equal(w.sum(), 0n)
    await w.sound()
  })

  test('leaves nothing in the vault where nobody was charged, or when it is over', async () => {
    const w = open()
    const gate = w.gateOf()
    const tasks = tasksOf(gate)
    const order = { ...w.order, payment: 'time/1' }
    const queued = await tasks.queue(order)
    assert.equal(w.kept.size, 1)
    await tasks.queue(order)
    assert.equal(w.kept.size, 1)
    await queued.charged?.(false)
    assert.equal(w.kept.size, 0)
    await assert.rejects(tasks.queue({ ...order, work: Buffer.alloc(QUEUE_BYTES_MAX + 1) }))
    assert.equal(w.kept.size, 0)
    await w.sell(gate)
    const [one] = await tasks.take(8)
    await one?.begin()
    await one?.done(Buffer.from('goods'))
    assert.deepEqual(
      [...w.kept.keys()].filter((name) => name.includes('/work/')),
      [],
    )
    await w.sound()
  })

  test('is one of so many, by their bytes and by their number', async () => {
    const w = open()
    const tasks = tasksOf(w.gateOf())
    const add = (n: number): Promise<Queued> => tasks.queue({ ...w.order, payment: `time/${n}` })
    const most = QUEUE_BYTES_MAX / QUEUE_ITEM_BYTES_MIN
    for (let i = 0; i < most - 1; i++) await add(i)
    const last = await add(most)
    await assert.rejects(add(most + 1), { code: 'rate-limited' })
    await last.charged?.(false)
    await add(most + 2)
    const large = {
      ...w.order,
      payment: 'time/large',
      work: Buffer.alloc(QUEUE_ITEM_BYTES_MIN + 1),
    }
    await assert.rejects(tasks.queue(large), { code: 'rate-limited' })
  })
})
