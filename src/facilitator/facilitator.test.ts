// The facilitator over a rail whose money is a set of spent keys, and books in memory or in a file that two share. Real
// chains and the peers' servers run in test/interop.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { Event } from '../core/event.ts'
import { readPrice } from '../core/money.ts'
import type { Offer } from '../core/offer.ts'
import type {
  Caller,
  Clock,
  Denial,
  Facilitated,
  Facilitator,
  Ledger,
  Log,
  Rail,
  Settlement,
  Verdict,
} from '../core/ports.ts'
import { PaymentError, problem } from '../core/problem.ts'
import { memory } from '../ledger/memory.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { COUNTS_MAX } from './allowance.ts'
import { createCallers, everybody } from './callers.ts'
import type { Callers } from './callers.ts'
import { FRESH_MS, LEASE_MS, createFacilitator } from './facilitator.ts'

const START = 1_800_000_000_000
const DAY_MS = 86_400_000
const coin = { id: 'test:coin', code: 'COIN', scale: 6, currency: 'USD' }
const resource = {
  realm: '',
  method: '',
  authority: '',
  path: '',
  query: '',
  url: 'http://a.test/',
}

interface Proof {
  readonly nonce: string
  readonly signature?: string
}

function offerOf(change: Partial<Offer> = {}, amount = 5n): Offer {
  return {
    rail: 'test',
    network: 'net',
    intent: 'charge',
    amount: { asset: coin, amount },
    payee: 'seller',
    timeoutMs: 60_000,
    details: {},
    id: '',
    resource,
    expiresAt: Number.MAX_SAFE_INTEGER,
    ...change,
  }
}

/** What the world outside knows, whichever process asks. */
function createWorld() {
  const moved = new Map<string, number>()
  const calls = { verify: 0, settle: 0, find: 0 }
  const told: {
    settle?: (key: string, log: Log) => Promise<Settlement>
    verify?: (key: string) => void
    find?: (key: string) => Promise<Settlement | undefined>
  } = {}
  let time = START
  const clock: Clock = { now: () => time, sleep: async () => await new Promise(setImmediate) }
  const settled = (key: string): Settlement => ({
    state: 'settled',
    reference: `tx-${key}`,
    payer: 'buyer',
    settledAt: moved.get(key) ?? time,
  })
  const move = (key: string): Settlement => {
    assert(!moved.has(key), 'money moves once')
    moved.set(key, time)
    return settled(key)
  }
  const rail: Rail<unknown, Proof> = {
    name: 'test',
    network: 'net',
    forms: {},
    open: async () => {},
    close: async () => {},
    quote: () => [],
    identify: (_offer, { nonce }) => ({ key: nonce, payer: 'buyer' }),
    costMax: async () => 10n,
    async verify(offer, { nonce, signature }) {
      calls.verify++
      told.verify?.(nonce)
      const no = (code: 'payment-spent' | 'proof-invalid' | 'amount-mismatch'): Verdict => ({
        ok: false,
        key: nonce,
        payer: 'buyer',
        problem: problem(code, 'No.'),
      })
      if (offer.amount.amount > 5n) return no('amount-mismatch')
      if (moved.has(nonce)) return no('payment-spent')
      return signature === 'forged' ? no('proof-invalid') : { ok: true, key: nonce, payer: 'buyer' }
    },
    async settle(_offer, _proof, key, log) {
      calls.settle++
      if (told.settle) return await told.settle(key, log)
      await log.write({ type: 'prepared', data: { hash: `tx-${key}` } })
      await new Promise(setImmediate)
      return move(key)
    },
    async find(_offer, key) {
      calls.find++
      if (told.find) return await told.find(key)
      return moved.has(key) ? settled(key) : undefined
    },
  }
  return { rail, moved, move, calls, told, clock, pass: (ms: number) => (time += ms) }
}

