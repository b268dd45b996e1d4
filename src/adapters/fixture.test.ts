// What the tests of the adapters share; it tests nothing itself.
import { createServer } from 'node:http'
import type { RequestListener, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { systemChance } from '../core/chance.ts'
import { createMac } from '../core/mac.ts'
import { createOffers } from '../core/offers.ts'
import { createSeal } from '../core/seal.ts'
import { createGate } from '../gate/gate.ts'
import { memory } from '../ledger/memory.ts'
import type { Stage } from '../testing/adapter-suite.ts'

const SECRET = 'uW3h8Zk0bq5Tn7Xy2Rv9Lc4Mf6Pj1SdA'

/** A gate with books in memory. */
export const gate: Stage['gate'] = ({ rail, clock, observe }) => {
  const stored = new Map<string, Uint8Array>()
  return createGate({
    rails: [rail],
    clock,
    observe,
    ledger: memory({ clock }),
    offers: createOffers(createMac([SECRET], 'offers')),
    seal: createSeal([SECRET], 'vault', systemChance),
    vault: {
      put: async (key, sealed) => void stored.set(key, sealed),
      get: async (key) => stored.get(key),
    },
  })
}

/** Serves on a free loopback port. */
export async function serve(
  listener: RequestListener | Server,
): Promise<{ readonly origin: string; readonly close: () => Promise<void> }> {
  const server = typeof listener === 'function' ? createServer(listener) : listener
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      const ended = Promise.withResolvers<void>()
      server.close(() => ended.resolve())
      server.closeAllConnections()
      await ended.promise
    },
  }
}
