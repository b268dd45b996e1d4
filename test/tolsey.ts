// Runs the program as a user does: in a process of its own, with nothing of this process's environment that it reads.
import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

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

/** Starts the program; its directory holds all that it keeps. */
export function spawnTolsey(argv: readonly string[], start: Start): ChildProcessWithoutNullStreams {
  const { PATH = '' } = process.env
  const home = start.cwd
  const env = { PATH, HOME: home, XDG_DATA_HOME: `${home}/data`, ...start.env }
  return spawn(process.execPath, [program, ...argv], { cwd: start.cwd, env })
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
