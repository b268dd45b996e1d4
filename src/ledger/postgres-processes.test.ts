// Several processes share one database, which fails under them. This file is its own child: with a role as its argument it
// works on a ledger and tests nothing.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { after, before, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { Client } from 'pg'
import { createCluster, missing } from '../../test/postgres.ts'
import type { Cluster } from '../../test/postgres.ts'
import type { Ledger, Transfer } from '../core/ports.ts'
import { postgres } from './postgres.ts'
import { verifyBooks } from './verify.ts'

const CLAIMANTS = 3
const CLAIMS = 200
const SPENDERS = 3
const ATTEMPTS = 60
const CEILING = 100n
const KILLS = 2

const roles: Readonly<Record<string, (ledger: Ledger, name: string) => Promise<void>>> = {
  /** Posts without end, and says so when a promise resolves. Any other answer, and any error, ends it as failed. */
  async post(ledger, name) {
    const worker = async (lane: number): Promise<never> => {
      for (let n = 0; ; n++) {
        const key = `${name}-${lane}-${n}`
        assert.equal((await ledger.transfer(sale(key))).outcome, 'made')
        assert.equal(await ledger.post(key, 1n, { type: 'settled', data: { n } }), 'posted')
        process.stdout.write(`${key}\n`)
      }
    }
    await Promise.all([0, 1, 2, 3, 4, 5, 6, 7].map(worker))
  },
  /** Claims the keys that all the others claim too. */
  async claim(ledger, name) {
    const keys = Array.from({ length: CLAIMS }, (_, n) => `key-${n}`)
    const claims = keys.map(async (key) => {
      const { outcome } = await ledger.transfer(sale(key, { purpose: name }))
      if (outcome === 'made') process.stdout.write(`${key}\n`)
    })
    await Promise.all(claims)
  },
  /** Spends from a budget that all share. */
  async spend(ledger, name) {
    // Every third is given back, and can be spent again by whoever comes first.
    const one = (n: number): Promise<void> => spend(ledger, `${name}-${n}`, n % 3 === 0)
    for (let n = 0; n < ATTEMPTS; n += 3) await Promise.all([n, n + 1, n + 2].map(one))
  },
}

const [role, url, schema, name] = process.argv.slice(2)
if (role && url && schema && name) await work(role, url, schema, name)
else describe('processes on one database', { skip: missing }, prove)

async function work(role: string, url: string, schema: string, name: string): Promise<void> {
  const ledger = await postgres({ url, schema })
  await roles[role]?.(ledger, name)
  await ledger.close()
}

