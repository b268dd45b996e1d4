// Work that goes on after its answer, through a whole seller: paid once, fetched by whoever has paid, and given back where it fails.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Clock, Rail, Vault } from '../core/ports.ts'
import { TASK_KEEP_MS, TASK_TURN_MS, WORK_MS } from '../gate/limits.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { oauth } from '../protocols/oauth/index.ts'
import { TASKS_PATH } from '../core/task.ts'
import { createMacaroonMint, createMacaroons } from '../tokens/macaroon/index.ts'
import { TOKENS_PATH } from './exchange.ts'
import { toll } from './fetch.ts'
import type { Routes } from './routes.ts'
import { createSeller } from './seller.ts'
import { ORIGIN, SECRET, bearer, createHand, createRail, fake, pay } from './shop.test.ts'
import { startTask } from './tasks.ts'
import type { RunningTask, TaskResult } from './tasks.ts'

function shelf({ now }: Pick<Clock, 'now'>): Vault {
  const kept = new Map<string, { readonly sealed: Uint8Array; readonly untilAt: number }>()
  return {
    put: async (key, sealed, untilAt) => void kept.set(key, { sealed, untilAt }),
    async get(key) {
      const found = kept.get(key)
      return found && found.untilAt > now() ? found.sealed : undefined
    },
  }
}

type Work = (task: RunningTask) => Promise<TaskResult>

const routes: Routes = {
  'POST /render': { price: '0.10 USD', task: true, body: 'free' },
  'POST /model': { plan: 'purse', meter: { unit: '0.05 USD' }, task: { withinMs: 60_000 } },
}

function world() {
  const clock = createHand()
  const ledger = memory({ clock })
  const vault = shelf(clock)
  const moved = new Set<string>()
  const back: bigint[] = []
  const keys = new Set<string>()
  const refund: NonNullable<Rail['refund']> = async (_offer, _to, { amount }, key) => {
    if (!keys.has(key)) back.push(amount)
    keys.add(key)
    return { state: 'settled', reference: `back-${key}`, payer: 'buyer', settledAt: clock.now() }
  }
  const mints = [createMacaroonMint(createMacaroons({ secrets: [SECRET] }), clock)]
  return {
    ...{ clock, ledger, back, moved },
    sound: async () => assert.deepEqual((await verifyBooks(ledger)).problems, []),
    /** A process that works so. */
    async open(work: Work) {
      let runs = 0
      const seller = await createSeller({
        ...{ secret: SECRET, origin: ORIGIN, ledger, vault, clock, mints },
        rails: [{ ...createRail(moved), refund }],
        protocols: [fake, oauth({ mints, clock })],
        plans: { purse: { price: '1 USD', balance: '1 USD' } },
      })
      const handler = toll(seller, routes, async (request) => {
        const { status, headers, body } = await startTask(request, (task) => {
          runs++
          return work(task)
        })
        return new Response(body, { status, headers })
      })
      const ask = async (path: string, headers: Record<string, string> = {}, method = 'GET') =>
        await handler(new Request(ORIGIN + path, { method, headers }))
      /** The field that pays for a request. */
      const paying = async (path: string, nonce: string) => {
        const { offers } = (await (await ask(path, {}, 'POST')).json()) as {
          readonly offers: readonly unknown[]
        }
        return { 'fake-payment': pay(offers[0], nonce) }
      }
      return {
        ...{ seller, ask, paying, runs: () => runs },
        state: async (address: string) =>
          (await (await ask(address)).json()) as Record<string, unknown>,
      }
    },
  }
}

const addressOf = (response: Response): string => response.headers.get('location') ?? ''
const settled = async (): Promise<void> => {
  for (let i = 0; i < 40; i++) await turn()
}

