// What is peculiar to the file: faults of the disk and the thread, versions, permissions. For a disk that is full, this
// file is its own child, under a limit on the size of files.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { promisify } from 'node:util'
import type { Worker } from 'node:worker_threads'
import type { Ledger, Transfer } from '../core/ports.ts'
import { PaymentError } from '../core/problem.ts'
import { sqlite } from './sqlite.ts'
import { verifyBooks } from './verify.ts'

const run = promisify(execFile)
const unavailable = { name: 'PaymentError', code: 'store-unavailable' }

const [role, given] = process.argv.slice(2)
if (role === 'fill' && given) await fill(given)
else if (role === 'idle' && given) await idle(given)
else prove()

/** Writes until the disk is full, and tells which keys were acknowledged and how it ended. */
async function fill(file: string): Promise<void> {
  const ledger = await sqlite({ file })
  const acknowledged: string[] = []
  const refused: unknown[] = []
  for (let n = 0; refused.length < 3 && n < 5000; n++) {
    const written = await ledger
      .transfer(sale(`key-${n}`, { note: { filling: 'x'.repeat(1000) } }))
      .catch((error: unknown) => error)
    if (written instanceof Error) refused.push(written instanceof PaymentError && written.code)
    else acknowledged.push(`key-${n}`)
  }
  await ledger.close()
  process.stdout.write(JSON.stringify({ acknowledged, refused }))
}

/** Opens a ledger, uses it, and forgets it. */
async function idle(file: string): Promise<void> {
  const ledger = await sqlite({ file })
  await ledger.transfer(sale('a'))
  process.stdout.write('done')
}

