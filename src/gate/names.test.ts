// Requests that their payers gave a name, and pay anew each time they come: charged once, however often that is.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { systemChance } from '../core/chance.ts'
import { createMac } from '../core/mac.ts'
import { createOffers } from '../core/offers.ts'
import type { Ask, Gate, Kept, Ledger, Pass, Rail, Refusal } from '../core/ports.ts'
import { createSeal } from '../core/seal.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import {
  ask,
  createHandClock,
  createKeyRail,
  failing,
  offerOf,
  passed,
  priced,
} from './fixture.test.ts'
import { SETTLE_MS, WORK_MS, createGate } from './gate.ts'

const SECRETS = ['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA']
const kept = priced('0.10 USD', { keep: true })
const plain = priced('0.10 USD')
const answer = Buffer.from('the goods')

function open(change: Partial<Rail<unknown, string>> = {}) {
  const clock = createHandClock()
  const ledger = memory({ clock })
  const stored = new Map<string, Uint8Array>()
  // Who pays stands before the colon.
  const payerOf = (key: string): string => (key.includes(':') ? (key.split(':')[0] ?? '') : 'buyer')
  const { rail, moved } = createKeyRail(clock, {
    verify: async (_, key) => ({ ok: true, key, payer: payerOf(key) }),
    identify: (_, key) => ({ key, payer: payerOf(key) }),
    ...change,
  })
  const gateOf = (books: Ledger = ledger): Gate =>
    createGate({
      ...{ rails: [rail], ledger: books, clock, observe: () => undefined },
      offers: createOffers(createMac(SECRETS, 'offers')),
      seal: createSeal(SECRETS, 'vault', systemChance),
      vault: {
        put: async (key, sealed) => void stored.set(key, sealed),
        get: async (key) => stored.get(key),
      },
    })
  const gate = gateOf()
  const named = async (
    proof: string,
    idempotencyKey: string,
    sale = kept,
    where: Parameters<typeof ask>[2] = {},
  ): Promise<Ask> => {
    const to = ask(sale, undefined, where)
    return { ...to, idempotencyKey, credential: { offer: await offerOf(gate, to), proof } }
  }
  return {
    ...{ gate, gateOf, ledger, clock, moved, named },
    sound: async () => assert.deepEqual((await verifyBooks(ledger)).problems, []),
  }
}

async function serve(gate: Gate, to: Ask): Promise<string> {
  return await end(await gate.admit(to))
}

async function end(entry: Pass | Kept | Refusal, success = true): Promise<string> {
  if (entry.kind === 'kept') return `kept ${Buffer.from(entry.answer).toString()}`
  if (entry.kind === 'refused') return entry.problem.code
  const outcome = await entry.finish(success, answer)
  entry.delivered()
  return outcome.kind === 'serve' ? 'served' : outcome.problem.code
}

