// The gate over a rail whose money is a set of spent keys, and books in memory. Real rails run in test/interop.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { systemChance } from '../core/chance.ts'
import type { Event } from '../core/event.ts'
import { createMac } from '../core/mac.ts'
import { readPrice } from '../core/money.ts'
import { isBound } from '../core/credential.ts'
import type { Credential } from '../core/credential.ts'
import type { Offer } from '../core/offer.ts'
import { createOffers } from '../core/offers.ts'
import type {
  Ask,
  Kept,
  Ledger,
  Log,
  Pass,
  Rail,
  Refusal,
  Sale,
  Settlement,
  Standing,
  Vault,
} from '../core/ports.ts'
import { PaymentError, problem } from '../core/problem.ts'
import type { Resource } from '../core/resource.ts'
import type { Seal } from '../core/seal.ts'
import { createSeal } from '../core/seal.ts'
import { memory } from '../ledger/memory.ts'
import { coin } from './fixture.test.ts'
import { DELIVER_MS, OFFER_VALID_MS, SETTLE_MS, WORK_MS, createGate } from './gate.ts'
import { LATE_MS, LOOK_FIRST_MS, LOOK_PAUSE_MAX_MS, LOOK_UNTIL_MS } from './limits.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
const START = 1_800_000_000_000

interface Proof {
  readonly nonce: string
}

/** A rail of which each verb can be told what to do. */
function createRail(now: () => number) {
  const moved = new Map<string, number>()
  const calls = { verify: 0, settle: 0, find: 0, stands: 0 }
  const told: {
    settle?: (key: string, log: Log) => Promise<Settlement>
    verify?: () => never
    find?: () => never
    /** Only with this is there a second look. */
    stands?: (key: string, log: Log) => Promise<Standing>
  } = {}
  const settled = (key: string): Settlement => ({
    state: 'settled',
    reference: `tx-${key}`,
    payer: 'buyer',
    settledAt: moved.get(key) ?? now(),
  })
  const rail: Rail<unknown, Proof> = {
    name: 'test',
    network: 'net',
    forms: {},
    open: async () => {},
    close: async () => {},
    quote: (price) =>
      price.currency !== 'USD'
        ? []
        : [
            {
              rail: 'test',
              network: 'net',
              intent: 'charge',
              payee: 'seller',
              timeoutMs: 60_000,
              details: {},
              amount: { asset: coin, amount: price.amount },
            },
          ],
    identify: (_offer, { nonce }) => ({ key: nonce, payer: 'buyer' }),
    async verify(_offer, { nonce }) {
      calls.verify++
      told.verify?.()
      if (moved.has(nonce))
        return { ok: false, key: nonce, payer: 'buyer', problem: problem('payment-spent', 'spent') }
      if (nonce === 'bad') return { ok: false, problem: problem('proof-invalid', 'bad') }
      return { ok: true, key: nonce, payer: 'buyer' }
    },
    async settle(_offer, _proof, key, log) {
      calls.settle++
      if (told.settle) return await told.settle(key, log)
      await log.write({ type: 'prepared', data: { raw: key } })
      moved.set(key, now())
      return settled(key)
    },
    async find(_offer, key) {
      calls.find++
      told.find?.()
      return moved.has(key) ? settled(key) : undefined
    },
  }
  const looking: Rail<unknown, Proof> = {
    ...rail,
    async stands(_offer, key, _reference, log) {
      calls.stands++
      return (await told.stands?.(key, log)) ?? { state: 'open' }
    },
  }
  return { rail, looking, moved, calls, told }
}

