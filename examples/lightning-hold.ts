import express from 'express'
import { createSeller, sqlite } from 'tolsey'
import { toll } from 'tolsey/express'
import { l402 } from 'tolsey/protocols/l402'
import { lightning } from 'tolsey/rails/lightning'
import { createLnd } from 'tolsey/rails/lightning/adapters'
import { createMacaroons } from 'tolsey/tokens/macaroon'

const { SECRET = '', NODE = '', KEY = '', NETWORK = 'bitcoin', PORT } = process.env
const node = createLnd({ url: NODE, macaroon: KEY })
const rail = lightning({ node, network: NETWORK, hold: { secret: SECRET } })
const seller = await createSeller({
  secret: SECRET,
  rails: [rail],
  protocols: [l402({ parts: [rail], mint: createMacaroons({ secrets: [SECRET] }) })],
  ledger: await sqlite({ file: 'books.db' }),
})

const answers = new Map([['six-times-seven', 42]])
const app = express().use(toll(seller, { 'GET /answer/:question': '5 SAT' }))
app.get('/answer/:question', ({ params }, response) => {
  const answer = answers.get(params.question)
  response.status(answer === undefined ? 404 : 200).json({ answer })
})
app.listen(Number(PORT), '127.0.0.1')
