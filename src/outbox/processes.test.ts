// Several processes deliver from the same books. This file is its own child: with a place as its argument it delivers from
// there until it is killed, and tests nothing. Time runs sixty times faster, so that a lease is a second.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createCluster, missing } from '../../test/postgres.ts'
import type { Cluster } from '../../test/postgres.ts'
import type { Ledger } from '../core/ports.ts'
import { postgres } from '../ledger/postgres.ts'
import { sqlite } from '../ledger/sqlite.ts'
import { verifyBooks } from '../ledger/verify.ts'
import { createFeed } from './feed.ts'
import { file } from './file.ts'
import { createFastClock, createReceiver, sell, SECRET, until } from './fixture.test.ts'
import { openOutbox } from './outbox.ts'
import { webhook } from './webhook.ts'

const SALES = 200
const KILLS = 4
const SOURCE = 'https://shop.example'
const clock = createFastClock(60)

const [directory, books, url] = process.argv.slice(2)
if (directory !== undefined && books !== undefined && url !== undefined)
  await deliver(directory, books, url)
else prove()

async function deliver(directory: string, books: string, url: string): Promise<void> {
  const hook = { name: 'hook', url, secrets: SECRET, isPrivateAllowed: true, clock, eventsMax: 4 }
  const sinks = [webhook(hook), file({ name: 'file', path: join(directory, 'events.ndjson') })]
  openOutbox({ ledger: await open(books), source: SOURCE, sinks, clock })
  // Nobody outlives the test.
  process.stdin.resume().once('close', () => process.exit())
}

function open(books: string): Promise<Ledger> {
  return books.startsWith('postgres:')
    ? postgres({ url: books, clock })
    : sqlite({ file: books, clock })
}

function prove(): void {
  let cluster: Cluster | undefined
  before(async () => {
    if (missing === undefined) cluster = await createCluster()
  })
  after(() => cluster?.stop())

  const promise =
    'deliverers that are killed lose nothing, and every event comes after the one before'
  test(`${promise}: one file`, () =>
    inDirectory((place) => deliverAll(place, join(place, 'books.db'))))
  test(`${promise}: one PostgreSQL`, { skip: missing }, () =>
    inDirectory((place) => deliverAll(place, cluster?.url ?? '')),
  )
}

/** Two processes deliver while sales are made, and are killed in the middle of a turn, again and again. */
async function deliverAll(directory: string, books: string): Promise<void> {
  const receiver = await createReceiver()
  const children: ChildProcess[] = []
  const start = (): void => {
    const args = [import.meta.filename, directory, books, receiver.url]
    children.push(spawn(process.execPath, args, { stdio: ['pipe', 'inherit', 'inherit'], env: {} }))
  }
  const path = join(directory, 'events.ndjson')
  const lines = async (): Promise<readonly string[]> =>
    (await readFile(path, 'utf8').catch(() => '')).split('\n').slice(0, -1)
  const ledger = await open(books)
  let kills = 0
  receiver.answer = (_, response) => {
    // The answer never leaves, and both have to be followed by others.
    if (kills < KILLS && receiver.came.length > (kills + 1) * 60) {
      kills++
      for (const child of children.splice(0)) child.kill('SIGKILL')
      start()
      start()
    }
    response.writeHead(204).end()
  }
  try {
    start()
    start()
    for (let i = 0; i < SALES; i++) await sell(ledger, `sale-${i}`, `payer-${i % 7}`)
    await until(() => receiver.taken.length >= 2 * SALES, 'all is delivered')
    await until(async () => (await lines()).length >= 2 * SALES, 'all is in the file')
    await Promise.all(children.map(kill))

    assert.equal(kills, KILLS)
    const { told, more } = await createFeed({ ledger, source: SOURCE }).read(0, 10_000)
    const expected = told.map(({ event }) => event)
    assert.deepEqual([expected.length, more], [2 * SALES, false])
    assert.deepEqual(receiver.taken, expected)
    const written = (await lines()).map((line) => JSON.parse(line))
    assert.deepEqual(written, expected)
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
  } finally {
    await Promise.all(children.map(kill))
    await receiver.close()
    await ledger.close()
  }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const closed = once(child, 'close')
  child.kill('SIGKILL')
  await closed
}

async function inDirectory(proof: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-outbox-'))
  try {
    await proof(directory)
  } finally {
    await rm(directory, { recursive: true })
  }
}
