// What traffic through a gateway waits for, and how much of it the gateway keeps: beside the upstream asked itself and nginx.
import { Agent, request } from 'node:http'
import { Readable } from 'node:stream'
import { startNginx } from './gateway.ts'
import type { Shop, Sold } from './gateway-server.ts'
import type { Load } from './load.ts'
import type { Helper } from './process.ts'
import { startHelper } from './process.ts'
import type { Result, Run } from './result.ts'
import { at, compare } from './result.ts'
import type { Memory } from './watched.ts'

const HOST = 'api.example.com'
const ROUNDS = 5
/** Few enough that nobody waits for a core. */
const LANES = 2
const ASKED = 1_500
const WARM_UP = 1_500
const EVENTS = 20
const EVENT_MS_MAX = 5
const REQUESTS = 100_000
const CONNECTIONS = 64
const LOAD_MS = 2_000
const GIB = 2 ** 30
/** What may stay in use after so many requests, and what a body may take while it goes through. */
const GROWTH_MIB_MAX = 4
const BODY_MIB_MAX = 64

const line = { bench: 'gateway-traffic', unit: 'ms', better: 'less' } as const

/** Latency, first bytes and memory. */
export async function gatewayTraffic(run: Run): Promise<readonly Result[]> {
  const helpers: Helper[] = []
  const help = async (file: string, core: number): Promise<Helper> => {
    const helper = await startHelper(file, core)
    helpers.push(helper)
    return helper
  }
  let nginx: Awaited<ReturnType<typeof startNginx>> | undefined
  try {
    const behind = await help('./gateway-server.ts', 1)
    const port = await behind.ask<number>('upstream')
    const upstream = `http://127.0.0.1:${port}`
    const helper = await help('./gateway-server.ts', 0)
    const sold: Sold = { upstream, origin: `http://${HOST}`, route: 'free' }
    const gateway = await helper.ask<Shop>('gateway', sold)
    nginx = await startNginx(upstream)
    const ports = { direct: port, gateway: gateway.port, ...(nginx && { nginx: nginx.port }) }
    return [
      ...(await latencies(ports, run)),
      await firstBytes(ports.gateway, run),
      ...(await memories(helper, await help('./load.ts', 1), ports.gateway, run)),
    ]
  } finally {
    nginx?.stop()
    await Promise.all(helpers.map((helper) => helper.stop()))
  }
}

/** How much longer the slowest of a hundred takes than without anything between. */
async function latencies(
  ports: Readonly<Record<string, number>>,
  { quick, tell }: Run,
): Promise<readonly Result[]> {
  const rounds: Record<string, number[]> = {}
  for (let round = 0; round <= (quick ? 1 : ROUNDS); round++)
    for (const [name, port] of Object.entries(ports)) {
      tell(`latency, ${name}, round ${round}`)
      const found = await slowest(port, round === 0 ? WARM_UP : ASKED)
      if (round > 0) (rounds[name] ??= []).push(found)
    }
  const added = (rounds['gateway'] ?? []).map((ms, i) => ms - (rounds['direct']?.[i] ?? NaN))
  const ours = rounds['gateway'] ?? []
  const peer = rounds['nginx'] && { name: 'nginx proxying', rounds: rounds['nginx'] }
  return [
    compare({ ...line, what: 'p99, two at a time', ours, ...(peer && { peer }) }),
    compare({ ...line, what: 'p99, more than the upstream alone', ours: added }),
  ]
}

/** The 99th percentile of so many requests. */
async function slowest(port: number, count: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: LANES })
  const took: number[] = []
  const lane = async (): Promise<void> => {
    while (took.length < count) {
      const begun = performance.now()
      await ask(port, agent)
      took.push(performance.now() - begun)
    }
  }
  try {
    await Promise.all(Array.from({ length: LANES }, lane))
  } finally {
    agent.destroy()
  }
  return at(
    took.toSorted((a, b) => a - b),
    0.99,
  )
}

function ask(port: number, agent: Agent): Promise<void> {
  return new Promise((resolve, reject) => {
    const said = { port, agent, host: '127.0.0.1', path: '/weather', headers: { host: HOST } }
    request(said, (response) => response.resume().once('end', resolve))
      .once('error', reject)
      .end()
  })
}