function world(
  options: {
    ledger?: (ledger: Ledger) => Ledger
    deferredMax?: number
    vault?: Vault
    seal?: Seal
    looksAgain?: boolean
  } = {},
) {
  let time = START
  const clock = { now: () => time, sleep: () => new Promise<void>(() => undefined) }
  const events: Event[] = []
  const books = memory({ clock })
  const ledger = options.ledger?.(books) ?? books
  const { rail, looking, ...rest } = createRail(clock.now)
  const offers = createOffers(createMac([SECRET], 'offers'))
  const make = () =>
    createGate({
      rails: [options.looksAgain ? looking : rail],
      ledger,
      offers,
      clock,
      observe: (event) => events.push(event),
      ...(options.deferredMax !== undefined && { deferredMax: options.deferredMax }),
      ...(options.vault && { vault: options.vault }),
      ...(options.seal && { seal: options.seal }),
    })
  const gate = make()
  const sale: Sale = {
    prices: [readPrice('0.000005 USD')],
    settle: 'before-response',
    account: 'sales/GET /a',
  }
  const ask = (
    credential?: Ask['credential'],
    change: { resource?: Partial<Resource>; sale?: Partial<Sale> } = {},
  ): Ask => {
    const resource = {
      realm: 'shop',
      method: 'GET',
      authority: 'api.test',
      path: '/a',
      query: '',
      url: 'http://api.test/a',
      ...change.resource,
    }
    return {
      resource,
      sale: { ...sale, ...change.sale },
      request: 'r1',
      statusUrl: (key) => `http://api.test/status/${key}`,
      ...(credential && { credential }),
    }
  }
  const offerFor = (a: Ask): Offer => {
    const said = gate.challenge(a)
    assert.ok('kind' in said, 'nobody must be asked')
    return said.challenge?.offers[0] ?? assert.fail('no offer')
  }
  const pay = (nonce: string, a: Ask = ask()): Credential<Proof> => ({
    offer: offerFor(a),
    proof: { nonce },
  })
  return {
    gate,
    make,
    ask,
    pay,
    events,
    books,
    ledger,
    pass: (ms: number) => (time += ms),
    ...rest,
  }
}

function admitted(result: Pass | Kept | Refusal): Pass {
  assert.ok(
    result.kind === 'pass',
    result.kind === 'refused' ? `${result.problem.code}: ${result.problem.detail}` : '',
  )
  return result
}

function code(result: Pass | Kept | Refusal | { kind: 'serve' }): string {
  return result.kind === 'refused' ? result.problem.code : result.kind
}

const earned = async ({ books }: { books: Ledger }): Promise<bigint> =>
  (await books.balances()).find(({ account }) => account === 'sales/GET /a')?.posted ?? 0n

describe('without a payment', () => {
  test('offers are made, bound to the request and a moment', async () => {
    const { gate, ask } = world()
    const refusal = await gate.admit(ask())
    assert.equal(code(refusal), 'payment-required')
    assert.ok(refusal.kind === 'refused' && refusal.challenge)
    const [offer] = refusal.challenge.offers
    assert.ok(offer && isBound(offer))
    assert.equal(offer.amount.amount, 5n)
    assert.ok(offer.expiresAt >= START + OFFER_VALID_MS)
  })

  test('a price that no rail takes is no bill but a fault of the set-up', async () => {
    const { gate, ask } = world()
    const refusal = await gate.admit(ask(undefined, { sale: { prices: [readPrice('1 EUR')] } }))
    assert.equal(code(refusal), 'misconfigured')
    assert.ok(refusal.kind === 'refused' && !refusal.challenge)
  })
})