function stage(
  options: { ledger?: Ledger; callers?: Callers; world?: ReturnType<typeof createWorld> } = {},
) {
  const world = options.world ?? createWorld()
  const ledger = options.ledger ?? memory({ clock: world.clock })
  const events: Event[] = []
  const callers = options.callers ?? everybody()
  const make = (): Facilitator =>
    createFacilitator({
      rails: [world.rail],
      ledger,
      callers,
      clock: world.clock,
      observe: (event) => events.push(event),
    })
  const facilitator = make()
  const caller = (key?: string): Caller => admitted(facilitator.admit(key))
  const settle = (nonce: string, offer = offerOf(), by: Caller = caller()) =>
    facilitator.settle(by, offer, { nonce })
  const verify = (nonce: string, offer = offerOf(), by: Caller = caller()) =>
    facilitator.verify(by, offer, { nonce })
  return { ...world, ledger, facilitator, make, caller, settle, verify, events }
}

function admitted(found: Caller | Denial): Caller {
  if ('kind' in found) assert.fail(found.detail)
  return found
}

/** What was answered, in one word. */
function word(answer: Facilitated | Denial | Verdict): string {
  if ('ok' in answer) return answer.ok ? 'ok' : answer.problem.code
  if (answer.kind === 'settled') return answer.receipt.reference
  if (answer.kind === 'pending') return `pending ${answer.reference ?? 'somewhere'}`
  return answer.kind === 'failed' ? answer.problem.code : `denied ${answer.code}`
}

async function credited(ledger: Ledger, account = 'facilitated/everybody'): Promise<bigint> {
  return (await ledger.balances()).find((one) => one.account === account)?.posted ?? 0n
}

/** Gas that was spent, and gas that is held, in whatever day. */
async function gasOf(ledger: Ledger): Promise<readonly [spent: bigint, held: bigint]> {
  const lines = (await ledger.balances()).filter(({ account }) => account.startsWith('gas/'))
  const total = (of: 'posted' | 'pending'): bigint =>
    lines.reduce((sum, line) => sum + line[of], 0n)
  return [total('posted'), total('pending')]
}

const unknown: Settlement = { state: 'unknown', detail: 'Nobody knows.' }