/** From the upstream's writing of an event to the reading of it behind the gateway, by the machine's one clock. */
async function firstBytes(port: number, { quick, tell }: Run): Promise<Result> {
  const rounds: number[] = []
  for (let round = 0; round <= (quick ? 1 : ROUNDS); round++) {
    tell(`first bytes of events, round ${round}`)
    const took: number[] = []
    for (let i = 0; i < EVENTS; i++) took.push(await eventAfter(port))
    if (round > 0)
      rounds.push(
        at(
          took.toSorted((a, b) => a - b),
          0.5,
        ),
      )
  }
  const what = 'from an event’s writing at the upstream to its reading behind the gateway'
  return compare({ ...line, what, ours: rounds, goal: { most: EVENT_MS_MAX } })
}

function eventAfter(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    request({ port, host: '127.0.0.1', path: '/events', headers: { host: HOST } }, (response) => {
      response.once('data', (chunk: Buffer) => {
        const now = process.hrtime.bigint()
        const said = /^data: (\d+)/.exec(chunk.toString())?.[1]
        if (said === undefined) reject(new Error('The event says no time.'))
        else resolve(Number(now - BigInt(said)) / 1e6)
        response.resume()
      })
    })
      .once('error', reject)
      .end()
  })
}

/** What stays after many requests, and what large bodies take on their way. */
async function memories(
  helper: Helper,
  generator: Helper,
  port: number,
  { quick, tell }: Run,
): Promise<readonly Result[]> {
  const load: Load = {
    ...{ port, host: HOST, connections: CONNECTIONS, ms: LOAD_MS },
    ...{ fresh: true, begins: 'HTTP/1.1 200 ' },
  }
  const many = async (): Promise<Memory> => {
    for (let count = 0; count < (quick ? 1 : REQUESTS);) {
      tell(`${count} requests`)
      count += await generator.ask<number>('run', load)
    }
    return await helper.ask<Memory>('memory')
  }
  const first = await many()
  const second = await many()
  const more = (name: keyof Memory): number => Math.max(0, second[name] - first[name])
  const bytes = quick ? GIB / 16 : GIB
  const watched = async (work: () => Promise<number>): Promise<number> => {
    const before = await helper.ask<number>('watch')
    if ((await work()) !== bytes) throw new Error('Not all of it came through.')
    return (await helper.ask<number>('most')) - before
  }
  const [down, up] = [await watched(() => get(port, bytes)), await watched(() => put(port, bytes))]
  const mib = { ...line, unit: 'MiB' } as const
  const count = REQUESTS.toLocaleString('en')
  return [
    compare({
      ...mib,
      what: `objects, more after another ${count} requests`,
      ours: [more('heap')],
      goal: { most: GROWTH_MIB_MAX },
    }),
    compare({ ...mib, what: `process, more after another ${count} requests`, ours: [more('rss')] }),
    compare({
      ...mib,
      what: 'more while 1 GiB is answered',
      ours: [down],
      goal: { most: BODY_MIB_MAX },
    }),
    compare({ ...mib, what: 'more while 1 GiB is sent', ours: [up], goal: { most: BODY_MIB_MAX } }),
  ]
}

function get(port: number, bytes: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const path = `/large?bytes=${bytes}`
    request({ port, host: '127.0.0.1', path, headers: { host: HOST } }, (response) => {
      let count = 0
      response.on('data', (chunk: Buffer) => (count += chunk.length))
      response.once('end', () => resolve(count))
    })
      .once('error', reject)
      .end()
  })
}

function put(port: number, bytes: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const piece = Buffer.alloc(65_536, 'x')
    const pieces = function* (): Generator<Uint8Array> {
      for (let left = bytes; left > 0; left -= piece.length) yield piece.subarray(0, left)
    }
    const headers = { host: HOST, 'content-length': bytes }
    const asking = request(
      { port, host: '127.0.0.1', path: '/large', method: 'PUT', headers },
      (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        response.once('end', () => resolve(Number(text)))
      },
    )
    asking.once('error', reject)
    Readable.from(pieces()).pipe(asking)
  })
}