describe('a payment', () => {
  test('is held, settled when the work is done, posted, and buys one delivery', async () => {
    const w = world()
    const pass = admitted(await w.gate.admit(w.ask(w.pay('n1'))))
    assert.equal(await earned(w), 0n)
    const outcome = await pass.finish(true)
    assert.ok(outcome.kind === 'serve')
    assert.deepEqual([outcome.receipt?.reference, outcome.receipt?.settled], ['tx-n1', true])
    assert.equal(await earned(w), 5n)
    pass.delivered()
    const replay = await w.gate.admit(w.ask(w.pay('n1')))
    assert.equal(code(replay), 'payment-delivered')
    assert.equal(replay.kind === 'refused' && replay.problem.receipt?.reference, 'tx-n1')
    assert.equal(w.calls.settle, 1)
  })

  test('used 20 times at once is worked on once and charged once', async () => {
    const w = world()
    const credential = w.pay('n1')
    const results = await Promise.all(
      Array.from({ length: 20 }, () => w.gate.admit(w.ask(credential))),
    )
    const passes = results.filter(({ kind }) => kind === 'pass')
    assert.equal(passes.length, 1)
    assert.equal(results.filter((result) => code(result) === 'payment-in-flight').length, 19)
    await admitted(passes[0] as Pass).finish(true)
    assert.deepEqual([w.calls.settle, await earned(w)], [1, 5n])
  })

  test('is not charged when the work fails, and is good for another try', async () => {
    const w = world()
    const credential = w.pay('n1')
    const outcome = await admitted(await w.gate.admit(w.ask(credential))).finish(false)
    assert.deepEqual(outcome, { kind: 'serve' })
    assert.deepEqual([w.calls.settle, await earned(w)], [0, 0n])
    await admitted(await w.gate.admit(w.ask(credential))).finish(true)
    assert.deepEqual([w.calls.settle, await earned(w)], [1, 5n])
  })

  for (const [name, resource] of Object.entries({
    path: { path: '/b' },
    query: { query: 'n=9' },
    method: { method: 'DELETE' },
    digest: { digest: 'sha-256=:x:' },
  }))
    test(`made for another ${name} is refused with fresh offers, and still pays for its own`, async () => {
      const w = world()
      const credential = w.pay('n1')
      const refusal = await w.gate.admit(w.ask(credential, { resource }))
      assert.equal(code(refusal), 'offer-foreign')
      assert.ok(refusal.kind === 'refused' && refusal.challenge)
      assert.equal(w.calls.verify, 0)
      admitted(await w.gate.admit(w.ask(credential)))
    })

  test('for an expired offer is refused with fresh ones', async () => {
    const w = world()
    const credential = w.pay('n1')
    w.pass(OFFER_VALID_MS - 1)
    await admitted(await w.gate.admit(w.ask(credential))).finish(false)
    w.pass(10_000)
    assert.equal(code(await w.gate.admit(w.ask(credential))), 'offer-expired')
  })

  test('from a protocol that cannot echo an offer is found by quoting, and pays one request only', async () => {
    const w = world()
    const unbound: Credential<Proof> = {
      offer: { rail: 'test', network: 'net' },
      proof: { nonce: 'n1' },
    }
    const pass = admitted(await w.gate.admit(w.ask(unbound)))
    assert.equal(
      code(await w.gate.admit(w.ask(unbound, { resource: { path: '/b' } }))),
      'payment-in-flight',
    )
    await pass.finish(true)
    pass.delivered()
    assert.equal(
      code(await w.gate.admit(w.ask(unbound, { resource: { path: '/b' } }))),
      'payment-spent',
    )
    assert.equal(code(await w.gate.admit(w.ask(unbound))), 'payment-delivered')
    const foreign: Credential<Proof> = {
      offer: { rail: 'test', network: 'elsewhere' },
      proof: { nonce: 'n2' },
    }
    assert.equal(code(await w.gate.admit(w.ask(foreign))), 'credential-unsupported')
  })

  test('that does not hold is refused, and claims nothing', async () => {
    const w = world()
    assert.equal(code(await w.gate.admit(w.ask(w.pay('bad')))), 'proof-invalid')
    assert.deepEqual(await w.books.pending(), [])
  })

  test('that somebody else submitted first counts as paid, unless it is older than the offer', async () => {
    const w = world()
    const credential = w.pay('n1')
    w.moved.set('n1', START + 1)
    const pass = admitted(await w.gate.admit(w.ask(credential)))
    const outcome = await pass.finish(true)
    assert.equal(outcome.kind === 'serve' && outcome.receipt?.reference, 'tx-n1')
    assert.deepEqual([w.calls.settle, await earned(w)], [0, 5n])
    w.moved.set('n2', START - 3_600_000)
    assert.equal(code(await w.gate.admit(w.ask(w.pay('n2')))), 'payment-spent')
  })
})

