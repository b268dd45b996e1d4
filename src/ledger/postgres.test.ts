// What is peculiar to the shared store: lost connections, commits in doubt, schemas, settings. A proxy between ledger and
// server cuts at the worst moments. With a role as its argument this file is its own child and tests nothing.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createConnection, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { createCluster, missing, PASSWORD } from '../../test/postgres.ts'
import type { Cluster } from '../../test/postgres.ts'
import type { Ledger, Transfer } from '../core/ports.ts'
import { createHandClock } from '../testing/ledger-suite.ts'
import { postgres } from './postgres.ts'
import type { PostgresOptions } from './postgres.ts'
import { verifyBooks } from './verify.ts'

const run = promisify(execFile)
const unavailable = { name: 'PaymentError', code: 'store-unavailable' }

const [role, given] = process.argv.slice(2)
if (role === 'idle' && given) await idle(given)
else describe('the shared store', { skip: missing }, prove)

/** Opens a ledger, uses it, and forgets it. */
async function idle(url: string): Promise<void> {
  const ledger = await postgres({ url, schema: 'idle' })
  await ledger.transfer(sale('a'))
  await ledger.balances()
  process.stdout.write('done')
}

function prove(): void {
  let cluster: Cluster
  let schemas = 0
  before(async () => {
    cluster = await createCluster()
  })
  after(() => cluster.stop())

  const inSchema = async (
    proof: (ledger: Ledger, schema: string, settings: PostgresOptions) => Promise<void>,
    rest: PostgresOptions = {},
  ): Promise<void> => {
    const schema = `s_${schemas++}`
    const place = rest.host === undefined ? { url: cluster.url } : {}
    const settings = { ...place, schema, ...rest }
    const ledger = await postgres(settings)
    try {
      await proof(ledger, schema, settings)
    } finally {
      await ledger.close()
    }
  }
  const edit = (sql: string): Promise<readonly unknown[]> => editAt(cluster.url, sql)

  test('what is sent at once is done in its order, and each sees what went before', async () => {
    await inSchema(async (ledger) => {
      const [claim, , during, pending, balances, journal, posted, replayed, voided, again, last] =
        await Promise.all([
          ledger.transfer(sale('a')),
          ledger.step('a', { type: 'prepared', data: { n: 1 } }),
          ledger.find('a'),
          ledger.pending(),
          ledger.balances(),
          ledger.journal(0, 9),
          ledger.post('a', 4n, { type: 'settled', data: {} }),
          ledger.transfer(sale('a', { amount: 2n })),
          ledger.void('a', 'internal'),
          ledger.transfer(sale('b')),
          ledger.find('a'),
          ledger.void('b', 'internal'),
          ledger.transfer(sale('b')),
        ])
      assert.deepEqual(claim, { outcome: 'made', claim: 1 })
      assert.deepEqual(during?.steps, [{ type: 'prepared', data: { n: 1 } }])
      assert.deepEqual(pending, [during])
      assert.deepEqual(balances.map(({ account, pending }) => `${account} ${pending}`).toSorted(), [
        'sales 10',
        'world/x -10',
      ])
      assert.deepEqual(
        journal.map(({ type }) => type),
        ['made', 'prepared'],
      )
      assert.deepEqual([posted, replayed.outcome, voided], ['posted', 'foreign', 'posted'])
      assert.deepEqual(again, { outcome: 'made', claim: 5 })
      assert.deepEqual([last?.state, last?.posted, last?.steps.length], ['posted', 4n, 2])
      assert.deepEqual((await ledger.find('b'))?.claim, 7)
      assert.deepEqual((await verifyBooks(ledger)).problems, [])
    })
  })

  test('more than one batch goes through, and one seller’s standing is written once in each', async () => {
    await inSchema(async (ledger, schema) => {
      const keys = Array.from({ length: 1_300 }, (_, n) => `k${n}`)
      const claims = await Promise.all(keys.map((key) => ledger.transfer(sale(key))))
      assert.ok(claims.every(({ outcome }) => outcome === 'made'))
      const report = await verifyBooks(ledger)
      assert.deepEqual([report.problems, report.pending], [[], 1_300])
      const batches = await edit(`SELECT 1 FROM ${schema}.journal WHERE batch IS NOT NULL`)
      assert.ok(batches.length >= 3 && batches.length < 20, `${batches.length} batches`)
    })
  })

  // What becomes of the connection at the first COMMIT, and whether the server commits.
  const cuts: readonly (readonly [string, Cut])[] = [
    ['before it arrives: it is done again', 'before'],
    ['after it was done, the answer lost: it is found', 'after'],
    ['and arrives long after the connection was lost: it is waited for', 'late'],
  ]
  for (const [what, cut] of cuts)
    test(`a commit that is cut ${what}`, async () => {
      await behindProxy(cluster, async (proxy) => {
        await inSchema(async (ledger) => {
          await ledger.transfer(sale('first'))
          proxy.cut = cut
          const keys = ['a', 'b', 'c']
          const claims = await Promise.all(keys.map((key) => ledger.transfer(sale(key))))
          assert.equal(proxy.cut, undefined, 'it was cut')
          assert.deepEqual(
            claims,
            keys.map((_, i) => ({ outcome: 'made', claim: i + 2 })),
          )
          assert.equal((await ledger.journal(0, 9)).length, 4)
          assert.equal((await ledger.transfer(sale('a'))).outcome, 'replayed')
          assert.deepEqual((await verifyBooks(ledger)).problems, [])
        }, proxy.place)
      })
    })

  test('another’s row that is the same to the letter is not taken for one’s own', async () => {
    const clock = createHandClock()
    const twin = { ...sale('twin'), leaseUntilAt: clock.now() + 1_000 }
    await behindProxy(cluster, async (proxy) => {
      await inSchema(
        async (ledger, schema) => {
          await ledger.transfer(sale('first'))
          proxy.cut = 'before'
          proxy.closed = true
          const ours = ledger.transfer(twin)
          while (proxy.cut) await setTimeout(5)
          const other = await postgres({ url: cluster.url, schema, clock })
          assert.deepEqual(await other.transfer(twin), { outcome: 'made', claim: 2 })
          await other.close()
          proxy.closed = false
          assert.equal((await ours).outcome, 'replayed')
          assert.equal((await ledger.journal(0, 9)).length, 2)
        },
        { ...proxy.place, clock },
      )
    })
  })

  test('a commit that cannot be looked for is answered as unknown, and nothing else is', async () => {
    await behindProxy(cluster, async (proxy) => {
      await inSchema(
        async (ledger) => {
          await ledger.transfer(sale('first'))
          proxy.cut = 'after'
          proxy.closed = true
          await assert.rejects(ledger.transfer(sale('a')), { ...unavailable, message: /unknown/ })
          await assert.rejects(ledger.transfer(sale('b')), { message: /cannot be reached/ })
          await assert.rejects(ledger.find('a'), { message: /cannot be reached/ })
          proxy.closed = false
          assert.equal((await ledger.transfer(sale('a'))).outcome, 'replayed')
          assert.equal((await ledger.transfer(sale('b'))).outcome, 'made')
        },
        { ...proxy.place, patienceMs: 300 },
      )
    })
  })

  test('connections that die idle are made again, and nobody notices', async () => {
    await inSchema(async (ledger) => {
      await Promise.all([ledger.transfer(sale('a')), ledger.balances()])
      await edit(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tolsey' AND pid <> pg_backend_pid()`,
      )
      assert.equal((await ledger.transfer(sale('b'))).outcome, 'made')
      assert.equal((await ledger.pending()).length, 2)
    })
  })

  test('who holds the end of the journal holds all up, and no longer than the patience', async () => {
    await inSchema(
      async (ledger, schema) => {
        const holder = new Client(cluster.url)
        await holder.connect()
        await holder.query(`BEGIN; SELECT * FROM ${schema}.books FOR UPDATE`)
        const waiting = ledger.transfer(sale('a'))
        await assert.rejects(waiting, unavailable)
        assert.deepEqual(await ledger.pending(), [], 'readers wait for nobody')
        const patient = ledger.transfer(sale('b'))
        await holder.query('ROLLBACK')
        await holder.end()
        assert.equal((await patient).outcome, 'made')
        assert.equal(await ledger.find('a'), undefined)
      },
      { patienceMs: 1 },
    )
  })

  test('an unexpected error in one command neither loses nor fails the others of its batch', async () => {
    await inSchema(async (ledger, schema) => {
      await edit(
        `CREATE FUNCTION ${schema}.poison() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF new.key = 'poison' THEN RAISE 'poison'; END IF; RETURN new; END $$;
         CREATE TRIGGER poison BEFORE INSERT ON ${schema}.journal
           FOR EACH ROW EXECUTE FUNCTION ${schema}.poison()`,
      )
      const keys = ['a', 'b', 'poison', 'c', 'a']
      const claims = await Promise.allSettled(keys.map((key) => ledger.transfer(sale(key))))
      assert.deepEqual(
        claims.map((one) => (one.status === 'fulfilled' ? one.value.outcome : one.status)),
        ['made', 'made', 'rejected', 'made', 'replayed'],
      )
      assert.equal(await ledger.find('poison'), undefined)
      assert.deepEqual((await verifyBooks(ledger)).problems, [])
    })
  })

  test('a name that an index cannot hold is a bug of its caller; the nearest is taken', async () => {
    await inSchema(async (ledger) => {
      const chars = Array.from({ length: 1_024 }, (_, i) => String.fromCodePoint(0x4e00 + 7 * i))
      const long = sale(chars.join(''))
      const claims = await Promise.allSettled([
        ledger.transfer(sale('a')),
        ledger.transfer(long),
        ledger.transfer(sale(chars.join('').slice(0, 800))),
      ])
      assert.deepEqual(
        claims.map((one) => (one.status === 'fulfilled' ? one.value.outcome : one.reason.name)),
        ['made', 'Bug', 'made'],
      )
    })
  })

  test('names that cannot be in the books are absent, whatever is in them', async () => {
    await inSchema(async (ledger) => {
      await ledger.transfer(sale('a'))
      await ledger.transfer(sale('\ufffd'))
      for (const key of ['', 'a\0', 'a\nb', '\n', '\ud800', "a'", 'a\\'])
        assert.equal(await ledger.find(key), undefined, JSON.stringify(key))
      assert.deepEqual(await ledger.balances('a\0'), [])
      assert.deepEqual(await ledger.under('a\0', '', 9), [])
      assert.equal((await ledger.under('a', '\0', 9)).length, 1)
      assert.equal(await ledger.post('a\0'), 'absent')
      assert.equal(await ledger.post('a'), 'posted')
    })
  })

  test('data comes back as it was given, whatever is in it', async () => {
    await inSchema(async (ledger) => {
      const note = { a: '\0\n\r\\"\'{},NULL', b: '\ud800', c: [null, 1e21, '\u2028'], 'd\n': {} }
      const purpose = 'line\nline\0\\N'
      await ledger.transfer(sale("it's {a},\\N", { note, purpose }))
      const held = await ledger.find("it's {a},\\N")
      assert.deepEqual([held?.note, held?.purpose], [note, purpose])
      assert.deepEqual((await verifyBooks(ledger)).problems, [])
    })
  })

  test('any number of processes may start at once', async () => {
    const schema = `s_${schemas++}`
    const opened = await Promise.all(
      Array.from({ length: 8 }, () => postgres({ url: cluster.url, schema })),
    )
    const claims = await Promise.all(opened.map((ledger) => ledger.transfer(sale('a'))))
    assert.equal(claims.filter(({ outcome }) => outcome === 'made').length, 1)
    await Promise.all(opened.map((ledger) => ledger.close()))
  })

  test('books of a newer version are refused, at the start and while they are used', async () => {
    await inSchema(async (ledger, schema, settings) => {
      await ledger.transfer(sale('a'))
      await edit(`UPDATE ${schema}.books SET version = 2`)
      const newer = { code: 'misconfigured', message: /newer version/ }
      await assert.rejects(postgres(settings), newer)
      await assert.rejects(ledger.transfer(sale('b')), newer)
      await assert.rejects(ledger.pending(), newer)
      await edit(`UPDATE ${schema}.books SET version = 1`)
      assert.equal((await ledger.transfer(sale('b'))).outcome, 'made')
    })
  })

  test('a schema of another program is refused and left as it is; beside strangers there is room', async () => {
    await edit('CREATE SCHEMA theirs; CREATE TABLE theirs.journal (a int)')
    const foreign = { code: 'misconfigured', message: /another program/ }
    await assert.rejects(postgres({ url: cluster.url, schema: 'theirs' }), foreign)
    const tables = `SELECT 1 FROM information_schema.tables WHERE table_schema = 'theirs'`
    assert.equal((await edit(tables)).length, 1)
    await edit('ALTER TABLE theirs.journal RENAME TO other')
    await (await postgres({ url: cluster.url, schema: 'theirs' })).close()
    await assert.rejects(postgres({ url: cluster.url, schema: 'a"; DROP' }), {
      message: /no name of a schema/,
    })
  })

  test('a user who may neither make tables nor rewrite the journal may use those that are there', async () => {
    await inSchema(async (_, schema) => {
      await edit(
        `CREATE ROLE clerk LOGIN PASSWORD '${PASSWORD}'; GRANT USAGE ON SCHEMA ${schema} TO clerk;
         GRANT SELECT, INSERT ON ${schema}.journal TO clerk;
         GRANT SELECT, INSERT, UPDATE ON ${schema}.books, ${schema}.positions, ${schema}.standings TO clerk`,
      )
      const url = cluster.url.replace('tolsey:', 'clerk:')
      const clerk = await postgres({ url, schema })
      assert.equal((await clerk.transfer(sale('a'))).outcome, 'made')
      assert.equal(await clerk.post('a'), 'posted')
      await clerk.close()
      await assert.rejects(postgres({ url, schema: 'other_place' }), { code: 'misconfigured' })
    })
  })

  test('wrong settings are refused at once with a sentence, without password or address', async () => {
    const secret = 'tr0ub4dor'
    const wrong: readonly PostgresOptions[] = [
      { url: cluster.url.replace(PASSWORD, secret) },
      { url: cluster.url.replace('tolsey:', 'nobody:') },
      { url: cluster.url.replace('/postgres?', '/nowhere?') },
      { url: `postgres://tolsey:${secret}@:99999999/x` },
      { url: `${cluster.url}&sslmode=verify-full` },
      { host: cluster.host, user: 'tolsey', database: 'postgres', password: '' },
      { url: `${cluster.url}&sslrootcert=/nowhere/${secret}` },
    ]
    for (const settings of wrong) {
      const error: unknown = await postgres(settings).catch((one: unknown) => one)
      const said = JSON.stringify([String(error), error, Object.entries(error ?? {})])
      const what = `${settings.url}: ${said}`
      assert.ok(error instanceof Error && 'code' in error && error.code === 'misconfigured', what)
      for (const hidden of [secret, PASSWORD, cluster.host])
        assert.ok(!said.includes(hidden) && !String(error.cause).includes(hidden), what)
    }
    await (await postgres({ url: cluster.url, schema: 'right' })).close()
  })

  test('a server that is not there is refused after the patience, and waited for before', async () => {
    const host = join(tmpdir(), 'tolsey-nobody-listens')
    await assert.rejects(postgres({ host, user: 'x', database: 'x', patienceMs: 1 }), {
      ...unavailable,
      message: /cannot be reached/,
    })
  })

  test('a database that writes nothing to its disk is refused', async () => {
    const careless = await createCluster({ fsync: 'off' })
    try {
      await assert.rejects(postgres({ url: careless.url }), { message: /fsync is off/ })
    } finally {
      await careless.stop()
    }
  })

  test('commits are durable though the database’s default is that they are not', async () => {
    await edit('ALTER ROLE tolsey SET synchronous_commit = off')
    try {
      await inSchema(async (ledger) => {
        await ledger.transfer(sale('a'))
        const before = await edit('SELECT pg_current_wal_flush_lsn() AS at')
        await ledger.transfer(sale('b'))
        assert.notDeepEqual(await edit('SELECT pg_current_wal_flush_lsn() AS at'), before)
        const [said] = await edit(
          `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), pg_current_wal_flush_lsn()) AS left`,
        )
        assert.deepEqual(said, { left: '0' })
      })
    } finally {
      await edit('ALTER ROLE tolsey RESET synchronous_commit')
    }
  })

  test('tables that are gone refuse every verb', async () => {
    await inSchema(async (ledger, schema) => {
      await ledger.transfer(sale('a'))
      await edit(`DROP TABLE ${schema}.standings`)
      await assert.rejects(ledger.transfer(sale('b')), unavailable)
      await assert.rejects(ledger.balances(), unavailable)
    })
  })

  test('too much that waits is refused, and what was taken is done', async () => {
    await inSchema(async (ledger) => {
      const all = Array.from({ length: 16_400 }, (_, n) => ledger.find(`k${n}`))
      const ends = await Promise.allSettled(all)
      assert.equal(ends.filter(({ status }) => status === 'rejected').length, 16)
      assert.equal(await ledger.find('a'), undefined)
    })
  })

  test('what was sent before close is done', async () => {
    await inSchema(async (ledger, _, settings) => {
      const claims = Array.from({ length: 700 }, (_, n) => ledger.transfer(sale(`key-${n}`)))
      const [listed] = await Promise.all([ledger.pending(), ledger.close(), ledger.close()])
      assert.equal(listed.length, 700)
      for (const claim of claims) assert.equal((await claim).outcome, 'made')
      const again = await postgres(settings)
      assert.equal((await again.pending()).length, 700)
      await again.close()
    })
  })

  test('many readings at once share few connections, and all are answered', async () => {
    await inSchema(async (ledger) => {
      const keys = Array.from({ length: 40 }, (_, n) => `k${n}`)
      const mixed = keys.flatMap((key) => [ledger.transfer(sale(key)), ledger.pending()])
      const ends = await Promise.all(mixed)
      const seen = ends.flatMap((end, i) => (Array.isArray(end) ? [[end.length, (i + 1) / 2]] : []))
      assert.equal(seen.length, 40)
      for (const [found = 0, sent = 0] of seen) assert.ok(found >= sent, `${found} of ${sent}`)
      const used = await edit(
        `SELECT 1 FROM pg_stat_activity WHERE application_name = 'tolsey' AND query LIKE '%pending%'`,
      )
      assert.ok(used.length <= 5)
    })
  })

  test('a ledger that is idle does not keep its process alive', async () => {
    const child = await run(process.execPath, [import.meta.filename, 'idle', cluster.url])
    assert.deepEqual(child, { stdout: 'done', stderr: '' })
  })
}

