// Tasks in the books: whoever dies at whichever write, what was charged is served or goes back, once.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Gate, Vault } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import type { TaskOrder } from '../core/task.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { ask, createKeepingShop, failing, offerOf, passed, priced } from './fixture.test.ts'
import { SETTLE_MS, WORK_MS } from './gate.ts'
import { REFUND_TURN_MS, TASK_TURN_MS, TASKS_MAX } from './limits.ts'

const sale = priced('0.10 USD', { settle: 'before-work' })

function open() {
  const shop = createKeepingShop()
  const { back } = shop
  const order: TaskOrder = {
    ...{ payment: 'n', request: 'r', what: 'POST /a', holder: 'h', isMetered: false },
    withinMs: 600_000,
  }
  return {
    ...{ ...shop, order },
    /** Sells, and answers: from then on the payer does not come again. Or dies before the answer has left. */
    async sell(gate: Gate, isLost = false): Promise<void> {
      const to = ask(sale)
      const credential = { offer: await offerOf(gate, to), proof: 'n' }
      const pass = passed(await gate.admit({ ...to, credential }))
      assert.equal((await pass.finish(true)).kind, 'serve')
      if (!isLost) pass.delivered()
      for (let i = 0; i < 5; i++) await turn()
    },
    sum: () => [...back.values()].reduce((total, one) => total + one, 0n),
    sound: async () => assert.deepEqual((await verifyBooks(shop.ledger)).problems, []),
  }
}

const tasksOf = ({ tasks }: Gate): NonNullable<Gate['tasks']> => tasks ?? assert.fail('No vault.')

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await turn()
}

