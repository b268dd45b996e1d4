import express from 'express'
import { createSeller, sqlite } from 'tolsey'
import { toll } from 'tolsey/express'
import { x402 } from 'tolsey/protocols/x402'
import { evm } from 'tolsey/rails/evm'

const { SECRET = '', RPC = '', PAY_TO = '', SENDER_KEY = '', PORT } = process.env
const rail = evm({ network: 'base-sepolia', rpc: RPC, payTo: PAY_TO, signer: SENDER_KEY })
const ledger = await sqlite({ file: 'books.db' })
const seller = await createSeller({
  secret: SECRET,
  rails: [rail],
  protocols: [x402([rail])],
  ledger,
})

const app = express().use(toll(seller, { 'GET /weather': '0.01 USD' }))
app.get('/weather', (_, response) => void response.json({ sky: 'clear' }))
app.listen(Number(PORT), '127.0.0.1')
