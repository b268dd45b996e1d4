// What may stand in the books and what may not, at each limit and one beyond it. The limits are written as numbers here:
// books that were written yesterday must be readable tomorrow.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, test } from 'node:test'
import type { Ledger, Leg, Transfer } from '../core/ports.ts'
import { createHandClock } from '../testing/ledger-suite.ts'
import type { Command } from './commands.ts'
import { createLedger, writes } from './commands.ts'
import { memory } from './memory.ts'
import { GENESIS, readAmount, readData, readMade } from './row.ts'
import { sqlite } from './sqlite.ts'

const bug = { name: 'Bug' }

const stores: Record<string, (proof: (ledger: Ledger) => Promise<void>) => Promise<void>> = {
  memory: (proof) => proof(memory({ clock: createHandClock() })),
  sqlite: (proof) => inSqlite(proof),
}

for (const [name, inStore] of Object.entries(stores))
  describe(`${name} takes what is within its limits and nothing beyond`, () => {
    const name1024 = 'n'.repeat(1024)
    const legs = (count: number): readonly Leg[] =>
      Array.from({ length: count }, (_, i) => ({ debit: 'world/x', credit: `c${i}` }))
    const good: Record<string, Partial<Transfer>> = {
      'a key of 1024 characters': { key: name1024 },
      'an asset of 1024 characters': { key: 'b', asset: name1024 },
      'an empty purpose': { key: 'c', purpose: '' },
      'a purpose of 65,536 characters': { key: 'd', purpose: 'p'.repeat(65_536) },
      'a note of 262,144': { key: 'e', note: { a: 'x'.repeat(262_144 - 8) } },
      'sixteen legs': { key: 'f', legs: legs(16) },
      'an amount of nothing': { key: 'g', amount: 0n },
      'the largest amount': { key: 'h', asset: 'big', amount: 2n ** 256n - 1n },
      'a lease in the past': { key: 'i', leaseUntilAt: -1 },
      'the highest ceiling': { key: 'j', legs: [leg({ ceiling: 2n ** 256n - 1n })] },
      'a ceiling of nothing': { key: 'k', amount: 0n, legs: [leg({ credit: 'k', ceiling: 0n })] },
      'accounts of 1024': {
        key: 'l',
        legs: [{ debit: `world/${name1024.slice(6)}`, credit: name1024 }],
      },
    }
    const wrong: Record<string, Partial<Transfer>> = {
      'a key of 1025 characters': { key: `${name1024}n` },
      'an empty key': { key: '' },
      'an asset of 1025 characters': { asset: `${name1024}n` },
      'an empty asset': { asset: '' },
      'a control character in an asset': { asset: 'u\u0000sd' },
      'a purpose of 65,537 characters': { purpose: 'p'.repeat(65_537) },
      'half a character in a purpose': { purpose: '\udc00' },
      'a note of 262,145': { note: { a: 'x'.repeat(262_144 - 7) } },
      'a note that is a list': { note: [] as unknown as Transfer['note'] },
      'seventeen legs': { legs: legs(17) },
      'no leg': { legs: [] },
      'an amount below nothing': { amount: -1n },
      'more than a uint256': { amount: 2n ** 256n },
      'an amount that is no bigint': { amount: 1 as unknown as bigint },
      'half a millisecond': { leaseUntilAt: 0.5 },
      'a ceiling below nothing': { legs: [leg({ ceiling: -1n })] },
      'a ceiling above a uint256': { legs: [leg({ ceiling: 2n ** 256n })] },
      'an account without a name to debit': { legs: [leg({ debit: '' })] },
      'an account without a name to credit': { legs: [leg({ credit: '' })] },
      'an account of two lines': { legs: [leg({ credit: 'a\nb' })] },
      'a wrong second leg': { legs: [leg(), leg({ debit: '' })] },
    }

    test('in a transfer', async () => {
      await inStore(async (ledger) => {
        for (const [what, rest] of Object.entries(good)) {
          const given = transfer(rest)
          assert.equal((await ledger.transfer(given)).outcome, 'made', what)
          const held = await ledger.find(given.key)
          assert.deepEqual({ ...given, ...held }, held, what)
          assert.equal(
            (await ledger.transfer(given)).outcome,
            given.leaseUntilAt < 0 ? 'made' : 'replayed',
            what,
          )
        }
        const rows = (await ledger.journal(0, 100)).length
        for (const [what, rest] of Object.entries(wrong))
          await assert.rejects(ledger.transfer(transfer({ key: 'z', ...rest })), bug, what)
        assert.equal((await ledger.journal(0, 100)).length, rows)
      })
    })

    test('in a step and in the reason of a void', async () => {
      await inStore(async (ledger) => {
        await ledger.transfer(transfer({ key: 'a' }))
        await ledger.step('a', { type: name1024, data: { a: 'x'.repeat(262_144 - 8) } })
        for (const type of ['', `${name1024}n`, 'a\tb', 'made', 'posted', 'voided'])
          await assert.rejects(ledger.step('a', { type, data: {} }), bug, type)
        await assert.rejects(
          ledger.step('a', { type: 'x', data: { a: 'x'.repeat(262_144 - 7) } }),
          bug,
        )
        for (const reason of ['', `${name1024}n`, 'a\nb'])
          await assert.rejects(ledger.void('a', reason), bug)
        assert.equal((await ledger.find('a'))?.state, 'pending')
        assert.equal(await ledger.void('a', name1024), 'voided')
      })
    })

    test('in what is posted', async () => {
      await inStore(async (ledger) => {
        await ledger.transfer(transfer({ key: 'a', amount: 5n }))
        for (const amount of [-1n, 6n, 5 as unknown as bigint])
          await assert.rejects(ledger.post('a', amount), bug, `${amount}`)
        await assert.rejects(ledger.post('a', 5n, { type: 'posted', data: {} }), bug)
        assert.equal(await ledger.post('a', 0n), 'posted')
        const held = await ledger.find('a')
        assert.deepEqual([held?.state, held?.posted], ['posted', 0n])
      })
    })

    test('and the same key for another payer, or by another way, is foreign', async () => {
      await inStore(async (ledger) => {
        await ledger.transfer(transfer({ key: 'a' }))
        for (const other of [leg({ debit: 'world/y' }), leg({ credit: 'd' })])
          assert.equal(
            (await ledger.transfer(transfer({ key: 'a', legs: [other] }))).outcome,
            'foreign',
          )
        assert.equal((await ledger.transfer(transfer({ key: 'a' }))).outcome, 'replayed')
      })
    })

    test('and a claim that expires says why', async () => {
      await inStore(async (ledger) => {
        const made = await ledger.transfer(transfer({ key: 'a', leaseUntilAt: 0 }))
        assert.ok(made.outcome === 'made')
        assert.equal(await ledger.expire('a', made.claim), true)
        const [, row] = await ledger.journal(0, 9)
        assert.deepEqual([row?.type, row?.data], ['voided', { reason: 'lease-expired' }])
      })
    })
  })

