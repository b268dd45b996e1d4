// What the tests of the gateway share: a chain, a gateway as a process of its own, and buyers.
import assert from 'node:assert/strict'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { memory } from '../../src/ledger/memory.ts'
import { createPayer } from '../../src/payer/payer.ts'
import type { Payer } from '../../src/payer/payer.ts'
import { x402 } from '../../src/protocols/x402/index.ts'
import { fromPrivateKey, wallet } from '../../src/rails/evm/index.ts'
import type { Chain } from '../../src/sandbox/chain.ts'
import { startChain } from '../../src/sandbox/chain.ts'
import { createBuyer, createSender } from '../interop/peers.ts'
import { freePort } from '../ports.ts'
import { ending, spawnTolsey } from '../tolsey.ts'

export const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'
export const UPSTREAM_SECRET = 'Qz7Lk2Wm9Xc4Vb6Nn1As8Df3Gh5Jk0PoT'

export const DASHBOARD_TOKEN = 'a-token-of-twenty-characters-and-more'
export const WEBHOOK_SECRET: string = `whsec_${Buffer.from(UPSTREAM_SECRET).toString('base64')}`

/** A place to run gateways in. */
export interface Stage {
  readonly chain: Chain
  readonly directory: string
  readonly payTo: string
  readonly env: Readonly<Record<string, string>>
  /** The rails and secrets that every document here has. */
  readonly common: string
  readonly close: () => Promise<void>
}

export async function openStage(): Promise<Stage> {
  const chain = await startChain()
  const directory = await mkdtemp(join(tmpdir(), 'gateway-'))
  const payee = await createSender(chain)
  const sender = await createSender(chain)
  const common = [
    'secret: { env: SECRET }',
    'rails:',
    '  evm:',
    '    network: base-sepolia',
    '    rpc: { env: RPC }',
    `    payTo: "${payee.address}"`,
    '    signer: { env: SENDER_KEY }',
    '',
  ].join('\n')
  return {
    ...{ chain, directory, common, payTo: payee.address },
    env: {
      SECRET,
      UPSTREAM_SECRET,
      DASHBOARD_TOKEN,
      WEBHOOK_SECRET,
      RPC: chain.rpc,
      SENDER_KEY: sender.privateKey,
    },
    async close() {
      await chain.stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** A gateway in a process of its own. */
export interface Running {
  readonly origin: string
  readonly admin: string
  readonly file: string
  readonly child: ChildProcessWithoutNullStreams
  /** Lines that it said on stderr. */
  readonly notes: readonly string[]
  /** Events that it told. */
  readonly events: readonly { readonly type?: string }[]
  /** Waits for a line on stderr. */
  note(pattern: RegExp): Promise<string>
  readonly stop: () => Promise<number | null>
}

/**
 * Starts a gateway with a document, in which what stands before is added: where it listens, rails, secrets and, where no others
 * are named, books of its own.
 */
export async function startGateway(
  stage: Stage,
  document: string,
  ledger?: string,
): Promise<Running> {
  const [port, adminPort] = [await freePort(), await freePort()]
  const file = join(stage.directory, `${port}.yaml`)
  const origin = `http://127.0.0.1:${port}`
  const head = `listen: ${port}\nadmin: ${adminPort}\norigin: ${origin}\nledger: ${ledger ?? `${port}.sqlite`}\n`
  await writeFile(file, head + stage.common + document)
  const child = spawnTolsey(['gateway', file, '--json'], { cwd: stage.directory, env: stage.env })
  const notes: string[] = []
  const events: { readonly type?: string }[] = []
  const heard = new Set<(line: string) => void>()
  createInterface(child.stderr).on('line', (line) => {
    notes.push(line)
    for (const hear of heard) hear(line)
  })
  let stopping = false
  const ready = Promise.withResolvers<void>()
  createInterface(child.stdout).on('line', (line) => {
    const said = JSON.parse(line) as { readonly type?: string; readonly gateway?: string }
    if (said.gateway !== undefined) ready.resolve()
    else events.push(said)
  })
  child.once('exit', (code) =>
    ready.reject(new Error(`It ended with ${code}: ${notes.join('\n')}`)),
  )
  await ready.promise
  return {
    ...{ origin, admin: `http://127.0.0.1:${adminPort}`, file, child, notes, events },
    async note(pattern) {
      const known = notes.find((line) => pattern.test(line))
      if (known !== undefined) return known
      const { promise, resolve } = Promise.withResolvers<string>()
      const hear = (line: string): void => (pattern.test(line) ? resolve(line) : undefined)
      heard.add(hear)
      return await promise.finally(() => heard.delete(hear))
    },
    async stop() {
      if (child.exitCode !== null) return child.exitCode
      // A second signal would not ask.
      if (!stopping) child.kill('SIGTERM')
      stopping = true
      const [code] = (await once(child, 'exit')) as [number | null]
      return code
    },
  }
}

/** Ends a gateway that did not start by itself. */
export { ending }

/** A server of the test's own, on a free port. */
export async function serve(
  listener: RequestListener,
): Promise<{ readonly url: string; readonly server: Server; readonly close: () => Promise<void> }> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    server,
    async close() {
      server.closeAllConnections()
      server.close()
      if (server.listening) await once(server, 'close')
    },
  }
}

/** Somebody with ten dollars. */
export async function createBuyerOf(chain: Chain): Promise<Payer> {
  const { privateKey } = await createBuyer(chain, 10_000_000n)
  const purse = wallet({ signer: fromPrivateKey(privateKey) })
  const payer = createPayer({
    wallets: [purse],
    protocols: [x402([purse])],
    ledger: memory(),
    policy: { perRequest: '1 USD', perDay: '10 USD' },
  })
  assert.ok(payer)
  return payer
}
