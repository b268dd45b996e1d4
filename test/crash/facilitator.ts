// The facilitating child: it dies at a given call, and the next process finds its books.
import { join } from 'node:path'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { everybody, listener, openFacilitator } from '../../src/adapters/facilitator.ts'
import { systemClock } from '../../src/core/clock.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { facilitatorService } from '../../src/protocols/x402/facilitator-service.ts'
import { evm } from '../../src/rails/evm/rail.ts'
import { accountOf } from '../../src/rails/evm/signer.ts'
import { serve } from './child.ts'
import type { FacilitatorStart } from './messages.ts'
import { callsOf, files } from './messages.ts'
import { ledgerCall, watch } from './ports.ts'

serve<FacilitatorStart>(async (start, tell) => {
  const { directory, point, aheadMs, life, network, rpc, signer } = start
  const watched = watch(join(directory, callsOf(life)), point)
  const clock = { ...systemClock, now: () => Date.now() + aheadMs }
  const opened = await watched.call('ledger.open', () =>
    sqlite({ file: join(directory, files.books), clock }),
  )
  const ledger = watched.port(opened, [], ledgerCall)
  const payTo = accountOf(signer).address
  const plain = evm({ network, rpc, signer, payTo, ledger, clock, fetch: watched.fetch })
  const rail = watched.port(plain, ['quote', 'identify', 'health'], (verb) => `rail.${verb}`)
  const facilitator = await openFacilitator({ rails: [rail], ledger, callers: everybody(), clock })
  const server = createServer(listener(facilitatorService(facilitator, { rails: [rail] })))
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  tell({ port: (server.address() as AddressInfo).port })
  return async () => {
    await facilitator.close()
    server.close()
    server.closeAllConnections()
    await ledger.close()
  }
})
