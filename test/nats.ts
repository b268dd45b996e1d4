// A throw-away NATS server with JetStream for tests, from the machine's own binary, in a temporary directory.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect as connectTo, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'

/** How long a server may take to answer. */
const START_MS = 30_000

/** The binary of a server in PATH, or where Debian puts it. */
export function binaryOf(name: string): string | undefined {
  const path = (process.env['PATH'] ?? '').split(delimiter)
  return [...path, '/usr/sbin', '/usr/bin'].map((at) => join(at, name)).find((at) => existsSync(at))
}

/** Why there is no server to test with; undefined where there is one. */
export const missing: string | undefined = binaryOf('nats-server')
  ? undefined
  : 'No NATS on this machine: put nats-server in PATH.'

// A skipped test is easily overlooked.
if (missing !== undefined) process.emitWarning(missing)

/** A server of our own, on a port that stays its own over restarts. */
export interface Server {
  readonly port: number
  /** Ends it at once, as if the machine had stopped. */
  kill(): Promise<void>
  start(): Promise<void>
  /** Ends it and removes its directory. */
  stop(): Promise<void>
}

/** Starts a server, whose arguments may name the port and the directory. */
export async function startServer(
  binary: string,
  argumentsOf: (port: number, directory: string) => readonly string[],
): Promise<Server> {
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-server-'))
  const port = await freePort()
  let child: ChildProcess | undefined

  async function start(): Promise<void> {
    const args = argumentsOf(port, directory)
    const started = spawn(binary, args, { cwd: directory, stdio: 'ignore', env: {} })
    child = started
    const untilAt = performance.now() + START_MS
    while (performance.now() < untilAt && started.exitCode === null) {
      if (await answers(port)) return
      await setTimeout(20)
    }
    throw new Error(`${binary} did not start.`)
  }

  async function kill(): Promise<void> {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }

  await start()
  return {
    port,
    start,
    kill,
    async stop() {
      await kill()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** Starts NATS with JetStream. */
export async function startNats(more: readonly string[] = []): Promise<Server> {
  return await startServer(binaryOf('nats-server') ?? '', (port, directory) => [
    ...['-a', '127.0.0.1', '-p', `${port}`, '-js', '-sd', directory, ...more],
  ])
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function answers(port: number): Promise<boolean> {
  const socket = connectTo(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