describe('a request that is named and paid anew', () => {
  test('gets the first answer again, and the second payment is not taken', async () => {
    const w = open()
    assert.equal(await serve(w.gate, await w.named('n1', 'order')), 'served')
    assert.equal(await serve(w.gate, await w.named('n2', 'order')), 'kept the goods')
    assert.equal(await serve(w.gateOf(), await w.named('n3', 'order')), 'kept the goods')
    assert.deepEqual([...w.moved.keys()], ['n1'])
    // Under another name it is another request.
    assert.equal(await serve(w.gate, await w.named('n4', 'other')), 'served')
    await w.sound()
  })

  test('is told that it was answered, where the answer is not kept', async () => {
    const w = open()
    assert.equal(await serve(w.gate, await w.named('n1', 'order', plain)), 'served')
    const again = await w.gate.admit(await w.named('n2', 'order', plain))
    assert.ok(again.kind === 'refused' && again.problem.code === 'payment-delivered')
    assert.equal(again.problem.receipt?.reference, 'tx-n1')
    assert.deepEqual([...w.moved.keys()], ['n1'])
  })

  test('is refused for another request, and is another for another payer', async () => {
    const w = open()
    assert.equal(await serve(w.gate, await w.named('ann:1', 'order')), 'served')
    const elsewhere = { resource: { path: '/b', url: 'http://api.test/b' } }
    const other = await w.named('ann:2', 'order', kept, elsewhere)
    assert.equal(await serve(w.gate, other), 'idempotency-conflict')
    assert.equal(await serve(w.gate, await w.named('bob:1', 'order')), 'served')
    assert.deepEqual([...w.moved.keys()], ['ann:1', 'bob:1'])
    assert.equal(await serve(w.gate, await w.named('ann:2', 'second', kept, elsewhere)), 'served')
  })

  test('is charged once, however many payments come for it at once, in however many processes', async () => {
    const w = open()
    const gates = [w.gate, w.gateOf(), w.gateOf()]
    const asks = await Promise.all([...Array(9).keys()].map((i) => w.named(`n${i}`, 'order')))
    const said = await Promise.all(
      asks.map(async (to, i) => await serve(gates[i % 3] ?? w.gate, to)),
    )
    assert.equal(said.filter((one) => one === 'served').length, 1)
    assert.ok(said.every((one) => ['served', 'payment-in-flight', 'kept the goods'].includes(one)))
    assert.equal(w.moved.size, 1)
    assert.equal(await serve(w.gate, await w.named('n9', 'order')), 'kept the goods')
    await w.sound()
  })

  test('waits for the first, and is done by the next where that came to nothing', async () => {
    const w = open()
    const first = passed(await w.gate.admit(await w.named('n1', 'order')))
    assert.equal(await serve(w.gate, await w.named('n2', 'order')), 'payment-in-flight')
    await end(first, false)
    assert.equal(await serve(w.gate, await w.named('n2', 'order')), 'served')
    assert.equal(await serve(w.gate, await w.named('n3', 'order')), 'kept the goods')
    assert.deepEqual([...w.moved.keys()], ['n2'])
  })

  test('is not paid once more by an earlier payment that came to nothing, when the next one was taken', async () => {
    const w = open()
    const first = await w.named('n1', 'order')
    await end(passed(await w.gate.admit(first)), false)
    assert.equal(await serve(w.gate, await w.named('n2', 'order')), 'served')
    assert.equal(await serve(w.gate, first), 'kept the goods')
    assert.deepEqual([...w.moved.keys()], ['n2'])
    // Where no other was taken, the same payment is good for another try.
    const alone = await w.named('n3', 'other')
    await end(passed(await w.gate.admit(alone)), false)
    assert.equal(await serve(w.gate, alone), 'served')
    assert.equal(await serve(w.gate, await w.named('n4', 'other')), 'kept the goods')
    assert.deepEqual([...w.moved.keys()], ['n2', 'n3'])
    await w.sound()
  })

  test('whose outcome is not known is no reason to take another payment', async () => {
    const w = open({
      settle: async (_, __, ___, log) => {
        await log.write({ type: 'prepared', data: {} })
        return { state: 'unknown', detail: '…' }
      },
    })
    assert.equal(await serve(w.gate, await w.named('n1', 'order')), 'payment-unknown')
    assert.equal(await serve(w.gate, await w.named('n2', 'order')), 'payment-unknown')
  })

  test('is paid anew where the first payment was given back', async () => {
    const back: NonNullable<Rail['refund']> = async () => ({
      ...({ state: 'settled', reference: 'back', payer: 'buyer', settledAt: 1 } as const),
    })
    const w = open({ refund: back })
    const first = passed(
      await w.gate.admit(
        await w.named('n1', 'order', priced('0.10 USD', { settle: 'before-work' })),
      ),
    )
    await first.finish(false)
    assert.equal((await w.gate.refund({ key: 'n1', idempotencyKey: 'x' })).kind, 'refunded')
    assert.equal(await serve(w.gate, await w.named('n2', 'order')), 'served')
  })

  test('is not held for ever by a process that died before it had claimed its payment', async () => {
    const w = open()
    const broken = failing(w.ledger, { verb: 'transfer', call: 2, isDone: false })
    await w.gateOf(broken.ledger).admit(await w.named('n1', 'order'))
    assert.ok(broken.hit())
    w.clock.pass(WORK_MS + SETTLE_MS)
    await w.gate.recover()
    assert.equal(await serve(w.gate, await w.named('n2', 'order')), 'served')
    assert.equal(await serve(w.gate, await w.named('n1', 'order')), 'kept the goods')
    assert.deepEqual([...w.moved.keys()], ['n2'])
  })

  test('survives books that fail at every write, and is charged once', async () => {
    let hits = 0
    for (const verb of ['transfer', 'post', 'step', 'void'] as const)
      for (const isDone of [false, true])
        for (let call = 1; call <= 4; call++) {
          const w = open()
          const broken = failing(w.ledger, { verb, call, isDone })
          const gate = w.gateOf(broken.ledger)
          await serve(gate, await w.named('n1', 'order')).catch(() => undefined)
          if (!broken.hit()) break
          hits++
          w.clock.pass(WORK_MS + SETTLE_MS)
          const next = w.gateOf()
          await next.recover()
          const said = await serve(next, await w.named('n2', 'order'))
          assert.ok(
            ['served', 'kept the goods'].includes(said),
            `${verb} ${call} ${isDone}: ${said}`,
          )
          assert.equal(w.moved.size, 1, `${verb} ${call} ${isDone}`)
          await w.sound()
        }
    assert.ok(hits > 6)
  })
})
