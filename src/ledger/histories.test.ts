// Random histories are lived by the file and by the model at once: every answer, the balances and the whole journal must
// be the same. The calls of one turn are made without waiting, so that they share transactions.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import * as fc from 'fast-check'
import type { Balance, Ledger, Leg, Step, Transfer } from '../core/ports.ts'
import { createHandClock } from '../testing/ledger-suite.ts'
import type { HandClock } from '../testing/ledger-suite.ts'
import { memory } from './memory.ts'
import { sqlite } from './sqlite.ts'
import { verifyBooks } from './verify.ts'

/** A call on a ledger, with the clock for what is relative to now. */
type Call = (ledger: Ledger, clock: HandClock) => Promise<unknown>

type Turn =
  | { readonly kind: 'calls'; readonly calls: readonly Call[] }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'reopen' }

const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g')
const asset = fc.constantFrom('usd', 'usd', 'wei')
const amount = fc.oneof(
  { weight: 9, arbitrary: fc.bigInt(0n, 20n) },
  { weight: 1, arbitrary: fc.constant(2n ** 255n) },
)
const account = fc.constantFrom('world/x', 'world/y', 'purse', 'sales', 'day')
const ceiling = fc.option(fc.bigInt(0n, 60n), { nil: undefined, freq: 1 })
const source = fc.oneof(
  { weight: 3, arbitrary: fc.constant('world/x') },
  { weight: 1, arbitrary: account },
)
const note = fc.dictionary(fc.string({ maxLength: 4 }), fc.jsonValue({ maxDepth: 2 }), {
  maxKeys: 3,
})
const data = note.map((value) => JSON.parse(JSON.stringify(value)) as Transfer['note'])

const leg: fc.Arbitrary<Leg> = fc
  .tuple(source, account, ceiling)
  .filter(([debit, credit]) => debit !== credit)
  .map(([debit, credit, limit]) =>
    limit === undefined ? { debit, credit } : { debit, credit, ceiling: limit },
  )

const step: fc.Arbitrary<Step> = fc.record({ type: fc.constantFrom('prepared', 'settled'), data })

const transfer: fc.Arbitrary<Call> = fc
  .record({
    key,
    purpose: fc.constantFrom('p', 'p', 'q'),
    asset,
    amount,
    legs: fc.array(leg, { minLength: 1, maxLength: 3 }),
    leaseMs: fc.integer({ min: -5, max: 50 }),
    note: data,
  })
  .map(
    ({ leaseMs, ...rest }) =>
      (ledger, clock) =>
        ledger.transfer({ ...rest, leaseUntilAt: clock.now() + leaseMs }),
  )

/** A claim that may be another's by now, or nobody's. */
const claim = fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined, freq: 1 })

const call: fc.Arbitrary<Call> = fc.oneof(
  { weight: 6, arbitrary: transfer },
  {
    weight: 1,
    arbitrary: key.map(
      (k): Call =>
        (ledger) =>
          ledger.find(k),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(key, claim).map(
      ([k, c]): Call =>
        (ledger) =>
          ledger.void(k, 'internal', c),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(key, step, claim).map(
      ([k, s, c]): Call =>
        (ledger) =>
          ledger.step(k, s, c),
    ),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(key, fc.option(amount, { nil: undefined }), fc.option(step, { nil: undefined }), claim)
      .map(
        ([k, n, s, c]): Call =>
          (ledger) =>
            ledger.post(k, n, s, c),
      ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(key, fc.integer({ min: 1, max: 40 })).map(
      ([k, c]): Call =>
        (ledger) =>
          ledger.expire(k, c),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(undefined, 'p', 'q').map(
      (purpose): Call =>
        (ledger) =>
          ledger.pending(purpose),
    ),
  },
  { weight: 1, arbitrary: fc.constant<Call>(async (ledger) => sorted(await ledger.balances())) },
  {
    weight: 1,
    arbitrary: fc.nat(9).map(
      (n): Call =>
        (ledger) =>
          ledger.journal(n, 3),
    ),
  },
)

const turn: fc.Arbitrary<Turn> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc
      .array(call, { minLength: 1, maxLength: 8 })
      .map((calls): Turn => ({ kind: 'calls', calls })),
  },
  {
    weight: 3,
    arbitrary: fc.integer({ min: 1, max: 60 }).map((ms): Turn => ({ kind: 'wait', ms })),
  },
  { weight: 1, arbitrary: fc.constant<Turn>({ kind: 'reopen' }) },
)

/** What came of a call, errors by their names. */
async function outcome(call: Call, ledger: Ledger, clock: HandClock): Promise<unknown> {
  return call(ledger, clock).catch((error: unknown) =>
    error instanceof Error ? error.name : error,
  )
}

function sorted(balances: readonly Balance[]): readonly Balance[] {
  return balances.toSorted((a, b) =>
    `${a.account} ${a.asset}` < `${b.account} ${b.asset}` ? -1 : 1,
  )
}

test('the file and the model live the same histories', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-histories-'))
  let histories = 0
  let rows = 0
  const live = async (turns: readonly Turn[]): Promise<void> => {
    const clock = createHandClock()
    const file = join(directory, `${histories++}.db`)
    const model = memory({ clock })
    let real = await sqlite({ file, clock })
    for (const turn of turns) {
      if (turn.kind === 'wait') clock.advance(turn.ms)
      else if (turn.kind === 'reopen') {
        await real.close()
        real = await sqlite({ file, clock })
      } else {
        const both = [real, model].map((ledger) =>
          Promise.all(turn.calls.map((call) => outcome(call, ledger, clock))),
        )
        const [told, expected] = await Promise.all(both)
        assert.deepEqual(told, expected)
      }
    }
    assert.deepEqual(await real.journal(0, 1000), await model.journal(0, 1000))
    assert.deepEqual(sorted(await real.balances()), sorted(await model.balances()))
    const reports = await Promise.all([verifyBooks(real), verifyBooks(model)])
    assert.deepEqual(reports[0], reports[1])
    assert.deepEqual(reports[0].problems, [])
    rows += reports[0].rows
    await real.close()
  }
  try {
    const histories = fc.array(turn, { minLength: 8, maxLength: 32, size: 'max' })
    await fc.assert(fc.asyncProperty(histories, live), { numRuns: 16, endOnFailure: true })
  } finally {
    await rm(directory, { recursive: true })
  }
  assert.ok(rows > 100, 'much has happened in them')
})
