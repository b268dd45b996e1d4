// Recovery where the world is slow: a rail whose looks end when they are told to, and a clock that is moved by hand.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Event } from '../core/event.ts'
import { createMac } from '../core/mac.ts'
import { readPrice } from '../core/money.ts'
import { createOffers } from '../core/offers.ts'
import type { Ask, Clock, Gate, Ledger, Rail, Settlement, Standing } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { termsOf } from './fixture.test.ts'
import { createGate } from './gate.ts'
import {
  CLOSE_WAIT_MS,
  LOOK_FIRST_MS,
  LOOK_SHARED_MS,
  RECOVER_AT_ONCE,
  SETTLE_MS,
  WORK_MS,
} from './limits.ts'

const START_AT = 1_800_000_000_000
const open = { state: 'unknown', detail: '…' } as const

describe('a look at an open sale that takes its time', () => {
  test('keeps none of the others waiting, and recovery not for long', async () => {
    const w = world()
    const keys = Array.from({ length: 3 * RECOVER_AT_ONCE }, (_, i) => `n${i}`)
    await w.leave(keys)
    w.hang('n0')
    let over = false
    const recovered = w.gate.recover().then(() => (over = true))
    await w.turns()
    assert.deepEqual(await w.open(), ['n0'])
    assert.equal(over, false)
    w.pass(CLOSE_WAIT_MS)
    await recovered
    // What it finds at last still counts.
    w.found('n0')
    await w.turns()
    assert.deepEqual(await w.open(), [])
  })

  test('is one of so many at once', async () => {
    const w = world()
    const keys = Array.from({ length: 2 * RECOVER_AT_ONCE }, (_, i) => `n${i}`)
    await w.leave(keys)
    for (const key of keys) w.hang(key)
    const recovered = w.gate.recover()
    await w.turns()
    assert.equal(w.looks.length, RECOVER_AT_ONCE)
    w.pass(CLOSE_WAIT_MS)
    await w.turns()
    assert.equal(w.looks.length, 2 * RECOVER_AT_ONCE)
    w.pass(CLOSE_WAIT_MS)
    await recovered
  })

  test('is the same one for a request with its proof, which is served when it is through', async () => {
    const w = world()
    await w.leave(['n'])
    w.hang('n')
    const recovered = w.gate.recover()
    await w.turns()
    const entries = [1, 2].map(() => w.gate.admit(w.paid('n')))
    await w.turns()
    w.found('n')
    const kinds = (await Promise.all(entries)).map((entry) =>
      entry.kind === 'refused' ? entry.problem.code : entry.kind,
    )
    // One of them has the turn at delivering it.
    assert.deepEqual(kinds.toSorted(), ['pass', 'payment-in-flight'])
    await recovered
    assert.deepEqual(w.looks, ['n'])
  })

  test('has a request answered that its outcome is not known, and is still the only one', async () => {
    const w = world()
    await w.leave(['n'])
    w.hang('n')
    for (const _ of [1, 2]) {
      const entry = w.gate.admit(w.paid('n'))
      await w.turns()
      w.pass(CLOSE_WAIT_MS)
      const refused = await entry
      assert.equal(refused.kind === 'refused' && refused.problem.code, 'payment-unknown')
    }
    assert.deepEqual(w.looks, ['n'])
  })

  test('is given up for another one, should it never end', async () => {
    const w = world()
    await w.leave(['n'])
    w.hang('n')
    const recovered = w.gate.recover()
    await w.turns()
    w.pass(CLOSE_WAIT_MS)
    await recovered
    w.release('n')
    w.pass(LOOK_SHARED_MS)
    await w.gate.recover()
    assert.deepEqual(await w.open(), [])
    assert.deepEqual(w.looks, ['n', 'n'])
  })

  test('is the last one when the gate has closed', async () => {
    const w = world()
    const keys = Array.from({ length: 2 * RECOVER_AT_ONCE }, (_, i) => `n${i}`)
    await w.leave(keys)
    for (const key of keys) w.hang(key)
    const recovered = w.gate.recover()
    await w.turns()
    await w.gate.close()
    w.pass(CLOSE_WAIT_MS)
    await recovered
    assert.equal(w.looks.length, RECOVER_AT_ONCE)
  })
})

describe('books that fail once', () => {
  test('in the middle of a recovery leave the other sales closed, and are told', async () => {
    const w = world()
    await w.leave(['n'])
    for (const key of ['a', 'b', 'c']) await w.claim(key)
    w.pass(WORK_MS + SETTLE_MS)
    w.fail('expire', 1)
    await w.gate.recover()
    assert.equal((await w.open()).length, 1)
    assert.deepEqual(w.faults(), ['recover'])
    await w.gate.recover()
    assert.deepEqual(await w.open(), [])
  })

  test('while the journal is read keep nobody from looking at what may come undone', async () => {
    const w = world()
    const pass = await w.gate.admit(w.paid('n'))
    assert.ok(pass.kind === 'pass')
    await pass.finish(true)
    w.pass(LOOK_FIRST_MS)
    w.fail('journal', 1)
    await w.gate.recover()
    assert.deepEqual(w.stood, ['n'])
    assert.deepEqual(w.faults(), ['stands'])
  })
})