describe('settle', () => {
  test('moves the money, credits the caller, and says so for ever, whatever happens to the process', async () => {
    const { settle, make, calls, ledger, caller, pass } = stage()
    assert.equal(word(await settle('a')), 'tx-a')
    const first = await settle('a')
    pass(400 * DAY_MS)
    assert.deepEqual(await settle('a'), first)
    assert.deepEqual(await make().settle(caller(), offerOf(), { nonce: 'a' }), first)
    assert.equal(calls.settle, 1)
    assert.equal(await credited(ledger), 5n)
    assert.equal(word(await settle('b')), 'tx-b')
    assert.equal(await credited(ledger), 10n)
  })

  test('fifty at once are one settlement with one answer', async () => {
    const { settle, calls, ledger, facilitator } = stage()
    const answers = await Promise.all(Array.from({ length: 50 }, () => settle('a')))
    assert.deepEqual(new Set(answers.map(word)), new Set(['tx-a']))
    assert.equal(calls.settle, 1)
    assert.equal(await credited(ledger), 5n)
    await facilitator.drain()
  })

  test('two facilitators on one file share the answer too', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'facilitator-'))
    const world = createWorld()
    const file = join(directory, 'books.sqlite')
    const books = [
      await sqlite({ file, clock: world.clock }),
      await sqlite({ file, clock: world.clock }),
    ]
    try {
      const replicas = books.map((ledger) => stage({ world, ledger }))
      const nonces = Array.from({ length: 10 }, (_, n) => `n${n}`)
      const answers = await Promise.all(
        nonces.flatMap((nonce) =>
          replicas
            .flatMap(({ settle }) => [settle(nonce), settle(nonce)])
            .map(async (answer) => ({ nonce, said: word(await answer) })),
        ),
      )
      for (const { nonce, said } of answers) assert.equal(said, `tx-${nonce}`)
      assert.equal(answers.length, 40)
      assert.equal(world.calls.settle, 10)
      const [ledger] = books
      assert(ledger)
      assert.equal(await credited(ledger), 50n)
      assert.deepEqual((await verifyBooks(ledger)).problems, [])
    } finally {
      await Promise.all(books.map((ledger) => ledger.close()))
      await rm(directory, { recursive: true })
    }
  })

  test('a replica whose maker died without a trace takes over when the lease ends', async () => {
    const { make, told, caller, settle, pass, calls, move } = stage()
    told.settle = () => new Promise(() => undefined)
    void settle('a')
    await new Promise(setImmediate)
    const other = make()
    assert.equal(word(await other.settle(caller(), offerOf(), { nonce: 'a' })), 'pending somewhere')
    told.settle = async (key, log) => {
      await log.write({ type: 'prepared', data: {} })
      return move(key)
    }
    pass(LEASE_MS)
    assert.equal(word(await make().settle(caller(), offerOf(), { nonce: 'a' })), 'tx-a')
    assert.equal(calls.settle, 2)
  })

  test('a maker that was thought dead can send nothing any more', async () => {
    const { make, told, caller, settle, pass, move, moved } = stage()
    const late = Promise.withResolvers<void>()
    told.settle = async (key, log) => {
      await late.promise
      await log.write({ type: 'prepared', data: {} })
      return move(key)
    }
    const first = settle('a')
    await new Promise(setImmediate)
    pass(LEASE_MS)
    delete told.settle
    assert.equal(word(await make().settle(caller(), offerOf(), { nonce: 'a' })), 'tx-a')
    late.resolve()
    assert.equal(word(await first), 'payment-in-flight')
    assert.equal(moved.size, 1)
    assert.equal(word(await settle('a')), 'tx-a')
  })

  test('what another replica posted meanwhile, for nobody, is noted as told by who tells it', async () => {
    const { make, told, settle, verify, pass, move } = stage()
    const late = Promise.withResolvers<void>()
    told.settle = async (key, log) => {
      await log.write({ type: 'prepared', data: {} })
      const done = move(key)
      await late.promise
      return done
    }
    const first = settle('a')
    await new Promise(setImmediate)
    pass(LEASE_MS)
    await make().recover()
    assert.equal(word(await verify('a')), 'ok')
    late.resolve()
    assert.equal(word(await first), 'tx-a')
    assert.equal(word(await verify('a')), 'payment-spent')
  })

  test('the same payment for other terms is foreign, before and after it is settled', async () => {
    const { settle, told, calls } = stage()
    told.settle = async (_, log) => {
      await log.write({ type: 'prepared', data: {} })
      return unknown
    }
    assert.equal(word(await settle('a')), 'pending somewhere')
    const others = [{ payee: 'other' }, { details: { more: 1 } }, { intent: 'upto' }]
    for (const change of others)
      assert.equal(word(await settle('a', offerOf(change))), 'payment-spent')
    assert.equal(word(await settle('a', offerOf({}, 4n))), 'payment-spent')
    assert.equal(calls.settle, 1)
    assert.equal(word(await settle('b', offerOf({ payee: 'other' }))), 'pending somewhere')
  })

  test('another proof of the same spend is told nothing, and cannot spoil the honest one', async () => {
    const { settle, facilitator, caller } = stage()
    const forged = { nonce: 'a', signature: 'forged' }
    const answers = await Promise.all([
      facilitator.settle(caller(), offerOf(), forged),
      settle('a'),
      facilitator.settle(caller(), offerOf(), forged),
      settle('a'),
    ])
    assert.deepEqual(answers.map(word), ['proof-invalid', 'tx-a', 'proof-invalid', 'tx-a'])
    assert.equal(word(await facilitator.settle(caller(), offerOf(), forged)), 'payment-spent')
  })

  test('verifies by the terms that it is given, whatever was verified before', async () => {
    const { settle, verify, calls, pass } = stage()
    assert.equal(word(await verify('a')), 'ok')
    assert.equal(word(await settle('a', offerOf({}, 6n))), 'amount-mismatch')
    assert.equal(calls.verify, 2)
    // Fresh for these terms, so it is not asked again; after a while it is.
    assert.equal(word(await settle('a')), 'tx-a')
    assert.equal(calls.verify, 2)
    await verify('b')
    pass(FRESH_MS)
    await settle('b')
    assert.equal(calls.verify, 4)
  })

  test('a failure is not for ever: nothing moved, so the next try may succeed', async () => {
    const { settle, told, ledger } = stage()
    told.settle = async () => ({ state: 'failed', problem: problem('settlement-failed', 'No.') })
    assert.equal(word(await settle('a')), 'settlement-failed')
    assert.equal(await credited(ledger), 0n)
    delete told.settle
    assert.equal(word(await settle('a')), 'tx-a')
  })

  test('what an observer submits after it was verified is paid; what was spent before is not', async () => {
    const { settle, verify, move, ledger, pass } = stage()
    assert.equal(word(await verify('a')), 'ok')
    pass(FRESH_MS)
    move('a')
    assert.equal(word(await settle('a')), 'tx-a')
    assert.equal(await credited(ledger), 5n)
    move('b')
    assert.equal(word(await settle('b')), 'payment-spent')
  })

  test('a caller may ask that repeats are refused', async () => {
    const keys = ['k'.repeat(32)]
    const { settle, caller, verify } = stage({
      callers: createCallers([{ name: 'shop', keys, repeats: 'refuse' }]),
    })
    const shop = caller(keys[0])
    const answers = await Promise.all([1, 2, 3].map(() => settle('a', offerOf(), shop)))
    assert.deepEqual(answers.map(word), ['tx-a', 'payment-spent', 'payment-spent'])
    assert.equal(word(await verify('a', offerOf(), shop)), 'payment-spent')
  })
})

