// A seller in this process that never dies, and lets a facilitator settle that does.
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { toll } from '../../src/adapters/node.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { facilitated } from '../../src/protocols/x402/facilitator.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import { exact } from '../../src/rails/evm/exact.ts'
import type { Door } from './buyer.ts'
import type { Start } from './messages.ts'
import { ORIGIN, SECRET, files, routes } from './messages.ts'

/** A place to buy at. */
export interface Counter {
  readonly door: Door
  /** Where its books are. */
  readonly directory: string
  /** Asks for every settlement once more: the answer must be the same. Sentences where it is not. */
  settleAgain(): Promise<readonly string[]>
  close(): Promise<void>
}

interface Settled {
  readonly body: string
  readonly answer: unknown
}

/** Opens the counter, once the facilitator listens. `till` tells where that is now. */
export async function openCounter(
  till: Door,
  { network, payTo, directory: root }: Start & { readonly payTo: string },
): Promise<Counter> {
  const directory = join(root, 'counter')
  await mkdir(directory)
  const ledger = await sqlite({ file: join(directory, files.books) })
  const settled: Settled[] = []
  const rail = facilitated(exact({ network, payTo }), {
    url: 'http://facilitator.test',
    repeatable: true,
    async fetch(input, init) {
      const { pathname } = new URL(input instanceof Request ? input.url : input)
      const response = await fetch(`http://127.0.0.1:${await till()}${pathname}`, init)
      if (pathname === '/settle' && typeof init?.body === 'string') {
        const answer: unknown = await response.clone().json()
        if (isSuccess(answer)) settled.push({ body: init.body, answer })
      }
      return response
    },
  })
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [x402([rail])],
    ledger,
    origin: ORIGIN,
  })
  let runs = 0
  const server = createServer(
    toll(seller, { 'GET /plain': routes['GET /plain'] ?? 'free' }, (_, response) => {
      response.end(`goods ${++runs}`)
    }),
  )
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as AddressInfo
  return {
    door: () => Promise.resolve(port),
    directory,
    async settleAgain() {
      const found = await Promise.all(settled.map(async (one) => differs(await till(), one)))
      return found.flat()
    },
    async close() {
      server.close()
      server.closeAllConnections()
      await seller.close()
      await ledger.close()
    },
  }
}

function isSuccess(answer: unknown): boolean {
  return (answer as { success?: unknown }).success === true
}

async function differs(port: number, { body, answer }: Settled): Promise<readonly string[]> {
  const headers = { 'content-type': 'application/json' }
  const asked = fetch(`http://127.0.0.1:${port}/settle`, { method: 'POST', headers, body })
  const again: unknown = await (await asked).json()
  if (isDeepStrictEqual(again, answer)) return []
  return [`the facilitator said ${JSON.stringify(answer)}, and then ${JSON.stringify(again)}`]
}