describe('settlement', () => {
  test('that fails charges nothing, and fresh offers go out', async () => {
    const w = world()
    w.told.settle = async () => ({
      state: 'failed',
      problem: problem('funds-insufficient', 'gone'),
    })
    const outcome = await admitted(await w.gate.admit(w.ask(w.pay('n1')))).finish(true)
    assert.equal(code(outcome), 'funds-insufficient')
    assert.ok(outcome.kind === 'refused' && outcome.challenge)
    assert.equal(await earned(w), 0n)
  })

  test('of which the outcome is unknown is never a new bill; the same proof is served once it is known', async () => {
    const w = world()
    w.told.settle = async (_key, log) => {
      await log.write({ type: 'prepared', data: {} })
      return { state: 'unknown', detail: 'time-out' }
    }
    const credential = w.pay('n1')
    const first = await admitted(await w.gate.admit(w.ask(credential))).finish(true)
    assert.equal(code(first), 'payment-unknown')
    assert.ok(
      first.kind === 'refused' &&
        !first.challenge &&
        first.problem.statusUrl === 'http://api.test/status/n1',
    )
    assert.deepEqual(await w.gate.status('n1'), { state: 'unknown' })
    assert.equal(code(await w.gate.admit(w.ask(credential))), 'payment-unknown')
    w.told.find = () => {
      throw new PaymentError('rail-unavailable', 'down')
    }
    assert.equal(code(await w.gate.admit(w.ask(credential))), 'payment-unknown')
    delete w.told.find
    w.moved.set('n1', START)
    // The chain now says spent, and the books say that it was for this very request.
    const again = await Promise.all([1, 2, 3].map(() => w.gate.admit(w.ask(credential))))
    assert.deepEqual(again.map(code).toSorted(), ['pass', 'payment-in-flight', 'payment-in-flight'])
    const pass = admitted(again.find(({ kind }) => kind === 'pass') ?? assert.fail())
    const outcome = await pass.finish(true)
    assert.equal(outcome.kind === 'serve' && outcome.receipt?.reference, 'tx-n1')
    assert.deepEqual(await w.gate.status('n1'), { state: 'settled' })
    pass.delivered()
    assert.equal(code(await w.gate.admit(w.ask(credential))), 'payment-delivered')
    assert.deepEqual([w.calls.settle, await earned(w)], [1, 5n])
  })

  test('before the work comes before the work; failed work leaves the payment good for another try', async () => {
    const w = world()
    const first = { sale: { settle: 'before-work' } } as const
    const credential = w.pay('n1')
    const pass = admitted(await w.gate.admit(w.ask(credential, first)))
    assert.deepEqual([w.calls.settle, await earned(w)], [1, 5n])
    assert.equal(code(await pass.finish(false)), 'serve')
    const again = admitted(await w.gate.admit(w.ask(credential, first)))
    assert.equal(code(await again.finish(true)), 'serve')
    again.delivered()
    assert.equal(code(await w.gate.admit(w.ask(credential, first))), 'payment-delivered')
    assert.deepEqual([w.calls.settle, await earned(w)], [1, 5n])
  })

  test('before the work that fails lets no work begin', async () => {
    const w = world()
    w.told.settle = async () => ({ state: 'failed', problem: problem('settlement-failed', 'no') })
    const refusal = await w.gate.admit(w.ask(w.pay('n1'), { sale: { settle: 'before-work' } }))
    assert.equal(code(refusal), 'settlement-failed')
  })

  test('deferred serves once it is written ahead, and not beyond its bound', async () => {
    const w = world({ deferredMax: 1 })
    const mined = Promise.withResolvers<void>()
    w.told.settle = async (key, log) => {
      await log.write({ type: 'prepared', data: {} })
      await mined.promise
      w.moved.set(key, START)
      return { state: 'settled', reference: `tx-${key}`, payer: 'buyer', settledAt: START }
    }
    const later = { sale: { settle: 'deferred' } } as const
    const first = await admitted(await w.gate.admit(w.ask(w.pay('n1'), later))).finish(true)
    assert.ok(first.kind === 'serve' && first.receipt?.settled === false)
    assert.equal((await w.books.find('n1'))?.steps[0]?.type, 'prepared')
    const second = admitted(await w.gate.admit(w.ask(w.pay('n2'), later))).finish(true)
    let done = false
    void second.then(() => (done = true))
    await new Promise(setImmediate)
    assert.equal(done, false)
    mined.resolve()
    const outcome = await second
    assert.ok(outcome.kind === 'serve' && outcome.receipt?.settled === true)
    await w.gate.close()
    assert.equal(await earned(w), 10n)
  })
})

test('what was served on credit and never collected does not stop recovery', async () => {
  let down = false
  const w = world({
    ledger: (ledger) => ({
      ...ledger,
      async step(...args) {
        if (down && args[1].type === 'delivered')
          throw new PaymentError('store-unavailable', 'disk full')
        await ledger.step(...args)
      },
    }),
  })
  const mined = Promise.withResolvers<Settlement>()
  w.told.settle = async (_key, log) => {
    await log.write({ type: 'prepared', data: {} })
    return await mined.promise
  }
  const credential = w.pay('n1')
  const later = { sale: { settle: 'deferred' } } as const
  const pass = admitted(await w.gate.admit(w.ask(credential, later)))
  assert.equal(code(await pass.finish(true)), 'serve')
  down = true
  pass.delivered()
  mined.resolve({ state: 'failed', problem: problem('settlement-failed', 'gone') })
  await w.gate.close()
  // The same payment again is a new sale, and the old word "delivered" does not fall upon it.
  delete w.told.settle
  const next = admitted(await w.gate.admit(w.ask(credential, later)))
  down = false
  await w.gate.recover()
  assert.deepEqual((await w.books.find('n1'))?.steps, [])
  assert.equal(code(await next.finish(true)), 'serve')
  await w.gate.close()
  assert.equal(await earned(w), 5n)
})