describe('an unknown outcome', () => {
  const lost = async (key: string, log: Log): Promise<Settlement> => {
    await log.write({ type: 'prepared', data: { hash: `tx-${key}` } })
    return unknown
  }

  test('is pending with the transaction, and the same payment resolves it later', async () => {
    const { settle, told, calls, move, ledger } = stage()
    told.settle = lost
    told.find = async () => unknown
    assert.equal(word(await settle('a')), 'pending tx-a')
    assert.equal(word(await settle('a')), 'pending tx-a')
    move('a')
    delete told.find
    assert.equal(word(await settle('a')), 'tx-a')
    assert.equal(calls.settle, 1)
    assert.equal(await credited(ledger), 5n)
  })

  test('that turns out a failure is one, and leaves the payment free', async () => {
    const { settle, told, ledger } = stage()
    told.settle = lost
    told.find = async () => ({ state: 'failed', problem: problem('settlement-failed', 'No.') })
    assert.equal(word(await settle('a')), 'pending tx-a')
    assert.equal(word(await settle('a')), 'settlement-failed')
    assert.equal((await ledger.find('a'))?.state, 'voided')
  })

  test('after a crash is found by another process, by recovery or by whoever asks', async () => {
    for (const recovers of [true, false]) {
      const { settle, make, told, move, moved, caller, pass, ledger } = stage()
      told.settle = async (key, log) => {
        await log.write({ type: 'prepared', data: {} })
        move(key)
        return await new Promise(() => undefined)
      }
      void settle('a')
      while (moved.size === 0) await new Promise(setImmediate)
      pass(LEASE_MS)
      const next = make()
      if (recovers) await next.recover()
      assert.equal((await ledger.find('a'))?.state, recovers ? 'posted' : 'pending')
      // Nobody has heard of it: the work that it was made for may still be done, once.
      assert.equal(word(await next.verify(caller(), offerOf(), { nonce: 'a' })), 'ok')
      assert.equal(word(await next.settle(caller(), offerOf(), { nonce: 'a' })), 'tx-a')
      assert.equal(word(await next.verify(caller(), offerOf(), { nonce: 'a' })), 'payment-spent')
      assert.equal(word(await next.settle(caller(), offerOf(), { nonce: 'a' })), 'tx-a')
      assert.equal(await credited(ledger), 5n)
    }
  })

  test('books that fail at the posting do not turn a payment into a refusal', async () => {
    const world = createWorld()
    const books = memory({ clock: world.clock })
    let broken = true
    const ledger: Ledger = {
      ...books,
      post: (...args) =>
        broken
          ? Promise.reject(new PaymentError('store-unavailable', 'full'))
          : books.post(...args),
    }
    const { settle, calls, pass } = stage({ world, ledger })
    assert.equal(word(await settle('a')), 'pending tx-a')
    broken = false
    assert.equal(word(await settle('a')), 'pending tx-a')
    pass(LEASE_MS)
    assert.equal(word(await settle('a')), 'tx-a')
    assert.equal(calls.settle, 1)
  })

  test('books that cannot be written keep anything from being sent', async () => {
    const books = memory()
    const down = (): Promise<never> =>
      Promise.reject(new PaymentError('store-unavailable', 'secret'))
    for (const verb of ['find', 'transfer', 'step'] as const) {
      const { settle, moved } = stage({ ledger: { ...books, [verb]: down } })
      const answer = await settle(verb)
      assert.equal(word(answer), 'store-unavailable')
      assert(!JSON.stringify(answer).includes('secret'))
      assert.equal(moved.size, 0)
    }
  })

  test('a chain that cannot be asked is a problem without its words', async () => {
    const { settle, verify, told, events } = stage()
    told.verify = () => {
      throw new PaymentError('rail-unavailable', 'https://rpc.example/?key=secret')
    }
    for (const answer of [await settle('a'), await verify('a')]) {
      assert.equal(word(answer), 'rail-unavailable')
      assert(!JSON.stringify(answer).includes('secret'))
    }
    assert.equal(events.filter(({ type }) => type === 'fault').length, 2)
    delete told.verify
    assert.equal(word(await settle('a')), 'tx-a')
  })
})

