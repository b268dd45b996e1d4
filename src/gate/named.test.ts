// Requests that their payers gave a name: paid by a token once, however often they are sent.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { systemChance } from '../core/chance.ts'
import type { Grant } from '../core/credential.ts'
import { createMac } from '../core/mac.ts'
import { readPrice, writePrice } from '../core/money.ts'
import { createOffers } from '../core/offers.ts'
import type { Ask, Gate, Kept, Ledger, Pass, Refusal } from '../core/ports.ts'
import { createSeal } from '../core/seal.ts'
import { memory } from '../ledger/memory.ts'
import { verifyBooks } from '../ledger/verify.ts'
import {
  ask,
  createHandClock,
  createKeyRail,
  createShop,
  passed,
  plan,
  planned,
  priced,
} from './fixture.test.ts'
import { SETTLE_MS, WORK_MS, createGate } from './gate.ts'

const SECRETS = ['uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA']
const purse = plan('purse', { balance: readPrice('1 USD') })
const dime = priced('0.10 USD', { keep: true })
const answer = Buffer.from('the goods')

interface World {
  readonly gate: Gate
  readonly other: Gate
  readonly ledger: Ledger
  readonly grant: Grant
  readonly clock: ReturnType<typeof createHandClock>
  readonly named: (name: string, change?: Parameters<typeof ask>[2]) => Ask
  readonly left: () => Promise<string>
}

async function open(): Promise<World> {
  const clock = createHandClock()
  const ledger = memory({ clock })
  const stored = new Map<string, Uint8Array>()
  const { rail } = createKeyRail(clock)
  const gateOf = (): Gate =>
    createGate({
      ...{ rails: [rail], ledger, clock, observe: () => undefined },
      offers: createOffers(createMac(SECRETS, 'offers')),
      seal: createSeal(SECRETS, 'vault', systemChance),
      vault: {
        put: async (key, sealed) => void stored.set(key, sealed),
        get: async (key) => stored.get(key),
      },
    })
  const gate = gateOf()
  const { grant } = await createShop(ledger, clock).buy('p', purse)
  return {
    gate,
    other: gateOf(),
    ledger,
    grant,
    clock,
    named: (name, change) => ({ ...ask(dime, { grant }, change), idempotencyKey: name }),
    async left() {
      const { balance } = await gate.accounts.left(grant.id)
      return balance ? writePrice(balance) : ''
    },
  }
}

const codeOf = (entry: Pass | Kept | Refusal): string =>
  entry.kind === 'refused' ? entry.problem.code : entry.kind

describe('a request with a name, paid by a token', () => {
  test('is charged once and answered with the same bytes, at every gate over the books', async () => {
    const { gate, other, ledger, named, left } = await open()
    assert.equal((await passed(await gate.admit(named('one'))).finish(true, answer)).kind, 'serve')
    for (const one of [gate, other, gate]) {
      const again = await one.admit(named('one'))
      assert.equal(again.kind === 'kept' && Buffer.from(again.answer).toString(), 'the goods')
    }
    assert.equal(await left(), '0.9 USD')
    assert.equal((await passed(await gate.admit(named('two'))).finish(true, answer)).kind, 'serve')
    assert.equal(await left(), '0.8 USD')
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  })

  test('twenty times at once is done once', async () => {
    const { gate, other, named, left } = await open()
    const entries = await Promise.all(
      Array.from({ length: 20 }, (_, i) => (i % 2 ? gate : other).admit(named('one'))),
    )
    const passes = entries.filter(({ kind }) => kind === 'pass')
    assert.equal(passes.length, 1)
    assert.equal(entries.filter((one) => codeOf(one) === 'payment-in-flight').length, 19)
    for (const one of passes) await passed(one).finish(true, answer)
    assert.equal(await left(), '0.9 USD')
  })

  test('whose work failed is done again, and whose answer was not kept is neither done nor charged again', async () => {
    const { gate, named, left } = await open()
    await passed(await gate.admit(named('one'))).finish(false)
    assert.equal(await left(), '1 USD')
    await passed(await gate.admit(named('one'))).finish(true)
    assert.equal(codeOf(await gate.admit(named('one'))), 'payment-delivered')
    assert.equal(await left(), '0.9 USD')
  })

  test('may not be another request, nor another payer’s', async () => {
    const { gate, ledger, clock, named, left } = await open()
    await passed(await gate.admit(named('one'))).finish(true, answer)
    const elsewhere = named('one', { resource: { path: '/b', url: 'http://api.test/b' } })
    assert.equal(codeOf(await gate.admit(elsewhere)), 'idempotency-conflict')
    const { grant } = await createShop(ledger, clock).buy('q', purse)
    const stranger = { ...named('one'), credential: { grant } }
    const entry = await gate.admit(stranger)
    assert.equal(entry.kind, 'pass')
    assert.equal(await left(), '0.9 USD')
  })

  test('of a process that died is free after its time, and a maker that was thought dead gives nothing away', async () => {
    const { gate, other, clock, named, left } = await open()
    const dead = passed(await gate.admit(named('one')))
    assert.equal(codeOf(await other.admit(named('one'))), 'payment-in-flight')
    clock.pass(WORK_MS + SETTLE_MS + 1)
    const next = passed(await other.admit(named('one')))
    assert.equal((await next.finish(true, answer)).kind, 'serve')
    const late = await dead.finish(true, Buffer.from('too late'))
    assert.equal(late.kind === 'refused' && late.problem.code, 'work-timed-out')
    const again = await gate.admit(named('one'))
    assert.equal(again.kind === 'kept' && Buffer.from(again.answer).toString(), 'the goods')
    assert.equal(await left(), '0.9 USD')
  })
})

test('a measured request with a name, whose maker was thought dead, charges each maker for what is its own', async () => {
  const { gate, other, clock, named, left } = await open()
  const measure = { unit: readPrice('0.10 USD') }
  const sale = { ...planned(purse), measure }
  const ask = (): Ask => ({ ...named('one'), sale })
  const dead = passed(await gate.admit(ask()))
  assert.ok(await dead.meter?.take(readPrice('0.05 USD')))
  clock.pass(WORK_MS + SETTLE_MS + 1)
  const next = passed(await other.admit(ask()))
  assert.ok(await next.meter?.take(readPrice('0.07 USD')))
  // Both are served after all, and neither is charged on what the other holds.
  for (const one of [dead, next]) {
    assert.equal((await one.finish(true)).kind, 'serve')
    await one.ended?.()
  }
  assert.equal(await left(), '0.88 USD')
})