function world() {
  let now = START_AT
  const sleepers = new Set<{ readonly untilAt: number; wake(): void }>()
  const clock: Clock = {
    now: () => now,
    sleep: (ms, signal) =>
      new Promise((wake) => {
        const sleeper = { untilAt: now + ms, wake }
        sleepers.add(sleeper)
        signal?.addEventListener('abort', () => sleepers.delete(sleeper))
      }),
  }
  const books = memory({ clock })
  const events: Event[] = []
  const hanging = new Map<string, PromiseWithResolvers<Settlement>>()
  const looks: string[] = []
  const stood: string[] = []
  const settled: Settlement = {
    state: 'settled',
    reference: 'tx',
    payer: 'buyer',
    settledAt: START_AT,
  }
  const rail: Rail<unknown, string> = {
    name: 'test',
    network: 'net',
    forms: {},
    open: async () => {},
    close: async () => {},
    quote: ({ amount }) => [termsOf(amount)],
    identify: (_, nonce) => ({ key: nonce, payer: 'buyer' }),
    verify: async (_, key) => ({ ok: true, key, payer: 'buyer' }),
    async settle(_, proof, _key, log) {
      await log.write({ type: 'prepared', data: {} })
      return lost.has(proof) ? open : settled
    },
    async find(_, key) {
      looks.push(key)
      return (await hanging.get(key)?.promise) ?? settled
    },
    async stands(_, key): Promise<Standing> {
      stood.push(key)
      return { state: 'final' }
    },
  }
  const lost = new Set<string>()
  const failures = new Map<string, number>()
  const broken = new Proxy(books, {
    get(target, verb) {
      const value: unknown = Reflect.get(target, verb)
      const left = failures.get(String(verb)) ?? 0
      if (left === 0 || typeof value !== 'function') return value
      failures.set(String(verb), left - 1)
      return async () => {
        throw new PaymentError('store-unavailable', 'Full.')
      }
    },
  }) satisfies Ledger
  const offers = createOffers(createMac(['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'], 'offers'))
  const observe = (event: Event): void => void events.push(event)
  const gate: Gate = createGate({ rails: [rail], ledger: broken, offers, clock, observe })
  const ask: Ask = {
    resource: {
      realm: 'shop',
      method: 'GET',
      authority: 'api.test',
      path: '/a',
      query: '',
      url: 'http://api.test/a',
    },
    sale: {
      prices: [readPrice('0.000005 USD')],
      settle: 'before-response',
      account: 'sales/GET /a',
    },
    request: 'r1',
  }
  const said = gate.challenge(ask)
  assert('kind' in said, 'nobody must be asked')
  const [offer] = said.challenge?.offers ?? []
  assert.ok(offer)
  const paid = (proof: string): Ask => ({ ...ask, credential: { offer, proof } })
  const enter = async (proof: string) => {
    const entry = await gate.admit(paid(proof))
    return entry.kind === 'pass' ? entry : assert.fail(JSON.stringify(entry))
  }
  const pass = (ms: number): void => {
    now += ms
    for (const sleeper of sleepers) if (sleeper.untilAt <= now) sleeper.wake()
  }
  return {
    gate,
    looks,
    stood,
    paid,
    pass,
    /** Sold, sent, and what became of it was not told. */
    async leave(keys: readonly string[]): Promise<void> {
      for (const key of keys) {
        lost.add(key)
        await (await enter(key)).finish(true)
      }
    },
    /** Claimed, and its maker never ends. By another process: this one would know that it is at it. */
    async claim(key: string): Promise<void> {
      const other = createGate({ rails: [rail], ledger: books, offers, clock })
      assert.equal((await other.admit(paid(key))).kind, 'pass')
    },
    hang: (key: string) => void hanging.set(key, Promise.withResolvers()),
    found: (key: string) => hanging.get(key)?.resolve(settled),
    /** Those that look from now on do not hang. */
    release: (key: string) => void hanging.delete(key),
    fail: (verb: keyof Ledger, times: number) => void failures.set(verb, times),
    faults: () => events.flatMap((event) => (event.type === 'fault' ? [event.where] : [])),
    open: async () => (await books.pending()).map(({ key }) => key),
    async turns(): Promise<void> {
      for (let i = 0; i < 50; i++) await turn()
    },
  }
}