describe('verify', () => {
  test('claims nothing, and refuses what is in flight, settled or foreign', async () => {
    const { verify, settle, told, ledger, move } = stage()
    assert.equal(word(await verify('a')), 'ok')
    assert.equal((await ledger.journal(0, 10)).length, 0)
    const late = Promise.withResolvers<void>()
    told.settle = async (key, log) => {
      await log.write({ type: 'prepared', data: {} })
      await late.promise
      return move(key)
    }
    const settling = settle('a')
    while (!(await ledger.find('a'))?.steps.length) await new Promise(setImmediate)
    assert.equal(word(await verify('a')), 'payment-in-flight')
    assert.equal(word(await verify('a', offerOf({ payee: 'other' }))), 'payment-spent')
    late.resolve()
    assert.equal(word(await settling), 'tx-a')
    assert.equal(word(await verify('a')), 'payment-spent')
    assert.equal(word(await verify('b')), 'ok')
  })

  test('knows no rail that it was not given', async () => {
    const { verify, settle } = stage()
    for (const change of [{ rail: 'other' }, { network: 'other' }]) {
      assert.equal(word(await verify('a', offerOf(change))), 'credential-unsupported')
      assert.equal(word(await settle('a', offerOf(change))), 'credential-unsupported')
    }
  })
})

