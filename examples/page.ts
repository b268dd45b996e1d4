import express from 'express'
import { createSeller, sqlite } from 'tolsey'
import { toll } from 'tolsey/express'
import { page } from 'tolsey/page'
import { x402 } from 'tolsey/protocols/x402'
import { evm } from 'tolsey/rails/evm'

const { SECRET = '', RPC = '', PAY_TO = '', SENDER_KEY = '', NETWORK = 'base', PORT } = process.env
const rail = evm({ network: NETWORK, rpc: RPC, payTo: PAY_TO, signer: SENDER_KEY })
const seller = await createSeller({
  secret: SECRET,
  rails: [rail],
  protocols: [x402([rail])],
  ledger: await sqlite({ file: 'books.db' }),
  page: page({ name: 'The Daily', light: { accent: '#8a1c1c' }, dark: { accent: '#ffb4a8' } }),
})

const routes = { 'GET /article': { price: '0.01 USD', description: 'Why it rains' } }
const app = express().use(toll(seller, routes))
app.get('/article', (_, response) => void response.send('<h1>Why it rains</h1>'))
app.listen(Number(PORT), '127.0.0.1')
