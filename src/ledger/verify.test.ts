import assert from 'node:assert/strict'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, test } from 'node:test'
import type { Held, Ledger, Transfer } from '../core/ports.ts'
import { createHandClock } from '../testing/ledger-suite.ts'
import { memory } from './memory.ts'
import { sqlite } from './sqlite.ts'
import { verifyBooks } from './verify.ts'

describe('verifyBooks', () => {
  test('counts what stands in the books and hands on what was posted, in order', async () => {
    const ledger = memory({ clock: createHandClock() })
    await write(ledger)
    const posted: Held[] = []
    const report = await verifyBooks(ledger, { onPosted: (held) => void posted.push(held) })
    const [last] = (await ledger.journal(0, 100)).toReversed()
    const counts = { rows: 11, posted: 2, pending: 1, voided: 1 }
    assert.deepEqual(report, { problems: [], ...counts, hash: last?.hash })
    assert.deepEqual(
      posted.map(({ key, posted }) => [key, posted]),
      [
        ['b', 7n],
        ['a', 10n],
      ],
    )
  })

  test('counts no claims, such as the numbers of a sending key, and reads them all the same', async () => {
    const ledger = memory({ clock: createHandClock() })
    const legs = [{ debit: 'world/nonces', credit: 'world/sent' }]
    const claim = { purpose: 'nonce', asset: 'nonce', amount: 0n, leaseUntilAt: 1, note: {} }
    for (const key of ['one', 'two', 'three']) await ledger.transfer({ ...claim, key, legs })
    await ledger.post('one')
    await ledger.void('two', 'unsent')
    await ledger.transfer(sale('sold'))
    await ledger.post('sold')
    const posted: string[] = []
    const report = await verifyBooks(ledger, { onPosted: ({ key }) => void posted.push(key) })
    const { problems, rows, ...counts } = report
    assert.deepEqual([problems, rows], [[], 7])
    assert.deepEqual([counts.posted, counts.pending, counts.voided], [1, 0, 0])
    assert.deepEqual(posted, ['sold'])
  })

  test('finds nothing in empty books', async () => {
    const { problems, rows, hash } = await verifyBooks(memory())
    assert.deepEqual([problems, rows, hash], [[], 0, '0'.repeat(64)])
  })

  test('verifies books that are written to meanwhile', async () => {
    const ledger = memory({ clock: createHandClock() })
    await write(ledger)
    let late = 0
    const busy: Ledger = {
      ...ledger,
      async find(key) {
        const held = await ledger.find(key)
        if (late++ < 3) await ledger.transfer(sale(`late${late}`))
        if (late === 2) await ledger.post('d')
        return held
      },
      async balances() {
        const balances = await ledger.balances()
        if (late++ < 20) await ledger.transfer(sale(`late${late}`))
        return balances
      },
    }
    assert.deepEqual((await verifyBooks(busy)).problems, [])
    assert.ok(late >= 20)
  })

  // Each line: what a hand in the file does, and what the report must say of it.
  const edits: readonly (readonly [string, string, RegExp])[] = [
    [
      'an amount in a past row',
      `UPDATE journal SET data = replace(data, '"amount":"10"', '"amount":"11"') WHERE sequence = 1`,
      /^Row 1 does not follow/,
    ],
    ['the time of a past row', 'UPDATE journal SET at = at + 1 WHERE sequence = 2', /^Row 2 does/],
    ['the hash of a row', `UPDATE journal SET hash = '00' WHERE sequence = 3`, /^Row 3 does not/],
    [
      'a row in the middle',
      'DELETE FROM journal WHERE sequence = 4',
      /^Rows are missing between 3 and 5/,
    ],
    [
      'the first row',
      'DELETE FROM journal WHERE sequence = 1',
      /^Rows are missing between 0 and 2/,
    ],
    ['the last row', 'DELETE FROM journal WHERE sequence = 11', /^The transfer d cannot be read/],
    [
      'a balance',
      `UPDATE standings SET posted = '1' WHERE account = 'sales'`,
      /^The balance of sales in usd is 1 and 10 pending; the journal up to row 11 makes 17 and 10/,
    ],
    ['an account', `DELETE FROM standings WHERE account = 'sales'`, /^The balance of sales/],
    ['a state', `UPDATE positions SET state = 'voided' WHERE key = 'a'`, /^The transfer a is not/],
    [
      'what was posted',
      `UPDATE positions SET posted = '10' WHERE key = 'b'`,
      /^The transfer b is not/,
    ],
    ['a step', `UPDATE positions SET steps = '[]' WHERE key = 'b'`, /^The transfer b is not/],
    ['a whole position', `DELETE FROM positions WHERE key = 'c'`, /^The transfer c is not/],
    [
      'a position that no row tells of',
      `UPDATE positions SET key = 'other' WHERE key = 'd'`,
      /^The pending cannot be read/,
    ],
  ]
  test('sees what a hand does to the file', async (t) => {
    await inDirectory(async (honest) => {
      await withLedger(honest, async (ledger) => {
        await write(ledger)
        assert.deepEqual((await verifyBooks(ledger)).problems, [])
      })
      for (const [what, sql, sentence] of edits)
        await t.test(what, async () => {
          const file = `${honest}.edited`
          await copyFile(honest, file)
          edit(file, sql)
          await withLedger(file, async (ledger) => {
            const { problems } = await verifyBooks(ledger)
            assert.ok(
              problems.some((one) => sentence.test(one)),
              problems.join('\n'),
            )
          })
        })
    })
  })
})

function edit(file: string, sql: string): void {
  const db = new DatabaseSync(file)
  db.exec(sql)
  db.close()
}

/** Eleven rows: a posted, b posted in part with a step, c voided, d pending with a step. */
async function write(ledger: Ledger): Promise<void> {
  await ledger.transfer(sale('a'))
  await ledger.void('a', 'internal')
  await ledger.transfer(sale('b'))
  await ledger.post('b', 7n, { type: 'settled', data: {} })
  await ledger.transfer(sale('a'))
  await ledger.post('a')
  await ledger.transfer(sale('c'))
  await ledger.void('c', 'internal')
  await ledger.transfer(sale('d'))
  await ledger.step('d', { type: 'prepared', data: {} })
}

function sale(key: string): Transfer {
  const legs = [{ debit: 'world/chain', credit: 'sales' }]
  const leaseUntilAt = Date.UTC(2031, 0, 1)
  return { key, purpose: 'p', asset: 'usd', amount: 10n, legs, leaseUntilAt, note: {} }
}

async function withLedger(file: string, work: (ledger: Ledger) => Promise<void>): Promise<void> {
  const ledger = await sqlite({ file, clock: createHandClock() })
  try {
    await work(ledger)
  } finally {
    await ledger.close()
  }
}

async function inDirectory(proof: (file: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-verify-'))
  try {
    await proof(join(directory, 'books.db'))
  } finally {
    await rm(directory, { recursive: true })
  }
}
