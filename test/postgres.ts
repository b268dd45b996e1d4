// A throw-away PostgreSQL for tests and benches, from the machine's own binaries, on a Unix socket in a temporary directory.
import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createConnection, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Where Debian and its children keep the servers, one directory a version. */
const VERSIONS = '/usr/lib/postgresql'

/** How long a server may take to answer. */
const START_MS = 30_000

/** The password of the one user, `tolsey`. */
export const PASSWORD = 'swordfish-of-the-test'

/** Why there is no PostgreSQL to test with; undefined where there is one. */
export const missing: string | undefined = binaries()
  ? undefined
  : 'No PostgreSQL on this machine: put initdb and postgres in PATH.'

// A skipped test is easily overlooked.
if (missing !== undefined) process.emitWarning(missing)

/** A server of our own. */
export interface Cluster {
  /** Where it is, with user and password. */
  readonly url: string
  /** The directory of its socket, which is `.s.PGSQL.5432` there. */
  readonly host: string
  /** Ends all its processes at once, as if the machine had stopped. */
  readonly kill: () => Promise<void>
  /** Starts it after a kill; as a copy that only reads, and follows nobody, until `pg_promote()` is called on it. */
  readonly start: (as?: 'primary' | 'copy') => Promise<void>
  /** Ends it and removes its directory. */
  readonly stop: () => Promise<void>
}

/** Makes a cluster and starts it. Settings are those of `postgresql.conf`; it syncs to disk as a real one does. */
export async function createCluster(
  settings: Readonly<Record<string, string>> = {},
): Promise<Cluster> {
  const bin = binaries()
  if (!bin) throw new Error(missing)
  const owner = await ownerOf()
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-pg-'))
  const guard = watch(directory)
  const [data, host, secret] = [join(directory, 'data'), join(directory, 's'), join(directory, 'p')]
  const env = { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' }
  const given = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const options = ['-D', data, '-k', host, '-c', 'listen_addresses=', ...given]
  let server: ChildProcess | undefined

  const make = async (): Promise<void> => {
    await mkdir(host, { mode: 0o700 })
    await writeFile(secret, PASSWORD)
    for (const path of [directory, host, secret]) await give(path, owner)
    const initial = ['-U', 'tolsey', '-A', 'scram-sha-256', `--pwfile=${secret}`, '-E', 'UTF8']
    // It need not be on the disk before anything was bought: hence -N.
    await run(join(bin, 'initdb'), ['-D', data, '-N', ...initial], {
      ...owner,
      env,
      cwd: directory,
    })
  }
  const start: Cluster['start'] = async (as = 'primary') => {
    const mark = join(data, 'standby.signal')
    if (as === 'copy') await writeFile(mark, '')
    if (as === 'copy') await give(mark, owner)
    const untilAt = performance.now() + START_MS
    while (performance.now() < untilAt) {
      const child = spawn(join(bin, 'postgres'), options, {
        ...owner,
        env,
        cwd: directory,
        stdio: 'ignore',
      })
      server = child
      while (isAlive(child) && performance.now() < untilAt) {
        if (await answers(join(host, '.s.PGSQL.5432'), join(data, 'postmaster.pid'))) return
        await setTimeout(20)
      }
      // Memory that a killed server shared is given back a moment after it died.
      await setTimeout(100)
    }
    throw new Error('PostgreSQL did not start.')
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (!server?.pid || !isAlive(server)) return
    const ended = once(server, 'exit')
    const all = signal === 'SIGKILL' ? await childrenOf(server.pid) : []
    for (const pid of [...all, server.pid]) strike(pid, signal)
    await ended
  }
  const stop = async (): Promise<void> => {
    // At once, and in good order: there is nothing to keep.
    await end('SIGQUIT')
    await rm(directory, { recursive: true, force: true })
    guard.stdin?.end()
  }
  try {
    await make()
    await start()
  } catch (error) {
    await stop()
    throw error
  }
  return {
    url: `postgres://tolsey:${PASSWORD}@localhost/postgres?host=${encodeURIComponent(host)}`,
    host,
    start,
    kill: () => end('SIGKILL'),
    stop,
  }
}

/** Waits for the end of its input, which comes with the end of this process, then ends the server and clears away. */
const GUARD = `cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
case "$(ps -o args= -p "\${pid:-0}" 2>/dev/null)" in
  *"$1/data"*) kill -QUIT "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done ;;
esac
rm -rf "$1"`

/** A test that is killed stops nothing that it has started: so somebody watches who is not killed with it. */
function watch(directory: string): ChildProcess {
  const guard = spawn('sh', ['-c', GUARD, 'guard', directory], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guard.unref()
  // The pipe is a socket, and must not keep this process alive.
  if (guard.stdin instanceof Socket) guard.stdin.unref()
  return guard
}

function isAlive({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null
}

function binaries(): string | undefined {
  const paths = (process.env['PATH'] ?? '').split(delimiter)
  const versions = existsSync(VERSIONS) ? readdirSync(VERSIONS).toSorted().toReversed() : []
  return [...paths, ...versions.map((version) => join(VERSIONS, version, 'bin'))].find((path) =>
    ['initdb', 'postgres'].every((name) => existsSync(join(path, name))),
  )
}

interface Owner {
  readonly uid?: number
  readonly gid?: number
}

async function give(path: string, { uid, gid }: Owner): Promise<void> {
  if (uid !== undefined && gid !== undefined) await chown(path, uid, gid)
}

/** PostgreSQL refuses to run as root: then it runs as the user that the machine has for it, or as nobody. */
async function ownerOf(): Promise<Owner> {
  if (process.getuid?.() !== 0) return {}
  const users = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'))
  const found = ['postgres', 'nobody'].map((name) => users.find(([user]) => user === name))
  const [, , uid, gid] = found.find((user) => user !== undefined) ?? []
  if (uid === undefined || gid === undefined) throw new Error('There is no user to run it.')
  return { uid: Number(uid), gid: Number(gid) }
}

/** Whether it takes connections: its own file says so once it is ready. */
async function answers(socket: string, file: string): Promise<boolean> {
  const state = await readFile(file, 'utf8').catch(() => '')
  if (!/^(ready|standby) *$/m.test(state)) return false
  const probe = createConnection(socket)
  const heard = await Promise.race([
    once(probe, 'connect').then(
      () => true,
      () => false,
    ),
    setTimeout(1_000, false),
  ])
  probe.destroy()
  return heard
}

async function childrenOf(pid: number): Promise<readonly number[]> {
  const { stdout } = await run('ps', ['-o', 'pid=', '--ppid', String(pid)]).catch(() => ({
    stdout: '',
  }))
  return stdout
    .split('\n')
    .map(Number)
    .filter((one) => one > 0)
}

function strike(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended by itself.
  }
}
