// The books that versions of this program have left behind, with a payment in every state: the present code reads them, and
// brings each payment to its end (see journals.ts).
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { Held, Ledger } from '../../src/core/ports.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { verifyBooks } from '../../src/ledger/verify.ts'
import type { Dump, Moved } from './journals.ts'
import {
  askFor,
  boughtAt,
  caller,
  createToyFacilitator,
  createToyGate,
  createToyPayer,
  facilitatedOffer,
  readJournals,
  restore,
  standing,
} from './journals.ts'

const DAY_MS = 86_400_000

/** What each is a day later, and what the same proof is answered then. */
const sales: Readonly<Record<string, readonly [state: string, again: string]>> = {
  'sale claimed': ['voided', 'pass'],
  'sale failed work': ['voided', 'pass'],
  'sale posted paid': ['posted', 'pass'],
  'sale before-work failed, paid': ['posted', 'pass'],
  'sale before-work worked on, paid': ['posted', 'pass'],
  'sale delivered paid': ['posted', 'payment-delivered'],
  'sale unknown': ['pending', 'payment-unknown'],
  'sale refused dead': ['voided', 'pass'],
  'sale prepared paid': ['posted', 'pass'],
  'sale prepared dead': ['voided', 'pass'],
  'sale prepared, not known': ['pending', 'payment-unknown'],
  'sale being delivered paid': ['posted', 'pass'],
}

const settlements: Readonly<Record<string, readonly [state: string, again: string]>> = {
  'settlement told, paid': ['posted', 'settled'],
  'settlement refused dead': ['voided', 'failed'],
  'settlement unknown': ['pending', 'pending'],
  'settlement prepared paid': ['posted', 'settled'],
  'settlement prepared dead': ['voided', 'failed'],
  'settlement claimed': ['voided', 'pending'],
}

/** What cannot be looked up counts as spent. */
const purchases: Readonly<Record<string, string>> = {
  'purchase-received-paid': 'posted',
  'purchase-lost-paid': 'posted',
  'purchase-lost-dead': 'voided',
  'purchase-lost-open': 'pending',
  'purchase-declined': 'voided',
  'purchase-sent-paid': 'posted',
  'purchase-sent-dead': 'voided',
  'purchase-sent-open': 'pending',
  'purchase-reserved': 'posted',
}

async function opened(
  dump: Dump,
  work: (ledger: Ledger, clock: Moved) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-journal-'))
  try {
    const file = join(directory, 'books.db')
    restore(dump, file)
    const clock = standing(dump.writtenAt + DAY_MS)
    const ledger = await sqlite({ file, clock })
    await work(ledger, clock).finally(() => ledger.close())
  } finally {
    await rm(directory, { recursive: true })
  }
}

async function whole(ledger: Ledger): Promise<void> {
  const { problems } = await verifyBooks(ledger)
  assert.deepEqual(problems, [])
}

const journals = await readJournals()

test('there are books of at least one version', () => assert.ok(journals.length > 0))

for (const dump of journals)
  describe(`the books of version ${dump.version}`, () => {
    test('are whole as they are read', () => opened(dump, whole))

    test('bring every sale to its end', () =>
      opened(dump, async (ledger, clock) => {
        const gate = createToyGate(ledger, clock)
        await gate.recover()
        for (const [key, [state, again]] of Object.entries(sales)) {
          const held = await ledger.find(key)
          assert.equal(held?.state, state, key)
          const entry = await gate.admit(askFor(gate, key))
          const said = entry.kind === 'refused' ? entry.problem.code : entry.kind
          assert.equal(said, again, key)
          // Money that has moved is not asked for again.
          if (state === 'posted') assert.equal((await ledger.find(key))?.claim, held?.claim, key)
        }
        await whole(ledger)
      }))

    test('bring every settlement for others to its end', () =>
      opened(dump, async (ledger, clock) => {
        const facilitator = createToyFacilitator(ledger, clock)
        await facilitator.recover()
        for (const [key, [state, again]] of Object.entries(settlements)) {
          assert.equal((await ledger.find(key))?.state, state, key)
          const answer = await facilitator.settle(caller, facilitatedOffer(clock), key)
          assert.equal(answer.kind, again, key)
          if (answer.kind === 'settled') assert.equal(answer.receipt.reference, `tx ${key}`)
        }
        await whole(ledger)
      }))

    test('bring every purchase to its end', () =>
      opened(dump, async (ledger, clock) => {
        const payer = createToyPayer(ledger, clock, () => Promise.reject(new TypeError('none')))
        await payer.recover()
        const held = await bought(ledger)
        for (const [name, state] of Object.entries(purchases))
          assert.equal(held.get(name)?.state, state, name)
        await whole(ledger)
      }))

    test('hold nothing that is not named here', () =>
      opened(dump, async (ledger) => {
        const named = new Set([...Object.keys(sales), ...Object.keys(settlements)])
        for (const { key, type } of await ledger.journal(0, 10_000)) {
          if (type !== 'made' || key.startsWith('purchase/')) continue
          assert.ok(named.has(key.replace(/\/(?:delivery|sent)$/, '')), key)
        }
        for (const name of (await bought(ledger)).keys()) assert.ok(name in purchases, name)
      }))
  })

async function bought(ledger: Ledger): Promise<ReadonlyMap<string, Held>> {
  const found = new Map<string, Held>()
  for (const { key, type } of await ledger.journal(0, 10_000)) {
    const held = type === 'made' && key.startsWith('purchase/') ? await ledger.find(key) : undefined
    if (held) found.set(boughtAt(held), held)
  }
  return found
}