describe('callers', () => {
  const key = (name: string): string => name.padEnd(32, '-')
  const shop = { name: 'shop', keys: [key('one'), key('two')] }

  test('are known by any of their keys, and by nothing else', () => {
    const digest = 'sha256:' + 'a'.repeat(64)
    const { facilitator } = stage({
      callers: createCallers([shop, { name: 'other', keys: [digest] }]),
    })
    for (const known of shop.keys) assert.equal(admitted(facilitator.admit(known)).name, 'shop')
    for (const stranger of [undefined, '', 'one', key('three'), digest, 'x'.repeat(10_000)]) {
      const found = facilitator.admit(stranger)
      assert('kind' in found && found.code === 'unauthorized')
    }
  })

  test('change without a pause: a key in, a key out', () => {
    const callers = createCallers([shop])
    const { facilitator } = stage({ callers })
    callers.replace([{ ...shop, keys: [key('two'), key('three')] }])
    assert('kind' in facilitator.admit(key('one')))
    for (const known of ['two', 'three']) admitted(facilitator.admit(key(known)))
    assert.throws(() => callers.replace([{ ...shop, keys: [] }]), RangeError)
    admitted(facilitator.admit(key('two')))
  })

  for (const [name, list] of [
    ['a short key', [{ name: 'shop', keys: ['short'] }]],
    ['no key', [{ name: 'shop', keys: [] }]],
    ['two of one name', [shop, { name: 'shop', keys: [key('x')] }]],
    ['one key for two', [shop, { name: 'other', keys: [key('one')] }]],
    ['a name that is no name', [{ name: 'a/b', keys: [key('x')] }]],
  ] as const)
    test(`cannot be ${name}`, () => assert.throws(() => createCallers(list), RangeError))

  test('pay only whom they may, in what they may', async () => {
    const callers = createCallers([{ ...shop, payees: ['SELLER'], assets: ['COIN'] }])
    const { settle, verify, caller, calls } = stage({ callers })
    const by = caller(key('one'))
    for (const ask of [settle, verify]) {
      assert.equal(word(await ask('a', offerOf({ payee: 'thief' }), by)), 'denied forbidden')
      const gold = { asset: { ...coin, id: 'test:gold', code: 'GOLD' }, amount: 1n }
      assert.equal(word(await ask('a', offerOf({ amount: gold }), by)), 'denied forbidden')
    }
    assert.equal(calls.verify, 0)
    assert.equal(word(await settle('a', offerOf(), by)), 'tx-a')
  })

  test('ask no more often than they may, each for itself', () => {
    const callers = createCallers([
      { ...shop, requestsPerMinute: 2 },
      { name: 'other', keys: [key('x')] },
    ])
    const { facilitator, pass } = stage({ callers })
    admitted(facilitator.admit(key('one')))
    admitted(facilitator.admit(key('two')))
    const third = facilitator.admit(key('one'))
    assert('kind' in third && third.code === 'limited')
    assert(third.retryAfterMs && third.retryAfterMs <= 60_000)
    admitted(facilitator.admit(key('x')))
    pass(third.retryAfterMs)
    admitted(facilitator.admit(key('one')))
  })

  test('move no more in a day than they may, in parallel and from two processes', async () => {
    const callers = createCallers([{ ...shop, amountPerDay: readPrice('0.000017 USD') }])
    const { settle, make, caller, ledger, calls, pass } = stage({ callers })
    const by = caller(key('one'))
    const other = make()
    const nonces = ['a', 'b', 'c', 'd', 'e', 'f']
    const answers = await Promise.all(
      nonces.map((nonce, n) =>
        n % 2 ? settle(nonce, offerOf(), by) : other.settle(by, offerOf(), { nonce }),
      ),
    )
    assert.equal(answers.filter(({ kind }) => kind === 'settled').length, 3)
    assert.equal(answers.filter((answer) => word(answer) === 'denied limited').length, 3)
    assert.equal(calls.settle, 3)
    assert.equal(await credited(ledger, 'facilitated/shop'), 15n)
    // What was settled is answered all the same, and the next day has room.
    const at = answers.findIndex(({ kind }) => kind === 'settled')
    assert.deepEqual(await settle(nonces[at] ?? '', offerOf(), by), answers[at])
    pass(DAY_MS)
    assert.equal(word(await settle('g', offerOf(), by)), 'tx-g')
    assert.deepEqual(await settle(nonces[at] ?? '', offerOf(), by), answers[at])
  })

  test('have no more sent in a day than they may; what never was is given back', async () => {
    const callers = createCallers([{ ...shop, settlementsPerDay: 2 }])
    const { settle, caller, told, ledger, pass } = stage({ callers })
    const by = caller(key('one'))
    told.settle = async () => ({ state: 'failed', problem: problem('rail-unavailable', 'No.') })
    for (const nonce of ['u', 'v', 'w'])
      assert.equal(word(await settle(nonce, offerOf(), by)), 'rail-unavailable')
    told.settle = async (_, log) => {
      await log.write({ type: 'prepared', data: {} })
      return { state: 'failed', problem: problem('settlement-failed', 'Reverted.') }
    }
    for (const nonce of ['a', 'b'])
      assert.equal(word(await settle(nonce, offerOf(), by)), 'settlement-failed')
    delete told.settle
    assert.equal(word(await settle('c', offerOf(), by)), 'denied limited')
    assert.equal((await ledger.find('c'))?.state, 'voided')
    pass(DAY_MS)
    assert.equal(word(await settle('c', offerOf(), by)), 'tx-c')
  })

  test('take of their day again with a payment that has failed and is brought again', async () => {
    const callers = createCallers([{ ...shop, settlementsPerDay: 2, gasPerDayWei: 100n }])
    const { settle, caller, told, ledger } = stage({ callers })
    const by = caller(key('one'))
    told.settle = async (_, log) => {
      await log.write({ type: 'prepared', data: {} })
      return { state: 'failed', problem: problem('settlement-failed', 'Reverted.'), cost: 3n }
    }
    assert.equal(word(await settle('a', offerOf(), by)), 'settlement-failed')
    assert.equal(word(await settle('a', offerOf(), by)), 'settlement-failed')
    assert.equal(word(await settle('a', offerOf(), by)), 'denied limited')
    assert.deepEqual(await gasOf(ledger), [6n, 0n])
  })

  test('of another currency are refused where their amount is limited', async () => {
    const { settle, caller } = stage({
      callers: createCallers([{ ...shop, amountPerDay: readPrice('1 EUR') }]),
    })
    assert.equal(word(await settle('a', offerOf(), caller(key('one')))), 'denied forbidden')
  })
})

