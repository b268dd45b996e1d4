import { sqlite } from 'tolsey'
import type { Log, Offer } from 'tolsey'
import { lightning } from 'tolsey/rails/lightning'
import type { Details } from 'tolsey/rails/lightning'
import { createLnd } from 'tolsey/rails/lightning/adapters'

const { NODE = '', KEY = '', NETWORK = 'bitcoin', FEE_MAX_MSAT = '2000' } = process.env
const [hash = '', destination = ''] = process.argv.slice(2)
const node = createLnd({ url: NODE, macaroon: KEY })
const rail = lightning({ node, network: NETWORK, feeMaxMsat: () => BigInt(FEE_MAX_MSAT) })
await rail.open()
const ledger = await sqlite({ file: 'books.db' })

const sale = await ledger.find(`${rail.network}/invoice/${hash}`)
if (sale?.state !== 'posted') throw new Error('Nothing was sold for that payment.')
const said = sale.note['offer'] as unknown as Offer<Details>
const amount = { ...said.amount, amount: sale.posted }
const key = `${sale.key}/refund`
const claim = await ledger.transfer({
  key,
  purpose: 'refund',
  asset: sale.asset,
  amount: sale.posted,
  legs: sale.legs.map(({ debit, credit }) => ({ debit: credit, credit: debit })),
  leaseUntilAt: Date.now() + 120_000,
  note: { kind: 'refund', sale: sale.key },
})
if (claim.outcome === 'insufficient') throw new Error('The money was taken out already.')
if (claim.outcome !== 'made' && claim.held.state === 'posted') throw new Error('It was given back.')
if (claim.outcome !== 'made' && claim.held.leaseUntilAt > Date.now())
  throw new Error('It is being given back just now. Run this again in two minutes.')

const log: Log = {
  read: async () => (await ledger.find(key))?.steps ?? [],
  write: (step) => ledger.step(key, step),
}
const done = await rail.refund?.({ ...said, amount }, destination, amount, key, log)
if (done?.state === 'settled') await ledger.post(key)
if (done?.state === 'failed') await ledger.void(key, done.problem.code)
console.log(done?.state, done?.state === 'settled' ? done.cost : done)
await ledger.close()