describe('a task', () => {
  test('is accepted, tells how far it is, and hands its result to whoever has paid', async () => {
    const w = world()
    const gate = Promise.withResolvers<void>()
    const node = await w.open(async (task) => {
      task.progress(1, 4)
      await gate.promise
      return { body: new Uint8Array([0, 255, 7]), headers: { 'Content-Type': 'image/x' } }
    })
    assert.equal((await node.ask('/render', {}, 'POST')).status, 402)
    const fields = await node.paying('/render', 'n1')
    const said = await node.ask('/render', fields, 'POST')
    assert.equal(said.status, 202)
    assert.equal(said.headers.get('fake-receipt'), 'tx-n1')
    assert.ok(Number(said.headers.get('retry-after')) > 0)
    const address = addressOf(said)
    await settled()
    assert.deepEqual(
      [(await node.state(address))['state'], (await node.state(address))['progress']],
      ['running', 0.25],
    )
    gate.resolve()
    await settled()
    // The address alone tells how it stands, and no more.
    const stranger = await node.ask(address)
    assert.equal(((await stranger.json()) as Record<string, unknown>)['state'], 'done')
    const other = await node.paying('/render', 'n2')
    assert.match(await (await node.ask(address, other)).text(), /"state":"done"/)
    const result = await node.ask(address, fields)
    assert.deepEqual([...new Uint8Array(await result.arrayBuffer())], [0, 255, 7])
    assert.equal(result.headers.get('content-type'), 'image/x')
    assert.equal((await node.ask(`${TASKS_PATH}${'a'.repeat(64)}.${'b'.repeat(24)}`)).status, 404)
    assert.equal((await node.ask(`${address.slice(0, -1)}-`)).status, 404)
    assert.deepEqual(w.back, [])
    await w.sound()
    await node.seller.close()
  })

  test('is found by the same payment for as long as its result is kept', async () => {
    const w = world()
    const node = await w.open(async () => ({ body: 'done' }))
    const fields = await node.paying('/render', 'n1')
    const first = await node.ask('/render', fields, 'POST')
    await settled()
    w.clock.pass(TASK_KEEP_MS - 1_000)
    const again = await node.ask('/render', fields, 'POST')
    assert.deepEqual([again.status, addressOf(again)], [202, addressOf(first)])
    assert.equal(await (await node.ask(addressOf(again), fields)).text(), 'done')
    assert.deepEqual([node.runs(), w.moved.size], [1, 1])
    await node.seller.close()
  })

  test('of the same payment is the same task, once', async () => {
    const w = world()
    const node = await w.open(async () => ({ body: 'done' }))
    const fields = await node.paying('/render', 'n1')
    const first = await node.ask('/render', fields, 'POST')
    const again = await node.ask('/render', fields, 'POST')
    assert.deepEqual([again.status, addressOf(again)], [202, addressOf(first)])
    await settled()
    assert.equal(node.runs(), 1)
    assert.equal(w.moved.size, 1)
    await node.seller.close()
  })

  test('that fails gives back what was not done, and no more', async () => {
    const w = world()
    const node = await w.open(async (task) => {
      task.progress(3, 10)
      throw new Error('Out of paint.')
    })
    const said = await node.ask('/render', await node.paying('/render', 'n1'), 'POST')
    await settled()
    const state = await node.state(addressOf(said))
    assert.deepEqual(
      [state['state'], state['progress'], state['refund'], state['why']],
      ['failed', 0.3, 'refunded', 'work-failed'],
    )
    assert.ok(!JSON.stringify(state).includes('paint'))
    assert.deepEqual(w.back, [70_000n])
    await node.seller.gate.recover()
    assert.equal(w.back.length, 1)
    await w.sound()
    await node.seller.close()
  })

  test('that ends with a status that costs nothing has failed', async () => {
    const w = world()
    const node = await w.open(async () => ({ status: 500 }))
    const said = await node.ask('/render', await node.paying('/render', 'n1'), 'POST')
    await settled()
    assert.equal((await node.state(addressOf(said)))['why'], 'status-500')
    assert.deepEqual(w.back, [100_000n])
    await node.seller.close()
  })

  test('whose process is gone has failed by what was written of it, and is given back once', async () => {
    const w = world()
    const dead = await w.open(async (task) => {
      task.progress(50, 100)
      return await new Promise<never>(() => undefined)
    })
    const fields = await dead.paying('/render', 'n1')
    const address = addressOf(await dead.ask('/render', fields, 'POST'))
    await settled()
    const next = await w.open(async () => ({ body: 'never' }))
    await next.seller.gate.recover()
    assert.equal((await next.state(address))['state'], 'running', 'it may live')
    w.clock.pass(TASK_TURN_MS)
    await Promise.all([next.seller.gate.recover(), next.seller.gate.recover()])
    await settled()
    await next.seller.gate.recover()
    const state = await next.state(address)
    assert.deepEqual(
      [state['state'], state['why'], state['refund']],
      ['failed', 'interrupted', 'refunded'],
    )
    assert.deepEqual(w.back, [50_000n])
    const again = await next.ask('/render', fields, 'POST')
    assert.equal(addressOf(again), address)
    assert.equal(next.runs(), 0)
    await w.sound()
    await next.seller.close()
  })

  test('that a process ends while it closes is given back, and its work is told to stop', async () => {
    const w = world()
    let isStopped = false
    const node = await w.open(async ({ signal }) => {
      await new Promise<void>((done) => signal.addEventListener('abort', () => done()))
      isStopped = true
      throw new Error('Stopped.')
    })
    const said = await node.ask('/render', await node.paying('/render', 'n1'), 'POST')
    await settled()
    await node.seller.close()
    assert.ok(isStopped)
    assert.deepEqual(w.back, [100_000n])
    const next = await w.open(async () => ({}))
    assert.equal((await next.state(addressOf(said)))['why'], 'interrupted')
    await next.seller.close()
  })

  test('that was accepted and never charged runs nothing, and its payment is good again', async () => {
    const w = world()
    const node = await w.open(async () => ({ body: 'done' }))
    const fields = await node.paying('/render', 'n1')
    const leaving = new AbortController()
    const handler = toll(node.seller, routes, async (request) => {
      const { status, headers, body } = await startTask(request, async () => assert.fail('It ran.'))
      leaving.abort()
      return new Response(body, { status, headers })
    })
    const { signal } = leaving
    await handler(
      new Request(`${ORIGIN}/render`, { method: 'POST', headers: fields, signal }),
    ).catch(() => undefined)
    await settled()
    w.clock.pass(TASK_TURN_MS + WORK_MS)
    await node.seller.gate.recover()
    assert.equal((await node.ask('/render', fields, 'POST')).status, 202)
    await settled()
    assert.equal(node.runs(), 1)
    assert.deepEqual(w.back, [])
    await node.seller.close()
  })
})

