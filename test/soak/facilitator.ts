// A facilitator whose store fails now and then.
import { join } from 'node:path'
import { everybody } from '../../src/adapters/facilitator.ts'
import { startFacilitator } from '../../src/config/facilitator.ts'
import { systemClock } from '../../src/core/clock.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { createDice } from '../../src/testing/faults.ts'
import { serve } from './child.ts'
import type { FacilitatorStart } from './messages.ts'
import { files } from './messages.ts'
import { createWeather, unreliable } from './weather.ts'

serve<FacilitatorStart>(async (start, tell) => {
  const { directory, aheadMs, network, rpc, signer } = start
  const weather = createWeather(createDice(start.seed), start.share)
  const clock = { ...systemClock, now: () => Date.now() + aheadMs }
  const books = await sqlite({ file: join(directory, files.books), clock })
  const faults: Record<string, number> = {}
  const running = await startFacilitator({
    chains: [{ network, rpc, signer }],
    ledger: unreliable(books, weather, ['close']),
    callers: everybody(),
    host: '127.0.0.1',
    port: 0,
    drainMs: 5_000,
    clock,
    observe(event) {
      if (event.type !== 'fault') return
      const name = `${event.where}: ${event.error instanceof Error ? event.error.message : 'other'}`
      faults[name] = (faults[name] ?? 0) + 1
    },
  })
  tell({ port: Number(new URL(running.url).port) })
  return {
    calm: () => weather.calm(),
    async stop() {
      await running.stop()
      await books.close()
      return { ...faults, ...weather.counts }
    },
  }
})
