// 402 answers per CPU-second of the server's process, beside node:http that does nothing but say the same bytes, and beside
// the peers' middleware. The server has one core, the load the other.
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Load } from './load.ts'
import type { Helper } from './process.ts'
import { startHelper } from './process.ts'
import type { Result, Run } from './result.ts'
import { compare } from './result.ts'
import type { Script } from './unpaid-server.ts'

const HOST = 'api.example.com'
const CONNECTIONS = 64
const ROUNDS = 7
const ROUND_MS = 800
/** CPU time until a process has compiled what it does all the time; the compiler works on the server's own core. */
const WARM_UP_MICROS = 3_000_000
/** What the house promises of the bare server's rate. */
const GOAL = 0.85

interface Server {
  readonly helper: Helper
  readonly port: number
}

/** Rates for one address asked again and again, and for one that is new each time. */
export async function unpaid({ quick, tell }: Run): Promise<readonly Result[]> {
  const helpers: Helper[] = []
  const start = async (verb: string, said?: unknown): Promise<Server> => {
    const helper = await startHelper('./unpaid-server.ts', 0)
    helpers.push(helper)
    return { helper, port: await helper.ask<number>(verb, said) }
  }
  try {
    const generator = await startHelper('./load.ts', 1)
    helpers.push(generator)
    const ours = await start('ours', `http://${HOST}`)
    const said = await listenTo(ours.port)
    const bare = await start('bare', scriptOf(said))
    const again = await listenTo(bare.port)
    if (undated(again).length !== undated(said).length || headOf(again) !== headOf(said))
      throw new Error('The bare server does not say the same bytes.')
    const servers = { bare, ours, express: await start('express') }
    return await measure(generator, servers, quick, tell)
  } finally {
    await Promise.all(helpers.map((helper) => helper.stop()))
  }
}

async function measure(
  generator: Helper,
  servers: Readonly<Record<'bare' | 'ours' | 'express', Server>>,
  quick: boolean,
  tell: Run['tell'],
): Promise<readonly Result[]> {
  const ms = quick ? ROUND_MS / 4 : ROUND_MS
  const load = ({ port }: Server, fresh: boolean): Promise<number> => {
    const said = { port, host: HOST, connections: CONNECTIONS, ms, fresh }
    return generator.ask('run', { ...said, begins: 'HTTP/1.1 402 ' } satisfies Load)
  }
  const warm = async (server: Server, fresh: boolean): Promise<void> => {
    const untilMicros = (await server.helper.cpuMicros()) + (quick ? 1 : WARM_UP_MICROS)
    while ((await server.helper.cpuMicros()) < untilMicros) await load(server, fresh)
  }
  const rate = async (server: Server, fresh: boolean): Promise<number> => {
    const before = await server.helper.cpuMicros()
    const count = await load(server, fresh)
    return (count * 1e6) / ((await server.helper.cpuMicros()) - before)
  }
  const results: Result[] = []
  for (const fresh of [false, true]) {
    const rates = { bare: [] as number[], ours: [] as number[], express: [] as number[] }
    const what = fresh ? 'a new query each time' : 'the same address'
    tell(`${what}, warming up`)
    for (const server of Object.values(servers)) await warm(server, fresh)
    for (let round = 1; round <= (quick ? 2 : ROUNDS); round++) {
      tell(`${what}, round ${round}`)
      for (const name of ['bare', 'ours', 'express'] as const)
        rates[name].push(await rate(servers[name], fresh))
    }
    const line = {
      bench: 'unpaid',
      what: `402 answers, ${what}`,
      unit: 'per CPU-s',
      better: 'more',
      ours: rates.ours,
    } as const
    const bare = { name: 'node:http, same bytes', rounds: rates.bare }
    results.push(
      compare({ ...line, peer: bare, goal: { ratioLeast: GOAL } }),
      compare({ ...line, peer: { name: '@x402/express', rounds: rates.express } }),
    )
  }
  return results
}

/** One whole answer as it comes over the wire. */
async function listenTo(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' }).setEncoding('latin1')
  const request = `GET /weather?city=1000000000 HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`
  let said = ''
  socket.on('data', (text: string) => (said += text)).write(request)
  await once(socket, 'end')
  socket.destroy()
  return said
}

/** The answer without what node:http itself adds to every one. */
function scriptOf(said: string): Script {
  const end = said.indexOf('\r\n\r\n')
  const [first = '', ...lines] = said.slice(0, end).split('\r\n')
  const fields = lines.filter((line) => !/^(date|connection|keep-alive):/i.test(line))
  const head = fields.flatMap((line) => {
    const colon = line.indexOf(': ')
    return [line.slice(0, colon), line.slice(colon + 2)]
  })
  return { status: Number(first.split(' ')[1]), head, body: said.slice(end + 4) }
}

function undated(said: string): string {
  return said.replace(/\r\ndate: [^\r]*/i, '')
}

function headOf(said: string): string {
  return undated(said).slice(0, undated(said).indexOf('\r\n\r\n'))
}