describe('after a crash', () => {
  test('a claim without anything written ahead is free again when its lease has run out', async () => {
    const w = world()
    const credential = w.pay('n1')
    await w.gate.admit(w.ask(credential))
    const next = w.make()
    assert.equal(code(await next.admit(w.ask(credential))), 'payment-in-flight')
    await next.recover()
    assert.equal((await w.books.find('n1'))?.state, 'pending')
    w.pass(WORK_MS + SETTLE_MS)
    await next.recover()
    assert.equal((await w.books.find('n1'))?.state, 'voided')
    await admitted(await next.admit(w.ask(credential))).finish(true)
    assert.deepEqual([w.calls.settle, await earned(w)], [1, 5n])
  })

  test('whoever comes back after the end of his lease has lost the claim, and settles nothing', async () => {
    const w = world()
    const credential = w.pay('n1')
    const slow = admitted(await w.gate.admit(w.ask(credential)))
    w.pass(WORK_MS + SETTLE_MS)
    const next = admitted(await w.make().admit(w.ask(credential)))
    assert.equal(code(await slow.finish(true)), 'payment-in-flight')
    assert.equal(code(await next.finish(true)), 'serve')
    assert.equal(w.events.filter(({ type }) => type === 'settled').length, 1)
    assert.equal(await earned(w), 5n)
  })

  test('what was written ahead and has happened is posted, and fetched with the same proof', async () => {
    const w = world()
    w.told.settle = async (key, log) => {
      await log.write({ type: 'prepared', data: {} })
      w.moved.set(key, START)
      return await new Promise<never>(() => {})
    }
    const credential = w.pay('n1')
    void admitted(await w.gate.admit(w.ask(credential))).finish(true)
    await new Promise(setImmediate)
    const next = w.make()
    w.pass(WORK_MS + SETTLE_MS)
    await next.recover()
    assert.equal(await earned(w), 5n)
    const pass = admitted(await next.admit(w.ask(w.pay('n1'))))
    assert.equal(code(await pass.finish(true)), 'serve')
    assert.deepEqual([w.calls.settle, await earned(w)], [1, 5n])
  })
})

describe('an answer that is kept', () => {
  const keep = { sale: { keep: true } }

  /** A vault in a map, and a seal under the operator's secret. */
  function shelf(): { vault: Vault; seal: Seal; stored: Map<string, Uint8Array> } {
    const stored = new Map<string, Uint8Array>()
    const vault: Vault = {
      put: async (key, sealed) => void stored.set(key, sealed),
      get: async (key) => stored.get(key),
    }
    return { vault, stored, seal: createSeal([SECRET], 'vault', systemChance) }
  }

  test('is fetched again with the same proof, and by nobody who was not made the same offer', async () => {
    const { vault, seal, stored } = shelf()
    const w = world({ vault, seal })
    const credential = w.pay('n1', w.ask(undefined, keep))
    const pass = admitted(await w.gate.admit(w.ask(credential, keep)))
    assert.equal(code(await pass.finish(true, Buffer.from('weather'))), 'serve')
    pass.delivered()
    assert.ok(
      !Buffer.from([...stored.values()][0] ?? []).includes('weather'),
      'it lies there sealed',
    )
    for (const _ of [1, 2]) {
      const again = await w.gate.admit(w.ask(credential, keep))
      assert.ok(again.kind === 'kept')
      assert.equal(Buffer.from(again.answer).toString(), 'weather')
      assert.equal(again.receipt?.reference, 'tx-n1')
    }
    const thief = await w.gate.admit(w.ask(w.pay('n1', w.ask(undefined, keep)), keep))
    assert.equal(code(thief), 'payment-delivered')
    assert.deepEqual([w.calls.settle, await earned(w)], [1, 5n])
  })

  test('is there when the process died between the money and the first byte, and after the offer has expired', async () => {
    const { vault, seal } = shelf()
    const w = world({ vault, seal })
    w.told.settle = async (key, log) => {
      await log.write({ type: 'prepared', data: {} })
      w.moved.set(key, START)
      return await new Promise<never>(() => {})
    }
    const credential = w.pay('n1', w.ask(undefined, keep))
    void admitted(await w.gate.admit(w.ask(credential, keep))).finish(true, Buffer.from('weather'))
    await new Promise(setImmediate)
    w.pass(OFFER_VALID_MS + 60_000)
    const next = w.make()
    await next.recover()
    const again = await next.admit(w.ask(credential, keep))
    assert.ok(again.kind === 'kept')
    assert.equal(Buffer.from(again.answer).toString(), 'weather')
    assert.equal(await earned(w), 5n)
  })

  test('that cannot be kept is sold all the same', async () => {
    const { seal } = shelf()
    const full = async (): Promise<never> => {
      throw new PaymentError('store-unavailable', 'full')
    }
    const w = world({ seal, vault: { put: full, get: async () => undefined } })
    const credential = w.pay('n1', w.ask(undefined, keep))
    const pass = admitted(await w.gate.admit(w.ask(credential, keep)))
    assert.equal(code(await pass.finish(true, Buffer.from('weather'))), 'serve')
    pass.delivered()
    assert.equal(code(await w.gate.admit(w.ask(credential, keep))), 'payment-delivered')
  })
})

