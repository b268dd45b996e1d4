// The shared store passes what every ledger passes. One server for the file, a schema for each test.
import { after, before, describe } from 'node:test'
import { createCluster, missing } from '../../test/postgres.ts'
import type { Cluster } from '../../test/postgres.ts'
import { createHandClock, ledgerSuite } from '../testing/ledger-suite.ts'
import { postgres } from './postgres.ts'

void describe('postgres', { skip: missing }, () => {
  let cluster: Cluster | undefined
  let schemas = 0
  before(async () => {
    cluster = await createCluster()
  })
  after(() => cluster?.stop())
  ledgerSuite('postgres', async () => {
    const clock = createHandClock()
    const settings = { url: cluster?.url ?? '', schema: `suite_${schemas++}`, clock }
    const ledger = await postgres(settings)
    let open = ledger
    return {
      ledger,
      clock,
      async reopen() {
        await open.close()
        return (open = await postgres(settings))
      },
      close: () => open.close(),
    }
  })
})