function prove(): void {
  let cluster: Cluster
  let schemas = 0
  const children = new Set<ChildProcess>()
  before(async () => {
    cluster = await createCluster()
  })
  after(async () => {
    for (const child of children) child.kill('SIGKILL')
    await cluster?.stop()
  })

  const start = (role: string, schema: string, name: string): Child => {
    const args = [import.meta.filename, role, cluster.url, schema, name]
    const spawned = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {},
    })
    children.add(spawned)
    return createChild(spawned)
  }
  /** Runs so many children at once to their end. Gives what all of them said. */
  const everyOne = async (role: string, schema: string, count: number): Promise<string[]> => {
    const all = Array.from({ length: count }, (_, n) => start(role, schema, `child${n}`))
    for (const { ended } of all) assert.deepEqual(await ended, [0, null])
    return all.flatMap(({ said }) => said)
  }
  const inBooks = async (
    proof: (schema: string, ledger: Ledger) => Promise<void>,
  ): Promise<void> => {
    const schema = `p_${schemas++}`
    const ledger = await postgres({ url: cluster.url, schema })
    try {
      await proof(schema, ledger)
    } finally {
      await ledger.close()
    }
  }
  const ask = async (sql: string): Promise<readonly unknown[]> => {
    const client = new Client(cluster.url)
    await client.connect()
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows
    } finally {
      await client.end()
    }
  }

  test('of the claims that processes make on one key, one is made', async () => {
    await inBooks(async (schema, ledger) => {
      const made = await everyOne('claim', schema, CLAIMANTS)
      assert.deepEqual([made.length, new Set(made).size], [CLAIMS, CLAIMS])
      const report = await verifyBooks(ledger)
      assert.deepEqual([report.problems, report.pending, report.rows], [[], CLAIMS, CLAIMS])
    })
  })

  test('processes together never lift a budget above its ceiling', async () => {
    await inBooks(async (schema, ledger) => {
      await everyOne('spend', schema, SPENDERS)
      const { posted } = await verifyBooks(ledger)
      assert.ok(posted >= 33 - SPENDERS, `${posted} posted`)
      // What was given back last may have found nobody who still wanted it.
      for (let n = posted; n < 40; n++) await spend(ledger, `rest-${n}`, false)
      // The report replays every row, so a ceiling that was passed for a moment only would be seen too.
      const report = await verifyBooks(ledger)
      assert.deepEqual([report.problems, report.posted], [[], 33])
      const budget = { account: 'budget/day', asset: 'usd', posted: 99n, pending: 0n }
      assert.deepEqual(await ledger.balances('budget/day'), [budget])
    })
  })

  test('a process that is killed in a batch loses nothing it promised, and the other goes on', async () => {
    await inBooks(async (schema, ledger) => {
      const other = start('post', schema, 'other')
      const promised: string[] = []
      for (let round = 0; round < KILLS; round++) {
        const child = start('post', schema, `round${round}`)
        await child.says(40 + round * 61)
        child.process.kill('SIGKILL')
        assert.deepEqual(await child.ended, [null, 'SIGKILL'])
        promised.push(...child.said)
        await other.says(other.said.length + 40)
      }
      other.process.kill('SIGKILL')
      assert.deepEqual(await other.ended, [null, 'SIGKILL'], 'it met no error')
      await checkPromises(ledger, [...promised, ...other.said])
    })
  })

  test('a process that stops while it holds the journal is cut off, and none of its calls is lost', async () => {
    await inBooks(async (schema, ledger) => {
      const frozen = start('post', schema, 'frozen')
      await frozen.says(20)
      while (!(await freezes(frozen.process))) frozen.process.kill('SIGCONT')
      // Its call waits until the server takes the lock away, which is sooner than its patience ends.
      assert.equal((await ledger.transfer(sale('ours'))).outcome, 'made')
      const before = frozen.said.length
      frozen.process.kill('SIGCONT')
      await frozen.says(before + 40)
      frozen.process.kill('SIGKILL')
      assert.deepEqual(await frozen.ended, [null, 'SIGKILL'], 'it met no error')
      await checkPromises(ledger, frozen.said)
    })
  })

  /** Stops the process. Tells whether the server now waits for it in the middle of a batch. */
  async function freezes(process: ChildProcess): Promise<boolean> {
    await setTimeout(Math.random() * 10)
    process.kill('SIGSTOP')
    const mine = `application_name = 'tolsey' AND state`
    // What it has sent is done first.
    while ((await ask(`SELECT 1 FROM pg_stat_activity WHERE ${mine} = 'active'`)).length > 0);
    const said = await ask(`SELECT 1 FROM pg_stat_activity WHERE ${mine} = 'idle in transaction'`)
    return said.length > 0
  }

  test('a server that dies and starts again under traffic: every call is answered, as if nothing was', async () => {
    await inBooks(async (schema, ledger) => {
      const both = ['a', 'b'].map((name) => start('post', schema, name))
      for (let round = 0; round < 2; round++) {
        for (const child of both) await child.says(child.said.length + 30)
        await cluster.kill()
        await cluster.start()
      }
      for (const child of both) await child.says(child.said.length + 30)
      for (const child of both) child.process.kill('SIGKILL')
      for (const child of both)
        assert.deepEqual(await child.ended, [null, 'SIGKILL'], 'it met no error')
      await checkPromises(
        ledger,
        both.flatMap(({ said }) => said),
      )
    })
  })

  test('a server that stays away is told of, and books that come back are written again', async () => {
    const schema = `p_${schemas++}`
    const ledger = await postgres({ url: cluster.url, schema, patienceMs: 300 })
    await ledger.transfer(sale('a'))
    await cluster.kill()
    const away = { code: 'store-unavailable', retryable: true }
    await assert.rejects(ledger.transfer(sale('b')), away)
    await assert.rejects(ledger.find('a'), away)
    await cluster.start()
    assert.equal((await ledger.transfer(sale('b'))).outcome, 'made')
    assert.equal((await ledger.transfer(sale('a'))).outcome, 'replayed')
    await ledger.close()
  })

  test('a full disk refuses at once what writes, and is forgotten when there is room', async () => {
    await inBooks(async (schema, ledger) => {
      await ledger.transfer(sale('a'))
      await ask(
        `CREATE FUNCTION ${schema}.full() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE 'no space left on device' USING ERRCODE = 'disk_full'; END $$;
         CREATE TRIGGER full_disk BEFORE INSERT ON ${schema}.journal
           FOR EACH ROW EXECUTE FUNCTION ${schema}.full()`,
      )
      const full = { code: 'store-unavailable', retryable: true, message: /53100/ }
      const refused = ['b', 'c'].map((key) => assert.rejects(ledger.transfer(sale(key)), full))
      await Promise.all(refused)
      await assert.rejects(ledger.post('a'), full)
      assert.equal((await ledger.find('a'))?.state, 'pending')
      await ask(`DROP TRIGGER full_disk ON ${schema}.journal`)
      assert.equal((await ledger.transfer(sale('b'))).outcome, 'made')
      assert.equal(await ledger.post('a'), 'posted')
      assert.deepEqual((await verifyBooks(ledger)).problems, [])
    })
  })

  test('a database that an operator made read-only is read and not written, until it may be again', async () => {
    const schema = `p_${schemas++}`
    const ledger = await postgres({ url: cluster.url, schema, patienceMs: 300 })
    await ledger.transfer(sale('a'))
    await ask('ALTER DATABASE postgres SET default_transaction_read_only = on')
    await cut()
    const refused = { code: 'store-unavailable', retryable: true, message: /25006/ }
    await assert.rejects(ledger.transfer(sale('b')), refused)
    assert.equal((await ledger.pending()).length, 1)
    await ask(
      'BEGIN READ WRITE; ALTER DATABASE postgres RESET default_transaction_read_only; COMMIT',
    )
    await cut()
    assert.equal((await ledger.transfer(sale('b'))).outcome, 'made')
    await ledger.close()
  })

  test('a server that has become a copy is read and not written, until it is the first again', async () => {
    const schema = `p_${schemas++}`
    const ledger = await postgres({ url: cluster.url, schema, patienceMs: 300 })
    await ledger.transfer(sale('a'))
    await cluster.kill()
    await cluster.start('copy')
    const refused = { code: 'store-unavailable', retryable: true, message: /25006/ }
    await assert.rejects(ledger.transfer(sale('b')), refused)
    assert.equal((await ledger.find('a'))?.state, 'pending')
    await ask('SELECT pg_promote()')
    assert.equal((await ledger.transfer(sale('b'))).outcome, 'made')
    assert.deepEqual((await verifyBooks(ledger)).problems, [])
    await ledger.close()
  })

  /** Ends the ledger's sessions: settings of a database are those of new ones. */
  async function cut(): Promise<void> {
    await ask(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tolsey'`,
    )
  }
}