test('a transfer has 1024 steps at most, and is posted all the same', async () => {
  await inSqlite(async (ledger) => {
    for (const key of ['a', 'b']) {
      await ledger.transfer(transfer({ key }))
      const steps = Array.from({ length: 1024 }, () => ledger.step(key, { type: 's', data: {} }))
      await Promise.all(steps)
      await assert.rejects(ledger.step(key, { type: 's', data: {} }), bug)
      await assert.rejects(ledger.post(key, undefined, { type: 's', data: {} }), bug)
    }
    assert.equal(await ledger.post('a'), 'posted')
    await assert.rejects(ledger.step('a', { type: 'delivered', data: {} }), bug)
    assert.equal(await ledger.void('b', 'internal'), 'voided')
    assert.equal((await ledger.find('a'))?.steps.length, 1024)
  })
})

describe('the port over a runner', () => {
  const sent: Command[] = []
  const runner = {
    send: async (command: Command) => void sent.push(command),
    close: async () => {},
  }
  const ledger = createLedger(runner, createHandClock())

  test('reads at most ten thousand rows of the journal at once, and asks for nothing that cannot be', async () => {
    await ledger.journal(0, 1_000_000)
    await ledger.journal(7, 1)
    assert.deepEqual(sent.splice(0), [
      { verb: 'journal', after: 0, limit: 10_000 },
      { verb: 'journal', after: 7, limit: 1 },
    ])
    for (const [after, limit] of [
      [-1, 1],
      [0.5, 1],
      [0, 0],
      [0, 0.5],
    ] as const)
      await assert.rejects(ledger.journal(after, limit), bug)
    assert.deepEqual(sent, [])
  })

  test('locks out other writers for what may write, and for nothing else', async () => {
    const mark = { type: 's', data: {} }
    await ledger.transfer(transfer({ key: 'a' }))
    await ledger.step('a', mark)
    await ledger.post('a', 1n, mark, 2)
    await ledger.void('a', 'internal', 3)
    await ledger.expire('a', 4)
    await ledger.find('a')
    await ledger.pending()
    await ledger.balances()
    await ledger.journal(0, 1)
    const yes = ['transfer', 'step', 'post', 'void', 'expire']
    const no = ['find', 'pending', 'balances', 'journal']
    assert.deepEqual(
      sent.splice(0).map((command) => [command.verb, writes(command)]),
      [...yes.map((verb) => [verb, true]), ...no.map((verb) => [verb, false])],
    )
  })

  test('writes whole milliseconds only', async () => {
    const odd = createLedger(runner, { ...createHandClock(), now: () => 0.5 })
    await assert.rejects(odd.transfer(transfer({ key: 'a' })), bug)
    assert.deepEqual(sent, [])
  })
})

