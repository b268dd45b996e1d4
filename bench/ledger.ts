// Durable transfers of the embedded ledger, beside what the disk can do: one write and one sync at a time.
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Ledger, Transfer } from '../src/core/ports.ts'
import { sqlite } from '../src/index.ts'
import { cpuMicros } from './process.ts'
import type { Result, Run } from './result.ts'
import { at, compare } from './result.ts'

const ROUNDS = 5
const ROUND_MS = 600
const IN_FLIGHT = [1, 64, 512]

/** Rate, CPU time and latency of transfers, with few and with many waiting at once. */
export async function ledger({ quick, tell }: Run): Promise<readonly Result[]> {
  const directory = await mkdtemp(join(tmpdir(), 'bench-'))
  try {
    const results: Result[] = []
    for (const lanes of IN_FLIGHT) {
      tell(`${lanes} in flight`)
      results.push(...(await measure(directory, lanes, quick)))
    }
    return results
  } finally {
    await rm(directory, { recursive: true })
  }
}

async function measure(
  directory: string,
  lanes: number,
  quick: boolean,
): Promise<readonly Result[]> {
  const books = await sqlite({ file: join(directory, `${lanes}.db`) })
  try {
    const ms = quick ? ROUND_MS / 6 : ROUND_MS
    await load(books, lanes, ms, 'warm')
    const disk: number[] = []
    const rounds: Figures[] = []
    for (let round = 0; round < (quick ? 2 : ROUNDS); round++) {
      disk.push(syncs(join(directory, 'probe'), ms / 2))
      rounds.push(await load(books, lanes, ms, `run-${round}`))
    }
    return linesOf(lanes, rounds, disk)
  } finally {
    await books.close()
  }
}

interface Figures {
  readonly rate: number
  readonly cpuMicros: number
  readonly p99Ms: number
}

function linesOf(
  lanes: number,
  rounds: readonly Figures[],
  disk: readonly number[],
): readonly Result[] {
  const line = { bench: 'ledger', what: `transfers, ${lanes} in flight` }
  const peer = { name: 'syncs of 4 KiB', rounds: disk }
  const rate = rounds.map((round) => round.rate)
  const cpu = rounds.map((round) => round.cpuMicros)
  const p99 = rounds.map((round) => round.p99Ms)
  return [
    compare({ ...line, unit: 'per s', better: 'more', ours: rate, peer }),
    compare({ ...line, unit: 'CPU µs', better: 'less', ours: cpu }),
    compare({ ...line, unit: 'p99 ms', better: 'less', ours: p99 }),
  ]
}

/** Keeps so many transfers in flight for a time. */
async function load(ledger: Ledger, lanes: number, ms: number, name: string): Promise<Figures> {
  const waits: number[] = []
  const before = cpuMicros()
  const startAt = performance.now()
  const lane = async (lane: number): Promise<void> => {
    for (let n = 0; performance.now() - startAt < ms; n++) {
      const sentAt = performance.now()
      await ledger.transfer(sale(`${name}-${lane}-${n}`))
      waits.push(performance.now() - sentAt)
    }
  }
  await Promise.all(Array.from({ length: lanes }, (_, n) => lane(n)))
  const seconds = (performance.now() - startAt) / 1_000
  const sorted = waits.toSorted((a, b) => a - b)
  const used = (cpuMicros() - before) / waits.length
  return { rate: waits.length / seconds, cpuMicros: used, p99Ms: at(sorted, 0.99) }
}

/** A sale as a gate holds it: the key begins with chance, as nonces do, the note is some hundred bytes. */
function sale(name: string): Transfer {
  const nonce = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('hex')
  return {
    key: `eip155:8453/0x833589fcd6edb6e08f4c7c32d4f71b54bda02913/${nonce}/${name}`,
    purpose: 'GET https://api.example.com/weather',
    asset: 'eip155:8453/erc20:0x833589fcd6edb6e08f4c7c32d4f71b54bda02913',
    amount: 10_000n,
    legs: [{ debit: 'world/evm', credit: 'sales/GET /weather' }],
    leaseUntilAt: Number.MAX_SAFE_INTEGER,
    note: { payer: '0x857b06519e91e3a54538791bdbb0e22373e36b66', request: nonce, rail: 'evm' },
  }
}

function syncs(file: string, ms: number): number {
  const descriptor = openSync(file, 'w')
  const block = Buffer.alloc(4_096, 1)
  const startAt = performance.now()
  let count = 0
  for (; performance.now() - startAt < ms; count++) {
    writeSync(descriptor, block)
    fdatasyncSync(descriptor)
  }
  closeSync(descriptor)
  return (count * 1_000) / (performance.now() - startAt)
}