/** Spends of the budget, if there is something left, and keeps it or gives it back. */
async function spend(ledger: Ledger, key: string, back: boolean): Promise<void> {
  const legs = [{ debit: 'world/wallet', credit: 'budget/day', ceiling: CEILING }]
  const { outcome } = await ledger.transfer(sale(key, { legs, amount: 3n }))
  if (outcome !== 'made') return
  if (back) await ledger.void(key, 'internal')
  else await ledger.post(key)
}

async function checkPromises(ledger: Ledger, promised: readonly string[]): Promise<void> {
  const report = await verifyBooks(ledger)
  assert.deepEqual(report.problems, [])
  assert.equal(new Set(promised).size, promised.length)
  assert.ok(promised.length > 0 && report.posted >= promised.length)
  const found = await Promise.all(promised.map((key) => ledger.find(key)))
  for (const held of found) assert.deepEqual([held?.state, held?.steps.length], ['posted', 1])
}

function sale(key: string, rest: Partial<Transfer> = {}): Transfer {
  const legs = [{ debit: 'world/chain', credit: 'sales' }]
  const leaseUntilAt = Date.now() + 600_000
  return { key, purpose: 'p', asset: 'usd', amount: 2n, legs, leaseUntilAt, note: {}, ...rest }
}

interface Child {
  readonly process: ChildProcess
  /** The lines it wrote. */
  readonly said: readonly string[]
  /** Resolves when it has written so many lines; rejects when it ends before. */
  readonly says: (count: number) => Promise<void>
  readonly ended: Promise<readonly unknown[]>
}

function createChild(process: ChildProcess): Child {
  assert(process.stdout)
  const said: string[] = []
  const lines = createInterface({ input: process.stdout }).on('line', (line) => said.push(line))
  const ended = once(process, 'close')
  return {
    process,
    said,
    ended,
    async says(count) {
      while (said.length < count) {
        const more = await Promise.race([once(lines, 'line').then(() => true), ended])
        assert.equal(more, true, 'it ended')
      }
    },
  }
}