test('an answer for which nobody was there any more may be fetched at once', async () => {
  const w = world()
  const credential = w.pay('n1')
  const pass = admitted(await w.gate.admit(w.ask(credential)))
  await pass.finish(true)
  assert.equal(code(await w.gate.admit(w.ask(credential))), 'payment-in-flight')
  pass.lost()
  const again = admitted(await w.gate.admit(w.ask(credential)))
  assert.equal(code(await again.finish(true)), 'serve')
  again.delivered()
  assert.equal(code(await w.gate.admit(w.ask(credential))), 'payment-delivered')
  assert.deepEqual([w.calls.settle, await earned(w)], [1, 5n])
  // The turn at delivery does not stand in the books for ever.
  assert.equal((await w.books.pending()).length, 1)
  w.pass(WORK_MS + DELIVER_MS)
  await w.gate.recover()
  assert.deepEqual(await w.books.pending(), [])
})

describe('after the end of its offer', () => {
  test('what was posted and never delivered is served, also when the chain is asked first', async () => {
    for (const waitMs of [OFFER_VALID_MS - 10_000, OFFER_VALID_MS + 60_000]) {
      const w = world()
      const credential = w.pay('n1')
      await admitted(await w.gate.admit(w.ask(credential))).finish(true)
      w.pass(waitMs)
      const verified = w.calls.verify
      const pass = admitted(await w.make().admit(w.ask(credential)))
      // Before the end the rail is asked, and says spent; after it the books are.
      assert.equal(w.calls.verify - verified, waitMs < OFFER_VALID_MS ? 1 : 0)
      assert.equal(code(await pass.finish(true)), 'serve')
      pass.delivered()
      assert.equal(code(await w.gate.admit(w.ask(credential))), 'payment-delivered')
      assert.deepEqual([w.calls.settle, await earned(w)], [1, 5n])
    }
  })

  test('money that moved in time counts, though no books know it; money that moved later does not', async () => {
    const w = world()
    const [early, late] = [w.pay('n1'), w.pay('n2')]
    w.moved.set('n1', START + 1_000)
    w.moved.set('n2', START + OFFER_VALID_MS + 120_000)
    w.pass(OFFER_VALID_MS + 180_000)
    assert.equal(code(await w.gate.admit(w.ask(late))), 'offer-expired')
    assert.equal(code(await w.gate.admit(w.ask(w.pay('n3')))), 'pass')
    const pass = admitted(await w.gate.admit(w.ask(early)))
    assert.equal(code(await pass.finish(true)), 'serve')
    assert.deepEqual([w.calls.settle, await earned(w)], [0, 5n])
    w.moved.set('n4', START + 1_000)
    const old = w.pay('n4')
    w.pass(OFFER_VALID_MS + LATE_MS + 10_000)
    assert.equal(code(await w.gate.admit(w.ask(old))), 'offer-expired')
  })
})

