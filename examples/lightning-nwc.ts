import express from 'express'
import { createSeller, sqlite } from 'tolsey'
import { toll } from 'tolsey/express'
import { l402 } from 'tolsey/protocols/l402'
import { lightning } from 'tolsey/rails/lightning'
import { createNwc } from 'tolsey/rails/lightning/adapters'
import { createMacaroons } from 'tolsey/tokens/macaroon'

const { SECRET = '', KEY = '', NETWORK = 'bitcoin', PORT } = process.env
const node = createNwc({ uri: KEY })
const rail = lightning({ node, network: NETWORK })
const seller = await createSeller({
  secret: SECRET,
  rails: [rail],
  protocols: [l402({ parts: [rail], mint: createMacaroons({ secrets: [SECRET] }) })],
  ledger: await sqlite({ file: 'books.db' }),
})

const app = express().use(toll(seller, { 'GET /weather': '5 SAT' }))
app.get('/weather', (_, response) => void response.json({ sky: 'clear' }))
app.listen(Number(PORT), '127.0.0.1')
