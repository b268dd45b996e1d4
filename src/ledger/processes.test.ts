// Several processes share one file. This file is its own child: with a role as its argument it works on a ledger and
// tests nothing.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import type { Ledger, Transfer } from '../core/ports.ts'
import { sqlite } from './sqlite.ts'
import { verifyBooks } from './verify.ts'

const CLAIMANTS = 8
const CLAIMS = 200
const SPENDERS = 8
const ATTEMPTS = 60
const CEILING = 100n
const KILLS = 4

const roles: Readonly<Record<string, (ledger: Ledger, name: string) => Promise<void>>> = {
  /** Posts without end, and says so when a promise resolves. */
  async post(ledger, name) {
    const worker = async (lane: number): Promise<never> => {
      for (let n = 0; ; n++) {
        const key = `${name}-${lane}-${n}`
        await ledger.transfer(sale(key))
        await ledger.post(key, 1n, { type: 'settled', data: { n } })
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
    const legs = [{ debit: 'world/wallet', credit: 'budget/day', ceiling: CEILING }]
    for (let n = 0; n < ATTEMPTS; n++) {
      const key = `${name}-${n}`
      const { outcome } = await ledger.transfer(sale(key, { legs, amount: 3n }))
      if (outcome !== 'made') continue
      // Every third is given back, and can be spent again by whoever comes first.
      if (n % 3 === 0) await ledger.void(key, 'internal')
      else await ledger.post(key)
    }
  },
}

const [role, file, name] = process.argv.slice(2)
if (role && file && name) await work(role, file, name)
else prove()

async function work(role: string, file: string, name: string): Promise<void> {
  const ledger = await sqlite({ file })
  await roles[role]?.(ledger, name)
  await ledger.close()
}

function prove(): void {
  test('what was acknowledged before a kill is there afterwards, and the books balance', async () => {
    await inDirectory(async (file) => {
      const acknowledged: string[] = []
      for (let round = 0; round < KILLS; round++) {
        const child = start('post', file, `round${round}`)
        const enough = 20 + round * 97
        let seen = 0
        child.lines.on('line', (line) => {
          acknowledged.push(line)
          if (++seen === enough) child.process.kill('SIGKILL')
        })
        const [, signal] = await child.ended
        assert.equal(signal, 'SIGKILL')
      }
      assert.ok(acknowledged.length > KILLS * 20)
      const ledger = await sqlite({ file })
      const report = await verifyBooks(ledger)
      assert.deepEqual(report.problems, [])
      assert.ok(report.posted >= acknowledged.length)
      const found = await Promise.all(acknowledged.map((key) => ledger.find(key)))
      for (const held of found) assert.deepEqual([held?.state, held?.steps.length], ['posted', 1])
      await ledger.close()
    })
  })

  test('of the claims that many processes make on one key, one is made', async () => {
    await inDirectory(async (file) => {
      const made = (await everyOne('claim', file, CLAIMANTS)).flat()
      assert.equal(made.length, CLAIMS)
      assert.equal(new Set(made).size, CLAIMS)
      const ledger = await sqlite({ file })
      const report = await verifyBooks(ledger)
      assert.deepEqual([report.problems, report.pending, report.rows], [[], CLAIMS, CLAIMS])
      await ledger.close()
    })
  })

  test('many processes together never lift a budget above its ceiling', async () => {
    await inDirectory(async (file) => {
      await everyOne('spend', file, SPENDERS)
      const ledger = await sqlite({ file })
      // The report replays every row, so a ceiling that was passed for a moment only would be seen too.
      const report = await verifyBooks(ledger)
      assert.deepEqual(report.problems, [])
      const [budget] = (await ledger.balances()).filter(({ account }) => account === 'budget/day')
      assert.deepEqual(budget, { account: 'budget/day', asset: 'usd', posted: 99n, pending: 0n })
      assert.equal(report.posted, 33)
      await ledger.close()
    })
  })
}

function sale(key: string, rest: Partial<Transfer> = {}): Transfer {
  const legs = [{ debit: 'world/chain', credit: 'sales' }]
  const leaseUntilAt = Date.now() + 600_000
  return { key, purpose: 'p', asset: 'usd', amount: 2n, legs, leaseUntilAt, note: {}, ...rest }
}

interface Child {
  readonly process: ChildProcess
  readonly lines: ReturnType<typeof createInterface>
  readonly ended: Promise<readonly unknown[]>
}

function start(role: string, file: string, name: string): Child {
  const child = spawn(process.execPath, [import.meta.filename, role, file, name], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {},
  })
  return {
    process: child,
    lines: createInterface({ input: child.stdout }),
    ended: once(child, 'close'),
  }
}

/** Runs so many children at once to their end. Gives what each of them said. */
async function everyOne(role: string, file: string, count: number): Promise<readonly string[][]> {
  const children = Array.from({ length: count }, (_, n) => start(role, file, `child${n}`))
  return Promise.all(
    children.map(async ({ lines, ended }) => {
      const said: string[] = []
      lines.on('line', (line) => said.push(line))
      assert.deepEqual(await ended, [0, null])
      return said
    }),
  )
}

async function inDirectory(proof: (file: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-processes-'))
  try {
    await proof(join(directory, 'books.db'))
  } finally {
    await rm(directory, { recursive: true })
  }
}