describe('a task that a token pays', () => {
  async function purse(node: Awaited<ReturnType<ReturnType<typeof world>['open']>>) {
    const path = `${TOKENS_PATH}/purse`
    const bought = await node.ask(path, await node.paying(path, 'p'), 'POST')
    const { token } = (await bought.json()) as { readonly token: string }
    const left = async () =>
      ((await (await node.ask(TOKENS_PATH, bearer(token))).json()) as Record<string, unknown>)[
        'balance'
      ]
    return { token, left }
  }

  test('puts back what was not done, and hands its result to the account', async () => {
    const w = world()
    let isGood = false
    const node = await w.open(async (task) => {
      task.progress(1, 4)
      if (!isGood) throw new Error('No.')
      return { body: 'a picture' }
    })
    const { token, left } = await purse(node)
    const failed = await node.ask('/render', bearer(token), 'POST')
    assert.equal(failed.status, 202)
    await settled()
    assert.equal((await node.state(addressOf(failed)))['refund'], 'refunded')
    assert.equal(await left(), '0.975 USD')
    isGood = true
    const good = await node.ask('/render', bearer(token), 'POST')
    await settled()
    assert.equal(await (await node.ask(addressOf(good), bearer(token))).text(), 'a picture')
    assert.equal(await left(), '0.875 USD')
    await w.sound()
    await node.seller.close()
  })

  test('is charged by measure while it runs, after its answer has left', async () => {
    const w = world()
    const gate = Promise.withResolvers<void>()
    const node = await w.open(async ({ meter }) => {
      assert.ok(await meter?.take('0.12 USD', 'words'))
      await gate.promise
      assert.ok(await meter?.take('0.10 USD', 'words'))
      return { body: 'many words' }
    })
    const { token, left } = await purse(node)
    const said = await node.ask('/model', bearer(token), 'POST')
    assert.deepEqual([said.status, await said.text().then((text) => text.length > 0)], [202, true])
    await settled()
    gate.resolve()
    await settled()
    assert.equal(await left(), '0.78 USD')
    assert.equal(await (await node.ask(addressOf(said), bearer(token))).text(), 'many words')
    await w.sound()
    await node.seller.close()
  })

  test('by measure costs what was counted where it fails', async () => {
    const w = world()
    const node = await w.open(async ({ meter }) => {
      await meter?.take('0.12 USD', 'words')
      throw new Error('No.')
    })
    const { token, left } = await purse(node)
    const said = await node.ask('/model', bearer(token), 'POST')
    await said.text()
    await settled()
    assert.equal((await node.state(addressOf(said)))['refund'], 'none')
    assert.equal(await left(), '0.88 USD')
    await node.seller.close()
  })
})

test('a route with a task needs a vault, and pays before the work', async () => {
  const clock = createHand()
  const rails = [createRail(new Set())]
  const seller = await createSeller({
    secret: SECRET,
    rails,
    protocols: [fake],
    ledger: memory({ clock }),
    clock,
  })
  assert.throws(
    () => toll(seller, { 'POST /render': { price: '1 USD', task: true } }, () => new Response()),
    /vault/,
  )
  await settled()
  await seller.close()
  const late: Routes = { 'GET /a': { price: '1 USD', task: true, settle: 'deferred' } }
  const node = await world().open(async () => ({}))
  assert.throws(() => toll(node.seller, late, () => new Response()), /before-work/)
  await assert.rejects(
    startTask({}, async () => ({})),
    /no task/,
  )
  await settled()
  await node.seller.close()
})