function sale(key: string, rest: Partial<Transfer> = {}): Transfer {
  const legs = [{ debit: 'world/x', credit: 'sales' }]
  const leaseUntilAt = Date.UTC(2099, 0, 1)
  return { key, purpose: 'p', asset: 'usd', amount: 10n, legs, leaseUntilAt, note: {}, ...rest }
}

async function editAt(url: string, sql: string): Promise<readonly unknown[]> {
  const client = new Client(url)
  await client.connect()
  const said = await client.query(sql)
  await client.end()
  return said.rows
}

type Cut = 'before' | 'after' | 'late'

interface Proxy {
  readonly place: PostgresOptions
  /** What happens at the next COMMIT; undefined again when it has happened. */
  cut: Cut | undefined
  /** Whether new connections are turned away. */
  closed: boolean
}

/** How a COMMIT looks on its way: its type, its length, its text. */
const COMMIT = Buffer.from('Q\0\0\0\x0bCOMMIT\0')

async function behindProxy(
  cluster: Cluster,
  proof: (proxy: Proxy) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-proxy-'))
  const place = { user: 'tolsey', password: PASSWORD, database: 'postgres', host: directory }
  const proxy: Proxy = { place, cut: undefined, closed: false }
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = createConnection(join(cluster.host, '.s.PGSQL.5432'))
    for (const socket of [near, far]) sockets.add(socket.on('error', () => undefined))
    let deaf = false
    const receive = (bytes: Buffer): void => {
      const cut = bytes.includes(COMMIT) ? proxy.cut : undefined
      if (cut) proxy.cut = undefined
      if (cut) deaf = true
      if (cut === 'before') far.destroy()
      else if (cut !== 'late') far.write(bytes)
      if (cut === 'late') setTimeout(400).then(() => far.write(bytes))
      if (cut === 'before' || cut === 'late') near.destroy()
    }
    near.on('data', receive)
    far.on('data', (bytes) => (deaf ? near.destroy() : near.write(bytes)))
    far.on('close', () => near.destroy())
    if (proxy.closed) near.destroy()
    if (proxy.closed) far.destroy()
  })
  await new Promise<void>((done) => server.listen(join(directory, '.s.PGSQL.5432'), done))
  try {
    await proof(proxy)
  } finally {
    for (const socket of sockets) socket.destroy()
    await new Promise((done) => server.close(done))
    await rm(directory, { recursive: true })
  }
}
