import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { isObject } from '../core/json.ts'
import type { Json } from '../core/json.ts'
import { PaymentError } from '../core/problem.ts'

/** How long a node may take until it listens. Loaded machines need seconds where idle ones need 50 ms. */
const START_MS_MAX = 20_000

/** How long a node may take to end, writing its state included, before it is killed. */
const STOP_MS_MAX = 5_000

/** How much of the node's own output is kept, to tell why it did not start. */
const OUTPUT_CHARS_MAX = 8_000

/** A call to a node: a method's name and its parameters. */
export type Call = readonly [method: string, params: readonly unknown[]]

/** A running node. */
export interface Anvil {
  readonly rpc: string
  readonly pid: number
  /** @throws {PaymentError} with the node's own words, its error object being the cause. */
  request(method: string, params?: readonly unknown[]): Promise<unknown>
  /** Several calls in one round trip, done in order. */
  batch(calls: readonly Call[]): Promise<readonly unknown[]>
  /** Ends the node and resolves when its process is gone. */
  stop(): Promise<void>
}

/** Starts anvil on loopback with the given arguments; port 0 takes a free one. */
export async function startAnvil(args: readonly string[], port = 0): Promise<Anvil> {
  const child = spawn(binary(), ['--host', '127.0.0.1', '--port', String(port), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    windowsHide: true,
    // Its own group: the terminal's Ctrl-C is for us, who still want to save and then end the node.
    detached: process.platform !== 'win32',
  })
  const end = guard(child)
  try {
    const rpc = `http://127.0.0.1:${await listening(child)}`
    const anvil = connect(rpc, child, end)
    // Otherwise it prints a line for each call, for nobody.
    await anvil.request('anvil_setLoggingEnabled', [false])
    return anvil
  } catch (error) {
    await end()
    throw error
  }
}

/** The platform's executable. The package's own wrapper costs 100 ms and one more process. */
function binary(): string {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch
  const name = `@foundry-rs/anvil-${process.platform}-${arch}`
  const file = process.platform === 'win32' ? 'anvil.exe' : 'anvil'
  try {
    // The platform's package is a dependency of the general one, and may lie below it.
    const general = createRequire(import.meta.url).resolve('@foundry-rs/anvil/package.json')
    return join(dirname(createRequire(general).resolve(`${name}/package.json`)), 'bin', file)
  } catch (cause) {
    throw new PaymentError(
      'misconfigured',
      `The test chain needs ${name}. Install it with: npm install --save-dev @foundry-rs/anvil`,
      { cause },
    )
  }
}

/** The port the node listens on, as it says itself: asking for a free port first would be a race. */
async function listening(child: ChildProcess): Promise<number> {
  const { stdout, stderr } = child
  let output = ''
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const fail = (why: string): void =>
    reject(new PaymentError('misconfigured', `The test chain did not start: ${why}`))
  const read = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-OUTPUT_CHARS_MAX)
    const port = /Listening on [^\s:]+:(\d+)/.exec(output)?.[1]
    if (port) resolve(Number(port))
  }
  stdout?.on('data', read)
  stderr?.on('data', read)
  child.once('error', (error) => fail(error.message))
  child.once('close', () => fail(output.trim()))
  const timer = setTimeout(() => fail(`it was silent for ${START_MS_MAX} ms.`), START_MS_MAX)
  return promise.finally(() => {
    clearTimeout(timer)
    for (const stream of [stdout, stderr]) stream?.off('data', read).resume()
  })
}

/** The nodes of this process; a listener for each would be many. */
const running = new Set<ChildProcess>()

function killAll(): void {
  for (const child of running) child.kill()
}

/** Sees that the node never outlives us, and gives the function that ends it. A forgotten one keeps nobody alive. */
function guard(child: ChildProcess): () => Promise<void> {
  const watch = watchdog(child)
  if (running.size === 0) process.once('exit', killAll)
  running.add(child)
  const gone = new Promise<void>((resolve) => {
    child.once('close', resolve)
    child.once('error', () => child.pid === undefined && resolve())
  }).then(() => {
    running.delete(child)
    if (running.size === 0) process.off('exit', killAll)
    watch?.kill('SIGKILL')
  })
  for (const one of [child, child.stdout, child.stderr, watch, watch?.stdin]) unref(one)
  return async () => {
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX)
    child.ref()
    child.kill()
    await gone
    clearTimeout(timer)
  }
}

/** A shell that waits for our end of its pipe to close, which a SIGKILL does too, and then ends the node. */
function watchdog(child: ChildProcess): ChildProcess | undefined {
  if (process.platform === 'win32' || child.pid === undefined) return undefined
  return spawn('/bin/sh', ['-c', 'read _; kill "$0"', String(child.pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // Its own group, or the terminal's Ctrl-C would end it before it can help.
    detached: true,
  })
}

/** A child's pipes are sockets, which their types do not say. */
function unref(one: object | null | undefined): void {
  if (one && 'unref' in one && typeof one.unref === 'function') one.unref()
}

function connect(rpc: string, child: ChildProcess, stop: () => Promise<void>): Anvil {
  const batch = async (calls: readonly Call[]): Promise<readonly unknown[]> => {
    const said = await post(
      rpc,
      calls.map(([method, params], id) => ({ jsonrpc: '2.0', id, method, params })),
    )
    const answers = new Map(said.map((answer) => [isObject(answer) && answer['id'], answer]))
    return calls.map(([method], id) => result(method, answers.get(id)))
  }
  return {
    rpc,
    pid: child.pid ?? 0,
    batch,
    async request(method, params = []) {
      const [value] = await batch([[method, params]])
      return value
    },
    stop,
  }
}

async function post(rpc: string, body: unknown): Promise<readonly Json[]> {
  try {
    const response = await fetch(rpc, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    const said = (await response.json()) as Json
    return Array.isArray(said) ? said : [said]
  } catch (cause) {
    throw new PaymentError('rail-unavailable', 'The test chain does not answer.', { cause })
  }
}

function result(method: string, answer: Json | undefined): unknown {
  if (isObject(answer) && 'result' in answer) return answer['result']
  const error = isObject(answer) ? answer['error'] : undefined
  const words = isObject(error) ? JSON.stringify(error['message']) : 'no answer'
  throw new PaymentError('rail-unavailable', `${method}: ${words}`, { cause: error })
}