describe('a sale that is not final', () => {
  const gone: Standing = { state: 'gone', problem: problem('settlement-failed', 'gone') }
  const undone = ({ events }: { events: readonly Event[] }): number =>
    events.filter(({ type }) => type === 'undone').length

  async function sell(w: ReturnType<typeof world>, nonce: string): Promise<Credential<Proof>> {
    const credential = w.pay(nonce)
    const pass = admitted(await w.gate.admit(w.ask(credential)))
    assert.equal(code(await pass.finish(true)), 'serve')
    pass.delivered()
    await new Promise(setImmediate)
    return credential
  }

  test('is looked at again until it is, ever more rarely, and stays sold', async () => {
    const w = world({ looksAgain: true })
    await sell(w, 'n1')
    await w.gate.recover()
    assert.equal(w.calls.stands, 0)
    for (const pause of [1, 4, 16]) {
      w.pass(LOOK_FIRST_MS * pause - 1)
      await w.gate.recover()
      w.pass(1)
      await w.gate.recover()
    }
    assert.equal(w.calls.stands, 3)
    w.told.stands = async () => ({ state: 'final' })
    w.pass(LOOK_PAUSE_MAX_MS)
    await w.gate.recover()
    w.pass(LOOK_UNTIL_MS)
    await w.gate.recover()
    assert.equal(w.calls.stands, 4)
    assert.deepEqual([await earned(w), undone(w)], [5n, 0])
  })

  test('is told as a fault, and looked at no more, if a day does not make it final', async () => {
    const w = world({ looksAgain: true })
    await sell(w, 'n1')
    for (let i = 0; i < 3; i++) {
      w.pass(LOOK_UNTIL_MS)
      await w.gate.recover()
    }
    assert.equal(w.calls.stands, 2)
    assert.equal(w.events.filter(({ type }) => type === 'fault').length, 1)
    assert.equal(await earned(w), 5n)
  })

  test('and is gone for good is booked back once, with an alarm, and never charged again', async () => {
    const w = world({ looksAgain: true })
    const [credential, honest] = [await sell(w, 'n1'), await sell(w, 'n2')]
    w.told.stands = async (key) => (key === 'n1' ? gone : { state: 'final' })
    w.pass(LOOK_FIRST_MS)
    const other = w.make()
    await Promise.all([w.gate.recover(), other.recover()])
    w.pass(LOOK_FIRST_MS)
    await Promise.all([w.gate.recover(), other.recover()])
    assert.deepEqual([await earned(w), undone(w)], [5n, 1])
    assert.deepEqual(await w.gate.status('n1'), { state: 'failed' })
    assert.deepEqual(await w.gate.status('n2'), { state: 'settled' })
    w.moved.delete('n1')
    const replay = await w.gate.admit(w.ask(credential))
    assert.equal(code(replay), 'settlement-failed')
    assert.ok(replay.kind === 'refused' && replay.challenge)
    assert.equal(code(await w.gate.admit(w.ask(honest))), 'payment-delivered')
    assert.equal(w.calls.settle, 2)
    assert.deepEqual(await w.books.pending(), [])
  })

  test('is a loss where what it earned has been taken out', async () => {
    const w = world({ looksAgain: true })
    await sell(w, 'n1')
    await w.books.transfer({
      key: 'payout',
      purpose: 'payout',
      asset: coin.id,
      amount: 5n,
      legs: [{ debit: 'sales/GET /a', credit: 'world/bank' }],
      leaseUntilAt: START,
      note: {},
    })
    await w.books.post('payout')
    w.told.stands = async () => gone
    w.pass(LOOK_FIRST_MS)
    await w.gate.recover()
    const loss = (await w.books.balances()).find((one) => one.account.startsWith('world/losses/'))
    assert.deepEqual([loss?.account, loss?.posted], ['world/losses/sales/GET /a', -5n])
    assert.deepEqual([await earned(w), undone(w)], [0n, 1])
  })

  for (const verb of ['transfer', 'post', 'step'] as const)
    for (const done of [false, true])
      test(`is booked back once if the process dies ${done ? 'after' : 'before'} the ${verb} of that`, async () => {
        let dead = false
        const w = world({
          looksAgain: true,
          ledger: (ledger) => {
            const end = async (key: string, mine: boolean): Promise<void> => {
              if (dead || !mine || !key.startsWith('n1')) return
              dead = true
              throw new PaymentError('store-unavailable', 'dead')
            }
            let armed = false
            return {
              ...ledger,
              async transfer(given) {
                armed ||= given.purpose === 'undone'
                const mine = armed && verb === 'transfer'
                if (!done) await end(given.key, mine)
                const claim = await ledger.transfer(given)
                if (done) await end(given.key, mine)
                return claim
              },
              async post(...args) {
                const mine = armed && verb === 'post'
                if (!done) await end(args[0], mine)
                const outcome = await ledger.post(...args)
                if (done) await end(args[0], mine)
                return outcome
              },
              async step(...args) {
                const mine = armed && verb === 'step'
                if (!done) await end(args[0], mine)
                await ledger.step(...args)
                if (done) await end(args[0], mine)
              },
            }
          },
        })
        await sell(w, 'n1')
        w.told.stands = async () => gone
        w.pass(LOOK_FIRST_MS)
        await w.gate.recover()
        assert.ok(dead)
        // Another process reads the journal, and ends it.
        const next = w.make()
        await next.recover()
        w.pass(LOOK_FIRST_MS)
        await next.recover()
        assert.equal(await earned(w), 0n)
        assert.deepEqual(await w.gate.status('n1'), { state: 'failed' })
        assert.deepEqual(await w.books.pending(), [])
        const steps = (await w.books.find('n1'))?.steps ?? []
        assert.equal(steps.filter(({ type }) => type === 'undone').length, 1)
      })

  test('and moved to another transaction names that one, and is served as before', async () => {
    const w = world({ looksAgain: true })
    const credential = await sell(w, 'n1')
    w.told.stands = async () => ({ state: 'final', reference: 'tx-other' })
    w.pass(LOOK_FIRST_MS)
    await w.gate.recover()
    const replay = await w.gate.admit(w.ask(credential))
    assert.equal(replay.kind === 'refused' && replay.problem.receipt?.reference, 'tx-other')
  })

  test('is found in the journal by whoever starts, however long the books lay still', async () => {
    const w = world({ looksAgain: true })
    for (let i = 0; i < 40; i++) {
      await sell(w, `n${i}`)
      w.pass(10 * 60_000)
    }
    w.pass(7 * LOOK_UNTIL_MS)
    const seen: string[] = []
    w.told.stands = async (key) => {
      seen.push(key)
      return { state: 'final' }
    }
    const next = w.make()
    await next.recover()
    w.pass(LOOK_FIRST_MS)
    await next.recover()
    // Of the last hour in which something was written.
    assert.deepEqual(seen, ['n33', 'n34', 'n35', 'n36', 'n37', 'n38', 'n39'])
  })

  test('is not looked at on a rail whose word is final', async () => {
    const w = world()
    await sell(w, 'n1')
    w.told.stands = async () => assert.fail('nobody asks')
    w.pass(LOOK_FIRST_MS)
    await w.gate.recover()
    assert.deepEqual([w.calls.stands, await earned(w)], [0, 5n])
  })
})

