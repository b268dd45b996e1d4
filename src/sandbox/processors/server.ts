import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Longest body that a stand-in reads. */
export const BODY_BYTES_MAX = 65_536
/** Most connections at once. */
const SOCKETS_MAX = 256
/** Most faults that wait for their call. */
const FAULTS_MAX = 1_000

/** A request, read whole. */
export interface Asked {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly fields: IncomingMessage['headers']
  readonly body: string
}

/** An answer. */
export interface Reply {
  readonly status: number
  readonly body: unknown
  readonly fields?: Readonly<Record<string, string>>
}

/**
 * What goes wrong with a call. `down`: 503, and nothing is done. `hangup`: the connection drops before anything is done.
 * `lost`: it is done, and the connection drops before the answer. `broken`: it is done, and the answer is a 500, which is
 * also what the same call gets later where answers are kept by a key.
 */
export type Trouble = 'down' | 'hangup' | 'lost' | 'broken'

/** A fault for the next call that fits. */
export interface Fault {
  readonly trouble: Trouble
  /** Calls whose path begins so, all if absent. */
  readonly path?: string
  readonly method?: string
}

/** A server on a free port of this machine. */
export interface Listening {
  readonly url: string
  readonly port: number
  /** Every call that came, oldest first, at most so many. */
  readonly calls: readonly Asked[]
  /** The next call that fits goes wrong. */
  fail(...faults: readonly Fault[]): void
  close(): Promise<void>
}

/** Most calls that are remembered. */
const CALLS_MAX = 10_000

/** What a stand-in does with a call. `broken`: its answer is to be the 500 that was asked for. */
export type Handle = (asked: Asked, broken: boolean) => Promise<Reply> | Reply

/** Starts a server over the handler, with faults as they are asked for. */
export async function listen(handle: Handle, port = 0): Promise<Listening> {
  const faults: Fault[] = []
  const calls: Asked[] = []

  function faultFor({ method, path }: Asked): Trouble | undefined {
    const at = faults.findIndex(
      (fault) =>
        path.startsWith(fault.path ?? '/') &&
        (fault.method === undefined || fault.method === method),
    )
    return at < 0 ? undefined : faults.splice(at, 1)[0]?.trouble
  }

  async function answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body = await readBody(incoming)
    if (body === undefined) return send(outgoing, { status: 413, body: {} })
    const url = new URL(incoming.url ?? '/', 'http://stand-in')
    const asked: Asked = {
      method: incoming.method ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      fields: incoming.headers,
      body,
    }
    if (calls.length < CALLS_MAX) calls.push(asked)
    const trouble = faultFor(asked)
    if (trouble === 'hangup') return void incoming.socket.destroy()
    if (trouble === 'down')
      return send(outgoing, { status: 503, body: { error: { type: 'api_error' } } })
    const reply = await handle(asked, trouble === 'broken')
    if (trouble === 'lost') return void incoming.socket.destroy()
    send(outgoing, reply)
  }

  const server = createServer((incoming, outgoing) => {
    answer(incoming, outgoing).catch(() => outgoing.destroy())
  })
  server.maxConnections = SOCKETS_MAX
  await new Promise<void>((done, fail) => {
    server.once('error', fail)
    server.listen(port, '127.0.0.1', done)
  })
  const bound = (server.address() as AddressInfo).port
  return {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    calls,
    fail(...more) {
      faults.push(...more.slice(0, FAULTS_MAX - faults.length))
    },
    async close() {
      const closed = new Promise((done) => server.close(done))
      server.closeAllConnections()
      await closed
    },
  }
}

async function readBody(incoming: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > BODY_BYTES_MAX) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function send(outgoing: ServerResponse, { status, body, fields }: Reply): void {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  outgoing.writeHead(status, { 'content-type': 'application/json', ...fields }).end(text)
}
