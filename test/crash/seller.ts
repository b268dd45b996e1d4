// The child: a real seller that dies at a given call. Its parent says when to begin, so that it can be loaded ahead.
import { appendFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createSeller } from '../../src/adapters/seller.ts'
import { toll } from '../../src/adapters/node.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { Clock, Ledger, Log } from '../../src/core/ports.ts'
import { readOffer } from '../../src/core/offer.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import type { Details } from '../../src/rails/evm/forms.ts'
import type { EvmRail } from '../../src/rails/evm/rail.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import type { Offer } from '../../src/core/offer.ts'
import { files } from '../../src/vault/files.ts'
import { serve } from './child.ts'
import type { SellerStart } from './messages.ts'
import {
  BATCH,
  GATHER_MS,
  ORIGIN,
  PRICE,
  SECRET,
  callsOf,
  files as names,
  routes,
} from './messages.ts'
import { ledgerCall, watch } from './ports.ts'

serve<SellerStart>(async (start, tell) => {
  const { directory, point, aheadMs, life } = start
  const watched = watch(join(directory, callsOf(life)), point)
  const note = (line: string): void => appendFileSync(join(directory, names.notes), `${line}\n`)
  const clock: Clock = { ...systemClock, now: () => Date.now() + aheadMs }

  const opened = await watched.call('ledger.open', () =>
    sqlite({ file: join(directory, names.books), clock }),
  )
  const ledger = watched.port(opened, [], ledgerCall)
  const plain = evm({
    network: start.network,
    rpc: start.rpc,
    payTo: start.payTo,
    signer: start.signer,
    ledger,
    clock,
    fetch: watched.fetch,
    ...(start.refundSigner !== undefined && { refundSigner: start.refundSigner }),
  })
  const rail = watched.port(plain, ['quote', 'identify', 'health'], (verb) => `rail.${verb}`)
  const vault = watched.port(
    files({ directory: join(directory, 'vault'), clock }),
    [],
    (verb) => `vault.${verb}`,
  )
  const seller = await createSeller({
    secret: SECRET,
    rails: [rail],
    protocols: [x402([rail])],
    ledger,
    vault,
    clock,
    origin: ORIGIN,
    workTimeoutMs: 5_000,
    observe(event) {
      if (event.type === 'delivered') note('left')
      if (event.type === 'fault') note(`fault ${event.where} ${String(event.error)}`)
    },
  })
  if (start.refund) await giveBack(rail, ledger, start.refund, clock)
  let runs = 0
  const crowd = createCrowd(clock)
  const server = createServer(
    toll(seller, routes, async (request, response) => {
      const goods = `${process.pid}/${++runs}`
      note(`run ${goods}`)
      if (request.url === '/batch') await crowd()
      response.end(goods)
    }),
  )
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  tell({ port: (server.address() as AddressInfo).port })
  return async () => {
    server.close()
    server.closeAllConnections()
    await seller.close()
    await ledger.close()
  }
})

/** Lets all go on together once enough have come, and after a while those who are there. */
function createCrowd(clock: Clock): () => Promise<void> {
  let inside = 0
  const complete = new AbortController()
  return async () => {
    if (++inside === BATCH) complete.abort()
    await clock.sleep(GATHER_MS, complete.signal)
  }
}

/** Refunds the sale that it is given, as an operator's tool would: a claim of its own, and a log under it. */
async function giveBack(
  rail: EvmRail,
  ledger: Ledger,
  { offer: said, payer }: NonNullable<SellerStart['refund']>,
  clock: Clock,
): Promise<void> {
  const offer = readOffer(said) as Offer<Details>
  const key = 'refund/1'
  const claim = await ledger.transfer({
    key,
    purpose: 'refund',
    asset: offer.amount.asset.id,
    amount: PRICE,
    legs: [{ debit: 'sales/GET /plain', credit: 'world/refunded' }],
    leaseUntilAt: clock.now() + 30_000,
    note: {},
  })
  if (claim.outcome === 'replayed' && claim.held.state === 'posted') return
  const log: Log = {
    read: async () => (await ledger.find(key))?.steps ?? [],
    write: (step) => ledger.step(key, step),
  }
  const settlement = await rail.refund?.(offer, payer, offer.amount, key, log)
  if (settlement?.state !== 'settled') throw new Error(`refund: ${JSON.stringify(settlement)}`)
  await ledger.post(key, undefined, { type: 'settled', data: { reference: settlement.reference } })
}
