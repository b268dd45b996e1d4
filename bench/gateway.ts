// What a gateway costs per request, in CPU time of its process, beside nginx that proxies the same, in one run. The gateway
// and nginx have one core in turn, load and upstream the other.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Shop, Sold } from './gateway-server.ts'
import type { Load } from './load.ts'
import { pinned, startHelper } from './process.ts'
import type { Helper } from './process.ts'
import { compare } from './result.ts'
import type { Goal, Result, Run } from './result.ts'
import type { Script } from './unpaid-server.ts'

const NGINX = '/usr/sbin/nginx'
const HOST = 'api.example.com'
const CONNECTIONS = 64
const ROUNDS = 7
const ROUND_MS = 800
/** Tokens and payments that were never seen, for one round. */
const STOCK = 3_000
const WARM_UP_MICROS = 5_000_000
/** Linux counts a process's time in hundredths of a second. */
const MICROS_PER_TICK = 10_000

/** Whose time is measured. */
export interface Server {
  readonly port: number
  readonly token: string
  readonly cpuMicros: () => Promise<number>
}

/** Pass-through, tokens, draws and the cached 402. */
export async function gateway({ quick, tell }: Run): Promise<readonly Result[]> {
  const helpers: Helper[] = []
  const help = async (file: string, core: number): Promise<Helper> => {
    const helper = await startHelper(file, core)
    helpers.push(helper)
    return helper
  }
  let nginx: Awaited<ReturnType<typeof startNginx>> | undefined
  try {
    const generator = await help('./load.ts', 1)
    const behind = await help('./gateway-server.ts', 1)
    const upstream = `http://127.0.0.1:${await behind.ask<number>('upstream')}`
    const start = async (route: Sold['route']): Promise<Server> => {
      const helper = await help('./gateway-server.ts', 0)
      const sold: Sold = { upstream, origin: `http://${HOST}`, route }
      const shop = await helper.ask<Shop>('gateway', sold)
      return { ...shop, cpuMicros: () => helper.cpuMicros() }
    }
    const alone = async (): Promise<Server> => {
      const helper = await help('./gateway-server.ts', 0)
      const port = await helper.ask<number>('dispatch', upstream)
      return { port, token: 'none', cpuMicros: () => helper.cpuMicros() }
    }
    nginx = await startNginx(upstream)
    const servers: Record<string, Server> = {
      free: await start('free'),
      timed: await start('timed'),
      counted: await start('counted'),
      dispatch: await alone(),
      ...(nginx && { nginx }),
    }
    const measure = measureBy(generator, quick, tell)
    const served = await measure(servers, 'HTTP/1.1 200 ')
    const fresh: Record<string, Server> = {
      free: await start('free'),
      narrowed: await start('timed'),
      signed: await start('signed'),
    }
    const brought = await measure(fresh, 'HTTP/1.1 200 ')
    const priced = await start('priced')
    const bareHelper = await help('./gateway-server.ts', 0)
    const script = scriptOf(await listenTo(priced.port))
    const port = await bareHelper.ask<number>('bare', script)
    const bare = { port, token: 'none', cpuMicros: () => bareHelper.cpuMicros() }
    const asked = await measure({ priced, bare }, 'HTTP/1.1 402 ')
    return [
      ...(nginx ? [line('passed through, 1 kB', served, 'free', 'nginx', 0.4)] : []),
      line('passed through, 1 kB', served, 'free', 'dispatch'),
      line('paid by a token, seen before', served, 'timed', 'free', 0.95),
      line('paid by a token, never seen', brought, 'narrowed', 'free', 0.8),
      line('paid by a signature, checked, books in memory', brought, 'signed', 'free', 0.22),
      line('paid by a draw in durable books', served, 'counted', 'free', 0.5),
      line('402 answers, the same address', asked, 'priced', 'bare', 0.95),
    ]
  } finally {
    nginx?.stop()
    await Promise.all(helpers.map((helper) => helper.stop()))
  }
}

const names: Readonly<Record<string, string>> = {
  nginx: 'nginx proxying',
  dispatch: 'the client’s dispatcher alone',
  free: 'passed through',
  bare: 'node:http, same bytes',
}

function line(
  what: string,
  rates: Readonly<Record<string, readonly number[]>>,
  ours: string,
  peer: string,
  ratioLeast?: number,
): Result {
  const goal: { readonly goal?: Goal } = ratioLeast === undefined ? {} : { goal: { ratioLeast } }
  return compare({
    ...{ bench: 'gateway', what, unit: 'per CPU-s', better: 'more', ...goal },
    ours: rates[ours] ?? [],
    peer: { name: names[peer] ?? peer, rounds: rates[peer] ?? [] },
  })
}

