import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Ledger, Transfer } from '../src/core/ports.ts'
import { sqlite } from '../src/ledger/sqlite.ts'
import { compare } from './result.ts'
import type { Bench, Result } from './result.ts'

const ROUNDS = 5
const ROUND_MS = 2000
const WARM_UP_MS = 300
const SYNC_MS = 300
const IN_FLIGHT = [1, 64, 512]

/** Transfers made durable per second, each round beside the disk's own single writes with a sync in the same moment. */
export const ledger: Bench = async (run) => {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-bench-'))
  const results: Result[] = []
  try {
    for (const lanes of IN_FLIGHT) {
      run.tell(`${lanes} in flight`)
      results.push(...(await measure(directory, lanes, run.quick ? 0.1 : 1)))
    }
    return results
  } finally {
    await rm(directory, { recursive: true })
  }
}

async function measure(directory: string, lanes: number, share: number): Promise<Result[]> {
  const ours: number[] = []
  const disk: number[] = []
  const cpu: number[] = []
  const books = await sqlite({ file: join(directory, `${lanes}.db`) })
  await load(books, lanes, WARM_UP_MS * share)
  for (let round = 0; round < ROUNDS; round++) {
    const { rate, cpuMicros } = await load(books, lanes, ROUND_MS * share)
    ours.push(rate)
    cpu.push(cpuMicros)
    disk.push(syncs(join(directory, 'probe'), SYNC_MS * share))
  }
  await books.close()
  const what = `transfers, ${lanes} in flight`
  const peer = { name: 'writes of 4 KiB, each synced', rounds: disk }
  return [
    compare({ bench: 'ledger', what, unit: 'per second', better: 'more', ours, peer }),
    compare({ bench: 'ledger', what, unit: 'CPU µs', better: 'less', ours: cpu }),
  ]
}

interface Load {
  readonly rate: number
  readonly cpuMicros: number
}

/** Keeps so many transfers in flight for a time. */
async function load(books: Ledger, lanes: number, ms: number): Promise<Load> {
  const cpu = process.cpuUsage()
  const startedAt = performance.now()
  let count = 0
  const lane = async (): Promise<void> => {
    for (; performance.now() - startedAt < ms; count++) await books.transfer(sale())
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  const seconds = (performance.now() - startedAt) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { rate: count / seconds, cpuMicros: (user + system) / count }
}

/** A sale as a gate holds it: the key ends in chance, as nonces do, the note is some hundred bytes. */
function sale(): Transfer {
  const nonce = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex')
  return {
    key: `eip155:8453/0x833589fcd6edb6e08f4c7c32d4f71b54bda02913/${nonce}`,
    purpose: 'GET https://api.example.com/weather',
    asset: 'eip155:8453/erc20:0x833589fcd6edb6e08f4c7c32d4f71b54bda02913',
    amount: 10_000n,
    legs: [{ debit: 'world/evm', credit: 'sales/GET /weather' }],
    leaseUntilAt: Number.MAX_SAFE_INTEGER,
    note: { payer: '0x857b06519e91e3a54538791bdbb0e22373e36b66', request: nonce, rail: 'evm' },
  }
}

function syncs(file: string, ms: number): number {
  const fd = openSync(file, 'w')
  const block = Buffer.alloc(4096, 1)
  const startedAt = performance.now()
  let count = 0
  for (; performance.now() - startedAt < ms; count++) {
    writeSync(fd, block)
    fdatasyncSync(fd)
  }
  closeSync(fd)
  return (count * 1000) / ms
}