describe('when the world fails', () => {
  test('a rail that cannot be asked serves nothing and bills nothing', async () => {
    const w = world()
    const credential = w.pay('n1')
    w.told.verify = () => {
      throw new PaymentError('rail-unavailable', 'http://secret-node/key refused')
    }
    const refusal = await w.gate.admit(w.ask(credential))
    assert.equal(code(refusal), 'rail-unavailable')
    assert.ok(
      refusal.kind === 'refused' && !refusal.challenge && !/secret/.test(JSON.stringify(refusal)),
    )
    delete w.told.verify
    admitted(await w.gate.admit(w.ask(credential)))
  })

  for (const verb of ['transfer', 'post'] as const)
    test(`books that cannot ${verb} serve nothing`, async () => {
      const down = async (): Promise<never> => {
        throw new PaymentError('store-unavailable', 'disk full: /secret')
      }
      const w = world({ ledger: (ledger) => ({ ...ledger, [verb]: down }) })
      const entry = await w.gate.admit(w.ask(w.pay('n1')))
      const result = entry.kind === 'pass' ? await entry.finish(true) : entry
      assert.equal(code(result), 'store-unavailable')
      assert.ok(
        result.kind === 'refused' && !result.challenge && !/secret/.test(JSON.stringify(result)),
      )
    })
})
