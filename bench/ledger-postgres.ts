// Durable transfers of the shared ledger beside those of the embedded one, in the same run: 64 payers whose funds are
// looked at, one seller or very many.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Ledger, Transfer } from '../src/core/ports.ts'
import { sqlite } from '../src/index.ts'
import { postgres } from '../src/ledger/postgres.ts'
import { createCluster, missing } from '../test/postgres.ts'
import { cpuMicros } from './process.ts'
import type { Result, Run } from './result.ts'
import { at, compare } from './result.ts'

const ROUNDS = 5
const ROUND_MS = 800
const IN_FLIGHT = [1, 64, 512]
const PAYERS = 64
const SELLERS = 2_000

/** What batches must win over one transfer at a time, and what one seller may cost against many. */
const BATCHED_LEAST = 10
const HOT_LEAST = 0.9

/** Rate, CPU time of this process and latency; the server's own CPU time is not in it. Nothing where there is no server. */
export async function ledgerPostgres({ quick, tell }: Run): Promise<readonly Result[]> {
  if (missing !== undefined) {
    tell(missing)
    return []
  }
  const directory = await mkdtemp(join(tmpdir(), 'bench-'))
  const cluster = await createCluster()
  const shared = await postgres({ url: cluster.url })
  const embedded = await sqlite({ file: join(directory, 'books.db') })
  try {
    await Promise.all([shared, embedded].map(fund))
    return await measure({ shared, embedded, quick, tell })
  } finally {
    await Promise.all([shared.close(), embedded.close()])
    await cluster.stop()
    await rm(directory, { recursive: true })
  }
}

interface Books {
  readonly shared: Ledger
  readonly embedded: Ledger
}

async function measure({ shared, embedded, quick, tell }: Books & Run): Promise<readonly Result[]> {
  const ms = quick ? ROUND_MS / 4 : ROUND_MS
  const rounds: Round[] = []
  for (let round = -1; round < (quick ? 2 : ROUNDS); round++) {
    tell(round < 0 ? 'warming' : `round ${round + 1}`)
    const now: Round = { shared: [], embedded: [], spread: [] }
    for (const lanes of IN_FLIGHT) {
      now.embedded.push(await load(embedded, lanes, ms, 1))
      now.shared.push(await load(shared, lanes, ms, 1))
      // Beside what it is compared with: the machine is another one a second later.
      if (lanes === PAYERS) now.spread.push(await load(shared, lanes, ms, SELLERS))
    }
    if (round >= 0) rounds.push(now)
  }
  const rates = (i: number): readonly number[] => rounds.map((one) => one.shared[i]?.rate ?? NaN)
  const line = { bench: 'ledger-postgres', unit: 'per s', better: 'more' } as const
  return [
    ...IN_FLIGHT.flatMap((lanes, i) => linesOf(lanes, i, rounds)),
    compare({
      ...line,
      what: 'one hot seller, 64 in flight',
      goal: { ratioLeast: BATCHED_LEAST },
      ours: rates(1),
      peer: { name: 'one at a time', rounds: rates(0) },
    }),
    compare({
      ...line,
      what: 'one hot seller, 64 in flight, and many',
      goal: { ratioLeast: HOT_LEAST },
      ours: rates(1),
      peer: {
        name: `${SELLERS} sellers`,
        rounds: rounds.map(({ spread }) => spread[0]?.rate ?? NaN),
      },
    }),
  ]
}

interface Figures {
  readonly rate: number
  readonly cpuMicros: number
  readonly p99Ms: number
}

/** One round: a figure for each number in flight. */
interface Round {
  readonly shared: Figures[]
  readonly embedded: Figures[]
  readonly spread: Figures[]
}

function linesOf(lanes: number, i: number, rounds: readonly Round[]): readonly Result[] {
  const line = { bench: 'ledger-postgres', what: `transfers, ${lanes} in flight` }
  const both = (
    read: (figures: Figures) => number,
  ): Pick<Parameters<typeof compare>[0], 'ours' | 'peer'> => {
    const of = (kind: 'shared' | 'embedded'): readonly number[] =>
      rounds.map((round) => {
        const figures = round[kind][i]
        return figures ? read(figures) : NaN
      })
    return { ours: of('shared'), peer: { name: 'SQLite', rounds: of('embedded') } }
  }
  return [
    compare({ ...line, unit: 'per s', better: 'more', ...both(({ rate }) => rate) }),
    compare({ ...line, unit: 'CPU µs', better: 'less', ...both((one) => one.cpuMicros) }),
    compare({ ...line, unit: 'p99 ms', better: 'less', ...both(({ p99Ms }) => p99Ms) }),
  ]
}

/** Keeps so many transfers in flight for a time. */
async function load(ledger: Ledger, lanes: number, ms: number, sellers: number): Promise<Figures> {
  const waits: number[] = []
  const before = cpuMicros()
  const startAt = performance.now()
  const lane = async (lane: number): Promise<void> => {
    for (let n = lane; performance.now() - startAt < ms; n += lanes) {
      const sentAt = performance.now()
      const { outcome } = await ledger.transfer(sale(n % PAYERS, n % sellers))
      if (outcome !== 'made') throw new Error(`The transfer was ${outcome}.`)
      waits.push(performance.now() - sentAt)
    }
  }
  await Promise.all(Array.from({ length: lanes }, (_, n) => lane(n)))
  const seconds = (performance.now() - startAt) / 1_000
  const sorted = waits.toSorted((a, b) => a - b)
  const used = (cpuMicros() - before) / waits.length
  return { rate: waits.length / seconds, cpuMicros: used, p99Ms: at(sorted, 0.99) }
}

const USDC = 'eip155:8453/erc20:0x833589fcd6edb6e08f4c7c32d4f71b54bda02913'

async function fund(ledger: Ledger): Promise<void> {
  for (let payer = 0; payer < PAYERS; payer++) {
    const legs = [{ debit: 'world/evm', credit: `payer/${payer}` }]
    const key = `fund/${payer}`
    await ledger.transfer({ ...sale(payer, 0), key, legs, amount: 10n ** 18n })
    await ledger.post(key)
  }
}

/** A draw on a balance as a gate holds it: the key begins with chance, as nonces do, the note is some hundred bytes. */
function sale(payer: number, seller: number): Transfer {
  const nonce = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('hex')
  return {
    key: `eip155:8453/0x833589fcd6edb6e08f4c7c32d4f71b54bda02913/${nonce}`,
    purpose: 'GET https://api.example.com/weather',
    asset: USDC,
    amount: 10_000n,
    legs: [{ debit: `payer/${payer}`, credit: `sales/GET /weather/${seller}` }],
    leaseUntilAt: Number.MAX_SAFE_INTEGER,
    note: { payer: '0x857b06519e91e3a54538791bdbb0e22373e36b66', request: nonce, rail: 'evm' },
  }
}
