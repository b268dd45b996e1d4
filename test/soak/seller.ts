// A seller on node:http, by itself or through a facilitator, whose store fails now and then.
import { appendFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { toll } from '../../src/adapters/node.ts'
import { createSeller } from '../../src/adapters/seller.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { Clock, Ledger, Rail } from '../../src/core/ports.ts'
import { isSale } from '../../src/gate/note.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { facilitated } from '../../src/protocols/x402/facilitator.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import type { Details } from '../../src/rails/evm/forms.ts'
import type { Proof } from '../../src/rails/evm/proof.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import { createDice } from '../../src/testing/faults.ts'
import { files as vaultOf } from '../../src/vault/files.ts'
import { serve } from './child.ts'
import type { SellerStart } from './messages.ts'
import { WORK_MS, files, routes } from './messages.ts'
import { createWeather, unreliable } from './weather.ts'

const SECRET = 'Rk7vQ2mZc9Tb4XwJ8nLp5Hs1Gd6Yf3Ae'
const MEASURE_MS = 5_000
/** How long what is open may take at the end, and how often it is looked at. */
const CLOSE_MS = 120_000
const LOOK_MS = 1_000

serve<SellerStart>(async (start, tell) => {
  const { directory, aheadMs } = start
  const weather = createWeather(createDice(start.seed), start.share)
  const clock: Clock = { ...systemClock, now: () => Date.now() + aheadMs }
  const books = await sqlite({ file: join(directory, files.books), clock })
  const ledger = unreliable(books, weather, ['close'])
  const vault = unreliable(
    vaultOf({ directory: join(directory, files.kept), clock }),
    weather,
    [],
    (verb, [name]) =>
      verb === 'put' && appendFileSync(join(directory, files.unkept), `${String(name)}\n`),
  )
  const faults: Record<string, number> = {}
  const rail = railOf(start, ledger, clock)
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [x402([rail])],
    ledger,
    vault,
    clock,
    origin: start.origin,
    workTimeoutMs: WORK_MS,
    observe(event) {
      if (event.type !== 'fault') return
      const name = `${event.where}: ${event.error instanceof Error ? event.error.message : 'other'}`
      faults[name] = (faults[name] ?? 0) + 1
    },
  })
  let runs = 0
  const server = createServer(
    toll(seller, routes, (request, response) => {
      response.end(`${request.url} ${process.pid}/${++runs}`)
    }),
  )
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  tell({ port: (server.address() as AddressInfo).port })
  const measuring = setInterval(() => {
    globalThis.gc?.()
    const { rss, heapUsed } = process.memoryUsage()
    tell({ memory: { rssBytes: rss, heapBytes: heapUsed } })
  }, MEASURE_MS)
  return {
    calm: () => weather.calm(),
    async stop() {
      clearInterval(measuring)
      const open = await closeAll(() => seller.gate.recover(), books)
      server.close()
      server.closeAllConnections()
      await seller.close()
      await books.close()
      return { ...faults, ...weather.counts, ...(open > 0 && { 'left open': open }) }
    },
  }
})

function railOf(start: SellerStart, ledger: Ledger, clock: Clock): Rail {
  const { network, rpc, payTo, signers, facilitator } = start
  const own = evm({ network, rpc, payTo, signer: signers, ledger, clock })
  if (facilitator === undefined) return own
  const through: Rail = facilitated<Details, Proof>(own, {
    url: facilitator,
    repeatable: true,
    trust: 'receipt',
    find: (offer, key, log) => own.find(offer, key, log),
    expiresAt: ({ validBefore }) => Number(validBefore) * 1_000,
    timeoutMs: 20_000,
    clock,
  })
  // The own look at the chain needs its rail to be open too.
  return {
    ...through,
    async open() {
      await own.open()
      await through.open()
    },
    async close() {
      await through.close()
      await own.close()
    },
  }
}

/** Looks until no sale is open; how many still are when the time is over. */
async function closeAll(recover: () => Promise<void>, books: Ledger): Promise<number> {
  const untilAt = Date.now() + CLOSE_MS
  for (;;) {
    await recover()
    const open = (await books.pending()).filter(isSale)
    if (open.length === 0 || Date.now() > untilAt) return open.length
    await systemClock.sleep(LOOK_MS)
  }
}