function measureBy(generator: Helper, quick: boolean, tell: Run['tell']) {
  const ms = quick ? ROUND_MS / 4 : ROUND_MS
  return async (
    servers: Readonly<Record<string, Server>>,
    begins: string,
  ): Promise<Readonly<Record<string, readonly number[]>>> => {
    const rate = async (
      { port, token, cpuMicros }: Server,
      kind: 'narrowed' | 'signed' | 'same',
    ): Promise<number> => {
      const said = { port, host: HOST, connections: CONNECTIONS, ms, fresh: false, begins }
      const stocked = kind !== 'same'
      if (stocked) await generator.ask(kind, { token, port, host: HOST, count: STOCK })
      const load: Load =
        token === 'none' || stocked
          ? { ...said, stocked }
          : { ...said, authorization: `Bearer ${token}` }
      const before = await cpuMicros()
      const count = await generator.ask<number>('run', load)
      return (count * 1e6) / ((await cpuMicros()) - before)
    }
    for (const [name, server] of Object.entries(servers)) {
      tell(`${name}, warming up`)
      const untilMicros = (await server.cpuMicros()) + (quick ? 1 : WARM_UP_MICROS)
      while ((await server.cpuMicros()) < untilMicros) await rate(server, kindOf(name))
    }
    const rates: Record<string, number[]> = {}
    for (let round = 1; round <= (quick ? 2 : ROUNDS); round++)
      for (const [name, server] of Object.entries(servers)) {
        tell(`${name}, round ${round}`)
        ;(rates[name] ??= []).push(await rate(server, kindOf(name)))
      }
    return rates
  }
}

/** What each request of a load brings. */
function kindOf(name: string): 'narrowed' | 'signed' | 'same' {
  return name === 'narrowed' || name === 'signed' ? name : 'same'
}

/** nginx in one process on the same core, keeping its connections to the upstream. */
export async function startNginx(
  upstream: string,
): Promise<(Server & { stop(): void }) | undefined> {
  if (!existsSync(NGINX)) return undefined
  const root = mkdtempSync(join(tmpdir(), 'bench-nginx-'))
  const port = await freePort()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  writeFileSync(
    join(root, 'nginx.conf'),
    `daemon off; master_process off; pid ${root}/pid; error_log ${root}/error.log;
    events { worker_connections 4096; }
    http {
      access_log off; keepalive_requests 100000000;
      ${temporary.map((name) => `${name}_temp_path ${root}/${name};`).join(' ')}
      upstream behind { server ${new URL(upstream).host}; keepalive 128; keepalive_requests 100000000; }
      server {
        listen 127.0.0.1:${port};
        location / { proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; }
      }
    }`,
  )
  const args = ['-c', join(root, 'nginx.conf'), '-p', root, '-e', join(root, 'error.log')]
  const child = pinned
    ? spawn('taskset', ['-c', '0', NGINX, ...args], { stdio: 'ignore' })
    : spawn(NGINX, args, { stdio: 'ignore' })
  while (!(await isUp(port))) if (child.exitCode !== null) throw new Error('nginx did not start.')
  return {
    ...{ port, token: 'none' },
    async cpuMicros() {
      const stat = readFileSync(`/proc/${child.pid}/stat`, 'utf8')
      const [user = '', system = ''] = stat
        .slice(stat.lastIndexOf(')') + 2)
        .split(' ')
        .slice(11, 13)
      return (Number(user) + Number(system)) * MICROS_PER_TICK
    },
    stop() {
      child.kill('SIGKILL')
      rmSync(root, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net')
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { readonly port: number }
  server.close()
  await once(server, 'close')
  return port
}

async function isUp(port: number): Promise<boolean> {
  return await fetch(`http://127.0.0.1:${port}/`).then(
    () => true,
    () => false,
  )
}

/** One whole answer as it comes over the wire. */
async function listenTo(port: number): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' }).setEncoding('latin1')
  let said = ''
  socket.on('data', (text: string) => (said += text))
  socket.write(
    `GET /weather?city=1000000000 HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`,
  )
  await once(socket, 'end')
  socket.destroy()
  return said
}

/** The answer without what node:http itself adds to every one. */
function scriptOf(said: string): Script {
  const end = said.indexOf('\r\n\r\n')
  const [first = '', ...lines] = said.slice(0, end).split('\r\n')
  const fields = lines.filter((one) => !/^(?:date|connection|keep-alive):/i.test(one))
  const head = fields.flatMap((one) => one.split(/: (.*)/s).slice(0, 2))
  return { status: Number(first.split(' ')[1]), head, body: said.slice(end + 4) }
}
