// The verification of the books over the shared store: the same journal, and the same eyes for what a hand does to it.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Client } from 'pg'
import { createCluster, missing } from '../../test/postgres.ts'
import type { Cluster } from '../../test/postgres.ts'
import type { Ledger, Transfer } from '../core/ports.ts'
import { createHandClock } from '../testing/ledger-suite.ts'
import { postgres } from './postgres.ts'
import { sqlite } from './sqlite.ts'
import { verifyBooks } from './verify.ts'

void describe('verifyBooks over PostgreSQL', { skip: missing }, () => {
  let cluster: Cluster
  let schemas = 0
  before(async () => {
    cluster = await createCluster()
  })
  after(() => cluster?.stop())

  /** Books of eleven rows in a schema of their own. */
  const inBooks = async (
    proof: (ledger: Ledger, edit: (sql: string) => Promise<void>) => Promise<void>,
  ): Promise<void> => {
    const schema = `v_${schemas++}`
    const ledger = await postgres({ url: cluster.url, schema, clock: createHandClock() })
    try {
      await write(ledger)
      await proof(ledger, (sql) => edit(cluster.url, schema, sql))
    } finally {
      await ledger.close()
    }
  }

  test('counts what stands in the books, and ends with the hash that SQLite’s end with', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tolsey-verify-'))
    const file = join(directory, 'books.db')
    const embedded = await sqlite({ file, clock: createHandClock() })
    try {
      await write(embedded)
      const report = await verifyBooks(embedded)
      assert.deepEqual([report.problems, report.rows], [[], 11])
      await inBooks(async (ledger) => assert.deepEqual(await verifyBooks(ledger), report))
    } finally {
      await embedded.close()
      await rm(directory, { recursive: true })
    }
  })

  test('verifies books that another process writes to meanwhile', async () => {
    await inBooks(async (ledger) => {
      let late = 0
      const busy: Ledger = {
        ...ledger,
        async find(key) {
          if (late++ < 3) await ledger.transfer(sale(`late${late}`))
          return await ledger.find(key)
        },
      }
      const report = await verifyBooks(busy)
      assert.deepEqual([report.problems, report.pending], [[], 4])
    })
  })

  // Each line: what a hand in the database does, and what the report must say of it.
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
      /^Rows are missing between 3/,
    ],
    ['the first row', 'DELETE FROM journal WHERE sequence = 1', /^Rows are missing between 0/],
    ['the last row', 'DELETE FROM journal WHERE sequence = 11', /^The transfer d cannot be read/],
    [
      'a balance',
      `UPDATE standings SET posted = 1 WHERE account = 'sales'`,
      /^The balance of sales in usd is 1 and 10 pending; the journal up to row 11 makes 17 and 10/,
    ],
    ['an account', `DELETE FROM standings WHERE account = 'sales'`, /^The balance of sales/],
    ['a state', `UPDATE positions SET state = 'voided' WHERE key = 'a'`, /^The transfer a is not/],
    [
      'what was posted',
      `UPDATE positions SET posted = 9 WHERE key = 'b'`,
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
  for (const [what, sql, sentence] of edits)
    test(`sees what a hand does to ${what}`, async () => {
      await inBooks(async (ledger, edit) => {
        assert.deepEqual((await verifyBooks(ledger)).problems, [])
        await edit(sql)
        const { problems } = await verifyBooks(ledger)
        assert.ok(
          problems.some((one) => sentence.test(one)),
          problems.join('\n'),
        )
      })
    })

  test('a journal that does not end where it should is not written on', async () => {
    await inBooks(async (ledger, edit) => {
      await ledger.transfer(sale('honest'))
      await edit('DELETE FROM journal WHERE sequence = 12')
      await assert.rejects(ledger.transfer(sale('late')), { code: 'store-unavailable' })
      assert.equal(await ledger.find('late'), undefined)
    })
  })
})

async function edit(url: string, schema: string, sql: string): Promise<void> {
  const client = new Client(url)
  await client.connect()
  try {
    await client.query(`SET search_path TO ${schema}`)
    const said = await client.query(sql)
    assert.ok(said.rowCount, 'it changed something')
  } finally {
    await client.end()
  }
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