describe('gas of a caller’s day', () => {
  const key = 'k'.repeat(32)
  const limited = (gasPerDayWei: bigint): Callers =>
    createCallers([{ name: 'shop', keys: [key], gasPerDayWei }])
  const costing =
    (cost: bigint) =>
    async (nonce: string, log: Log): Promise<Settlement> => {
      await log.write({ type: 'prepared', data: {} })
      return { state: 'settled', reference: `tx-${nonce}`, payer: 'buyer', settledAt: START, cost }
    }

  test('is what was spent: what may be spent is held until that is known', async () => {
    const { settle, caller, told, ledger, pass } = stage({ callers: limited(25n) })
    const by = caller(key)
    told.settle = costing(4n)
    for (const nonce of ['a', 'b', 'c', 'd'])
      assert.equal(word(await settle(nonce, offerOf(), by)), `tx-${nonce}`)
    assert.deepEqual(await gasOf(ledger), [16n, 0n])
    // Nine are left, and it might cost ten.
    assert.equal(word(await settle('e', offerOf(), by)), 'denied limited')
    assert.equal((await ledger.find('e'))?.state, 'voided')
    assert.deepEqual(await gasOf(ledger), [16n, 0n])
    assert.equal(word(await settle('a', offerOf(), by)), 'tx-a')
    pass(DAY_MS)
    assert.equal(word(await settle('e', offerOf(), by)), 'tx-e')
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  })

  test('is never overdrawn by many at once, nor from two processes', async () => {
    const { settle, make, caller, told, ledger, calls } = stage({ callers: limited(35n) })
    const by = caller(key)
    const other = make()
    told.settle = costing(10n)
    const nonces = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
    const answers = await Promise.all(
      nonces.map((nonce, n) =>
        n % 2 ? settle(nonce, offerOf(), by) : other.settle(by, offerOf(), { nonce }),
      ),
    )
    assert.equal(answers.filter(({ kind }) => kind === 'settled').length, 3)
    assert.equal(answers.filter((answer) => word(answer) === 'denied limited').length, 5)
    assert.equal(calls.settle, 3)
    assert.deepEqual(await gasOf(ledger), [30n, 0n])
  })

  test('counts what failed, and what cost more than was thought; not what was never sent', async () => {
    const { settle, caller, told, ledger } = stage({ callers: limited(60n) })
    const by = caller(key)
    const failure = problem('settlement-failed', 'Reverted.')
    told.settle = async () => ({ state: 'failed', problem: failure })
    assert.equal(word(await settle('a', offerOf(), by)), 'settlement-failed')
    assert.deepEqual(await gasOf(ledger), [0n, 0n])
    told.settle = async (_, log) => {
      await log.write({ type: 'prepared', data: {} })
      return { state: 'failed', problem: failure, cost: 55n }
    }
    assert.equal(word(await settle('a', offerOf(), by)), 'settlement-failed')
    assert.deepEqual(await gasOf(ledger), [55n, 0n])
    told.settle = costing(1n)
    assert.equal(word(await settle('b', offerOf(), by)), 'denied limited')
  })

  test('is all that might be, where the rail cannot tell', async () => {
    const { settle, caller, ledger } = stage({ callers: limited(60n) })
    assert.equal(word(await settle('a', offerOf(), caller(key))), 'tx-a')
    assert.deepEqual(await gasOf(ledger), [10n, 0n])
  })

  test('stays held while the outcome is unknown, and is booked by whoever finds it', async () => {
    const { settle, make, caller, told, ledger, pass } = stage({ callers: limited(15n) })
    const by = caller(key)
    told.settle = async (_, log) => {
      await log.write({ type: 'prepared', data: {} })
      return { state: 'unknown', detail: 'No.' }
    }
    assert.equal(word(await settle('a', offerOf(), by)), 'pending somewhere')
    assert.deepEqual(await gasOf(ledger), [0n, 10n])
    pass(2 * LEASE_MS)
    told.find = async () => ({ state: 'unknown', detail: 'No.' })
    await make().recover()
    assert.deepEqual(await gasOf(ledger), [0n, 10n])
    told.settle = costing(4n)
    assert.equal(word(await settle('b', offerOf(), by)), 'denied limited')
    told.find = async () => ({ ...settledAs('a'), cost: 4n })
    await make().recover()
    assert.deepEqual(await gasOf(ledger), [4n, 0n])
    delete told.find
    assert.equal(word(await settle('b', offerOf(), by)), 'tx-b')
    await make().recover()
    assert.deepEqual((await ledger.pending()).length, 0)
  })

  test('counts in full after a crash between the payment and the count', async () => {
    const { settle, make, caller, told, ledger, pass } = stage({ callers: limited(60n) })
    const broken: Ledger = {
      ...ledger,
      post: async (name, ...rest) => {
        if (name.endsWith('/gas')) throw new PaymentError('store-unavailable', 'Gone.')
        return await ledger.post(name, ...rest)
      },
    }
    told.settle = costing(4n)
    const dying = stage({ callers: limited(60n), ledger: broken })
    dying.told.settle = costing(4n)
    assert.equal(word(await dying.settle('a', offerOf(), dying.caller(key))), 'tx-a')
    assert.deepEqual(await gasOf(ledger), [0n, 10n])
    pass(2 * LEASE_MS)
    await make().recover()
    assert.deepEqual(await gasOf(ledger), [10n, 0n])
    assert.equal(word(await settle('b', offerOf(), caller(key))), 'tx-b')
  })

  test('cannot be limited on a rail that does not tell it', async () => {
    const world = createWorld()
    const rail = { ...world.rail }
    delete rail.costMax
    const silent = { ...world, rail }
    const { settle, caller, calls } = stage({ world: silent, callers: limited(60n) })
    assert.equal(word(await settle('a', offerOf(), caller(key))), 'denied forbidden')
    assert.equal(calls.settle, 0)
    const free = stage({ world: silent })
    assert.equal(word(await free.settle('a')), 'tx-a')
  })

  function settledAs(nonce: string) {
    const reference = `tx-${nonce}`
    return { state: 'settled', reference, payer: 'buyer', settledAt: START } as const
  }
})

