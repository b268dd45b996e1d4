// Requests that a token pays per CPU-second of the server's process, all of its threads counted, beside the same handler
// through the same adapter on a free route, and without the adapter. The server has one core, the load the other.
import type { Load } from './load.ts'
import type { Helper } from './process.ts'
import { startHelper } from './process.ts'
import type { Result, Run } from './result.ts'
import { compare } from './result.ts'
import type { Shop, Sold } from './token-server.ts'

const HOST = 'api.example.com'
const CONNECTIONS = 64
const ROUNDS = 7
const ROUND_MS = 800
const WARM_UP_MICROS = 3_000_000
/** At most a tenth more than an ungated request through the same adapter. */
const GOAL = 0.91

const shops: readonly Omit<Sold, 'origin'>[] = [
  { kind: 'macaroon', counted: false },
  { kind: 'jwt', counted: false },
  { kind: 'opaque', counted: false },
  { kind: 'macaroon', counted: true },
]

const kinds = ['bare', 'ungated', 'ours'] as const
type Kind = (typeof kinds)[number]

interface Server extends Shop {
  readonly helper: Helper
}

/** Rates for each kind of token, and for one whose uses are counted in the books. */
export async function tokenPaid({ quick, tell }: Run): Promise<readonly Result[]> {
  const helpers: Helper[] = []
  const start = async (verb: string, said?: unknown): Promise<Server> => {
    const helper = await startHelper('./token-server.ts', 0)
    helpers.push(helper)
    return { helper, ...(await helper.ask<Shop>(verb, said)) }
  }
  try {
    const generator = await startHelper('./load.ts', 1)
    helpers.push(generator)
    const bare = await start('bare')
    const ungated = await start('ungated', { origin: `http://${HOST}` })
    const results: Result[] = []
    for (const shop of shops) {
      const ours = await start('ours', { ...shop, origin: `http://${HOST}` })
      results.push(...(await measure(generator, { bare, ungated, ours }, shop, quick, tell)))
    }
    return results
  } finally {
    await Promise.all(helpers.map((helper) => helper.stop()))
  }
}

async function measure(
  generator: Helper,
  servers: Readonly<Record<Kind, Server>>,
  { kind, counted }: Omit<Sold, 'origin'>,
  quick: boolean,
  tell: Run['tell'],
): Promise<readonly Result[]> {
  const what = `${kind}, ${counted ? 'uses counted in the books' : 'good for a time'}`
  const ms = quick ? ROUND_MS / 4 : ROUND_MS
  const rate = async ({ helper, port }: Server): Promise<number> => {
    const before = await helper.cpuMicros()
    const said = { port, host: HOST, connections: CONNECTIONS, ms, fresh: false }
    // The same request to both: to read its fields is no cost of the gate.
    const authorization = `Bearer ${servers.ours.token}`
    const load: Load = { ...said, authorization, begins: 'HTTP/1.1 200 ' }
    const count = await generator.ask<number>('run', load)
    return (count * 1e6) / ((await helper.cpuMicros()) - before)
  }
  tell(`${what}, warming up`)
  for (const server of Object.values(servers)) {
    const untilMicros = (await server.helper.cpuMicros()) + (quick ? 1 : WARM_UP_MICROS)
    while ((await server.helper.cpuMicros()) < untilMicros) await rate(server)
  }
  const rates: Record<Kind, number[]> = { bare: [], ungated: [], ours: [] }
  for (let round = 1; round <= (quick ? 2 : ROUNDS); round++) {
    tell(`${what}, round ${round}`)
    for (const name of kinds) rates[name].push(await rate(servers[name]))
  }
  const line = {
    bench: 'token-paid',
    what: `requests paid by a ${what}`,
    unit: 'per CPU-s',
    better: 'more',
    ours: rates.ours,
  } as const
  return [
    compare({
      ...line,
      peer: { name: 'ungated, same adapter', rounds: rates.ungated },
      goal: { ratioLeast: GOAL },
    }),
    compare({ ...line, peer: { name: 'node:http alone', rounds: rates.bare } }),
  ]
}