function prove(): void {
  test('a full disk refuses, stays refused, and loses nothing that was acknowledged', async () => {
    await inDirectory(async (file) => {
      // In blocks of 512 or 1,024 bytes, as the shell counts.
      const { stdout } = await run('sh', [
        '-c',
        'ulimit -f 4000 && exec "$0" "$@"',
        process.execPath,
        import.meta.filename,
        'fill',
        file,
      ])
      const { acknowledged, refused } = JSON.parse(stdout) as Record<string, readonly string[]>
      assert.deepEqual(
        refused,
        Array.from({ length: 3 }, () => 'store-unavailable'),
      )
      assert.ok(acknowledged && acknowledged.length > 20)
      await withLedger(file, async (ledger) => {
        assert.deepEqual((await verifyBooks(ledger)).problems, [])
        for (const key of acknowledged) assert.equal((await ledger.find(key))?.state, 'pending')
        assert.equal((await ledger.transfer(sale('room'))).outcome, 'made')
      })
    })
  })

  test('a directory that cannot be made is a fault with a sentence', async () => {
    await inDirectory(async (file) => {
      await writeFile(file, '')
      await assert.rejects(sqlite({ file: join(file, 'below', 'books.db') }), unavailable)
    })
  })

  test('a file that loses its tables refuses every verb', async () => {
    await inDirectory(async (file) => {
      await withLedger(file, async (ledger) => {
        await ledger.transfer(sale('a'))
        edit(file, 'DROP TABLE standings')
        await assert.rejects(ledger.transfer(sale('b')), unavailable)
        await assert.rejects(ledger.balances(), unavailable)
      })
    })
  })

  test('a thread that dies takes nobody into the dark: all callers are refused, from then on', async () => {
    await inDirectory(async (file) => {
      const started = once(process, 'worker')
      const opening = sqlite({ file })
      const [worker] = (await started) as [Worker]
      const ledger = await opening
      await ledger.transfer(sale('a'))
      const flying = [sale('b'), sale('c')].map((one) => ledger.transfer(one))
      const refused = Promise.all(flying.map((one) => assert.rejects(one, unavailable)))
      await worker.terminate()
      await refused
      await assert.rejects(ledger.transfer(sale('d')), unavailable)
      await assert.rejects(ledger.find('a'), unavailable)
      await ledger.close()
      await withLedger(file, async (again) => {
        assert.deepEqual((await verifyBooks(again)).problems, [])
        assert.equal((await again.find('a'))?.state, 'pending')
      })
    })
  })

  test('an unexpected error in one command neither loses nor fails the others of its batch', async () => {
    await inDirectory(async (file) => {
      await withLedger(file, async (ledger) => {
        edit(
          file,
          `CREATE TRIGGER poison BEFORE INSERT ON journal WHEN new.key = 'poison'
           BEGIN SELECT RAISE(ABORT, 'poison'); END`,
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
  })

  test('files and directories that it makes are for the owner only', async () => {
    await inDirectory(async (file) => {
      const deep = join(file, 'state', 'books.db')
      await withLedger(deep, async (ledger) => {
        await ledger.transfer(sale('a'))
        const modes = [file, join(file, 'state'), deep, `${deep}-wal`].map(async (path) => {
          return (await stat(path)).mode & 0o777
        })
        assert.deepEqual(await Promise.all(modes), [0o700, 0o700, 0o600, 0o600])
      })
    })
  })

  test('a file of a newer version is refused and left as it is', async () => {
    await inDirectory(async (file) => {
      await withLedger(file, async (ledger) => void (await ledger.transfer(sale('a'))))
      edit(file, 'PRAGMA user_version = 2')
      const before = await readFile(file)
      await assert.rejects(sqlite({ file }), { code: 'misconfigured', message: /newer version/ })
      assert.deepEqual(await readFile(file), before)
      edit(file, 'PRAGMA user_version = 1')
      await withLedger(file, async (ledger) => assert.ok(await ledger.find('a')))
    })
  })

  test('a file that is migrated under a running ledger is written no more', async () => {
    await inDirectory(async (file) => {
      const ledger = await sqlite({ file })
      await ledger.transfer(sale('a'))
      edit(file, 'PRAGMA user_version = 2')
      await assert.rejects(ledger.transfer(sale('b')), { message: /newer version/ })
      edit(file, 'PRAGMA user_version = 1')
      assert.equal((await ledger.transfer(sale('b'))).outcome, 'made')
      await ledger.close()
    })
  })

  test('a database of another program is refused and left as it is', async () => {
    await inDirectory(async (file) => {
      edit(file, 'CREATE TABLE theirs (a)')
      const before = await readFile(file)
      await assert.rejects(sqlite({ file }), { code: 'misconfigured', message: /another program/ })
      assert.deepEqual(await readFile(file), before)
    })
  })

  test('a file that is no database is refused', async () => {
    await inDirectory(async (file) => {
      await writeFile(file, 'Dear diary, today I was not a database. '.repeat(100))
      await assert.rejects(sqlite({ file }), unavailable)
    })
  })

  test('a ledger that is idle does not keep its process alive', async () => {
    await inDirectory(async (file) => {
      // This very file imports node:sqlite, of which Node 22 warns.
      const flags = ['--disable-warning=ExperimentalWarning']
      const child = await run(process.execPath, [...flags, import.meta.filename, 'idle', file])
      assert.deepEqual(child, { stdout: 'done', stderr: '' })
    })
  })

  test('what was sent before close is written', async () => {
    await inDirectory(async (file) => {
      const ledger = await sqlite({ file })
      const claims = Array.from({ length: 700 }, (_, n) => ledger.transfer(sale(`key-${n}`)))
      await Promise.all([ledger.close(), ledger.close()])
      for (const claim of claims) assert.equal((await claim).outcome, 'made')
      await withLedger(file, async (again) => {
        assert.equal((await again.pending()).length, 700)
      })
    })
  })

  test(
    'a directory without a right to write is a fault',
    { skip: process.getuid?.() === 0 },
    async () => {
      await inDirectory(async (file) => {
        await mkdir(file, { mode: 0o500 })
        await assert.rejects(sqlite({ file: join(file, 'books.db') }), unavailable)
        await chmod(file, 0o700)
      })
    },
  )
}

function sale(key: string, rest: Partial<Transfer> = {}): Transfer {
  const legs = [{ debit: 'world/chain', credit: 'sales' }]
  const leaseUntilAt = Date.now() + 600_000
  return { key, purpose: 'p', asset: 'usd', amount: 2n, legs, leaseUntilAt, note: {}, ...rest }
}

function edit(file: string, sql: string): void {
  const db = new DatabaseSync(file)
  db.exec(sql)
  db.close()
}

async function withLedger(file: string, work: (ledger: Ledger) => Promise<void>): Promise<void> {
  const ledger = await sqlite({ file })
  try {
    await work(ledger)
  } finally {
    await ledger.close()
  }
}

async function inDirectory(proof: (file: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-sqlite-'))
  try {
    await proof(join(directory, 'books'))
  } finally {
    await rm(directory, { recursive: true })
  }
}
