// Runs the program as a user does, in a process of its own or, for less time, in this one; never with this process's
// environment.
import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { run } from '../src/cli/main.ts'

const program = fileURLToPath(new URL('../bin/tolsey.mjs', import.meta.url))

/** How a run of the program is started. */
export interface Start {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  readonly stdin?: string | Uint8Array
}

/** How it ended. */
export interface End {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** What stdout said, byte for byte. */
  readonly bytes: Buffer
}

/** Runs the program to its end. */
export async function tolsey(argv: readonly string[], start: Start): Promise<End> {
  const child = spawnTolsey(argv, start)
  child.stdin.on('error', () => undefined)
  child.stdin.end(start.stdin ?? '')
  return ending(child)
}

/** Runs one command in this process, in a pipe. */
export async function command(argv: readonly string[], start: Start): Promise<End> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()]
  stdin.end(start.stdin ?? '')
  const said = Promise.all([collect(stdout), collect(stderr)])
  const code = await run(argv, {
    streams: { stdin, stdout, stderr },
    cwd: start.cwd,
    signal: new AbortController().signal,
    env: environment(start),
  })
  stdout.end()
  stderr.end()
  const [bytes, errors] = await said
  return { code, bytes, stdout: bytes.toString(), stderr: errors.toString() }
}

async function collect(stream: PassThrough): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/** Its directory holds all that it keeps. */
function environment({ cwd, env }: Start): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '', HOME: cwd, XDG_DATA_HOME: `${cwd}/data`, ...env }
}

/** Starts the program. */
export function spawnTolsey(argv: readonly string[], start: Start): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [program, ...argv], {
    cwd: start.cwd,
    env: environment(start),
  })
}

/** All that a process said until it ended. */
export async function ending(child: ChildProcessWithoutNullStreams): Promise<End> {
  const out: Buffer[] = []
  const errors: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  const bytes = Buffer.concat(out)
  return { code, bytes, stdout: bytes.toString(), stderr: Buffer.concat(errors).toString() }
}