test('a position that a hand has pointed at another’s rows is not believed', async () => {
  const edits = [
    // The first row makes a, the second b; the third is a step of b.
    `UPDATE positions SET steps = '[3]' WHERE key = 'a'`,
    `UPDATE positions SET made = 9 WHERE key = 'a'`,
    `UPDATE positions SET made = 4 WHERE key = 'a'`,
    `UPDATE positions SET steps = '{}' WHERE key = 'a'`,
    `UPDATE positions SET steps = '["3"]' WHERE key = 'a'`,
    `UPDATE positions SET state = 'spent' WHERE key = 'a'`,
  ]
  for (const sql of edits)
    await inSqlite(async (ledger, file) => {
      for (const key of ['a', 'b']) await ledger.transfer(transfer({ key }))
      await ledger.step('b', { type: 's', data: {} })
      await ledger.step('a', { type: 's', data: {} })
      assert.equal((await ledger.find('a'))?.steps.length, 1)
      const db = new DatabaseSync(file)
      db.exec(sql)
      db.close()
      await assert.rejects(ledger.find('a'), bug, sql)
      assert.equal((await ledger.find('b'))?.steps.length, 1)
    })
})

describe('a row that we did not write', () => {
  const honest = {
    purpose: 'p',
    asset: 'usd',
    amount: '10',
    legs: [{ debit: 'world/x', credit: 'c', ceiling: '9' }],
    leaseUntilAt: 1,
    note: {},
  }

  test('is a bug, whatever is wrong with it', () => {
    assert.deepEqual(readMade('a', honest), {
      ...honest,
      key: 'a',
      amount: 10n,
      legs: [{ debit: 'world/x', credit: 'c', ceiling: 9n }],
    })
    const wrong: readonly object[] = [
      { purpose: 1 },
      { asset: null },
      { leaseUntilAt: '1' },
      { note: [] },
      { legs: {} },
      { legs: ['x'] },
      { legs: [{ debit: 'world/x' }] },
      { legs: [{ credit: 'c' }] },
      { legs: [{ debit: 'world/x', credit: 'c', ceiling: 9 }] },
      { amount: 10 },
    ]
    for (const one of wrong)
      assert.throws(() => readMade('a', { ...honest, ...one }), bug, JSON.stringify(one))
    for (const text of ['[]', '1', 'null']) assert.throws(() => readData(text), bug)
  })

  test('has amounts of 1 to 78 digits, and of nothing else', () => {
    assert.equal(readAmount('9'.repeat(78)), 10n ** 78n - 1n)
    for (const said of ['', '9'.repeat(79), '1x', 'x1', '-1', '1.0', 1, undefined])
      assert.throws(() => readAmount(said), bug, String(said))
    assert.equal(GENESIS, '0'.repeat(64))
  })
})

function leg(rest: Partial<Leg> = {}): Leg {
  return { debit: 'world/x', credit: 'c', ...rest }
}

function transfer(rest: Partial<Transfer>): Transfer {
  const leaseUntilAt = Date.UTC(2031, 0, 1)
  const base = { key: 'z', purpose: 'p', asset: 'usd', amount: 1n, leaseUntilAt, note: {} }
  return { ...base, legs: [leg()], ...rest }
}

async function inSqlite(proof: (ledger: Ledger, file: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-limits-'))
  const file = join(directory, 'books.db')
  try {
    const ledger = await sqlite({ file, clock: createHandClock() })
    try {
      await proof(ledger, file)
    } finally {
      await ledger.close()
    }
  } finally {
    await rm(directory, { recursive: true })
  }
}
