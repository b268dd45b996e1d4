// Durable transfers per second of the embedded ledger, beside what the disk can do: one write and one sync at a time.
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Ledger, Transfer } from '../src/core/ports.ts'
import { sqlite } from '../src/ledger/sqlite.ts'

const ROUND_MS = 3000
const WARM_UP_MS = 500
const IN_FLIGHT = [1, 64, 512]

const directory = await mkdtemp(join(tmpdir(), 'tolsey-bench-'))
try {
  console.log(`syncs of 4 KiB          ${perSecond(syncs(join(directory, 'probe')))}`)
  for (const lanes of IN_FLIGHT) {
    const ledger = await sqlite({ file: join(directory, `${lanes}.db`) })
    await load(ledger, lanes, WARM_UP_MS, 'warm')
    const { rate, cpuMicros, p50Ms, p99Ms } = await load(ledger, lanes, ROUND_MS, 'run')
    const more = `${cpuMicros.toFixed(0)} CPU µs, p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`
    console.log(`transfers, ${String(lanes).padStart(3)} in flight ${perSecond(rate)}   ${more}`)
    await ledger.close()
  }
} finally {
  await rm(directory, { recursive: true })
}

interface Figures {
  readonly rate: number
  readonly cpuMicros: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** Keeps so many transfers in flight for a time. */
async function load(ledger: Ledger, lanes: number, ms: number, name: string): Promise<Figures> {
  const waits: number[] = []
  const cpu = process.cpuUsage()
  const startedAt = performance.now()
  const lane = async (lane: number): Promise<void> => {
    for (let n = 0; performance.now() - startedAt < ms; n++) {
      const sentAt = performance.now()
      await ledger.transfer(sale(`${name}-${lane}-${n}`))
      waits.push(performance.now() - sentAt)
    }
  }
  await Promise.all(Array.from({ length: lanes }, (_, n) => lane(n)))
  const seconds = (performance.now() - startedAt) / 1000
  const { user, system } = process.cpuUsage(cpu)
  const sorted = waits.toSorted((a, b) => a - b)
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0
  const cpuMicros = (user + system) / waits.length
  return { rate: waits.length / seconds, cpuMicros, p50Ms: at(0.5), p99Ms: at(0.99) }
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

function syncs(file: string): number {
  const fd = openSync(file, 'w')
  const block = Buffer.alloc(4096, 1)
  const startedAt = performance.now()
  let count = 0
  for (; performance.now() - startedAt < WARM_UP_MS; count++) {
    writeSync(fd, block)
    fdatasyncSync(fd)
  }
  closeSync(fd)
  return (count * 1000) / WARM_UP_MS
}

function perSecond(rate: number): string {
  return `${Math.round(rate).toLocaleString('en')}/s`.padStart(10)
}
