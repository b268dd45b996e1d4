// The paying child: it dies at a given call, and the next process finds its books.
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../src/core/clock.ts'
import { PaymentError } from '../../src/core/problem.ts'
import { sqlite } from '../../src/ledger/sqlite.ts'
import { createPayer } from '../../src/payer/payer.ts'
import type { Payer } from '../../src/payer/payer.ts'
import { x402 } from '../../src/protocols/x402/http.ts'
import { fromPrivateKey } from '../../src/rails/evm/signer.ts'
import { wallet } from '../../src/rails/evm/wallet.ts'
import { serve } from './child.ts'
import type { Bought, PayerStart } from './messages.ts'
import { BUDGET, ROUND, callsOf, files } from './messages.ts'
import { ledgerCall, watch } from './ports.ts'

serve<PayerStart>(async (start, tell) => {
  const { directory, point, aheadMs, url, life } = start
  const watched = watch(join(directory, callsOf(life)), point)
  const clock = { ...systemClock, now: () => Date.now() + aheadMs }
  const opened = await watched.call('ledger.open', () =>
    sqlite({ file: join(directory, files.books), clock }),
  )
  const ledger = watched.port(opened, [], ledgerCall)
  const signer = fromPrivateKey(start.signer)
  const plain = wallet({
    signer: {
      address: signer.address,
      ...(start.local && { local: true }),
      async signTypedData(typedData) {
        const signature = await signer.signTypedData(typedData)
        appendFileSync(join(directory, files.notes), `signed ${signature}\n`)
        return signature
      },
    },
    rpc: { [start.network]: start.rpc },
    clock,
    fetch: watched.fetch,
  })
  const paying = watched.port(plain, ['refuses', 'expiresAt', 'payer'], (verb) => `wallet.${verb}`)
  const payer = createPayer({
    wallets: [paying],
    protocols: [x402([paying])],
    ledger,
    policy: { perRequest: '0.01 USD', total: BUDGET, checkReceipts: true },
    fetch: watched.fetch,
    clock,
  })
  const bought: Bought[] = []
  for (let i = 1; i <= start.times; i++) bought.push(await buy(payer, url, `${life}/${i}`))
  tell({ bought })
  return () => ledger.close()
})

async function buy(payer: Payer, url: string, round: string): Promise<Bought> {
  try {
    const response = await payer.fetch(url, { headers: { [ROUND]: round } })
    return { status: response.status, text: await response.text() }
  } catch (error) {
    if (error instanceof PaymentError) return { code: error.code }
    throw error
  }
}
