// Verbs that are called at once share a transaction: each sees what those before it did, though nothing is on disk yet.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Transfer } from '../core/ports.ts'
import { createHandClock } from '../testing/ledger-suite.ts'
import { sqlite } from './sqlite.ts'
import { verifyBooks } from './verify.ts'

const clock = createHandClock()

test('what is sent at once is done in its order, and each sees what went before', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-batch-'))
  const ledger = await sqlite({ file: join(directory, 'books.db'), clock })
  try {
    const [claim, , during, pending, balances, journal, posted, replayed, voided, again, after] =
      await Promise.all([
        ledger.transfer(sale('a')),
        ledger.step('a', { type: 'prepared', data: { n: 1 } }),
        ledger.find('a'),
        ledger.pending(),
        ledger.balances(),
        ledger.journal(0, 9),
        ledger.post('a', 4n, { type: 'settled', data: {} }),
        ledger.transfer(sale('a')),
        ledger.void('a', 'internal'),
        ledger.transfer(sale('b')),
        ledger.find('a'),
        ledger.void('b', 'internal'),
        ledger.transfer(sale('b')),
      ])
    assert.deepEqual(claim, { outcome: 'made', claim: 1 })
    assert.deepEqual(during?.steps, [{ type: 'prepared', data: { n: 1 } }])
    assert.deepEqual(pending, [during])
    assert.deepEqual(
      balances.map(({ account, pending }) => [account, pending]),
      [
        ['sales', 10n],
        ['world/x', -10n],
      ],
    )
    assert.deepEqual(
      journal.map(({ type }) => type),
      ['made', 'prepared'],
    )
    assert.deepEqual([posted, replayed.outcome, voided], ['posted', 'replayed', 'posted'])
    assert.deepEqual(again, { outcome: 'made', claim: 5 })
    assert.deepEqual([after?.state, after?.posted, after?.steps.length], ['posted', 4n, 2])
    assert.equal((await ledger.journal(0, 99)).length, 7)
    assert.deepEqual((await ledger.find('b'))?.claim, 7)
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  } finally {
    await ledger.close()
    await rm(directory, { recursive: true })
  }
})

function sale(key: string): Transfer {
  const legs = [{ debit: 'world/x', credit: 'sales' }]
  const leaseUntilAt = clock.now() + 1000
  return { key, purpose: 'p', asset: 'usd', amount: 10n, legs, leaseUntilAt, note: {} }
}
