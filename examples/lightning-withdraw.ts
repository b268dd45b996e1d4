import { createInterface } from 'node:readline'
import express from 'express'
import { createSeller, sqlite } from 'tolsey'
import { toll } from 'tolsey/express'
import { l402 } from 'tolsey/protocols/l402'
import { createWithdraw, lightning } from 'tolsey/rails/lightning'
import { createLnd } from 'tolsey/rails/lightning/adapters'
import { createMacaroons } from 'tolsey/tokens/macaroon'

const { SECRET = '', NODE = '', KEY = '', NETWORK = 'bitcoin', ORIGIN = '', PORT } = process.env
const node = createLnd({ url: NODE, macaroon: KEY })
const rail = lightning({ node, network: NETWORK })
const ledger = await sqlite({ file: 'books.db' })
const withdraw = createWithdraw({ rail, ledger, secret: SECRET, origin: ORIGIN })
const seller = await createSeller({
  secret: SECRET,
  rails: [rail],
  protocols: [l402({ parts: [rail], mint: createMacaroons({ secrets: [SECRET] }) })],
  ledger,
  services: [withdraw.service],
})
await withdraw.recover()

const app = express().use(toll(seller, { 'GET /weather': '5 SAT' }))
app.get('/weather', (_, response) => void response.json({ sky: 'clear' }))
app.listen(Number(PORT), '127.0.0.1')

// The operator types the payment hash of a sale, and gets the link that gives it back.
for await (const hash of createInterface({ input: process.stdin })) {
  const sale = await ledger.find(`${rail.network}/invoice/${hash}`)
  if (sale?.state !== 'posted') console.log('Nothing was sold for that payment.')
  else {
    const expiresAt = Date.now() + 86_400_000
    const order = { key: sale.key, account: 'sales/GET /weather', msat: sale.posted, expiresAt }
    console.log(withdraw.link({ ...order, memo: 'Your money back' }).lnurl)
  }
}
