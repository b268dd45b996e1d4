import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createHandClock, ledgerSuite } from '../testing/ledger-suite.ts'
import { memory } from './memory.ts'
import { sqlite } from './sqlite.ts'

ledgerSuite('memory', async () => {
  const clock = createHandClock()
  const ledger = memory({ clock })
  return { ledger, clock, close: () => ledger.close() }
})

ledgerSuite('sqlite', async () => {
  const clock = createHandClock()
  const directory = await mkdtemp(join(tmpdir(), 'tolsey-ledger-'))
  const file = join(directory, 'books.db')
  const ledger = await sqlite({ file, clock })
  let open = ledger
  return {
    ledger,
    clock,
    async reopen() {
      await open.close()
      return (open = await sqlite({ file, clock }))
    },
    async close() {
      await open.close()
      await rm(directory, { recursive: true })
    },
  }
})
