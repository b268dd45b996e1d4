import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A door to a node that counts who goes through. */
export interface Counter {
  readonly rpc: string
  /** JSON-RPC calls by method since the last time; each one of a batch counts. */
  take(): Readonly<Record<string, number>>
  stop(): Promise<void>
}

/** Starts a counter on loopback in front of that node. */
export async function startCounter(rpc: string): Promise<Counter> {
  let counts: Record<string, number> = {}
  const count = (said: unknown): void => {
    for (const { method } of [said].flat() as readonly { readonly method: string }[])
      counts[method] = (counts[method] ?? 0) + 1
  }
  const server = createServer((request, response) => {
    pass(rpc, request, response, count).catch(() => response.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    rpc: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    take() {
      const taken = counts
      counts = {}
      return taken
    },
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

async function pass(
  rpc: string,
  request: IncomingMessage,
  response: ServerResponse,
  count: (said: unknown) => void,
): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const body = Buffer.concat(chunks)
  count(JSON.parse(body.toString()))
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(rpc, { method: 'POST', headers, body })
  response.writeHead(answer.status, headers).end(Buffer.from(await answer.arrayBuffer()))
}