describe('a task in the books', () => {
  for (const isGood of [true, false])
    test(`that ${isGood ? 'is done' : 'fails'} survives books that fail at every write`, async () => {
      let hits = 0
      for (const verb of ['transfer', 'step', 'post', 'void'] as const)
        for (const isDone of [false, true])
          for (let call = 1; call <= 6; call++) {
            const what = `${verb} ${call} ${isDone}`
            const w = open()
            await w.sell(w.gateOf())
            const broken = failing(w.ledger, { verb, call, isDone })
            const tasks = tasksOf(w.gateOf({ ledger: broken.ledger }))
            const begun = await tasks.begin(w.order).catch(() => undefined)
            const { run } = begun ?? {}
            try {
              await run?.start()
              run?.progress(400)
              await (isGood ? run?.done(Buffer.from('goods')) : run?.fail('work-failed'))
            } catch {
              await run?.fail('work-failed').catch(() => undefined)
            }
            await settled()
            if (!broken.hit()) break
            hits++
            const next = w.gateOf()
            for (let i = 0; i < 3; i++) {
              w.clock.pass(TASK_TURN_MS + REFUND_TURN_MS)
              await next.recover()
            }
            // What never stood in the books is made anew by whoever shows the payment again.
            const found = begun ?? (await tasksOf(next).begin(w.order))
            const task = await tasksOf(next).find(found.task.id)
            if (task?.state === 'done') {
              assert.equal(String(await tasksOf(next).result(task.id)), 'goods', what)
              assert.equal(w.sum(), 0n, what)
            } else if (task?.state === 'failed') {
              assert.ok([60_000n, 100_000n].includes(w.sum()), `${what}: ${w.sum()}`)
              assert.equal(task.refund, 'refunded', what)
            } else assert.ok(!begun, `${what}: ${task?.state}`)
            assert.ok(w.back.size <= 1, what)
            await w.sound()
          }
      assert.ok(hits > 8)
    })

  test('that was given up is over, and its result is nobody’s', async () => {
    const w = open()
    await w.sell(w.gateOf())
    const { task, run } = await tasksOf(w.gateOf()).begin(w.order)
    await run?.start()
    const other = w.gateOf()
    await other.recover()
    assert.equal(
      (await tasksOf(other).find(task.id))?.state,
      'running',
      'its last sign still holds',
    )
    await run?.fail('late')
    assert.equal(await run?.done(Buffer.from('goods')), false, 'the first end holds')
    assert.equal((await tasksOf(other).find(task.id))?.why, 'late')
    assert.equal(await tasksOf(other).result(task.id), undefined)
    assert.equal(w.sum(), 100_000n)
    await w.sound()
  })

  test('whose process comes back at whichever moment of its being given up is done, or goes back: never both', async () => {
    const ends = new Set<string>()
    for (let at = 1; at <= 40; at++) {
      const w = open()
      const first = w.gateOf()
      await w.sell(first)
      const { task, run } = await tasksOf(first).begin(w.order)
      assert(run)
      await run.start()
      w.clock.pass(TASK_TURN_MS + 1)
      let calls = 0
      let done: boolean | undefined
      const interrupted = new Proxy(w.ledger, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name)
          if (typeof value !== 'function') return value
          return async (...given: unknown[]) => {
            if (++calls === at) done = await run.done(Buffer.from('goods'))
            return (await Reflect.apply(value, target, given)) as unknown
          }
        },
      })
      const next = w.gateOf({ ledger: interrupted })
      await next.recover()
      await settled()
      // All calls of a recovery were tried.
      if (calls < at) {
        await run.cancel()
        break
      }
      for (let i = 0; i < 3; i++) {
        w.clock.pass(TASK_TURN_MS + REFUND_TURN_MS)
        await next.recover()
      }
      const found = await tasksOf(next).find(task.id)
      const result = await tasksOf(next).result(task.id)
      assert.equal(found?.state, done ? 'done' : 'failed', `${at}`)
      assert.equal(result !== undefined, done, `${at}`)
      assert.equal(w.sum(), done ? 0n : 100_000n, `${at}`)
      ends.add(found.state)
      await w.sound()
    }
    assert.deepEqual(ends, new Set(['done', 'failed']))
  })

  test('that takes too long has failed, and its work is told', async () => {
    const w = open()
    const gate = w.gateOf()
    await w.sell(gate)
    const { task, run } = await tasksOf(gate).begin({ ...w.order, withinMs: 50_000 })
    await run?.start()
    for (let i = 0; i < 6; i++) {
      await settled()
      w.clock.pass(10_000)
    }
    await settled()
    assert.equal(run?.signal.aborted, true)
    assert.equal((await tasksOf(gate).find(task.id))?.why, 'late')
    assert.equal(w.sum(), 100_000n)
  })

  test('lives as long as its process shows it, whoever looks', async () => {
    const w = open()
    const gate = w.gateOf()
    await w.sell(gate)
    const { task, run } = await tasksOf(gate).begin(w.order)
    await run?.start()
    const other = w.gateOf()
    for (let i = 0; i < 20; i++) {
      await settled()
      w.clock.pass(20_000)
      await other.recover()
    }
    assert.equal((await tasksOf(other).find(task.id))?.state, 'running')
    assert.equal(await run?.done(Buffer.from('goods')), true)
    assert.equal(String(await tasksOf(other).result(task.id)), 'goods')
    assert.equal(w.sum(), 0n)
  })

  test('whose result cannot be kept is given back', async () => {
    const w = open()
    const full: Vault = {
      get: async () => undefined,
      put: () => Promise.reject(new PaymentError('store-unavailable', 'Full.')),
    }
    const gate = w.gateOf({ vault: full })
    await w.sell(gate)
    const { task, run } = await tasksOf(gate).begin(w.order)
    await run?.start()
    assert.equal(await run?.done(Buffer.from('goods')), false)
    assert.deepEqual([(await tasksOf(gate).find(task.id))?.why, w.sum()], ['unkept', 100_000n])
  })

  test('is one of so many that a process runs', async () => {
    const w = open()
    const tasks = tasksOf(w.gateOf())
    for (let i = 0; i < TASKS_MAX; i++) await tasks.begin({ ...w.order, payment: `time/${i}` })
    await assert.rejects(tasks.begin({ ...w.order, payment: 'time/more' }), {
      code: 'rate-limited',
    })
  })

  test('that was charged and nobody took up goes back: the answer that names it may be kept', async () => {
    const w = open()
    await w.sell(w.gateOf(), true)
    const { task } = await tasksOf(w.gateOf()).begin(w.order)
    const next = w.gateOf()
    for (let i = 0; i < 3; i++) {
      w.clock.pass(TASK_TURN_MS + REFUND_TURN_MS)
      await next.recover()
    }
    const found = await tasksOf(next).find(task.id)
    assert.deepEqual([found?.state, found?.refund, w.sum()], ['failed', 'refunded', 100_000n])
    await w.sound()
  })

  test('that nobody was charged for leaves nothing', async () => {
    const w = open()
    const tasks = tasksOf(w.gateOf())
    const { task, run } = await tasks.begin({ ...w.order, payment: 'time/1' })
    await run?.cancel()
    assert.equal(await tasks.find(task.id), undefined)
    w.clock.pass(WORK_MS + SETTLE_MS)
    await w.gateOf().recover()
    assert.equal(w.sum(), 0n)
  })
})
