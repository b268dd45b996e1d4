import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isObject, readJson } from '../core/json.ts'
import type { Json, JsonObject } from '../core/json.ts'
import type { Clock } from '../core/ports.ts'
import type { Switches } from './faults.ts'

/** Largest request, as the node itself has it. */
const BODY_BYTES_MAX = 2_000_000

/** How old the latest block may be when somebody asks: Base makes one every two seconds. */
const BLOCK_MS = 2_000

/** What only looks. After anything else the chain must be saved. */
const looks =
  /^(eth_(call|get|chainId|blockNumber|gasPrice|maxP|feeHistory|estimate|simulate|accounts|syncing)|net_|web3_|txpool_|debug_)/

/** What stands between the node and those who use it. */
export interface ProxyOptions {
  /** Address of the node. */
  readonly rpc: string
  readonly faults: Switches
  /** A signed transaction was taken by the node. The answer waits for it. */
  readonly onTransaction: (raw: string) => Promise<void>
  /** The node may hold something new. */
  readonly onChange: () => void
  readonly clock: Clock
}

/** Two doors to one node. */
export interface Proxy {
  /** The node as it is. */
  readonly rpc: string
  /** The node as the faults make it. */
  readonly faulty: string
  stop(): Promise<void>
}

/** A call that a stranger made. */
interface Call {
  readonly id: Json
  readonly method: string
  readonly raw: string
  readonly said: Json
}

/**
 * Starts the proxy on loopback. It makes blocks when somebody looks and the latest is old, so that the chain's time goes
 * on without a heap of empty blocks, and a transaction that the node left lying is picked up.
 */
export async function startProxy(options: ProxyOptions): Promise<Proxy> {
  const ending = new AbortController()
  const calls = createCalls(options, ending.signal)
  const server = createServer((request, response) => {
    answer(request, response, calls).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const rpc = `http://127.0.0.1:${port}`
  return {
    rpc,
    faulty: `${rpc}/faulty`,
    async stop() {
      ending.abort()
      server.close()
      server.closeAllConnections()
      if (server.listening) await once(server, 'close')
    },
  }
}

/** One answer, or undefined when the connection is to break. */
type Calls = (call: Call, faulty: boolean) => Promise<Json | undefined>

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  calls: Calls,
): Promise<void> {
  const body = readJson(await textOf(request), BODY_BYTES_MAX)
  const faulty = request.url === '/faulty'
  const list: readonly Json[] = Array.isArray(body) ? body : [body ?? null]
  const said: Json[] = []
  // In order: a batch may send and then look.
  for (const one of list) {
    const answered = await calls(readCall(one), faulty)
    if (answered === undefined) return void response.destroy()
    said.push(answered)
  }
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(Array.isArray(body) ? said : said[0]))
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) throw new RangeError('The request is too large.')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function readCall(said: Json): Call {
  const { id = null, method = '', params = [] } = isObject(said) ? said : {}
  const first = Array.isArray(params) ? (params as readonly Json[])[0] : undefined
  return {
    id,
    said,
    method: typeof method === 'string' ? method : '',
    raw: typeof first === 'string' ? first : '',
  }
}

function createCalls(options: ProxyOptions, ending: AbortSignal): Calls {
  const { faults, clock, onTransaction, onChange } = options
  const forward = (said: Json): Promise<Json> => post(options.rpc, said, ending)
  let freshAt = 0

  const refresh = async (method: string): Promise<void> => {
    if (!method.startsWith('eth_') || clock.now() - freshAt < BLOCK_MS) return
    freshAt = clock.now()
    await forward({ jsonrpc: '2.0', id: 0, method: 'anvil_mine', params: ['0x1'] })
  }

  const plain = async (call: Call): Promise<Json> => {
    await refresh(call.method)
    const said = await forward(call.said)
    if (sends(call) && isObject(said) && 'result' in said) await onTransaction(call.raw)
    if (!looks.test(call.method)) onChange()
    return said
  }

  /** A transaction on its way to a chain where something goes wrong. */
  const send = async (call: Call): Promise<Json | undefined> => {
    const { delayMs } = faults.now()
    if (faults.take('drop')) return accepted(call)
    if (delayMs > 0 && call.method === 'eth_sendRawTransaction') {
      void later(delayMs, call)
      return accepted(call)
    }
    if (delayMs > 0) await clock.sleep(delayMs, ending)
    const said = await plain(call)
    return faults.take('loseSends') ? undefined : said
  }

  const later = async (ms: number, call: Call): Promise<void> => {
    await clock.sleep(ms, ending)
    if (!ending.aborted) await plain(call).catch(() => undefined)
  }

  return async (call, faulty) => {
    if (!faulty) return plain(call)
    if (faults.now().deadRpc) return undefined
    return sends(call) ? send(call) : plain(call)
  }
}

function sends({ method }: Call): boolean {
  return method === 'eth_sendRawTransaction' || method === 'eth_sendRawTransactionSync'
}

/** What a node says to a transaction that it holds and has not mined. */
async function accepted({ id, method, raw }: Call): Promise<JsonObject> {
  const { keccak256 } = await import('viem')
  const hash = keccak256(`0x${raw.slice(2)}`)
  if (method === 'eth_sendRawTransaction') return { jsonrpc: '2.0', id, result: hash }
  // EIP-7966: in the pool, but not in a block in time.
  const error = { code: 4, message: 'The transaction is not in a block yet.', data: hash }
  return { jsonrpc: '2.0', id, error }
}

async function post(rpc: string, said: Json, signal: AbortSignal): Promise<Json> {
  const response = await fetch(rpc, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(said),
    signal,
  })
  return (await response.json()) as Json
}