describe('everybody', () => {
  test('asks no more often from one address than they may', () => {
    const { facilitator, pass } = stage({ callers: everybody({ addressPerMinute: 2 }) })
    const ask = (address?: string): boolean => !('kind' in facilitator.admit(undefined, address))
    assert.deepEqual(['192.0.2.1', '192.0.2.1', '192.0.2.1'].map(ask), [true, true, false])
    // The same, as a socket for both kinds tells it.
    assert.equal(ask('::ffff:192.0.2.1'), false)
    assert.equal(ask('192.0.2.2'), true)
    const one = ['2001:db8:1:2::1', '2001:db8:1:2:3::4', '2001:db8:1:2:ffff:1:1:1']
    assert.deepEqual(one.map(ask), [true, true, false])
    assert.equal(ask('2001:db8:1:3::1'), true)
    pass(60_000)
    assert.equal(ask('192.0.2.1'), true)
  })

  test('may ask from so many addresses only that they can be counted', () => {
    const { facilitator } = stage({ callers: everybody({ addressPerMinute: 1 }) })
    const ask = (n: number): boolean =>
      !('kind' in facilitator.admit(undefined, `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`))
    for (let n = 0; n < COUNTS_MAX; n++) assert(ask(n))
    assert.deepEqual([ask(COUNTS_MAX), ask(COUNTS_MAX + 1), ask(0)], [true, false, false])
  })
})

test('draining takes nothing new and answers everything that was taken', async () => {
  const { settle, verify, caller, facilitator, told, move } = stage()
  const late = Promise.withResolvers<void>()
  told.settle = async (key, log) => {
    await log.write({ type: 'prepared', data: {} })
    await late.promise
    return move(key)
  }
  const by = caller()
  assert.equal(await facilitator.ready(), true)
  const settling = settle('a', offerOf(), by)
  const drained = facilitator.drain()
  assert.equal(await facilitator.ready(), false)
  assert('kind' in facilitator.admit(undefined))
  assert.equal(word(await settle('b', offerOf(), by)), 'denied closing')
  let over = false
  void drained.then(() => (over = true))
  assert.equal(word(await verify('c', offerOf(), by)), 'ok')
  await new Promise(setImmediate)
  assert.equal(over, false)
  late.resolve()
  assert.equal(word(await settling), 'tx-a')
  await drained
})
